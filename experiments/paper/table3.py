r"""Table 3: winning tickets beside LCM, PEP and MagPrune, at 50 and 75% sparsity of tables of 64 and 128 dimensions.

    python -m experiments.paper.table3                                         (seconds, to see that it works)
    python -m experiments.paper.table3 --scale cpu --models mf --seeds 3
    python -m experiments.paper.table3 --scale paper --data yelp2018 --models lightgcn

LCM maps the trained dense table to half and a quarter of its dimensions; PEP trains thresholds until so many entries
are 0, and trains the survivors again (of a few searches the one that is best on validation); MagPrune sets the smallest
weights of the dense table to 0 and trains nothing.
Tickets are pruned in seven steps to each half, or, where `studies.ON_CPU` has few levels, by those, as in figure3. Both
hit the two sparsities exactly. A method that does not reach a sparsity says so, and leaves its cell empty. Larger data
have F = 64 alone at scale cpu.

Cost, bundled data: quick 20 s for two seeds of MF on 2 CPU cores; cpu 35 minutes of one core for three seeds of MF,
26 of LightGCN after figure3. Scale paper is for a GPU: some 20 trainings of up to 1000 epochs for each size and model.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import lthjax
from experiments import cli
from experiments.paper import studies
from lthjax import plots
from lthjax.errors import TrainingError
from lthjax.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lthjax.baselines.records import Search
    from lthjax.data.split import Split
    from lthjax.search.problem import Job
    from lthjax.tickets.ticket import Record, Ticket

SPARSITIES = (0.5, 0.75)
METHODS = ("LCM", "PEP", "MagPrune", "ticket")
DIMS = {"quick": (8,), "cpu": (64, 128), "paper": (64, 128)}
DIMS_OF_LARGER = (64,)
PAPER = {  # (data, dim) -> method -> Recall@20 at 50 and 75%, then NDCG@20; LightGCN; Wang et al., table 3
    ("yelp2018", 64): {
        "LCM": (0.0558, 0.0459, 0.0460, 0.0374),
        "PEP": (0.0584, 0.0570, 0.0473, 0.0459),
        "ticket": (0.0635, 0.0609, 0.0525, 0.0500),
    },
    ("yelp2018", 128): {
        "LCM": (0.0610, 0.0537, 0.0493, 0.0438),
        "PEP": (0.0627, 0.0601, 0.0507, 0.0483),
        "ticket": (0.0666, 0.0651, 0.0545, 0.0530),
    },
}


def schedule(steps: int) -> str:
    """Sparsities that halve what is kept in `steps` equal shares, twice: exactly 0.5 and 0.75 are among them."""
    return ",".join(f"{1 - 0.5 ** (number / steps):.6g}" for number in range(1, 2 * steps + 1))


def dims_of(study: studies.Study, data: str) -> tuple[int, ...]:
    """Sizes of the tables."""
    return DIMS_OF_LARGER if studies.is_larger(study, data) else DIMS[study.scale]


def settings_of(study: studies.Study, data: str, model: str, dim: int) -> Settings:
    """The scale's settings with a schedule that has both sparsities: its own, if it has few levels, or `schedule`."""
    if studies.has_few_levels(study, data, model):
        return studies.settings_of(study, data, model, dim=dim)
    steps = 1 if study.scale == "quick" else 7
    return studies.settings_of(study, data, model, dim=dim, sparsities=schedule(steps))


def searches_of(study: studies.Study, settings: Settings) -> "list[Search]":
    """PEP's searches to choose from: as the paper's authors ran it, or some that reach their targets on small data."""
    from lthjax.baselines.records import Search

    if study.scale == "paper":
        return [Search()]
    if study.scale == "quick":
        return [Search(granularity="row", start=-6.0, pull=0.1, learning_rate=0.1, epochs=40, check_every=1)]
    if studies.has_few_levels(study, settings.data, settings.model):
        # With the learning rate of the dense model; weights that it grows beyond 1/2 stay out of reach without more L2.
        row = Search(granularity="row", start=-15.0, pull=0.1, learning_rate=settings.learning_rate)
        row = dataclasses.replace(row, epochs=150, check_every=5)
        return [dataclasses.replace(row, l2=factor * settings.l2) for factor in (1, 3, 10)]
    # The pull of the paper's authors stops at 17% on such data.
    slow = Search(pull=1e-2, learning_rate=1e-2, epochs=300, check_every=1)
    choices = (("row", -15.0), ("row", -10.0), ("global", -10.0))
    return [dataclasses.replace(slow, granularity=shape, start=start) for shape, start in choices]


