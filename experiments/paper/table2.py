r"""Table 2: Recall@20 and NDCG@20 of tickets at 0, 27.1, 65.13 and 95.29% sparsity, beside the paper's.

    python -m experiments.paper.table2                                         (seconds, to see that it works)
    python -m experiments.paper.table2 --scale cpu --seeds 3
    python -m experiments.paper.table2 --scale paper --data yelp2018
    python -m experiments.paper.table2 --scale paper --data yelp2018 --models mf --searches short "short by movement"

One run of iterative pruning on each data set and model; figure2 uses the same. Other searches, random masks, and
random masks with rows by degree may stand beside it or in its place, with what the search cost.

Cells of sparsities that the scale's levels do not reach stay empty. The paper's TikTok and Kwai can no longer be had:
tiktok-clickbait and kuairand stand in for them, and their rows carry their own names; the paper's values beside them
are of other data. The picture has each value in percent of its own dense model, so that ours and the paper's compare.

Cost, bundled data: cpu 36 s per seed with MF on 2 CPU cores, 1 minute of one core with LightGCN, in five prunings.
Scale paper is for a GPU: 30 trainings of up to 1000 epochs for each model.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments import cli
from experiments.find_tickets import baseline_rows
from experiments.paper import panels, scales
from experiments.paper.rows import (
    Row,
    bold_if_winning,
    in_digits,
    markdown,
    nearest_row,
    rows_of_levels,
    with_warning,
    write_study,
)
from experiments.paper.runs import runs_of
from experiments.paper.scales import Study
from experiments.paper.searches import CHANGES, Search
from lthjax import plots
from lthjax.errors import SettingsError
from lthjax.plots.style import baseline, finish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = {"recall@20": "Recall@20", "ndcg@20": "NDCG@20"}
SPARSITIES = (0.0, 0.271, 0.6513, 0.9529)
PAPER = {  # (data, model) -> Recall@20, then NDCG@20, at SPARSITIES; Wang et al., table 2
    ("yelp2018", "mf"): ((0.0459, 0.0487, 0.0468, 0.0395), (0.0372, 0.0396, 0.0378, 0.0320)),
    ("yelp2018", "lightgcn"): ((0.0600, 0.0602, 0.0584, 0.0510), (0.0488, 0.0491, 0.0476, 0.0418)),
    ("TikTok", "mf"): ((0.0851, 0.0955, 0.0961, 0.0638), (0.0500, 0.0552, 0.0557, 0.0354)),
    ("TikTok", "lightgcn"): ((0.1423, 0.1539, 0.1577, 0.1379), (0.0828, 0.0898, 0.0918, 0.0813)),
    ("Kwai", "mf"): ((0.0411, 0.0464, 0.0525, 0.0529), (0.0318, 0.0353, 0.0393, 0.0431)),
    ("Kwai", "lightgcn"): ((0.0779, 0.0847, 0.0857, 0.0751), (0.0638, 0.0679, 0.0689, 0.0614)),
}
Levels = dict[tuple[str, str], list[Row]]  # (data, model) -> rows, the dense level first


@dataclasses.dataclass(frozen=True, kw_only=True)
class Searches(Study):
    """The flags of every figure and table, and how tickets are found."""

    searches: tuple[Search, ...] = ("IMP",)
    """How tickets are found; the picture is of the first."""

    def __post_init__(self):
        super().__post_init__()
        if not self.searches or len(set(self.searches)) < len(self.searches):
            raise SettingsError(f"--searches: wanted at least one, each once; got {self.searches}.")


def main(study: Searches) -> list[Row]:
    """Train what is missing, write and print the table; returns all rows."""
    by_search: dict[str, Levels] = {search: {} for search in study.searches}
    baselines = {}
    for data, model in itertools.product(study.data, study.models):
        for search, levels in by_search.items():
            runs = runs_of(study, data, model, **changes_of(search))
            results = runs.results()
            levels[data, model] = rows_of_levels(results)
        # At scale quick, to see that it works, they would take longer than all else.
        baselines[data, model] = [] if study.scale == "quick" else baseline_rows(runs.split, runs.settings, results)
    rows = [
        {"data": Path(data).stem, "model": model, "variant": search} | row
        for search, levels in by_search.items()
        for (data, model), of_run in levels.items()
        for row in of_run
    ]
    first = by_search[study.searches[0]]
    write_study(study, "table2", rows, text_of(study, by_search, baselines), drawing_of(first))
    return rows


def changes_of(search: str) -> dict[str, Any]:
    """The settings of a search: IMP has the levels of the scale, others go to the table's sparsities alone."""
    if search == "IMP":
        return CHANGES[search]
    return CHANGES[search] | {"sparsities": ",".join(map(str, SPARSITIES[1:]))}


