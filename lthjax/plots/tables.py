"""What is inside tickets: masks, rows, weights, overlaps. Every function draws into an Axes and returns it.

Colours of text, ticks and empty space are those of the Matplotlib style in use, dark or light.

Letters: R rows (users or items), F dimensions, T tickets.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from lthjax.errors import DataError
from lthjax.plots.style import TICKET, WINNER, finish, plain, style
from lthjax.pruning import masks as masking

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def masks_image(masks: Sequence[Any], ax: "Axes", num_rows: int = 40, what: str = "levels") -> "Axes":
    """Which entries of the first rows are kept: the colour of an entry is the number of masks that keep it.

    For the levels of a run, that is how long an entry was kept; for several seeds, how far they agree.

    Args:
      masks: T masks of one table, [R, F] bool.
      ax: where to draw.
      num_rows: rows to show, from the first.
      what: what the masks are of, for the colour bar.

    Raises:
      DataError: no masks, or masks of different shapes.
    """
    from matplotlib.colors import BoundaryNorm

    masks = [np.asarray(mask) for mask in masks]
    if not masks or any(mask.ndim != 2 or mask.shape != masks[0].shape for mask in masks):
        raise DataError(f"wanted masks [R, F] of one shape; got {[mask.shape for mask in masks]}.")
    counts = np.sum([mask[:num_rows] for mask in masks], axis=0)
    norm = BoundaryNorm(np.arange(len(masks) + 2) - 0.5, 256)
    image = ax.imshow(counts, cmap="viridis", norm=norm, aspect="auto", interpolation="nearest")
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_ticks(np.unique(np.linspace(0, len(masks), min(len(masks), 10) + 1).round()).tolist())
    bar.minorticks_off()
    if len(masks) == 1:
        bar.set_ticklabels(["pruned", "kept"])
    else:
        bar.set_label(f"of {len(masks)} {plain(what)}, how many keep the entry")
    ax.set_xlabel("dimension")
    ax.set_ylabel("row")
    ax.grid(False)
    return ax


def table_image(values: np.ndarray, ax: "Axes", most: float, kept: np.ndarray | None = None) -> "Axes":
    """Rows of a table as a heat map, blue below and red above 0, pruned entries hatched.

    Args:
      values: [R, F].
      ax: where to draw.
      most: magnitude of the darkest colours.
      kept: [R, F] False where an entry is pruned.
    """
    from matplotlib.patches import Rectangle

    rows, columns = values.shape
    shown = values if kept is None else np.ma.masked_where(~kept, values)
    ax.imshow(shown, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
    if kept is not None:  # behind the image, whose pruned entries are transparent
        ax.add_patch(Rectangle((-0.5, -0.5), columns, rows, facecolor="0.9", edgecolor="0.7", hatch="////", zorder=-1))
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    return ax


def kept_against_degree(kept: Any, degree: Any, ax: "Axes", name: str = "row") -> "Axes":
    """Entries kept of each row against its training interactions: dots, and the mean of rows of similar degree.

    Args:
      kept: [R], `ticket.kept_per_row().user` or `.item`.
      degree: [R] training interactions of each.
      ax: where to draw; its x axis becomes symmetric-logarithmic, which has a 0.
      name: what a row is, "user" or "item".

    Raises:
      DataError: no rows, or kept entries and degrees of different rows.
    """
    kept, degree = np.asarray(kept), np.asarray(degree)
    if kept.shape != degree.shape or kept.ndim != 1 or not kept.size:
        raise DataError(f"wanted kept entries and degrees of the same rows; got {kept.shape} and {degree.shape}.")
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, (2, len(kept)))  # so that equal dots do not hide each other
    dots = {"color": TICKET, "marker": ".", "linestyle": "none", "markeredgewidth": 0}
    ax.plot(degree + jitter[0], kept + jitter[1], **dots, markersize=4, alpha=0.25, rasterized=True)
    ax.plot([], [], **dots, label=f"each {plain(name)}")  # not as pale in the legend
    octave = np.where(degree > 0, 1 + np.floor(2 * np.log2(np.maximum(degree, 1))), 0).astype(int)  # half octaves
    means = [[values[octave == half].mean() for half in np.unique(octave)] for values in (degree, kept)]
    ax.plot(*means, color=WINNER, marker="o", markersize=4, label="mean at about this degree")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(0.7 * degree.min() if degree.min() else -0.6, None)
    ax.xaxis.set_major_formatter("{x:g}")
    return finish(ax, f"training interactions of the {plain(name)}", "entries kept")


def magnitudes(tables: Mapping[str, Any], ax: "Axes", num_bins: int = 60) -> "Axes":
    """Histogram of the magnitudes of weights: one outline per table, over the same logarithmic bins.

    Pruned entries, which are exactly 0, are left out, and so not in the counts of the legend. The first bin also counts
    what is below it.

    Args:
      tables: name -> array or pytree of arrays, such as `ticket.start` and `ticket.trained`.
      ax: where to draw.
      num_bins: bins over all tables.

    Raises:
      DataError: no weights other than 0.
    """
    sizes = {
        name: np.concatenate([np.abs(np.asarray(leaf)).ravel() for leaf in jax.tree.leaves(table)])
        for name, table in tables.items()
    }
    sizes = {name: values[values > 0] for name, values in sizes.items()}
    all_sizes = np.concatenate(list(sizes.values())) if sizes else np.zeros(0)
    if not all_sizes.size:
        raise DataError(f"wanted weights other than 0; got none in {len(sizes)} tables.")
    low, high = np.percentile(all_sizes, 0.1), all_sizes.max()  # a few weights near 0 would take half of the picture
    bins = np.geomspace(low, high * 1.0001 if high > low else 2 * high, num_bins + 1)
    for number, (name, values) in enumerate(sizes.items()):
        line = {key: style(name, number)[key] for key in ("color", "linestyle")}
        counts, _ = np.histogram(np.maximum(values, low), bins)
        ax.stairs(counts, bins, **line, linewidth=1.5, label=f"{plain(name)} ({len(values):,})")
    ax.set_xscale("log")
    return finish(ax, "size of a weight", "entries")


def overlap_matrix(
    masks: Mapping[str, Any], ax: "Axes", measure: Literal["jaccard", "overlap", "hamming"] = "jaccard"
) -> "Axes":
    """How much tickets have in common, each with each, as a matrix with its numbers.

    Args:
      masks: name -> masks of a ticket; of one shape.
      ax: where to draw.
      measure: of `masks.Overlap`. Levels of one run are subsets of each other, with an overlap of 1: take jaccard.

    Raises:
      DataError: no masks, or masks of different shapes.
    """
    names, tables = list(masks), list(masks.values())
    shapes = [tuple(np.shape(part) for part in jax.tree.leaves(table)) for table in tables]
    if not tables or len(set(shapes)) > 1:
        raise DataError(f"wanted masks of one shape; got {shapes}.")
    values = np.asarray([[getattr(masking.overlap(first, second), measure) for second in tables] for first in tables])
    image = ax.imshow(values, cmap="viridis", vmin=0, vmax=1)
    ax.figure.colorbar(image, ax=ax, label=measure)
    ticks, labels = range(len(names)), [plain(name) for name in names]
    is_wide = max(map(len, labels), default=0) > 3
    ax.set_xticks(ticks, labels, rotation=45 if is_wide else 0, ha="right" if is_wide else "center")
    if is_wide:
        for label in ax.get_xticklabels():
            label.set_rotation_mode("anchor")
    ax.set_yticks(ticks, labels)
    ax.grid(False)
    if len(names) <= 12:  # the numbers of a larger matrix are too small to read
        for row, column in np.ndindex(values.shape):
            color = image.cmap(0.0) if values[row, column] > 0.4 else image.cmap(1.0)  # dark on light, light on dark
            ax.text(column, row, f"{values[row, column]:.2f}", color=color, ha="center", va="center", fontsize="small")
    return ax
