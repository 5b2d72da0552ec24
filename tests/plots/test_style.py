"""What all pictures share: formats by the file's name, bands of few curves, legends beside the panel."""

import pytest
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure

from lthjax import plots
from lthjax.plots.style import legend_above, legend_below, spread

BEGINNINGS = {"png": b"\x89PNG", "pdf": b"%PDF-", "svg": b"<?xml"}


@pytest.mark.parametrize("kind", BEGINNINGS)
def test_the_name_says_the_format_and_the_same_picture_is_the_same_file(kind, tmp_path):
    def draw(figure):
        figure.add_subplot().plot([1, 2], [3, 1], marker="o", label="a curve")

    for name in ("first", "second"):
        plots.save(tmp_path / f"{name}.{kind}", draw)
    written = [(tmp_path / f"{name}.{kind}").read_bytes() for name in ("first", "second")]
    assert written[0] == written[1]
    assert written[0].startswith(BEGINNINGS[kind])


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


@pytest.mark.parametrize("is_one_of_few", [True, False])
def test_few_have_bands_many_have_error_bars(ax, is_one_of_few):
    spread(ax, ([0, 1], [2.0, 3.0], [1.5, 2.0], [2.25, 5.0]), "red", is_one_of_few)
    kinds = {type(part) for part in ax.collections}
    assert any(issubclass(kind, PolyCollection) for kind in kinds) == is_one_of_few
    if not is_one_of_few:
        (bars,) = [part for part in ax.collections if isinstance(part, LineCollection)]
        assert [sorted(end[1] for end in bar) for bar in bars.get_segments()] == [[1.5, 2.25], [2.0, 5.0]]


def test_several_variants_have_bands_up_to_two(ax):
    rows = [
        {"sparsity": level / 4, "recall@20": 0.2, "recall@20_sd": 0.01, "verdict": "worse", "cut_short": False}
        for level in range(3)
    ]
    for number in (2, 3):
        ax = Figure().add_subplot()
        plots.several({f"variant {i}": rows for i in range(number)}, ax)
        assert any(isinstance(part, PolyCollection) for part in ax.collections) == (number == 2)


@pytest.mark.parametrize("place", [legend_above, legend_below])
def test_a_legend_beside_the_panel_covers_none_of_it(ax, place):
    ax.plot([0, 1], [0, 1], label="a curve")
    ax.plot([0, 1], [1, 0], label="another")
    ax.set_xlabel("entries pruned (%)")
    ax.legend(title="dotted: dense")
    place(ax)
    ax.figure.draw_without_rendering()
    legend = ax.get_legend().get_window_extent()
    panel = ax.get_window_extent()
    assert not legend.overlaps(panel) or legend.y0 >= panel.y1 - 1 or legend.y1 <= panel.y0 + 1
    label = ax.xaxis.label.get_window_extent()
    assert not legend.overlaps(label)
