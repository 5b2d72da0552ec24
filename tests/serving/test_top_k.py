"""Top-K from tables: against sorted(), by hand, and the same from dense and sparse tables."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from lthjax.errors import DataError, SettingsError
from lthjax.serving import ids
from lthjax.serving import top_k as recommend

USERS = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
ITEMS = np.array([[1, 0], [2, 5], [2, 0], [-1, 0], [0, 0]], np.float32)


def brute_force(users, items, row, k, seen=(), candidates=None):
    """(items, scores): sorted by score downwards, then by index."""
    scores = users[row] @ items.T
    ranked = sorted((i for i in candidates or range(len(items)) if i not in seen), key=lambda i: (-scores[i], i))
    return ranked[:k], [scores[i] for i in ranked[:k]]


def test_by_hand():
    best = recommend.recommend(USERS, ITEMS, k=3)
    assert best.rows.tolist() == [[1, 2, 0], [1, 0, 2], [0, 1, 2]]  # ties, and a row of zeros: the lower index first
    assert best.scores.tolist() == [[2, 2, 1], [5, 0, 0], [0, 0, 0]]


@settings(max_examples=30)
@given(data=st.data())
def test_matches_brute_force(data):
    """Whole numbers, so that scores are exact and ties many; 70 users are more than a block."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    num_items, k = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 30))
    density = data.draw(st.sampled_from((0.02, 0.3, 1.0)))
    users, items = (
        (rng.integers(-3, 4, (n, 5)) * (rng.random((n, 5)) < density)).astype(np.float32) for n in (70, num_items)
    )
    seen = sparse.csr_array(rng.random((70, num_items)) < data.draw(st.sampled_from((0.0, 0.1, 0.97))))
    candidates = data.draw(st.none() | st.lists(st.integers(0, num_items - 1), min_size=1, max_size=40))
    rows = rng.integers(0, 70, 66)
    for tables, scoring in (((users, items), "dense"), ((sparse.csr_array(users), sparse.csc_array(items)), "sparse")):
        best = recommend.recommend(*tables, rows, k, seen=seen, candidates=candidates, scoring=scoring)
        for row, found, scores in zip(rows, *best, strict=True):
            here = set(seen.indices[seen.indptr[row] : seen.indptr[row + 1]].tolist())
            wanted = brute_force(users, items, row, k, here, candidates and sorted(set(candidates)))
            short = len(found) - len(wanted[0])
            assert found.tolist() == wanted[0] + [-1] * short
            assert scores.tolist() == wanted[1] + [-np.inf] * short


def test_as_wide_as_the_longest_list():
    seen = sparse.csr_array(np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]))
    best = recommend.recommend(USERS, ITEMS, k=9, seen=seen)
    assert best.rows.tolist() == [[-1, -1], [3, 4], [0, -1]]
    assert recommend.recommend(USERS, ITEMS, [0], k=9, seen=seen).rows.shape == (1, 0)
    assert recommend.recommend(USERS, ITEMS, [], k=9).rows.shape == (0, 0)
    assert recommend.recommend(USERS, ITEMS, [1], candidates=[]).rows.shape == (1, 0)


def test_seen_items_as_rows_of_ids(tiny_graph):
    """`lthjax.graph.graph.id_sets.Rows`, whose ids are on the device, and any other pair of starts and ids."""
    rng = np.random.default_rng(0)
    users, items = rng.standard_normal((7, 4)), rng.standard_normal((11, 4))
    positives = tiny_graph.positives
    starts, ids = np.asarray(positives.starts), np.asarray(positives.ids)
    matrix = sparse.csr_array((np.ones(len(ids)), ids, starts), shape=(7, 11))
    best = [
        recommend.recommend(users, items, k=4, seen=seen)
        for seen in (positives, SimpleNamespace(starts=starts, ids=ids), matrix)
    ]
    for other in best[1:]:
        np.testing.assert_array_equal(other.rows, best[0].rows)
    assert best[0].rows[1].tolist() == [7, -1, -1, -1]  # user 1 has all others
    assert best[0].scores.dtype == np.float64


def test_sparse_scoring_is_chosen_for_very_sparse_tables():
    dense = np.ones((10, 100), np.float32)
    few = np.where(np.arange(1000).reshape(10, 100) % 20 == 0, dense, 0)  # 95% zeros
    some = np.where(np.arange(1000).reshape(10, 100) % 10 == 0, dense, 0)  # 90%
    assert recommend.choose(few, few) == recommend.choose(*[sparse.csr_array(few)] * 2) == "sparse"
    assert recommend.choose(some, some) == recommend.choose(dense, few) == "dense"


