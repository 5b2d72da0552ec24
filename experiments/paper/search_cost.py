r"""What does a ticket's search cost, and is a cheap one as good?

    python -m experiments.paper.search_cost                                        (seconds, to see that it works)
    python -m experiments.paper.search_cost --scale cpu --models mf --seeds 5
    python -m experiments.paper.search_cost --scale cpu --data kuairand --seeds 3 --methods IMP short random-by-degree

Test Recall@20 at half, three quarters and nine tenths pruned against what the search cost, in trainings of the dense
model (its steps until its patience ends): iterative and one-shot pruning; short levels, by magnitude and by how far
training moved an entry; early cut, gradual pruning, dynamic sparse training; and controls: random masks as the paper
has them, random masks with rows by degree, and the row lengths of IMP's and of short's masks with random entries.
Lines: dense model, IMP, rows by degree.

IMP takes a tenth at a time on the bundled data, and five prunings on the larger data sets.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import lthjax
from experiments import cli
from experiments.find_tickets import results_by_seed
from experiments.paper import panels, scales
from experiments.paper.rows import Row, grouped, in_digits, markdown, same_columns, with_warning, write_study
from experiments.paper.runs import Runs, rows_of_levels
from experiments.paper.scales import Study
from experiments.paper.searches import CHANGES, Search
from lthjax import plots, presets
from lthjax.errors import SettingsError
from lthjax.plots.style import baseline, finish
from lthjax.settings import CHEAP_SEARCHES, Settings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lthjax.data.split import Split
    from lthjax.tickets.result import Result
    from lthjax.tickets.ticket import Ticket

SPARSITIES = (0.5, 0.75, 0.9)
MARGIN = 0.01  # below IMP's mean, that counts as good
SHARES = {0.5: 0.1, 0.75: 0.05, 0.9: 0.05}  # of IMP's search cost, to reach

Method = Literal[Search, "rows of IMP", "rows of short"]
_ROWS_OF = "rows of "  # a control beside another method


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchCost(Study):
    """The flags of every figure and table, and which searches are run."""

    methods: tuple[Method, ...] = get_args(Method)
    """Searches and controls; IMP is what the others are compared with."""

    def __post_init__(self):
        super().__post_init__()
        if not self.methods:
            raise SettingsError("--methods: wanted at least one; got none.")


class Measured(NamedTuple):
    """The results of one method on one data set and model, and what finding them cost."""

    runs: "list[list[Result]]"  # of each seed, the dense model first
    rows: list[Row]  # means over the seeds, at SPARSITIES


def main(study: SearchCost) -> list[Row]:
    """Train what is missing, write table and picture; returns all rows."""
    rows = []
    for data, model in itertools.product(study.data, study.models):
        split = lthjax.load_split(None, settings_of(study, data, model, "IMP"))
        measured = {method: measure(study, split, data, model, method) for method in dict.fromkeys(study.methods)}
        for method, of_method in measured.items():  # once all are there: IMP may come last
            labels = {"data": Path(data).stem, "model": model, "variant": method}
            for number, row in enumerate(of_method.rows):
                rows.append(labels | row | against(measured.get("IMP"), of_method, number))
    rows = same_columns(rows)
    write_study(study, "search_cost", rows, text_of(study, rows), drawing_of(rows))
    return rows


def path_of_imp(study: Study, data: str) -> str:
    """The sparsities of IMP's levels: a tenth at a time, so that those that are asked for are hit; or few."""
    if study.scale == "quick":
        return ",".join(map(str, SPARSITIES))
    if scales.is_larger(study, data):
        return "0.271,0.5,0.6513,0.75,0.9"
    halves = [1 - 0.5 ** (step / 7) for step in range(1, 15)]
    rest = [1 - 0.25 * 0.4 ** (step / 9) for step in range(1, 10)]
    return ",".join(f"{sparsity:.4f}".rstrip("0") for sparsity in halves + rest)