def text_of(study: Study, by_search: Mapping[str, Levels], baselines: Levels | None = None) -> str:
    """A line for each data set, model and search, one for the paper's, and one for each simple baseline.

    Winning tickets are in bold, as in the paper. Baselines stand under 0%: they are what a dense model has to beat.

    Args:
      study: the flags.
      by_search: rows of tickets.
      baselines: rows of baselines, if any.
    """
    lines = []
    for data, model in next(iter(by_search.values())):
        name = Path(data).stem
        for search, levels in by_search.items():
            rows = levels[data, model]
            ours = [nearest_row(rows, sparsity) for sparsity in SPARSITIES]
            cells = [bold_if_winning(row, metric, rows[0]) for metric in METRICS for row in ours]
            lines.append(
                [name, plots.MODELS[model], "ours" if search == "IMP" else f"ours, {search}", *cells, _cost(ours)]
            )
        theirs = scales.STANDS_FOR.get(name, name)
        if (theirs, model) in PAPER:
            paper = [f"{value:.4f}" for values in PAPER[theirs, model] for value in values]
            lines.append(
                [theirs if theirs == name else f"{theirs}, other data", plots.MODELS[model], "paper", *paper, None]
            )
        nothing = [None] * (len(SPARSITIES) - 1)
        for row in (baselines or {}).get((data, model), []):
            cells = [cell for metric in METRICS for cell in (in_digits(row, metric), *nothing)]
            lines.append([name, "", row["method"], *cells, None])
    header = ["data", "model", "", *(f"{name} {s:.2%}" for name in METRICS.values() for s in SPARSITIES), "search"]
    note = f"Bold: winning tickets; {scales.in_words(study)}. Empty: not reached at this scale. "
    note += "Search: what finding the tickets cost, in trainings of the dense model."
    note = with_warning(note, (row for levels in by_search.values() for rows in levels.values() for row in rows))
    return f"## Tickets at the paper's sparsities\n\n{markdown(header, lines)}\n\n{note}"


def _cost(rows: Sequence[Row | None]) -> str:
    """What the search cost for each ticket of a line."""
    costs = [row.get("search_cost") for row in rows[1:] if row is not None]
    return ", ".join("" if cost in (None, "") else f"{cost:.2g}" for cost in costs)


def drawing_of(levels: Levels) -> "Callable[[Figure], None]":
    """A row of panels for each data set and model, a column for each metric."""

    def draw(figure: "Figure") -> None:
        titles = [[scales.title(data, model)] * len(METRICS) for data, model in levels]
        grid = panels.titled_grid(figure, titles, (9, 3 * len(levels)))
        for ((data, model), rows), axes in zip(levels.items(), grid, strict=True):
            theirs = scales.STANDS_FOR.get(Path(data).stem, Path(data).stem)
            paper = PAPER.get((theirs, model), ((), ()))
            for metric, published, ax in zip(METRICS, paper, axes, strict=True):
                panel(rows, metric, published, theirs, ax)

    return draw


def panel(rows: Sequence[Row], metric: str, published: Sequence[float], theirs: str, ax: "Axes") -> "Axes":
    """One metric at the table's sparsities in percent of the dense model: ours with deviations over seeds, the paper's.

    Args:
      rows: of all levels, the dense one first.
      metric: column of the rows.
      published: the paper's values at SPARSITIES, or none.
      theirs: the paper's data set.
      ax: where to draw.
    """
    reached = {number: row for number, s in enumerate(SPARSITIES) if (row := nearest_row(rows, s)) is not None}
    percent = 100 / rows[0][metric]
    means = [percent * row[metric] for row in reached.values()]
    spread = [percent * row.get(f"{metric}_sd", 0) for row in reached.values()]
    ax.errorbar(list(reached), means, spread, label="ours", capsize=3, **plots.style("IMP", 0))
    if published:
        line = {"color": "0.4", "marker": "D", "linestyle": "--", "markersize": 4, "markerfacecolor": "white"}
        ax.plot([100 * value / published[0] for value in published], label=f"the paper's, {theirs}", **line)
    ax.axhline(100, **baseline(), linewidth=1)
    shown = range(len(SPARSITIES)) if published else sorted(reached)
    ax.set_xticks(shown, [f"{100 * SPARSITIES[number]:g}" for number in shown])
    return finish(ax, panels.PRUNED, f"{METRICS[metric]} (% of dense)")


if __name__ == "__main__":
    cli.run(main, Searches, __doc__)
