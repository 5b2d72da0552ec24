"""What all pictures share: colours, markers and names; labels as they are; how a figure is written."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lthjax.runtime import files

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKET = "#0072b2"  # blue and orange that differ in grey too, and for the colour-blind
WINNER = "#d55e00"
Picture = Literal["png", "pdf", "svg"]  # formats
MOST_BANDS = 2  # of one picture
MODELS = {"mf": "MF", "lightgcn": "LightGCN"}

# Colour, marker and line of a method, the same in every picture; in grey, markers and lines tell methods apart.
_STYLES = {
    "IMP": (TICKET, "o", "-"),
    "OMP": ("#e69f00", "s", "--"),
    "RP": ("#009e73", "^", "-."),
    "PEP": ("#cc79a7", "D", "--"),
    "LCM": ("#56b4e9", "v", "-."),
    "MagPrune": ("0.45", "x", ":"),
}
_OTHERS = tuple(_STYLES.values())
_STYLES |= {
    "one-shot": _STYLES["OMP"],
    "random": _STYLES["RP"],
    "RP by degree": ("#004d36", "<", ":"),
    "random-by-degree": ("#004d36", "<", "-."),
    "short": ("#d55e00", "P", "--"),
    "short by movement": ("#d55e00", "*", ":"),
    "early": ("#cc79a7", "D", "--"),
    "gradual": ("#56b4e9", "v", "-."),
    "dynamic": ("0.25", "X", ":"),
    "rows of IMP": (TICKET, "1", ":"),  # controls have the colour of what they stand beside
    "rows of short": ("#d55e00", "2", ":"),
}


def style(name: str, number: int) -> dict[str, Any]:
    """Line properties of a method by its name, of any other curve by its number in the picture, from 0."""
    turn, place = divmod(number, len(_OTHERS))  # after the last colour the first comes again, with another marker
    other = _OTHERS[place][0], *_OTHERS[(place + turn) % len(_OTHERS)][1:]
    color, marker, line = _STYLES.get(name, other)
    return {"color": color, "marker": marker, "linestyle": line, "markersize": 4}


def readable(text: str) -> str:
    """Text that fonts can draw: bytes of a file name that the locale could not decode are read as UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def plain(text: str) -> str:
    """Text for labels as it is: a $ in a file name starts no formula, and a leading underscore hides no curve."""
    text = readable(text).replace("$", r"\$")
    return "\N{ZERO WIDTH SPACE}" + text if text.startswith("_") else text


def baseline() -> dict[str, Any]:
    """Line properties of a dense model: dotted, in the text colour of the Matplotlib style in use, dark or light."""
    from matplotlib import rcParams

    return {"color": rcParams["text.color"], "alpha": 0.7, "linestyle": ":"}


def finish(ax: "Axes", x_label: str, y_label: str, **legend: Any) -> "Axes":
    """Labels, grid and legend, as all curves have them; returns the Axes.

    Args:
      ax: drawn already.
      x_label: of its x axis.
      y_label: of its y axis.
      **legend: further properties of the legend.
    """
    ax.set_xlabel(x_label)
    ax.set_ylabel(y_label)
    ax.grid(alpha=0.25)
    ax.legend(frameon=False, fontsize="small", **legend)
    return ax


def spread(ax: "Axes", curve: Sequence[Any], color: Any, is_one_of_few: bool) -> None:
    """How far values go around a curve: a band; error bars where there are more curves than bands can be told apart.

    Args:
      ax: where to draw.
      curve: x, y, low, high.
      color: of the curve.
      is_one_of_few: at most `MOST_BANDS` are drawn.
    """
    x, y, low, high = curve
    if is_one_of_few:
        ax.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    else:
        ends = [[abs(value - end) for value, end in zip(y, of_side, strict=True)] for of_side in (low, high)]
        ax.errorbar(x, y, ends, color=color, alpha=0.6, linestyle="none", linewidth=0.9, capsize=2)


def legend_above(ax: "Axes", **properties: Any) -> None:
    """A legend over the panel, where it hides no curve."""
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize="small", borderaxespad=0.2, **properties)


def legend_below(ax: "Axes") -> None:
    """Move the legend of a panel under it, in rows of three, where it hides no curve."""
    title = ax.get_legend().get_title().get_text()
    place = {"loc": "upper left", "bbox_to_anchor": (0, -0.16), "borderaxespad": 0.2, "ncols": 3}
    ax.legend(title=title, title_fontsize="x-small", alignment="left", frameon=False, fontsize="small", **place)


def save(path: Path, draw: "Callable[[Figure], None]") -> None:
    """Write the figure that `draw` fills, in the format that the file's name ends with, png, pdf or svg.

    Without pyplot, which has global state. The same figure gives the same bytes. Raises as `files.aside`.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    draw(figure)
    kind = path.suffix.removeprefix(".")
    undated = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with files.aside(path) as partial, warnings.catch_warnings(), rc_context({"svg.hashsalt": "lthjax"}):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a title may then show a box
        figure.savefig(partial, dpi=150, format=kind, metadata=undated.get(kind))