def settings_of(study: Study, data: str, model: str, method: str) -> Settings:
    """Settings of a method that is no control beside another."""
    changes = CHANGES[method] | {"sparsities": ",".join(map(str, SPARSITIES))}
    if method == "IMP":
        changes["sparsities"] = path_of_imp(study, data)
    if study.scale == "quick" and changes.get("search") in CHEAP_SEARCHES:
        changes["search_epochs"] = 1 if changes["search"] == "short" else 3
    if study.scale == "cpu":
        changes["preset"] = presets.for_model("none", model)  # as `find_tickets` has it: runs are shared
    return scales.settings_of(study, data, model, **changes)


def measure(study: Study, split: "Split", data: str, model: str, method: str) -> Measured:
    """The results of a method with all seeds; from disk where they lie there.

    Args:
      study: the flags.
      split: of the data.
      data: name or path.
      model: backbone.
      method: name.
    """
    if method.startswith(_ROWS_OF):
        runs = results_by_seed(_row_lengths(study, split, data, model, method.removeprefix(_ROWS_OF)))
    else:
        runs = Runs(study, settings_of(study, data, model, method), split).results()
    kept = [[run[0], *(result for result in run[1:] if _asked_for(result.sparsity))] for run in runs]
    return Measured(kept, rows_of_levels(kept))


def _asked_for(sparsity: float) -> bool:
    return any(abs(sparsity - asked) < 1e-3 for asked in SPARSITIES)


def _row_lengths(study: Study, split: "Split", data: str, model: str, method: str) -> "Iterator[Ticket]":
    """Tickets whose rows keep as many entries as those of a method, but any of them; they cost what its cost."""
    from lthjax.pruning.rules import random_within_rows
    from lthjax.search.fixed import fixed
    from lthjax.training.keys import Purpose, key_of

    settings = settings_of(study, data, model, method)
    runs = Runs(study, settings, split)
    of_seeds: dict[int, list[Ticket]] = {}
    for ticket in runs.tickets():
        if ticket.level == 0 or _asked_for(ticket.sparsity):
            of_seeds.setdefault(ticket.settings.seed, []).append(ticket)
    folder = runs.folder.with_name(f"rows-{runs.folder.name}")
    for seed, (dense, *tickets) in of_seeds.items():
        masks, efforts = {}, {}
        for level, ticket in enumerate(tickets, 1):
            masks[level] = random_within_rows(ticket.masks, key_of(seed, Purpose.SEARCH_MASKS, level))
            efforts[level] = ticket.cost.search
        of_seed = dataclasses.replace(
            settings, seed=seed, search="imp", search_epochs=0, sparsities=None, levels=len(tickets)
        )
        yield from lthjax.find_tickets(
            split, settings=of_seed, search=fixed(masks, efforts), dense=dense, out=folder / f"seed_{seed}"
        )


def against(imp: Measured | None, method: Measured, number: int) -> Row:
    """A row beside IMP's at the same sparsity: difference of Recall, its interval, and the share of its cost.

    Args:
      imp: iterative pruning, if it was run.
      method: what is compared with it.
      number: of the row, 0 for the dense model, then as in SPARSITIES.
    """
    columns = ("against_imp", "against_imp_low", "against_imp_high", "share_of_imp")
    if imp is None or number == 0:
        return dict.fromkeys(columns, "")
    import numpy as np

    from lthjax.evaluation.statistics import crossed_effect

    ours, theirs = (
        np.asarray([run[number].per_user["recall@20"] for run in measured.runs], np.float64)
        for measured in (method, imp)
    )
    effect = crossed_effect(ours - theirs)
    share = method.rows[number]["search_cost"] / imp.rows[number]["search_cost"]
    return dict(zip(columns, (effect.mean, effect.low, effect.high, share), strict=True))


def is_reached(row: Row, imp: Row) -> bool:
    """Is the mean within 1% of IMP's, at the share of its search cost that was to be reached?"""
    return row["recall@20"] >= (1 - MARGIN) * imp["recall@20"] and row["share_of_imp"] <= SHARES[_asked(row)]


def _asked(row: Row) -> float:
    """The sparsity that was asked for, of a row that has it but for rounding."""
    return min(SPARSITIES, key=lambda sparsity: abs(sparsity - row["sparsity"]))


