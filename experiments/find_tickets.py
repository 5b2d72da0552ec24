r"""Which share of a recommender's embedding table can go without a loss?

    python -m experiments.find_tickets                      (bundled MovieLens, MF: 3 minutes on 2 CPU cores)
    python -m experiments.find_tickets --model lightgcn
    python -m experiments.find_tickets --seeds 5
    python -m experiments.find_tickets --baselines
    python -m experiments.find_tickets --search short --sparsities 0.5,0.75,0.9     (a search of a few percent)
    python -m experiments.find_tickets --search one-shot                            (one-shot pruning, OMP)
    python -m experiments.find_tickets --search one-shot --prune-by random          (random pruning, RP)
    python -m experiments.find_tickets --search one-shot --prune-by random-by-degree
    python -m experiments.find_tickets --sparsities 0.5,0.75
    python -m experiments.find_tickets --preset paper_code --data yelp2018 --model mf
    python -m experiments.find_tickets --data path/to/train.txt --levels 10 --out runs/mine
    python -m experiments.find_tickets --data path/to/train.txt --levels 15 --out runs/mine     (five more levels)
    python -m experiments.find_tickets --dry-run                                    (what time and memory it needs)

Trains the dense model, prunes its smallest weights, rewinds the rest to their first values, trains again, and so on.
Prints which tickets win and what finding them cost, in trainings of the dense model, and leaves a run folder; the same
command goes on where it was stopped.

Which search? imp is the paper's: every level trains to its end, 5 to 10 trainings of the dense model in all; for MF the
best where half or less is pruned. short costs a few percent of that; on MovieLens its tickets are as good for LightGCN,
and for MF (by movement) from three quarters on; on kuairand at 90% alone (LightGCN 2% worse there), for MF on Yelp2018
at 95% alone, on tiktok-clickbait nowhere. one-shot costs one training. --prune-by random-by-degree costs nothing: what
any search has to beat. How much each loses is measured by experiments.paper.search_cost.
"""

import dataclasses
import functools
import glob
import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lthjax
from experiments import cli
from experiments.devices import DeviceSettings, mesh_of
from lthjax import plots, presets
from lthjax.data import catalog
from lthjax.errors import SettingsError
from lthjax.evaluation.verdict import WINNING
from lthjax.pruning.schedule import roundings
from lthjax.runtime import files, processes
from lthjax.settings import MOST_SEEDS, Settings, values
from lthjax.tickets import report
from lthjax.tickets.places import seed_folders, ticket_levels

if TYPE_CHECKING:
    from lthjax.data.share import Share
    from lthjax.data.split import Split
    from lthjax.events import OnEvent
    from lthjax.tickets.result import Result
    from lthjax.tickets.ticket import Ticket


MOST_USED = (
    "data",
    "columns",
    "min_rating",
    "split",
    "model",
    "search",
    "levels",
    "sparsities",
    "seeds",
    "out",
)  # flags that --help shows first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(DeviceSettings, Settings):
    """Settings of the run, how often it is repeated, and where it is kept."""

    seeds: int = 1
    """Runs with seeds --seed, --seed + 1, ...: means, standard deviations, verdicts over users and seeds."""
    together: bool | None = None
    """Train the seeds as one program; by default on a GPU only."""
    baselines: bool = False
    """Also measure popularity, PureSVD, EASE or item-kNN: is the dense model worth pruning? (seconds to minutes)"""
    dense: str | None = None
    """Run folder whose dense models are taken in place of new ones, where they are what would be trained."""
    picture: plots.Picture = "png"
    """Format of the picture."""
    track: Literal["none", "tensorboard", "wandb"] = "none"
    """Write curves into the run folder while it runs: for TensorBoard, or for Weights & Biases, offline."""
    out: str | None = None
    """Run folder; by default one under runs/ that is named after the settings."""
    dry_run: bool = False
    """Say what was read, and what memory, disk and time a run needs, from a few timed steps; then end."""

    def __post_init__(self):
        Settings.__post_init__(self)
        DeviceSettings.__post_init__(self)
        if self.dry_run and (self.devices or self.coordinator):
            raise SettingsError("--dry-run: wanted one device, whose time and memory it measures; got --devices.")
        if not 1 <= self.seeds <= MOST_SEEDS:
            wanted = "at least 1" if self.seeds < 1 else f"at most {MOST_SEEDS:,}"
            raise SettingsError(f"--seeds: wanted {wanted}; got {self.seeds}.")


