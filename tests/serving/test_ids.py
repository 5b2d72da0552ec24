"""Interactions of new rows: ids and matrices are read alike, and every bad input is named."""

import numpy as np
import pytest
from scipy import sparse

from lthjax.errors import DataError
from lthjax.serving import ids

IDS = np.array([10, 20, 30, 40])
WANTED = [[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]]


@pytest.mark.parametrize(
    "given",
    [
        [[40, 10], [], [20, 30, 20]],  # any order, one twice
        [np.array([40, 10]), (), iter([20, 30])],
        ([np.int32(40), 10.0], [], {20, 30}),
        sparse.csr_array(np.array([[2.0, 0, 0, 5.0], [0, 0, 0, 0], [0, 1.0, -1.0, 0]])),
        sparse.coo_array(([1, 1, 1, 1, 0, 1], ([0, 0, 2, 2, 1, 0], [3, 0, 1, 2, 1, 0])), shape=(3, 4)),  # 0 is none
    ],
)
def test_ids_and_matrices_are_read_alike(given):
    matrix = ids.interactions_of(given, IDS, "item")
    assert matrix.dtype == np.float32
    assert matrix.has_sorted_indices
    np.testing.assert_array_equal(matrix.toarray(), WANTED)


def test_text_ids():
    matrix = ids.interactions_of([["b", np.str_("c")]], np.array(["a", "b", "c"]), "user")
    np.testing.assert_array_equal(matrix.toarray(), [[0, 1, 1]])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[10], [99, 20, np.int64(7), 99]], r"got 2 that it does not have: 99, 7 \(the first in row 1\)"),
        ([range(10)], "got 10 that it does not have: 0, 1, 2, 3, 4 and 5 more"),
        ([["10"]], "got 1 that it does not have: '10'"),
        ([["10", 10], "20"], r"wanted a list of item ids for each new row, got '20' \(row 1\)"),
        ([10, 20], r"wanted a list of item ids for each new row, got 10 \(row 0\)"),
        ([[[10]]], r"wanted item ids, got \[10\] \(row 0\)"),
        ("10", "wanted a SciPy sparse matrix, or a list of item ids for each new row, got str"),
        (np.eye(4), "wanted a SciPy sparse matrix, or a list of item ids for each new row, got ndarray"),
        (7, "got int"),
        ([], "wanted at least one new row of items, got none"),
        (sparse.csr_array((0, 4)), "wanted at least one new row of items, got none"),
        (sparse.csr_array((2, 5)), r"a column for each of 4 items, got shape \(2, 5\)"),
    ],
)
def test_bad_input_is_named(given, message):
    with pytest.raises(DataError, match=message):
        ids.interactions_of(given, IDS, "item")


def test_columns_left_out():
    matrix = ids.interactions_of([[10, 20], [20], [30, 40]], IDS, "item")
    left = ids.without_columns(matrix, np.array([False, True, False, True]))
    np.testing.assert_array_equal(left.toarray(), [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]])


def test_ids_that_are_no_ids():
    with pytest.raises(DataError, match="got True"):
        ids.interactions_of([[True]], np.arange(3), "item")
    assert ids.interactions_of([np.array(2)], np.arange(3), "item").indices.tolist() == [2]