def text_of(study: SearchCost, rows: Sequence[Row]) -> str:
    """A line for each data set, model and method; what is reached in bold; how often each search reaches it."""
    lines, reached, cells = [], {}, 0
    for (data, model), of_panel in grouped(rows, "data", "model").items():
        of_methods = {name: levels for (name,), levels in grouped(of_panel, "variant").items()}
        imp = of_methods.get("IMP")
        dense = in_digits(next(iter(of_methods.values()))[0], "recall@20")
        lines.append([data, plots.MODELS[model], f"dense, {dense}", *[None] * len(SPARSITIES)])
        cells += imp is not None
        for method, levels in of_methods.items():
            line = [data, plots.MODELS[model], method]
            for row, of_imp in zip(levels[1:], imp[1:] if imp else [None] * len(levels[1:]), strict=True):
                text = f"{in_digits(row, 'recall@20')} ({row['search_cost']:.2g})"
                if of_imp and method != "IMP" and is_reached(row, of_imp):
                    text = f"**{text}**"
                    reached.setdefault(method, dict.fromkeys(SPARSITIES, 0))[_asked(row)] += 1
                line.append(text)
            lines.append(line)
    header = ["data", "model", "", *(f"{sparsity:.0%} pruned (search)" for sparsity in SPARSITIES)]
    note = "Test Recall@20, and in brackets what the search cost, in trainings of the dense model. Bold: within 1% of "
    note += "IMP's mean, at 10% of its search cost (50% pruned) or 5%. "
    counts = "; ".join(
        f"{method} {', '.join(f'{count} at {sparsity:.0%}' for sparsity, count in of_method.items())}"
        for method, of_method in reached.items()
    )
    note += f"Of {cells} data sets and models: {counts or 'none reaches it'}. {scales.in_words(study, ['sparsities'])}."
    return f"## What a search costs\n\n{markdown(header, lines)}\n\n{with_warning(note, rows)}"


def drawing_of(rows: Sequence[Row]) -> "Callable[[Figure], None]":
    """A row of panels for each data set and model, a column for each sparsity."""

    def draw(figure: "Figure") -> None:
        of_panels = grouped(rows, "data", "model")
        titles = [
            [f"{scales.title(data, model)}, {sparsity:.0%} pruned" for sparsity in SPARSITIES]
            for data, model in of_panels
        ]
        grid = panels.titled_grid(figure, titles, (4.2 * len(SPARSITIES) + 1.5, 3.4 * len(titles)))
        for of_panel, axes in zip(of_panels.values(), grid, strict=True):
            for sparsity, ax in zip(SPARSITIES, axes, strict=True):
                panel(of_panel, sparsity, ax)
                if ax is not axes[-1]:
                    ax.get_legend().remove()

    return draw


_COSTS = (0.01, 40)  # of the x axes, the same in all panels
_LINES = {"IMP": "-", "random-by-degree": "-."}


def panel(rows: Sequence[Row], sparsity: float, ax: "Axes") -> "Axes":
    """Recall@20 against search cost at one sparsity, bars one standard deviation over seeds.

    What cost nothing has no place on a logarithmic axis, and stands as a line.

    Args:
      rows: of one data set and model.
      sparsity: nearly.
      ax: where to draw.
    """
    of_methods = {name: levels for (name,), levels in grouped(rows, "variant").items()}
    dense = next(iter(of_methods.values()))[0]
    ax.axhline(dense["recall@20"], **baseline(), linewidth=1, label="dense")
    for number, (method, levels) in enumerate(of_methods.items()):
        row = next(row for row in levels[1:] if _asked(row) == sparsity)
        style = plots.style(method, number)
        if method in _LINES or not row["search_cost"]:
            line = {"color": style["color"], "linestyle": _LINES.get(method, ":"), "linewidth": 1}
            ax.axhline(row["recall@20"], **line, label=None if row["search_cost"] else f"{method}, free")
        if row["search_cost"]:
            spread = row.get("recall@20_sd") or 0
            marks = style | {"linestyle": "none", "markersize": 6}
            ax.errorbar(row["search_cost"], row["recall@20"], spread, label=method, capsize=2, **marks)
    ax.set_xscale("log")
    ax.set_xlim(*_COSTS)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
    return finish(ax, "search, in dense trainings", "test Recall@20", loc="center left", bbox_to_anchor=(1, 0.5))


if __name__ == "__main__":
    cli.run(main, SearchCost, __doc__)
