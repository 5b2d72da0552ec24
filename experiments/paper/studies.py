"""What the paper's figures and tables share: scales, runs that share their dense models, and results on disk.

A study compares variants, settings that differ in few things, on each data set and model. Runs lie in one folder that
all studies use: what one has trained, the others read. Called again, a study goes on where it was stopped.
"""

import dataclasses
import functools
import hashlib
import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lthjax
from lthjax import plots, presets
from lthjax.errors import SettingsError
from lthjax.evaluation.verdict import WINNING
from lthjax.pruning.schedule import roundings
from lthjax.runtime import files
from lthjax.settings import Settings
from lthjax.tickets import report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lthjax.data.split import Split
    from lthjax.tickets.ticket import Record, Ticket

SCALES = {
    "quick": Settings(dim=8, epochs=4, eval_every=2, levels=3, prune_rate=0.3),
    "cpu": Settings(),
    "paper": presets.paper_code,
}
# Table 2's three sparsities and table 3's two: a tenth at a time would take hours. L2, learning rate and batch size are
# the best on validation of those tried (dense; experiments/LOG.md); large batches cost LightGCN nothing but steps.
_FEW_LEVELS: dict[str, Any] = {"sparsities": "0.271,0.5,0.6513,0.75,0.9529"}
_OF_LARGER = _FEW_LEVELS | {"patience": 15}
_OF_MODEL: dict[str, dict[str, Any]] = {
    "mf": {},
    "lightgcn": {name: getattr(presets.lightgcn, name) for name in ("batch_size", "learning_rate", "l2")},
}
ON_CPU = {  # (data, model) -> what differs from the defaults at scale cpu
    ("ml-latest-small", "lightgcn"): _FEW_LEVELS | _OF_MODEL["lightgcn"],
    ("kuairand", "mf"): _OF_LARGER,
    ("kuairand", "lightgcn"): _OF_LARGER | {"batch_size": 16384, "learning_rate": 0.03, "l2": 2e-3},
    ("tiktok-clickbait", "mf"): _OF_LARGER | {"batch_size": 8192, "learning_rate": 0.005, "l2": 0.1},
    ("tiktok-clickbait", "lightgcn"): _OF_LARGER | {"batch_size": 16384, "learning_rate": 0.03, "l2": 1e-2},
}
LARGER = ("kuairand", "tiktok-clickbait")  # at scale cpu with fewer variants
STANDS_FOR = {"tiktok-clickbait": "TikTok", "kuairand": "Kwai"}  # the paper's own, which can no longer be had
Row = dict[str, Any]
Rows = dict[str, list[Row]]  # variant -> rows of its levels, the dense one first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """The flags of every figure and table."""

    data: tuple[str, ...] = ("ml-latest-small",)
    """Data sets: bundled or known names, or paths."""
    models: tuple[Literal["mf", "lightgcn"], ...] = ("mf", "lightgcn")
    """Backbones."""
    scale: Literal["quick", "cpu", "paper"] = "quick"
    """Seconds, to see that it works; the defaults of find_tickets, in fewer levels where they would take hours; or the
    settings of the paper's code (for a GPU)."""
    seeds: int = 1
    """Runs of each variant, that differ in their seed."""
    out: str = "runs/paper"
    """Folder of all runs and results; studies that are given the same one share what they train."""
    results: str | None = None
    """Another folder for tables and figures."""

    def __post_init__(self):
        if self.seeds < 1:
            raise SettingsError(f"--seeds: wanted at least 1; got {self.seeds}.")
        if not self.data or not self.models:
            raise SettingsError("wanted at least one of --data and of --models; got none.")
        names = [Path(data).stem for data in self.data]  # what rows and folders call them
        if len(set(names)) < len(names):
            raise SettingsError(f"--data: wanted data sets with different names; got {', '.join(self.data)}.")


def settings_of(study: Study, data: str, model: str, **changes: Any) -> Settings:
    """Settings of the scale for data and model; a change of how much is pruned replaces levels of their own."""
    own = dict(ON_CPU.get((data, model), _OF_MODEL[model])) if study.scale == "cpu" else {}
    if {"levels", "prune_rate", "sparsities"} & changes.keys():
        own.pop("sparsities", None)
    return dataclasses.replace(SCALES[study.scale], **({"data": data, "model": model} | own | changes))


