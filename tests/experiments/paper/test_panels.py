"""What pictures share: bands, titles, and places without a panel."""

import numpy as np
from matplotlib.figure import Figure

from experiments.paper import panels


def test_a_band_is_one_standard_deviation():
    rows = [{"sparsity": 0.0, "a": 3.0, "a_sd": 1.0}, {"sparsity": 0.5, "a": 2.0, "a_sd": 0.5}]
    curve = panels.with_deviations("x", rows, "a")
    np.testing.assert_allclose([curve.x, curve.y, curve.low, curve.high], [[0, 50], [3, 2], [2, 1.5], [4, 2.5]])
    alone = panels.with_deviations("x", [{"sparsity": 0.5, "a": 2.0}], "a")
    assert (alone.low, alone.high) == (None, None)
    ax = Figure().add_subplot()
    panels.draw_curves(ax, [curve, alone])
    assert (len(ax.lines), len(ax.collections)) == (2, 1)
    assert ax.lines[0].get_color() != ax.lines[1].get_color()


def test_a_grid_has_titles_as_they_are_and_panels_only_where_there_is_one():
    figure = Figure()
    grid = panels.titled_grid(figure, [["a_$x", "b"], ["c", None]], (8, 6))
    assert grid.shape == (2, 2)
    assert [ax.get_title() for ax in figure.axes] == ["a_$x", "b", "c"]
    assert figure.get_size_inches().tolist() == [8, 6]
    first, second = panels.titled_parts(Figure(), ["one$", "two$"], (4, 8))
    assert [part.get_suptitle() for part in (first, second)] == ["one$", "two$"]
