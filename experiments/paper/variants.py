"""Recall against sparsity of several variants: a table of the best and the sparsest winning tickets, and a figure.

What figure2 to figure5 have in common; no command by itself.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.paper import panels, scales
from experiments.paper.rows import Row, in_digits, markdown, with_warning, write_study
from experiments.paper.runs import rows_of_variants
from experiments.paper.scales import Study
from lthjax import plots
from lthjax.evaluation.verdict import sparsest_winner
from lthjax.plots.style import legend_below

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADER = ("data", "model", "variant", "dense", "best ticket", "at", "sparsest winner", "at", "epoch", "of dense")
Panels = dict[tuple[str, str], dict[str, list[Row]]]  # (data, model) -> variant -> rows, the dense level first
Variants = Mapping[str, Mapping[str, Any]]  # name -> changed settings


def compare(study: Study, name: str, variants_of: Callable[[Study, str], Variants], title: str) -> list[Row]:
    """Train what is missing of each variant on each data set and model, and write results; returns all rows.

    Args:
      study: the flags.
      name: of the figure, its folder.
      variants_of: (flags, data) -> variants.
      title: what is compared.
    """
    of_panels: Panels = {
        (data, model): rows_of_variants(study, data, model, variants_of(study, data))
        for data, model in itertools.product(study.data, study.models)
    }
    rows = [
        {"data": Path(data).stem, "model": model, "variant": variant} | row
        for (data, model), of_variants in of_panels.items()
        for variant, levels in of_variants.items()
        for row in levels
    ]
    all_changes = (changes for data in study.data for changes in variants_of(study, data).values())
    varied = sorted({setting for changes in all_changes for setting in changes})
    write_study(study, name, rows, text_of(study, of_panels, title, varied), drawing_of(of_panels))
    return rows


def text_of(study: Study, of_panels: Panels, title: str, varied: Sequence[str] = ()) -> str:
    """One line per variant: dense model, best ticket, sparsest winning ticket.

    Args:
      study: the flags.
      of_panels: the rows.
      title: what is compared.
      varied: settings in which the variants differ.
    """
    lines, rows = [], []
    for (data, model), of_variants in of_panels.items():
        for variant, levels in of_variants.items():
            lines.append([Path(data).stem, model, variant, *_cells(levels)])
            rows += levels
    note = with_warning(f"Test Recall@20, {scales.in_words(study, varied)}.", rows)
    return f"## {title}\n\n{markdown(_HEADER, lines)}\n\n{note}"


def _cells(levels: Sequence[Row]) -> list[str | None]:
    """What the table says of the levels of a variant."""
    dense, winner = levels[0], sparsest_winner(levels)
    best = max(levels[1:], key=lambda row: row["recall@20"])
    unsure = " ?" if winner and dense.get("cut_short") else ""
    return [
        in_digits(dense, "recall@20"),
        *(in_digits(best, "recall@20"), f"{best['sparsity']:.1%}"),
        (in_digits(winner, "recall@20") or "none") + unsure,
        winner and f"{winner['sparsity']:.1%}",
        winner and f"{winner['best_epoch']:.0f}",
        f"{dense['best_epoch']:.0f}",
    ]


def drawing_of(of_panels: Panels) -> "Callable[[Figure], None]":
    """A panel for each data set (side by side) and model (one below the other)."""

    def draw(figure: "Figure") -> None:
        data = list(dict.fromkeys(name for name, _ in of_panels))
        models = list(dict.fromkeys(model for _, model in of_panels))
        titles = [[scales.title(name, model) for name in data] for model in models]
        grid = panels.titled_grid(figure, titles, (5 * len(data) + 1, 3.8 * len(models)))
        for (name, model), of_variants in of_panels.items():
            legend_below(plots.several(of_variants, grid[models.index(model), data.index(name)]))

    return draw
