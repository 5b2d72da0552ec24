"""What all pictures share: colours, markers and names; labels as they are; how a figure is written."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lthjax.runtime import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TICKET = "#0072b2"  # blue and orange that differ in grey too, and for the colour-blind


WINNER = "#d55e00"


MODELS = {"mf": "MF", "lightgcn": "LightGCN"}


# Colour, marker and line of a method, the same in every picture; told apart in grey by the latter two.
_STYLES = {
    "IMP": (TICKET, "o", "-"),
    "OMP": ("#e69f00", "s", "--"),
    "RP": ("#009e73", "^", "-."),
    "PEP": ("#cc79a7", "D", "--"),
    "LCM": ("#56b4e9", "v", "-."),
    "MagPrune": ("0.45", "x", ":"),
}


_OTHERS = tuple(_STYLES.values())


def style(name: str, place: int) -> dict[str, Any]:
    """Line properties of a method by its name, of anything else by its place in the picture."""
    color, marker, line = _STYLES.get(name, _OTHERS[place % len(_OTHERS)])
    return {"color": color, "marker": marker, "linestyle": line, "markersize": 4}


def plain(text: str) -> str:
    """Text for labels as it is: a $ of a file name begins no formula, and an underscore in front hides no curve."""
    text = text.replace("$", r"\$")
    return "\N{ZERO WIDTH SPACE}" + text if text.startswith("_") else text


def baseline() -> dict[str, Any]:
    """A dotted line in the colour that the style in use has for text, dark or light."""
    from matplotlib import rcParams

    return {"color": rcParams["text.color"], "alpha": 0.7, "linestyle": ":"}


def save(path: Path, draw: "Callable[[Figure], None]") -> None:
    """Write a figure to the side and rename it; without pyplot, so that no display and no global state is needed."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    draw(figure)
    with files.aside(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box in the title is no reason to complain
        figure.savefig(partial, dpi=150, format="png")
