"""What is inside tickets: masks, rows, weights, overlaps. Every function draws into an Axes and returns it.

Colours of text, ticks and empty space are those of the Matplotlib style in use, dark or light.

Letters: R rows (users or items), F dimensions, T tickets.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from lthjax.errors import DataError
from lthjax.plots.style import TICKET, WINNER, plain, style
from lthjax.pruning import masks as masking

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def masks_image(masks: Sequence[Any], ax: "Axes", num_rows: int = 40, what: str = "levels") -> "Axes":
    """Which entries of the first rows are kept: each entry in the colour of how many of the masks keep it.

    Of the levels of a run, one after the other, that says how long an entry stood; of several seeds, how much they
    agree. A single mask gives two colours.

    Args:
      masks: T masks of one table, [R, F] bool.
      ax: where to draw.
      num_rows: rows to show, from the first.
      what: what the masks are of, for the colour bar.

    Raises:
      DataError: there are none, or their shapes differ.
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
    if kept is not None:  # seen through the holes of the image
        ax.add_patch(Rectangle((-0.5, -0.5), columns, rows, facecolor="0.9", edgecolor="0.7", hatch="////", zorder=-1))
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(rows - 0.5, -0.5)
    return ax


def kept_against_degree(kept: Any, degree: Any, ax: "Axes", name: str = "row") -> "Axes":
    """Entries kept of each row against its training interactions: dots, and the mean of rows of about one degree.

    Args:
      kept: [R], `ticket.kept_per_row().user` or `.item`.
      degree: [R] training interactions of each.
      ax: where to draw; its x axis becomes symmetric-logarithmic, so that degree 0 has a place.
      name: what a row is, "user" or "item".
    """
    kept, degree = np.asarray(kept), np.asarray(degree)
    if kept.shape != degree.shape or kept.ndim != 1 or not kept.size:
        raise DataError(f"wanted kept entries and degrees of the same rows; got {kept.shape} and {degree.shape}.")
    sideways = np.random.default_rng(0).uniform(-0.3, 0.3, (2, len(kept)))  # so that dots of one place do not hide
    look = {"color": TICKET, "marker": ".", "linestyle": "none", "markeredgewidth": 0}
    ax.plot(degree + sideways[0], kept + sideways[1], **look, markersize=4, alpha=0.25, rasterized=True)
    ax.plot([], [], **look, label=f"each {plain(name)}")  # not as pale in the legend
    group = np.where(degree > 0, 1 + np.floor(2 * np.log2(np.maximum(degree, 1))), 0).astype(int)  # half octaves
    groups = np.unique(group)
    means = [[values[group == one].mean() for one in groups] for values in (degree, kept)]
    ax.plot(*means, color=WINNER, marker="o", markersize=4, label="mean at about this degree")
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(0.7 * degree.min() if degree.min() else -0.6, None)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel(f"training interactions of the {plain(name)}")
    ax.set_ylabel("entries kept")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")
    return ax


def magnitudes(tables: Mapping[str, Any], ax: "Axes", num_bins: int = 60) -> "Axes":
    """How the sizes of weights are distributed: one outline a table, over the same logarithmic bins.

    Pruned entries are exactly 0 and left out; their number is missing in the one that the legend gives. What lies below
    all bins counts to the first.

    Args:
      tables: name -> array or pytree of arrays, such as `ticket.start` and `ticket.trained`.
      ax: where to draw.
      num_bins: bins over all tables.
    """
    sizes = {
        name: np.concatenate([np.abs(np.asarray(leaf)).ravel() for leaf in jax.tree.leaves(table)])
        for name, table in tables.items()
    }
    sizes = {name: values[values > 0] for name, values in sizes.items()}
    every = np.concatenate(list(sizes.values())) if sizes else np.zeros(0)
    if not every.size:
        raise DataError(f"wanted weights other than 0; got none in {len(sizes)} tables.")
    low, high = np.percentile(every, 0.1), every.max()  # a few weights next to 0 would take half of the picture
    bins = np.geomspace(low, high * 1.0001 if high > low else 2 * high, num_bins + 1)
    for place, (name, values) in enumerate(sizes.items()):
        look = style(name, place)
        counts, _ = np.histogram(np.maximum(values, low), bins)
        label = f"{plain(name)} ({len(values):,})"
        ax.stairs(counts, bins, color=look["color"], linestyle=look["linestyle"], linewidth=1.5, label=label)
    ax.set_xscale("log")
    ax.set_xlabel("size of a weight")
    ax.set_ylabel("entries")
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small")
    return ax


def overlap_matrix(
    masks: Mapping[str, Any], ax: "Axes", measure: Literal["jaccard", "overlap", "hamming"] = "jaccard"
) -> "Axes":
    """How much tickets have in common, each with each, as a matrix with its numbers.

    Args:
      masks: name -> masks of a ticket; of one shape.
      ax: where to draw.
      measure: of `masks.Overlap`. Levels of one run lie within each other and overlap by 1: take jaccard for them.

    Raises:
      DataError: there are none, or their shapes differ.
    """
    names, tables = list(masks), list(masks.values())
    shapes = [tuple(np.shape(part) for part in jax.tree.leaves(table)) for table in tables]
    if not tables or len(set(shapes)) > 1:
        raise DataError(f"wanted masks of one shape; got {shapes}.")
    values = np.asarray([[getattr(masking.overlap(one, other), measure) for other in tables] for one in tables])
    image = ax.imshow(values, cmap="viridis", vmin=0, vmax=1)
    ax.figure.colorbar(image, ax=ax, label=measure)
    places = range(len(names))
    labels = [plain(name) for name in names]
    is_wide = max(map(len, labels), default=0) > 3
    ax.set_xticks(places, labels, rotation=45 if is_wide else 0, ha="right" if is_wide else "center")
    if is_wide:
        for label in ax.get_xticklabels():
            label.set_rotation_mode("anchor")
    ax.set_yticks(places, labels)
    ax.grid(False)
    if len(names) <= 12:  # more numbers than that are too small to read
        for row, column in np.ndindex(values.shape):
            color = image.cmap(0.0) if values[row, column] > 0.4 else image.cmap(1.0)  # dark on light, light on dark
            ax.text(column, row, f"{values[row, column]:.2f}", color=color, ha="center", va="center", fontsize="small")
    return ax