def main(study: studies.Study) -> list[studies.Row]:
    """Train what is missing, write and print the table; returns all rows."""
    rows = []
    tables = ((data, model, dim) for data in study.data for model in study.models for dim in dims_of(study, data))
    for data, model, dim in tables:
        settings = settings_of(study, data, model, dim)
        split = lthjax.load_split(None, settings)
        labels = {"data": Path(data).stem, "model": model, "dim": dim}
        with starts(study, split, settings) as each_seed:
            search, why = chosen_search(study, settings, each_seed[0])
            found = [list(rivals_of(start, search)) for start in each_seed]
        tickets = studies.rows_of(studies.find(study, split, settings))
        rows += [labels | {"variant": "dense"} | tickets[0]]
        rows += [labels | {"variant": "ticket"} | row for row in tickets[1:]]
        for method, sparsity in itertools.product(METHODS[:-1], SPARSITIES):
            of_seeds = [record for each in found for name, at, record in each if (name, at) == (method, sparsity)]
            if len(of_seeds) == study.seeds:
                of_pep = {"search": why} if method == "PEP" else {}
                rows.append(labels | {"variant": method} | _mean(of_seeds) | of_pep)
    studies.write(study, "table3", studies.same_columns(rows), text_of(study, rows), drawing_of(rows))
    return rows


class Start(NamedTuple):
    """What the rivals of one seed start from, and where their records go."""

    job: "Job"
    parts: dict[str, Any]  # of its program
    dense: "Ticket"
    folder: Path


@contextlib.contextmanager
def starts(study: studies.Study, split: "Split", settings: Settings) -> "Iterator[list[Start]]":
    """Each seed's start, its dense model trained where it is missing.

    Other processes are kept out of the folders, whose config.json says what was run with which commit.
    """
    from lthjax.search import problem as jobs
    from lthjax.tickets import folder as runs

    job, parts = jobs.prepare(split, settings), jobs.parts_of(settings)
    found = []
    with contextlib.ExitStack() as stack:
        for place, dense in enumerate(studies.dense_models(study, split, settings)):
            of_seed = jobs.with_seed(job, settings.seed + place)
            folder = Path(study.out) / "runs" / f"rivals-{studies.name_of(settings)}" / f"seed_{of_seed.settings.seed}"
            stack.enter_context(runs.open_folder(folder, runs.describe(of_seed.settings, "adam", split)))
            found.append(Start(of_seed, parts, dense, folder))
        yield found


def chosen_search(study: studies.Study, settings: Settings, start: Start) -> "tuple[Search, str]":
    """The search that serves PEP best, and in words which it is and what it was chosen by.

    Chosen by the highest mean validation Recall@20 over the sparsities, of the seed that is given; one that does not
    reach a sparsity counts as 0 there.
    """

    def name_of(search: "Search") -> str:
        l2 = settings.l2 if search.l2 is None else search.l2
        return f"{search.granularity} from {search.start:g}, L2 {l2:g}"

    choices = searches_of(study, settings)
    if len(choices) == 1:
        return choices[0], f"{name_of(choices[0])} (the only one tried)"
    worths = [sum(record.metrics["valid_recall@20"] for _, record in pep_of(start, search)) for search in choices]
    said = [f"{name_of(search)}: {worth / len(SPARSITIES):.4f}" for search, worth in zip(choices, worths, strict=True)]
    best = choices[worths.index(max(worths))]
    return best, f"{name_of(best)} (validation Recall@20 of {'; '.join(said)})"


def rivals_of(start: Start, search: "Search") -> "Iterator[tuple[str, float, Record]]":
    """(method, sparsity asked for, record) of one seed; those that are on disk are read."""
    from lthjax.baselines import records as rivals

    job, parts, dense, folder = start
    for sparsity, record in _kept(folder, "LCM", functools.partial(rivals.lcm, job, parts, dense)):
        yield "LCM", sparsity, record
    for sparsity, record in _kept(folder, "MagPrune", functools.partial(rivals.magnitude_pruning, job, dense)):
        yield "MagPrune", sparsity, record
    for sparsity, record in pep_of(start, search):
        yield "PEP", sparsity, record


def pep_of(start: Start, search: "Search") -> "Iterator[tuple[float, Record]]":
    """(sparsity asked for, record) of PEP with one seed, as far as it gets; says so where that is not all the way."""
    from lthjax.baselines import records as rivals

    job, parts, dense, folder = start
    name = f"PEP-{hashlib.sha256(repr(search).encode()).hexdigest()[:8]}"
    try:
        yield from _kept(folder, name, functools.partial(rivals.pep, job, parts, dense, search=search))
    except TrainingError as error:
        print(f"{Path(job.settings.data).stem}, {job.settings.model}, F = {job.settings.dim}: {error}")


def _kept(
    folder: Path, name: str, make: "Callable[[list[float]], Iterator[Record]]"
) -> "Iterator[tuple[float, Record]]":
    """The records of a method at all sparsities; those that are on disk are read."""
    places = {sparsity: folder / f"{name}-{sparsity:g}" for sparsity in SPARSITIES}
    made = make([sparsity for sparsity, where in places.items() if not where.exists()])
    for sparsity, where in places.items():
        yield sparsity, studies.kept_on_disk(where, lambda: next(made))