def test_similar_by_hand():
    best = recommend.similar(ITEMS, k=2)
    assert best.rows.tolist() == [[2, 1], [0, 2], [0, 1], [4, 1], [0, 1]]  # never itself; zeros are 0 to all
    np.testing.assert_allclose(best.scores[1], 2 / np.sqrt(29), rtol=1e-6)
    np.testing.assert_allclose(best.scores[3], [0, -2 / np.sqrt(29)], rtol=1e-6)
    by_stored = recommend.similar(sparse.csr_array(ITEMS), k=2, scoring="sparse")
    np.testing.assert_array_equal(by_stored.rows, best.rows)
    np.testing.assert_allclose(by_stored.scores, best.scores, rtol=1e-6)


def test_similar_finds_all_others():
    assert recommend.similar(ITEMS, [3], k=99).rows.shape == (1, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_other_dtypes_are_scored_in_float32(dtype):
    best = recommend.recommend(USERS.astype(dtype), ITEMS.astype(dtype), k=3)
    np.testing.assert_array_equal(best.rows, recommend.recommend(USERS, ITEMS, k=3).rows)
    assert best.scores.dtype == np.float32


@pytest.mark.parametrize("scoring", ["dense", "sparse"])
def test_numbers_that_are_none_are_refused(scoring):
    broken = ITEMS.copy()
    broken[2, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        recommend.recommend(USERS, broken, scoring=scoring)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"rows": [3]}, "0 to 2; got 3 to 3"),
        ({"rows": [-1]}, "got -1"),
        ({"rows": [0.5]}, "row numbers; got float64"),
        ({"candidates": [5]}, "candidates: wanted rows from 0 to 4"),
        ({"seen": sparse.csr_array((3, 4))}, r"shape \(3, 5\); got \(3, 4\)"),
        ({"seen": SimpleNamespace(starts=[0, 1, 1, 1], ids=[9])}, "got 9 to 9"),
        ({"items": np.ones((4, 3))}, r"as many dimensions; got \(3, 2\) and \(4, 3\)"),
        ({"k": 0}, "k: wanted a whole number from 1; got 0"),
        ({"k": 2.0}, "k: wanted"),
        ({"scoring": "fast"}, "auto, dense or sparse; got 'fast'"),
    ],
)
def test_bad_input(arguments, wanted):
    with pytest.raises((DataError, SettingsError), match=wanted):
        recommend.recommend(**({"users": USERS, "items": ITEMS} | arguments))


def test_rows_of_ids():
    numbers, text = np.array([10, 20, 30]), np.array(["a", "b"])
    assert ids.rows_of([10, 30, 10], numbers, "user").tolist() == [0, 2, 0]
    assert ids.rows_of(20, numbers, "user").tolist() == [1]
    assert ids.rows_of("b", text, "item").tolist() == [1]
    assert ids.rows_of(np.array([20, 30], object), numbers, "user").tolist() == [1, 2]
    assert ids.rows_of(np.array(["a"], object), text, "user").tolist() == [0]
    assert ids.rows_of([], numbers, "user").tolist() == []


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ([10, 7, 8, 7], r"3 are known\); got 2 unknown user ids: 7, 8\."),
        (range(100, 110), r"got 10 unknown user ids: 100, 101, 102, 103, 104, \.\.\."),
        (5, "got 1 unknown user id: 5"),
        (["10"], "wanted integers, as in the training data; got <U2"),
        ([10.0], "wanted integers"),
        ([[10]], r"shape \(1, 1\)"),
    ],
)
def test_unknown_ids(asked, wanted):
    with pytest.raises(DataError, match=wanted):
        ids.rows_of(asked, np.array([10, 20, 30]), "user")


def test_named():
    best = recommend.Best(np.array([[1, -1]]), np.array([[0.5, -np.inf]]))
    assert ids.named(best, np.array([7]), np.array([30, 10])).found.tolist() == [[10, -1]]
    assert ids.named(best, np.array([7]), np.array(["x", "y"])).found.tolist() == [["y", ""]]


@pytest.mark.parametrize("asked", [[10**30], [[1], [1, 2]]])
def test_ids_that_no_table_has(asked):
    with pytest.raises(DataError, match="item ids: wanted"):
        ids.rows_of(asked, np.arange(3), "item")