def main(config: Config) -> list[dict[str, Any]]:
    """Find tickets with each seed, print table and sentence, leave the picture; returns the rows of the table."""
    mesh = mesh_of(config)
    from lthjax.search import shares  # here: with them comes JAX, and --help does without
    from lthjax.search.tasks import sample_note
    from lthjax.tickets import seeds

    settings = Settings(**values(config, Settings))
    if config.baselines:
        split, why_whole = lthjax.load_split(None, settings), "--baselines reads them"
    else:
        split, why_whole = shares.load(None, settings, mesh)
    out = Path(config.out or default_out(config))
    for note in [*split.notes, *roundings(settings, (split.num_users + split.num_items) * settings.dim)]:
        print(note)
    if processes.is_several():
        print(shares.in_words(split, why_whole))
    if sampled := sample_note(split, settings):
        print(sampled)
    if conflict := presets.conflicts(settings):
        print(conflict)
    print(f"run folder: {out}", flush=True)
    dense = dense_models(config)
    if config.dry_run:
        print("\n".join(rehearsed(config, settings, split, out, dense)))
        return []
    if config.seeds == 1:
        told = _on_event(config, out)
        tickets = lthjax.find_tickets(
            split, settings=settings, out=out, dense=dense, on_event=told, mesh=mesh, exchange=config.exchange
        )
        runs = results_by_seed(tickets)
        rows = [result.row() for result in runs[0]]
    else:
        shared = {"dense": dense, "mesh": mesh, "exchange": config.exchange}
        runs, rows = _several_seeds(config, settings, split, out, shared)
    if not processes.is_first():
        return rows
    print(report.table(rows).to_string(index=False))
    print("\n".join([*report.remarks(rows), report.sentence(rows, len(runs[0][0].per_user[settings.main_metric]))]))
    if settings.num_levels:
        low, high = seeds.sparsest_winner_interval(runs)
        print(
            f"95% interval of the highest winning sparsity: {low:.1%} to {high:.1%} "
            f"({'users' if config.seeds == 1 else 'users and seeds'} drawn anew; 0.0% = none wins)."
        )
    if more := more_levels(rows, settings, out):
        print(more)
    if config.baselines:
        baselines = baseline_rows(split, settings, runs)
        files.write_table(out / "baselines.csv", baselines)
        print("Beside the dense model, on the same test part:")
        print(report.baselines(baselines).to_string(index=False))
    title = ", ".join([split.name, settings.model, f"F = {settings.dim}", *report.unusual(settings)])
    title += f", {config.seeds} seeds" if config.seeds > 1 else ""
    plots.save_recall_vs_sparsity(rows, out / f"{settings.metric_names[0]}_vs_sparsity.{config.picture}", title)
    return rows


def dense_models(config: Config) -> "list[Ticket]":
    """The dense models that --dense names, of the seeds that are wanted.

    Raises:
      SettingsError: there are none.
    """
    from lthjax.tickets.folder import dense_models as of_folder

    if config.dense is None:
        return []
    of_seeds = {ticket.settings.seed: ticket for ticket in of_folder(Path(config.dense))}
    wanted = range(config.seed, config.seed + config.seeds)
    if not (found := [of_seeds[seed] for seed in wanted if seed in of_seeds]):
        names = ", ".join(map(str, of_seeds))
        raise SettingsError(f"--dense: wanted a model of seed {config.seed}; {config.dense} has seed {names}.")
    print(f"dense models of {config.dense}: seed {', '.join(str(ticket.settings.seed) for ticket in found)}")
    return found


def rehearsed(config: Config, settings: Settings, split: "Split", out: Path, dense: "list[Ticket]") -> list[str]:
    """What a run would need, in lines; raises as it would where its folder is another run's.

    Args:
      config: of the run.
      settings: likewise.
      split: likewise.
      out: its folder.
      dense: models that are taken from another one.
    """
    from lthjax.search import dry_run
    from lthjax.search.find_tickets import checked_dense
    from lthjax.search.problem import prepare
    from lthjax.tickets.identity import check_folder, describe

    seeds = range(config.seed, config.seed + config.seeds)
    places = {seed: out if config.seeds == 1 else out / f"seed_{seed}" for seed in seeds}
    if config.seeds > 1:
        check_folder(out, _of_several(config, settings, split))
        _check_seeds(out, config)
    for seed, place in places.items():
        check_folder(place, describe(dataclasses.replace(settings, seed=seed), split))
    there = {seed: {*ticket_levels(place)} & {*range(settings.num_levels + 1)} for seed, place in places.items()}
    problem = prepare(split, settings)
    for ticket in dense:
        checked_dense(ticket, problem)
        there[ticket.settings.seed].add(0)
    return dry_run.lines(problem, [len(levels) for levels in there.values()])


def more_levels(rows: list[dict[str, Any]], settings: Settings, out: Path) -> str:
    """A line that says how to go on where the sparsest level wins: sparser ones may win too; else empty.

    Args:
      rows: of the table.
      settings: of the run.
      out: its folder.
    """
    if settings.search_name == "gradual" or not settings.num_levels or rows[-1]["verdict"] not in WINNING:
        return ""
    more = f'--sparsities "{settings.sparsities},..."' if settings.schedule else f"--levels {settings.levels + 5}"
    return f"The last level wins, so sparser ones may: the same command with {more} --out {out} goes on from here."


