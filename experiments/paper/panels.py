"""What the pictures of the figures and tables share: panels in a grid, and curves with bands around them.

For the modules beside this one; it is no command. Letters: R rows of panels, C columns.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from experiments.paper.rows import Row
from lthjax import plots
from lthjax.plots.style import MOST_BANDS, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

PRUNED = "entries pruned (%)"


class Curve(NamedTuple):
    """A line of a picture, with a band where there is one."""

    label: str
    x: Any
    y: Any
    low: Any = None
    high: Any = None


def with_spread(label: str, x: Any, mean: Any, spread: Any) -> Curve:
    """A curve of means, in a band of one standard deviation.

    Args:
      label: in the legend.
      x: where the means stand.
      mean: of the seeds.
      spread: their standard deviations, or None of a single seed.
    """
    mean = np.asarray(mean)
    if spread is None:
        return Curve(label, x, mean)
    return Curve(label, x, mean, mean - np.asarray(spread), mean + np.asarray(spread))


def with_deviations(label: str, rows: Sequence[Row], metric: str) -> Curve:
    """A metric of rows against their sparsities, in a band of one standard deviation over seeds where there is one.

    Args:
      label: in the legend.
      rows: of one variant.
      metric: column.
    """
    name = f"{metric}_sd"
    spread = [row[name] for row in rows] if name in rows[0] else None
    return with_spread(label, percent(rows), [row[metric] for row in rows], spread)


def draw_curves(ax: "Axes", curves: Iterable[Curve]) -> None:
    """Curves with their bands (or error bars, if many), each with the colour and the marker of its name or place."""
    curves = list(curves)
    for number, curve in enumerate(curves):
        line = plots.style(curve.label, number)
        if curve.low is not None:
            spread(ax, (curve.x, curve.y, curve.low, curve.high), line["color"], len(curves) <= MOST_BANDS)
        ax.plot(curve.x, curve.y, label=curve.label, **line)


def percent(rows: Iterable[Row]) -> np.ndarray:
    """Sparsities of rows in percent, as the x axes have them."""
    return np.asarray([100 * row["sparsity"] for row in rows])


def titled_grid(figure: "Figure", titles: Sequence[Sequence[str | None]], inches: tuple[float, float]) -> np.ndarray:
    """[R, C] Axes under their titles; where a title is None there is no panel.

    Args:
      figure: to fill.
      titles: R lists of C.
      inches: width and height of the figure.
    """
    figure.set_size_inches(*inches)
    grid = figure.subplots(len(titles), len(titles[0]), squeeze=False)
    for ax, text in zip(grid.ravel(), (text for line in titles for text in line), strict=True):
        if text is None:
            ax.remove()
        else:
            set_title(ax, text)
    return grid


def titled_parts(figure: "Figure", titles: Sequence[str], inches: tuple[float, float]) -> "list[SubFigure]":
    """Parts of a figure, one below the other, each under its title.

    Args:
      figure: to fill.
      titles: of the parts.
      inches: width and height of the figure.
    """
    figure.set_size_inches(*inches)
    parts = list(figure.subfigures(len(titles), 1, squeeze=False).ravel())
    for part, text in zip(parts, titles, strict=True):
        part.suptitle(plots.readable(text), **_TITLE)
    return parts


def set_title(ax: "Axes", text: str) -> None:
    """A title as it is: names of files may contain a $."""
    ax.set_title(plots.readable(text), **_TITLE)


_TITLE: dict[str, Any] = {"fontsize": "medium", "parse_math": False}
