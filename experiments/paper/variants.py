"""Recall against sparsity of several variants: a table of the best and the sparsest winning tickets, and a figure."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.paper import studies
from lthjax import plots
from lthjax.evaluation.verdict import sparsest_winner

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HEADER = ("data", "model", "variant", "dense", "best ticket", "at", "sparsest winner", "at", "epoch", "of dense")
Panels = dict[tuple[str, str], studies.Rows]  # (data, model) -> variants
Variants = Mapping[str, Mapping[str, Any]]  # name -> changed settings


def compare(
    study: studies.Study, name: str, variants_of: Callable[[studies.Study, str], Variants], title: str
) -> list[studies.Row]:
    """Train what is missing of each variant on each data set and model, and write results; returns all rows.

    Args:
      study: the flags.
      name: of the figure, its folder.
      variants_of: (flags, data) -> variants.
      title: what is compared.
    """
    panels: Panels = {}
    for data in study.data:
        for model in study.models:
            panels[data, model] = studies.curves(study, data, model, variants_of(study, data))
    rows = [
        row for (data, model), found in panels.items() for row in studies.flat(found, data=Path(data).stem, model=model)
    ]
    changed = (changes for data in study.data for changes in variants_of(study, data).values())
    varied = sorted({setting for changes in changed for setting in changes})
    studies.write(study, name, rows, text_of(study, panels, title, varied), drawing_of(panels))
    return rows


def text_of(study: studies.Study, panels: Panels, title: str, varied: Sequence[str] = ()) -> str:
    """A line a variant: dense model, best ticket, sparsest winning ticket.

    Args:
      study: the flags.
      panels: the rows.
      title: what is compared.
      varied: settings in which the variants differ.
    """
    lines = []
    for (data, model), found in panels.items():
        for variant, rows in found.items():
            dense, winner = rows[0], sparsest_winner(rows)
            best = max(rows[1:], key=lambda row: row["recall@20"])
            lines.append(
                [
                    *(Path(data).stem, model, variant, studies.value(dense, "recall@20")),
                    *(studies.value(best, "recall@20"), f"{best['sparsity']:.1%}"),
                    studies.value(winner, "recall@20") or "none",
                    winner and f"{winner['sparsity']:.1%}",
                    winner and f"{winner['best_epoch']:.0f}",
                    f"{dense['best_epoch']:.0f}",
                ]
            )
    note = f"Test Recall@20, {studies.scale_of(study, varied)}."
    note = studies.warned(note, (row for found in panels.values() for rows in found.values() for row in rows))
    return f"## {title}\n\n{studies.markdown(_HEADER, lines)}\n\n{note}"


def drawing_of(panels: Panels) -> "Callable[[Figure], None]":
    """A panel for each data set and model."""

    def draw(figure: "Figure") -> None:
        data = list(dict.fromkeys(name for name, _ in panels))
        models = list(dict.fromkeys(model for _, model in panels))
        figure.set_size_inches(5 * len(data) + 1, 3.8 * len(models))
        axes = figure.subplots(len(models), len(data), squeeze=False)
        for (name, model), found in panels.items():
            ax = plots.several(found, axes[models.index(model)][data.index(name)])
            ax.set_title(f"{Path(name).stem}, {plots.MODELS[model]}", fontsize="medium", parse_math=False)

    return draw