def baseline_rows(split: "Split", settings: Settings, runs: "list[list[Result]]") -> list[dict[str, Any]]:
    """A row per simple baseline, judged against the dense models of all seeds; they have no random numbers themselves.

    Args:
      split: of the runs.
      settings: likewise.
      runs: results of each seed, the dense model first.
    """
    from lthjax.baselines import simple
    from lthjax.search.problem import prepare
    from lthjax.tickets import seeds

    results = list(simple.results(prepare(split, settings), runs[0][0]))
    if len(runs) == 1:
        return [result.row() for result in results]
    means = seeds.combine([[run[0], *results] for run in runs])[1:]
    return [{"method": r.method, **row, "note": r.note} for r, row in zip(results, means, strict=True)]


def results_by_seed(tickets: "Iterable[Ticket]") -> "list[list[Result]]":
    """What tables need of the tickets of each seed, the dense model first."""
    from lthjax.tickets.ticket import result

    runs: dict[int, list[Result]] = {}
    for ticket in tickets:
        runs.setdefault(ticket.settings.seed, []).append(result(ticket))
    return list(runs.values())


def _on_event(config: Config, out: Path) -> "OnEvent | None":
    """What is told of the run: lines where no terminal shows bars, and the tracker that was asked for."""
    from lthjax import trackers

    if not processes.is_first():
        return None
    told = []
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        told.append(trackers.lines(functools.partial(print, flush=True)))
    if config.track == "tensorboard":
        told.append(trackers.tensorboard(out / "tensorboard"))
    if config.track == "wandb":
        told.append(trackers.wandb("lthjax", folder=out))
    return trackers.several(*told) if told else None


def _several_seeds(
    config: Config, settings: Settings, split: "Split | Share", out: Path, shared: dict[str, Any]
) -> "tuple[list[list[Result]], list[dict[str, Any]]]":
    """The results of each seed's run, and rows of means over them, which are left in the folder that holds the runs."""
    from lthjax.tickets import seeds
    from lthjax.tickets.folder import open_folder

    with open_folder(out, _of_several(config, settings, split)) as folder:
        _check_seeds(out, config)
        repeated = shared | {"seeds": config.seeds, "together": config.together, "on_event": _on_event(config, out)}
        runs = results_by_seed(lthjax.find_tickets(split, settings=settings, out=out, **repeated))
        rows = seeds.combine(runs)
        folder.write_results(rows)
    return runs, rows


def _of_several(config: Config, settings: Settings, split: "Split | Share") -> dict[str, Any]:
    """What config.json says of a folder that holds runs of several seeds.

    Args:
      config: of the run.
      settings: likewise.
      split: likewise.
    """
    from lthjax.tickets.identity import describe

    description = describe(settings, split, exchange=config.exchange)
    description["settings"]["seeds"] = "several"  # so that one run and several do not write over each other
    return description


def _check_seeds(out: Path, config: Config) -> None:
    """Raise SettingsError where a folder has runs of more seeds than are wanted: its table is of all."""
    if beyond := [seed for seed in seed_folders(out) if seed >= config.seed + config.seeds]:
        raise SettingsError(
            f"--seeds: {out} has runs up to seed {max(beyond)}; got {config.seeds} from {config.seed}. "
            f"Wanted {max(beyond) + 1 - config.seed} or more: the table is of all; or choose another --out."
        )


# Settings that came after folders were first named: their defaults do not change a name.
_LATER = {
    *("encoding", "event", "dedupe", "core", "ratios", "split_times"),
    *("search", "search_epochs"),
    *("weights", "dislikes", "optimizer", "loss", "temperature", "negatives", "negative_sampling"),
    *("metrics", "at", "evaluate_users"),
}


def mark_of(chosen: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that stand for settings in the names of folders.

    Args:
      chosen: name -> value.
    """
    defaults = values(Settings(), Settings)
    in_mark = {name: value for name, value in chosen.items() if name not in _LATER or value != defaults[name]}
    if in_mark.get("split") == "auto":  # the default's name before folders with parts of their own were told apart
        in_mark["split"] = "random"
    return hashlib.sha256(repr(sorted(in_mark.items())).encode()).hexdigest()[:8]


def default_out(config: Config) -> str:
    """The run folder where none is named: one for all that have the same settings."""
    mark = mark_of(values(config, Settings))
    stem = catalog.name_of_pattern(config.data) if glob.has_magic(config.data) else Path(config.data).stem
    return f"runs/{stem}-{config.model}-{mark}" + ("-seeds" if config.seeds > 1 else "")


if __name__ == "__main__":
    cli.run(main, Config, __doc__, MOST_USED)
