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

import itertools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import cli
from experiments.paper import panels, scales
from experiments.paper.rows import Row, grouped, is_cut_short, markdown, with_warning, write_study
from experiments.paper.runs import Runs, runs_of
from experiments.paper.scales import Study
from lthjax import plots
from lthjax.evaluation.verdict import WINNING
from lthjax.plots.style import baseline, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIMS = {"quick": (8,), "cpu": (32,), "paper": (32, 64, 128)}
_HEADER = ("data", "model", "F", "ticket", "pruned", "epochs to the dense model's best", "dense", "relative", "seeds")
Curve = list[tuple[int, float]]  # (epoch, value on the selection part), of every evaluation


def main(study: Study) -> list[Row]:
    """Train what is missing, write table and picture; returns one row per level."""
    rows = []
    for data, model, dim in itertools.product(study.data, study.models, DIMS[study.scale]):
        labels = {"data": Path(data).stem, "model": model, "dim": dim}
        rows += [labels | row for row in speeds(runs_of(study, data, model, dim=dim))]
    write_study(study, "figure6", rows, text_of(study, rows), drawing_of(rows))
    return rows


def speeds(runs: Runs) -> list[Row]:
    """One row per level but the dense one: epochs of ticket and dense model, means over the seeds that get there."""
    levels, part = runs.rows(), runs.settings.selection
    taken = {row["level"]: [] for row in levels[1:]}
    for seed in runs.seeds:
        ((_, dense),) = curves(runs.dense_folder / f"seed_{seed}", part).items()
        target = max(value for _, value in dense)
        for level, curve in curves(runs.folder / f"seed_{seed}", part).items():
            if level:
                taken[level].append((epochs_to_reach(curve, target), epochs_to_reach(dense, target)))
    is_sure = {"dense_cut_short": levels[0]["cut_short"]}
    return [_row(row, taken[row["level"]]) | is_sure for row in levels[1:]]


def curves(folder: Path, part: str) -> dict[int, Curve]:
    """Recall@20 on a part at every evaluation of a run, by level."""
    from lthjax.tickets.log import read_log

    by_level: dict[int, Curve] = {}
    for evaluation in read_log(folder):
        by_level.setdefault(evaluation["level"], []).append((evaluation["epoch"], evaluation[f"{part}_recall@20"]))
    return by_level


def epochs_to_reach(curve: Curve, target: float) -> int | None:
    """The first epoch at which the value is at least the target, or None."""
    return next((epoch for epoch, value in curve if value >= target), None)


def _row(level: Row, taken: Sequence[tuple[int | None, int]]) -> Row:
    reached = [(ticket, dense) for ticket, dense in taken if ticket is not None]
    row = {name: level[name] for name in ("level", "sparsity", "verdict", "selection", "settings")}
    row |= {"seeds": len(taken), "seeds_that_reach": len(reached)}
    numbers = ("ticket_epochs", "dense_epochs", "relative", "relative_low", "relative_high")
    if not reached:
        return row | dict.fromkeys(numbers, "")
    means = [statistics.fmean(side) for side in zip(*reached, strict=True)]
    ratios = [dense / ticket for ticket, dense in reached]
    return row | dict(zip(numbers, (*means, means[1] / means[0], min(ratios), max(ratios)), strict=True))


def chosen(rows: Sequence[Row]) -> dict[str, Row]:
    """The rows that the table shows: among the winning tickets all of whose seeds get there, quickest and sparsest."""
    whole = [row for row in rows if row["verdict"] in WINNING and row["seeds_that_reach"] == row["seeds"]]
    if not whole:
        return {}
    return {
        "quickest winner": max(whole, key=lambda row: row["relative"]),
        "sparsest winner that gets there": max(whole, key=lambda row: row["sparsity"]),
    }


def text_of(study: Study, rows: Sequence[Row]) -> str:
    """Two lines for each data set, model and size."""
    lines = []
    for (data, model, dim), levels in grouped(rows, "data", "model", "dim").items():
        label = [data, plots.MODELS[model], dim]
        shown = chosen(levels)
        for name, row in shown.items():
            span = f" ({row['relative_low']:.1f} to {row['relative_high']:.1f})" if row["seeds"] > 1 else ""
            epochs = [f"{row['ticket_epochs']:.0f}", f"{row['dense_epochs']:.0f}", f"{row['relative']:.1f}{span}"]
            name += " ?" if is_cut_short(levels) else ""
            lines.append([*label, name, f"{row['sparsity']:.1%}", *epochs, f"{row['seeds_that_reach']}/{row['seeds']}"])
        if not shown:
            lines.append([*label, "none wins and gets there", *[None] * 5])
    note = f"Epochs until Recall@20 on the {rows[0]['selection']} part is at least the dense model's best there; "
    note += "relative: the dense model's over the ticket's, of the means (slowest to quickest seed); "
    note += f"{scales.in_words(study)}."
    table = markdown(_HEADER, lines)
    return f"## Epochs to the dense model's best\n\n{table}\n\n{with_warning(note, rows)}"


def drawing_of(rows: Sequence[Row]) -> "Callable[[Figure], None] | None":
    """A panel for each data set, a line for each model and size; the dense model at 1.

    Data sets on which no ticket gets there with all seeds have no panel; where there is none, there is no picture.
    """
    of_panels = {
        data: of_panel
        for data, of_panel in grouped(rows, "data").items()
        if any(row["seeds_that_reach"] == row["seeds"] for row in of_panel)
    }
    if not of_panels:
        return None

    def draw(figure: "Figure") -> None:
        titles = [[data for (data,) in of_panels]]
        (axes,) = panels.titled_grid(figure, titles, (5 * len(of_panels) + 1, 4))
        for of_panel, ax in zip(of_panels.values(), axes, strict=True):
            of_lines = grouped(of_panel, "model", "dim")
            panel({f"{plots.MODELS[model]}-{dim}d": levels for (model, dim), levels in of_lines.items()}, ax)

    return draw


def panel(lines: Mapping[str, Sequence[Row]], ax: "Axes") -> "Axes":
    """The dense model's epochs over the ticket's against sparsity.

    Bands go from the slowest seed to the quickest; a star is on every winning ticket.
    """
    curves = []
    star = {"marker": "*", "markersize": 13, "linestyle": "none", "markeredgecolor": "white", "zorder": 3}
    for number, (name, rows) in enumerate(lines.items()):
        color = plots.style(name, number)["color"]
        whole = [row for row in rows if row["seeds_that_reach"] == row["seeds"]]
        relative, low, high = ([row[f"relative{end}"] for row in whole] for end in ("", "_low", "_high"))
        label = name if whole else f"{name}: no ticket gets there with all seeds"
        curves.append(panels.Curve(label, panels.percent(whole), relative, low, high))
        ax.vlines(curves[-1].x, low, high, color=color, alpha=0.4, linewidth=1)  # a band of one level has no width
        wins = [row for row in whole if row["verdict"] in WINNING]
        ax.plot(panels.percent(wins), [row["relative"] for row in wins], color=color, **star)
    panels.draw_curves(ax, curves)
    ax.axhline(1, **baseline(), linewidth=1)
    ax.set_xlim(-5, 100)
    ax.set_ylim(0, None)
    legend = {"title": "stars: winning tickets; bands: seeds", "title_fontsize": "x-small"}
    return finish(ax, panels.PRUNED, "dense model's epochs / ticket's epochs", **legend)


if __name__ == "__main__":
    cli.run(main, Study, __doc__)
