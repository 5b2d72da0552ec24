r"""Figure 6: how many epochs does a ticket need to be as good as the dense model ever gets?

    python -m experiments.paper.figure6                                        (seconds, to see that it works)
    python -m experiments.paper.figure6 --scale cpu --models mf --seeds 3
    python -m experiments.paper.figure6 --scale paper --data yelp2018

For each level the first evaluated epoch at which the ticket's Recall@20 on the selection part (validation, unless the
settings say test) is at least the dense model's best there. As in the paper, the ticket's epochs are one unit: drawn is
how many times as many the dense model took to get there itself, as a ratio of means over the seeds. A seed whose ticket
never gets there has no number, and the table says how many did; a level that not all seeds reach is not drawn. Epochs
come in steps of `eval_every`.

The same runs as figure2's IMP (and at scale paper figure3's): where those have run, this only reads.

Cost, bundled data, scale cpu: a run of MF 36 s on 2 CPU cores, one of LightGCN 1 minute of one core. Scale paper is for
a GPU: 30 trainings of up to 1000 epochs for each size and model.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lthjax
from experiments import cli
from experiments.paper import studies
from lthjax import plots
from lthjax.evaluation.verdict import WINNING
from lthjax.settings import Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIMS = {"quick": (8,), "cpu": (32,), "paper": (32, 64, 128)}
_HEADER = ("data", "model", "F", "ticket", "pruned", "epochs to the dense model's best", "dense", "relative", "seeds")
Curve = list[tuple[int, float]]  # (epoch, value on the selection part), of every evaluation


def main(study: studies.Study) -> list[studies.Row]:
    """Train what is missing, write table and picture; returns a row a level."""
    rows = []
    for data in study.data:
        for model in study.models:
            for dim in DIMS[study.scale]:
                settings = studies.settings_of(study, data, model, dim=dim)
                labels = {"data": Path(data).stem, "model": model, "dim": dim}
                rows += [labels | row for row in speeds(study, settings)]
    studies.write(study, "figure6", rows, text_of(study, rows), drawing_of(rows))
    return rows


def speeds(study: studies.Study, settings: Settings) -> list[studies.Row]:
    """A row a level but the dense one: epochs that ticket and dense model take, means over the seeds that get there."""
    split = lthjax.load_split(None, settings)
    levels = studies.rows_of(studies.find(study, split, settings))
    dense_place, place = studies.folders(study, settings)
    taken = {row["level"]: [] for row in levels[1:]}
    for seed in range(settings.seed, settings.seed + study.seeds):
        ((_, dense),) = curves(dense_place / f"seed_{seed}", settings.selection).items()
        target = max(value for _, value in dense)
        for level, curve in curves(place / f"seed_{seed}", settings.selection).items():
            if level:
                taken[level].append((epochs_to_reach(curve, target), epochs_to_reach(dense, target)))
    return [_row(row, taken[row["level"]]) for row in levels[1:]]


def curves(folder: Path, part: str) -> dict[int, Curve]:
    """Recall@20 on a part at every evaluation of a run, by level."""
    found: dict[int, Curve] = {}
    for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines():
        said = json.loads(line)
        found.setdefault(said["level"], []).append((said["epoch"], said[f"{part}_recall@20"]))
    return found


def epochs_to_reach(curve: Curve, target: float) -> int | None:
    """The first epoch at which the value is at least the target, or None."""
    return next((epoch for epoch, value in curve if value >= target), None)


def _row(level: studies.Row, taken: Sequence[tuple[int | None, int]]) -> studies.Row:
    reached = [(ticket, dense) for ticket, dense in taken if ticket is not None]
    row = {name: level[name] for name in ("level", "sparsity", "verdict", "selection", "settings")}
    row |= {"seeds": len(taken), "seeds_that_reach": len(reached)}
    numbers = ("ticket_epochs", "dense_epochs", "relative", "relative_low", "relative_high")
    if not reached:
        return row | dict.fromkeys(numbers, "")
    means = [statistics.fmean(side) for side in zip(*reached, strict=True)]
    ratios = [dense / ticket for ticket, dense in reached]
    return row | dict(zip(numbers, (*means, means[1] / means[0], min(ratios), max(ratios)), strict=True))


def chosen(rows: Sequence[studies.Row]) -> dict[str, studies.Row]:
    """The rows that the table shows: among the winning tickets all of whose seeds get there, quickest and sparsest."""
    whole = [row for row in rows if row["verdict"] in WINNING and row["seeds_that_reach"] == row["seeds"]]
    if not whole:
        return {}
    return {
        "quickest winner": max(whole, key=lambda row: row["relative"]),
        "sparsest winner that gets there": max(whole, key=lambda row: row["sparsity"]),
    }


def text_of(study: studies.Study, rows: Sequence[studies.Row]) -> str:
    """Two lines for each data set, model and size."""
    lines = []
    for labels, those in studies.by_table(rows).items():
        label = [labels[0], plots.MODELS[labels[1]], labels[2]]
        found = chosen(those)
        for name, row in found.items():
            span = f" ({row['relative_low']:.1f} to {row['relative_high']:.1f})" if row["seeds"] > 1 else ""
            epochs = [f"{row['ticket_epochs']:.0f}", f"{row['dense_epochs']:.0f}", f"{row['relative']:.1f}{span}"]
            lines.append([*label, name, f"{row['sparsity']:.1%}", *epochs, f"{row['seeds_that_reach']}/{row['seeds']}"])
        if not found:
            lines.append([*label, "none wins and gets there", *[None] * 5])
    note = f"Epochs until Recall@20 on the {rows[0]['selection']} part is at least the dense model's best there; "
    note += "relative: the dense model's over the ticket's, of the means (slowest to quickest seed); "
    note += f"{studies.scale_of(study)}."
    table = studies.markdown(_HEADER, lines)
    return f"## Epochs to the dense model's best\n\n{table}\n\n{studies.warned(note, rows)}"


def drawing_of(rows: Sequence[studies.Row]) -> "Callable[[Figure], None]":
    """A panel for each data set, a line for each model and size; the dense model at 1."""

    def draw(figure: "Figure") -> None:
        every = studies.by_table(rows)
        data = list(dict.fromkeys(name for name, _, _ in every))
        figure.set_size_inches(5 * len(data) + 1, 4)
        for name, ax in zip(data, figure.subplots(1, len(data), squeeze=False)[0], strict=True):
            mine = {(model, dim): those for (of, model, dim), those in every.items() if of == name}
            panel({f"{plots.MODELS[model]}-{dim}d": those for (model, dim), those in mine.items()}, ax)
            ax.set_title(name, fontsize="medium", parse_math=False)

    return draw


def panel(curves: Mapping[str, Sequence[Mapping[str, Any]]], ax: "Axes") -> "Axes":
    """The dense model's epochs over the ticket's against sparsity.

    Bands go from the slowest seed to the quickest; a star is on every winning ticket.
    """
    for place, (name, rows) in enumerate(curves.items()):
        look = plots.style(name, place)
        whole = [row for row in rows if row["seeds_that_reach"] == row["seeds"]]
        sparsity, relative = [100 * row["sparsity"] for row in whole], [row["relative"] for row in whole]
        low, high = ([row[f"relative_{end}"] for row in whole] for end in ("low", "high"))
        ax.fill_between(sparsity, low, high, color=look["color"], alpha=0.12, linewidth=0)
        ax.vlines(sparsity, low, high, color=look["color"], alpha=0.4, linewidth=1)  # a band of one level has no width
        ax.plot(sparsity, relative, label=name if whole else f"{name}: no ticket gets there with all seeds", **look)
        wins = [row for row in whole if row["verdict"] in WINNING]
        star = {"marker": "*", "markersize": 13, "linestyle": "none", "markeredgecolor": "white", "zorder": 3}
        ax.plot([100 * row["sparsity"] for row in wins], [row["relative"] for row in wins], color=look["color"], **star)
    ax.axhline(1, color="0.35", linestyle=":", linewidth=1)
    ax.set_xlim(-5, 100)
    ax.set_ylim(0, None)
    ax.set_xlabel("entries pruned (%)")
    ax.set_ylabel("dense model's epochs / ticket's epochs")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small", title="stars: winning tickets; bands: seeds", title_fontsize="x-small")
    return ax


if __name__ == "__main__":
    cli.run(main, studies.Study, __doc__)