def has_few_levels(study: Study, data: str, model: str) -> bool:
    """Is it pruned in a few large steps at this scale, since many would take hours?"""
    return study.scale == "cpu" and "sparsities" in ON_CPU.get((data, model), {})


def is_larger(study: Study, data: str) -> bool:
    """Do studies take fewer variants of this data set at this scale, since all of the paper's would take hours?"""
    return study.scale == "cpu" and data in LARGER


def curves(study: Study, data: str, model: str, variants: Mapping[str, Mapping[str, Any]]) -> Rows:
    """Rows of each variant; an empty set of changes is IMP as the scale has it.

    Args:
      study: the flags.
      data: name or path.
      model: backbone.
      variants: name -> changed settings.
    """
    every = {name: settings_of(study, data, model, **changes) for name, changes in variants.items()}
    split = lthjax.load_split(None, next(iter(every.values())))
    return {name: rows_of(find(study, split, settings)) for name, settings in every.items()}


def find(study: Study, split: "Split", settings: Settings) -> "list[list[Record]]":
    """Records of each seed's tickets, the dense one first; from the folder where they are there."""
    from lthjax.tickets import ticket as tickets

    found: dict[int, list[Record]] = {}
    for ticket in tickets_of(study, split, settings):
        found.setdefault(ticket.settings["seed"], []).append(tickets.record(ticket))
    return list(found.values())


def tickets_of(study: Study, split: "Split", settings: Settings) -> "Iterator[Ticket]":
    """The tickets themselves, one at a time, of each seed in the order of its levels; as `find` has them.

    Seeds may come one after the other or level by level, as in `lthjax.find_tickets`.
    """
    for note in roundings(settings, (split.num_users + split.num_items) * settings.dim):
        _print_once(f"{Path(settings.data).stem}: {note}")
    dense = dense_models(study, split, settings) if settings.rewind_epoch is None else ()
    _, place = folders(study, settings)
    yield from lthjax.find_tickets(split, settings=settings, out=place, seeds=study.seeds, dense=dense)


_print_once = functools.cache(print)  # a study asks for the same sparsities with every variant


def dense_models(study: Study, split: "Split", settings: Settings) -> "list[Ticket]":
    """The dense model of each seed, trained once for all that differ in how they prune."""
    place, _ = folders(study, settings)
    return list(lthjax.find_tickets(split, settings=_dense_alone(settings), out=place, seeds=study.seeds))


def folders(study: Study, settings: Settings) -> tuple[Path, Path]:
    """Where the dense models of a run lie and where its tickets, each with a folder a seed (seed_0, ...) in it."""
    place = Path(study.out) / "runs"
    return place / f"dense-{name_of(_dense_alone(settings))}", place / name_of(settings)


def _dense_alone(settings: Settings) -> Settings:
    plain = {f.name: f.default for f in dataclasses.fields(Settings) if f.name.startswith("prune_")}
    plain |= {
        "prune_from": settings.prune_from,
        "rewind": "none",
    }  # keeps the optimizer, which some rewind modes ask for
    return dataclasses.replace(settings, levels=0, sparsities=None, min_per_row=0, **plain)


def kept_on_disk(place: Path, make: "Callable[[], Record]") -> "Record":
    """The record that lies in a folder, or a new one, laid there."""
    from lthjax.runtime import checkpoint
    from lthjax.tickets import ticket as tickets

    if not place.exists():
        made = make()
        facts = {"row": made.row, "sparsity": made.sparsity, "best_epoch": made.best_epoch, "metrics": made.metrics}
        checkpoint.save(place, made.per_user, facts)
    arrays, facts = checkpoint.load(place)
    return tickets.Record(**facts, per_user=arrays)


def rows_of(found: "Sequence[Sequence[Record]]") -> list[Row]:
    """One row a level: means over the seeds with standard deviations, or those of the only one."""
    from lthjax.tickets import seeds

    return seeds.combine(found) if len(found) > 1 else [record.row for record in found[0]]


def over_seeds(each: Sequence[Mapping[str, float]]) -> Row:
    """Means of the seeds' numbers by name, with standard deviations as `..._sd`; those of the only seed as they are."""
    if len(each) == 1:
        return dict(each[0])
    found: Row = {}
    for name in each[0]:
        values = [float(one[name]) for one in each]
        found |= {name: statistics.fmean(values), f"{name}_sd": statistics.stdev(values)}
    return found