def _mean(records: "list[Record]") -> studies.Row:
    """The row of one seed, or means over the seeds; such rows have no verdict of their own."""
    if len(records) == 1:
        return records[0].row
    first = records[0].row
    found = studies.over_seeds([record.metrics for record in records])
    sparsity = sum(record.sparsity for record in records) / len(records)
    return {name: first[name] for name in ("num_kept", "selection", "settings")} | found | {"sparsity": sparsity}


def text_of(study: studies.Study, rows: list[studies.Row]) -> str:
    """A line for each method, ours and where there is one the paper's; winning tickets in bold."""
    lines = []
    for (data, model, dim), ours in studies.by_table(rows).items():
        dense = next(row for row in ours if row["variant"] == "dense")
        label = [data, plots.MODELS[model], dim]
        twice = [studies.value(dense, name) for name in ("recall@20", "ndcg@20")]
        lines.append([*label, "dense, ours", twice[0], None, twice[1], None])
        paper = PAPER.get((data, dim), {}) if model == "lightgcn" else {}
        for method in METHODS:
            at = _at_sparsities(ours, method)
            written = studies.cell if method == "ticket" else studies.value  # only tickets are called winning
            lines.append(
                [*label, f"{method}, ours", *(written(row, n) for n in ("recall@20", "ndcg@20") for row in at)]
            )
            if method in paper:
                lines.append([*label, f"{method}, paper", *(f"{value:.4f}" for value in paper[method])])
    header = ["data", "model", "F", "", *(f"{name} {s:.0%}" for name in ("Recall@20", "NDCG@20") for s in SPARSITIES)]
    cells = itertools.product(study.data, study.models)
    schedules = [settings_of(study, data, model, dims_of(study, data)[0]).schedule for data, model in cells]
    steps = sorted({sum(sparsity <= SPARSITIES[-1] for sparsity in schedule) for schedule in schedules})
    note = f"Bold: winning tickets, pruned in {' or '.join(map(str, steps))} steps to {SPARSITIES[-1]:.0%}; "
    note += f"{studies.scale_of(study, varied=['dim', 'sparsities'])}. The dense model stands in the first column."
    for (data, model, dim), ours in studies.by_table(rows).items():
        searches = dict.fromkeys(row["search"] for row in ours if row["variant"] == "PEP")
        note += "".join(f" PEP's search, {data}, {plots.MODELS[model]}, F = {dim}: {search}." for search in searches)
    table = studies.markdown(header, lines)
    return f"## Tickets beside other compressed tables\n\n{table}\n\n{studies.warned(note, rows)}"


def _at_sparsities(rows: Iterable[studies.Row], method: str) -> list[studies.Row | None]:
    those = [row for row in rows if row["variant"] == method]
    return [studies.nearest(those, sparsity, within=0.02) for sparsity in SPARSITIES]


def drawing_of(rows: Sequence[studies.Row]) -> "Callable[[Figure], None]":
    """A panel for each data set, model and size."""

    def draw(figure: "Figure") -> None:
        tables = studies.by_table(rows)
        num_columns = min(2, len(tables))
        num_lines = -(-len(tables) // num_columns)
        figure.set_size_inches(5 * num_columns, 3.6 * num_lines)
        every = figure.subplots(num_lines, num_columns, squeeze=False).ravel()
        for ax in every[len(tables) :]:
            ax.remove()
        for ((data, model, dim), ours), ax in zip(tables.items(), every, strict=False):
            panel(ours, ax)
            ax.set_title(f"{data}, {plots.MODELS[model]}, F = {dim}", fontsize="medium", parse_math=False)

    return draw


def panel(rows: Sequence[studies.Row], ax: "Axes") -> "Axes":
    """Recall@20 of all methods side by side at each sparsity, bars one standard deviation over seeds; dense dotted.

    Args:
      rows: of one data set, model and size.
      ax: where to draw.
    """
    dense = next(row for row in rows if row["variant"] == "dense")["recall@20"]
    ax.axhline(dense, color="0.35", linestyle=":", linewidth=1, label=f"dense, {dense:.4f}")
    for number, method in enumerate(METHODS):
        there = {place: row for place, row in enumerate(_at_sparsities(rows, method)) if row is not None}
        look = plots.style("IMP" if method == "ticket" else method, 0) | {"linestyle": "none", "markersize": 7}
        places = [place + 0.15 * (number - (len(METHODS) - 1) / 2) for place in there]
        spread = [row.get("recall@20_sd") or 0 for row in there.values()]
        label = method if there else f"{method}: not reached"
        ax.errorbar(places, [row["recall@20"] for row in there.values()], spread, label=label, capsize=3, **look)
    ax.set_xticks(range(len(SPARSITIES)), [f"{100 * sparsity:g}" for sparsity in SPARSITIES])
    ax.set_xlim(-0.5, len(SPARSITIES) - 0.5)
    ax.set_xlabel("entries pruned (%)")
    ax.set_ylabel("test Recall@20")
    ax.grid(alpha=0.25, axis="y")
    ax.legend(frameon=False, fontsize="small", loc="lower left")
    return ax


if __name__ == "__main__":
    cli.run(main, studies.Study, __doc__)
