"""The pictures show the numbers that they were given, whatever the style and the names."""

import matplotlib
import matplotlib.style
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lthjax import plots
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError
from lthjax.plots import tables as pictures

RNG = np.random.default_rng(0)
OUTER = RNG.random((9, 4)) < 0.7
INNER = OUTER & (RNG.random((9, 4)) < 0.5)
NAMES = ("_a", "a rather long name with $two$ signs")


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


@pytest.fixture(params=["default", "dark_background"])
def style(request):
    with matplotlib.style.context(request.param):
        yield request.param


def labels(ax):
    ax.figure.draw_without_rendering()
    return [text.get_text().replace("\N{ZERO WIDTH SPACE}", "") for text in ax.get_legend().get_texts()]


def test_masks_are_counted_entry_by_entry(ax):
    drawn = pictures.masks_image([OUTER, INNER], ax, num_rows=5)
    counts = drawn.images[0].get_array()
    np.testing.assert_array_equal(counts, (OUTER.astype(int) + INNER)[:5])
    single = pictures.masks_image([INNER], Figure().add_subplot())
    assert [text.get_text() for text in single.images[0].colorbar.ax.get_yticklabels()] == ["pruned", "kept"]
    for wrong in ([], [OUTER, INNER[:3]], [OUTER[0]]):
        with pytest.raises(DataError, match="of one shape"):
            pictures.masks_image(wrong, ax)


def test_kept_against_degree(ax):
    kept, degree = np.array([4, 2, 3, 9, 5]), np.array([0, 1, 1, 64, 70])
    drawn = pictures.kept_against_degree(kept, degree, ax, "item")
    dots = drawn.lines[0].get_xydata()
    assert np.rint(dots).tolist() == np.stack([degree, kept], axis=1).tolist()
    np.testing.assert_allclose(drawn.lines[2].get_xydata(), [[0, 4], [1, 2.5], [67, 7]])
    with pytest.raises(DataError, match="of the same rows"):
        pictures.kept_against_degree(kept, degree[1:], ax)


def test_magnitudes_count_what_is_not_0(ax):
    table = Embeddings(np.where(OUTER, 0.1, 0), np.where(INNER, -2.0, 0))
    drawn = pictures.magnitudes(dict.fromkeys(NAMES, table), ax)
    for outline in drawn.patches:
        assert outline.get_data().values.sum() == OUTER.sum() + INNER.sum()
        assert outline.get_data().values[0] == OUTER.sum()
    with pytest.raises(DataError, match="other than 0"):
        pictures.magnitudes({"none": np.zeros(3)}, ax)


def test_an_overlap_matrix_says_its_numbers(ax, style):
    masks = {NAMES[0]: Embeddings(OUTER, OUTER), NAMES[1]: Embeddings(INNER, INNER)}
    jaccard = INNER.sum() / OUTER.sum()
    drawn = pictures.overlap_matrix(masks, ax)
    np.testing.assert_allclose(drawn.images[0].get_array(), [[1, jaccard], [jaccard, 1]])
    assert [text.get_text() for text in drawn.texts] == ["1.00", f"{jaccard:.2f}", f"{jaccard:.2f}", "1.00"]
    drawn = pictures.overlap_matrix(masks, Figure().add_subplot(), "overlap")
    np.testing.assert_array_equal(drawn.images[0].get_array(), np.ones((2, 2)))


def test_training_curves(ax, style):
    log = pd.DataFrame({"level": [0, 0, 0, 1], "epoch": [5, 10, 15, 5], "valid_recall@20": [0.1, 0.3, 0.2, 0.4]})
    log["is_best"] = [True, True, False, True]
    drawn = plots.training_curves(log, ax, {0: NAMES[0], 1: NAMES[1]})
    assert drawn.lines[0].get_xydata().tolist() == [[5, 0.1], [10, 0.3], [15, 0.2]]
    assert [line.get_xydata().tolist() for line in drawn.lines[1::2]] == [[[10, 0.3]], [[5, 0.4]]]
    assert drawn.get_ylabel() == "validation Recall@20"
    assert [text.replace(r"\$", "$") for text in labels(drawn)] == list(NAMES)
    for line in drawn.lines:  # to be seen on black and on white
        assert 0.05 < np.dot(matplotlib.colors.to_rgb(line.get_color()), [0.2126, 0.7152, 0.0722]) < 0.75


def test_the_baseline_has_the_colour_of_the_text(ax, style):
    rows = [
        {"level": 0, "sparsity": 0.0, "recall@20": 0.2, "verdict": "dense"},
        {"level": 1, "sparsity": 0.1, "recall@20": 0.3, "verdict": "wins", "interval_low": 0.0, "interval_high": 0.2},
    ]
    drawn = plots.recall_vs_sparsity(rows, ax)
    assert (
        next(line for line in drawn.lines if line.get_linestyle() == ":").get_color()
        == ({"default": "black", "dark_background": "white"}[style])
    )
    drawn = plots.several(dict.fromkeys(NAMES, rows), Figure().add_subplot())
    assert [text.replace(r"\$", "$") for text in labels(drawn)] == list(NAMES)


def test_curves_are_of_the_metric_that_chose():
    rows = [
        {"level": level, "sparsity": level / 10, "valid_ndcg@5": 9, "ndcg@5": 0.25, "recall@5": 1, "verdict": "dense"}
        | {"interval_low": 0.0, "interval_high": 0.2}
        for level in (0, 1)
    ]
    drawn = plots.recall_vs_sparsity(rows, Figure().add_subplot())
    assert drawn.get_ylabel() == "test NDCG@5"
    assert any(list(line.get_ydata()) == [0.25, 0.25] and line.get_marker() == "o" for line in drawn.lines)
    assert plots.several({"one": rows, "two": rows}, Figure().add_subplot()).get_ylabel() == "test NDCG@5"
    others = [{"map@5": row.pop("ndcg@5"), **row} for row in map(dict, rows)]
    with pytest.raises(DataError, match="wanted variants with the same first metric; got map@5, ndcg@5"):
        plots.several({"one": rows, "two": others}, Figure().add_subplot())
    log = pd.DataFrame({"level": [0], "epoch": [5], "valid_sample_map@5": [0.1], "is_best": [True]})
    assert plots.training_curves(log, Figure().add_subplot()).get_ylabel() == "validation sample MAP@5"
    log["loss"] = [0.5]
    assert plots.training_curves(log, Figure().add_subplot(), value="loss").get_ylabel() == "loss"


def test_overlaps_of_masks_that_do_not_go_together():
    with pytest.raises(DataError, match="wanted masks of one shape"):
        pictures.overlap_matrix({"one": np.ones((2, 3), bool), "two": np.ones((2, 4), bool)}, Figure().add_subplot())
    with pytest.raises(DataError, match="got an empty one"):
        plots.training_curves(pd.DataFrame(), Figure().add_subplot())
