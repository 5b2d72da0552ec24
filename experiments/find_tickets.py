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

Trains the dense model, prunes its smallest weights, rewinds the rest to their first values, trains again, and so on.
Prints which tickets win and what finding them cost, in trainings of the dense model, and leaves a run folder; the same
command goes on where it was stopped.

Which search? imp is the paper's: every level trains to its end, 5 to 10 trainings of the dense model in all; for MF the
best where half or less is pruned. short costs a few percent of that; on MovieLens its tickets are as good for LightGCN,
and for MF (by movement) from three quarters on. one-shot costs one training. --prune-by random-by-degree costs nothing:
what any search has to beat. How much each loses is measured by experiments.paper.search_cost.
"""

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import lthjax
from experiments import cli
from lthjax import plots, presets
from lthjax.errors import SettingsError
from lthjax.pruning.schedule import roundings
from lthjax.runtime import files
from lthjax.settings import MOST_SEEDS, Settings, values
from lthjax.tickets import report

if TYPE_CHECKING:
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
class Config(Settings):
    """Settings of the run, how often it is repeated, and where it is kept."""

    seeds: int = 1
    """Runs with seeds --seed, --seed + 1, ...: means, standard deviations, verdicts over users and seeds."""
    together: bool | None = None
    """Train the seeds as one program; by default on a GPU only."""
    baselines: bool = False
    """Also measure popularity, PureSVD, EASE or item-kNN: is the dense model worth pruning? (seconds to minutes)"""
    picture: plots.Picture = "png"
    """Format of the picture."""
    track: Literal["none", "tensorboard", "wandb"] = "none"
    """Write curves into the run folder while it runs: for TensorBoard, or for Weights & Biases, offline."""
    out: str | None = None
    """Run folder; by default one under runs/ that is named after the settings."""

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= self.seeds <= MOST_SEEDS:
            wanted = "at least 1" if self.seeds < 1 else f"at most {MOST_SEEDS:,}"
            raise SettingsError(f"--seeds: wanted {wanted}; got {self.seeds}.")


def main(config: Config) -> list[dict[str, Any]]:
    """Find tickets with each seed, print table and sentence, leave the picture; returns the rows of the table."""
    from lthjax.tickets import seeds  # here: with it comes JAX, and --help does without

    settings = Settings(**values(config, Settings))
    split = lthjax.load_split(None, settings)
    out = Path(config.out or default_out(config))
    for note in [*split.notes, *roundings(settings, (split.num_users + split.num_items) * settings.dim)]:
        print(note)
    if conflict := presets.conflicts(settings):
        print(conflict)
    print(f"run folder: {out}", flush=True)
    if config.seeds == 1:
        tickets = lthjax.find_tickets(split, settings=settings, out=out, on_event=_on_event(config, out))
        runs = results_by_seed(tickets)
        rows = [result.row() for result in runs[0]]
    else:
        runs, rows = _several_seeds(config, settings, split, out)
    print(report.table(rows).to_string(index=False))
    print("\n".join([*report.remarks(rows), report.sentence(rows, len(runs[0][0].per_user["recall@20"]))]))
    if settings.num_levels:
        low, high = seeds.sparsest_winner_interval(runs)
        print(
            f"95% interval of the highest winning sparsity: {low:.1%} to {high:.1%} "
            f"({'users' if config.seeds == 1 else 'users and seeds'} drawn anew; 0.0% = none wins)."
        )
    if config.baselines:
        baselines = baseline_rows(split, settings, runs)
        files.write_table(out / "baselines.csv", baselines)
        print("Beside the dense model, on the same test part:")
        print(report.baselines(baselines).to_string(index=False))
    title = f"{split.name}, {settings.model}, F = {settings.dim}"
    title += f", {config.seeds} seeds" if config.seeds > 1 else ""
    plots.save_recall_vs_sparsity(rows, out / f"recall_vs_sparsity.{config.picture}", title)
    return rows


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

    told = []
    if not (sys.stdout.isatty() and sys.stderr.isatty()):
        told.append(trackers.lines(functools.partial(print, flush=True)))
    if config.track == "tensorboard":
        told.append(trackers.tensorboard(out / "tensorboard"))
    if config.track == "wandb":
        told.append(trackers.wandb("lthjax", folder=out))
    return trackers.several(*told) if told else None


def _several_seeds(
    config: Config, settings: Settings, split: "Split", out: Path
) -> "tuple[list[list[Result]], list[dict[str, Any]]]":
    """The results of each seed's run, and rows of means over them, which are left in the folder that holds the runs."""
    from lthjax.tickets import seeds
    from lthjax.tickets.folder import describe, open_folder

    description = describe(settings, split)
    description["settings"]["seeds"] = "several"  # so that one run and several do not write over each other
    with open_folder(out, description):
        repeated = {"seeds": config.seeds, "together": config.together, "on_event": _on_event(config, out)}
        runs = results_by_seed(lthjax.find_tickets(split, settings=settings, out=out, **repeated))
        rows = seeds.combine(runs)
        files.write_table(out / "results.csv", rows)
    return runs, rows


# Settings that came after folders were first named: their defaults do not change a name.
_LATER = ("encoding", "search", "search_epochs")


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
    return f"runs/{Path(config.data).stem}-{config.model}-{mark}" + ("-seeds" if config.seeds > 1 else "")


if __name__ == "__main__":
    cli.run(main, Config, __doc__, MOST_USED)