def by_table(rows: Iterable[Row]) -> dict[tuple[str, str, int], list[Row]]:
    """Rows by data, model and size."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        found.setdefault((row["data"], row["model"], row["dim"]), []).append(row)
    return found


def same_columns(rows: Sequence[Row]) -> list[Row]:
    """Rows with the columns of all of them, empty where a row has no value."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name, "") for name in names} for row in rows]


def flat(rows: Rows, **labels: Any) -> list[Row]:
    """The rows of all variants one after the other, with a column `variant` and the given ones in front."""
    return [labels | {"variant": name} | row for name, those in rows.items() for row in those]


def write(study: Study, name: str, rows: Sequence[Row], text: str, draw: "Callable[[Figure], None] | None") -> Path:
    """Leave results.csv, table.md and figure.png of a study in its folder, and print the table; returns the folder.

    Args:
      study: the flags.
      name: of the figure or table.
      rows: all of them, for the csv.
      text: the Markdown.
      draw: fills the figure, or None for a table without one.
    """
    return leave(Path(study.results or study.out) / name, rows, text, draw)


def leave(place: Path, rows: Sequence[Row], text: str, draw: "Callable[[Figure], None] | None") -> Path:
    """The same in any folder.

    Args:
      place: the folder.
      rows: all of them, for the csv.
      text: the Markdown.
      draw: fills the figure, or None for a table without one.
    """
    files.write_table(place / "results.csv", list(rows))
    files.write_text(place / "table.md", text + "\n")
    if draw is not None:
        plots.save(place / "figure.png", draw)
    print(text)
    print(f"results: {place}")
    return place


def scale_of(study: Study, varied: Sequence[str] = (), **changes: Any) -> str:
    """Scale, settings and seeds in words, to stand under a table.

    Args:
      study: the flags.
      varied: settings that the table tells by itself, left out here.
      **changes: settings that are not the scale's own.
    """
    pruned = {"levels", "prune_rate", "sparsities"}
    left_out = {*varied, "model"} | (pruned if pruned & {*varied} else set())
    titles = {}
    for data, model in itertools.product(study.data, study.models):
        settings = settings_of(study, data, model, **changes)
        preset = presets.find(settings.preset)
        told = {name: getattr(preset, name) for name in left_out}
        titles[f"{Path(data).stem}, {plots.MODELS[model]}"] = presets.title(dataclasses.replace(settings, **told))
    one = set(titles.values())
    words = one.pop() if len(one) == 1 else "; ".join(f"{name}: {title}" for name, title in titles.items())
    return f"scale {study.scale} ({words}), {study.seeds} seed{'s' if study.seeds > 1 else ''}"


def warned(text: str, rows: Iterable[Row]) -> str:
    """The text under a table, with a warning where any of its rows was chosen on the test part."""
    return f"{text}\n{report.TEST_WARNING}" if any(row["selection"] == "test" for row in rows) else text


def markdown(header: Sequence[str], lines: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; what is None stays empty."""
    cells = [header, ["---"] * len(header), *([("" if cell is None else cell) for cell in line] for line in lines)]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in cells)


def value(row: Row | None, name: str, digits: int = 4) -> str | None:
    """A metric as text, with its standard deviation over seeds where there is one; None where there is no row."""
    if row is None:
        return None
    deviation = row.get(f"{name}_sd")
    return f"{row[name]:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def cell(row: Row | None, name: str) -> str | None:
    """`value`, in bold where the row is a winning ticket, as in the paper."""
    text = value(row, name)
    return f"**{text}**" if row is not None and row.get("verdict") in WINNING else text


def nearest(rows: Sequence[Row], sparsity: float, within: float = 0.005) -> Row | None:
    """The row whose sparsity is nearest to the given one, or None where none is within half a percent."""
    best = min(rows, key=lambda row: abs(row["sparsity"] - sparsity), default=None)
    return best if best is not None and abs(best["sparsity"] - sparsity) <= within else None


def name_of(settings: Settings) -> str:
    """A folder's name: data, model, and a mark of all settings but the seed, which has a folder of its own in there."""
    chosen = {name: value for name, value in dataclasses.asdict(settings).items() if name != "seed"}
    mark = hashlib.sha256(repr(sorted(chosen.items())).encode()).hexdigest()[:8]
    return f"{Path(settings.data.strip('<>')).stem}-{settings.model}-{mark}"  # <name>: a split made in code
