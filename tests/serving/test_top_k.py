"""Top-K from tables: against sorted(), by hand, and the same from dense and sparse tables."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from lthjax.errors import DataError, SettingsError
from lthjax.serving import ids, top_k

USERS = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
ITEMS = np.array([[1, 0], [2, 5], [2, 0], [-1, 0], [0, 0]], np.float32)


def brute_force(scores, counts, k, seen=(), candidates=None):
    """(items, scores): sorted by score downwards, then by count downwards, then by index."""
    unseen = (i for i in candidates or range(len(scores)) if i not in seen)
    ranked = sorted(unseen, key=lambda i: (-scores[i], -counts[i], i))
    return ranked[:k], [scores[i] for i in ranked[:k]]


def random_tables(rng, num_items, density):
    """Users and items of whole numbers, so that scores are exact and ties many; a third of the rows is all zeros."""
    tables = (rng.integers(-3, 4, (rows, 5)) * (rng.random((rows, 5)) < density) for rows in (70, num_items))
    return [(table * (rng.random((len(table), 1)) < 2 / 3)).astype(np.float32) for table in tables]


def dense_and_sparse(users, items):
    return ((users, items), "dense"), ((sparse.csr_array(users), sparse.csc_array(items)), "sparse")


def test_by_hand():
    best = top_k.recommend(USERS, ITEMS, k=3)
    assert best.rows.tolist() == [[1, 2, 0], [1, 0, 2], [0, 1, 2]]  # ties, and a row of zeros: the lower index first
    assert best.scores.tolist() == [[2, 2, 1], [5, 0, 0], [0, 0, 0]]


@settings(max_examples=30)
@given(data=st.data())
def test_matches_brute_force(data):
    """70 users are more than a block."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    num_items, k = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 30))
    users, items = random_tables(rng, num_items, data.draw(st.sampled_from((0.02, 0.3, 1.0))))
    counts = data.draw(st.sampled_from((None, rng.integers(0, 4, num_items), rng.integers(0, 2**31, num_items))))
    seen = sparse.csr_array(rng.random((70, num_items)) < data.draw(st.sampled_from((0.0, 0.1, 0.97))))
    candidates = data.draw(st.none() | st.lists(st.integers(0, num_items - 1), min_size=1, max_size=40))
    rows = rng.integers(0, 70, 66)
    known = np.zeros(num_items) if counts is None else counts
    for tables, scoring in dense_and_sparse(users, items):
        best = top_k.recommend(*tables, rows, k, seen=seen, candidates=candidates, counts=counts, scoring=scoring)
        for row, items_found, scores in zip(rows, *best, strict=True):
            seen_ids = set(seen.indices[seen.indptr[row] : seen.indptr[row + 1]].tolist())
            wanted = brute_force(users[row] @ items.T, known, k, seen_ids, candidates and sorted(set(candidates)))
            short = len(items_found) - len(wanted[0])
            assert items_found.tolist() == wanted[0] + [-1] * short
            assert scores.tolist() == wanted[1] + [-np.inf] * short


@settings(max_examples=30)
@given(data=st.data())
def test_renumbered_items_are_ranked_alike(data):
    """Where no two items are equally popular, an item's number decides nothing."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    num_items, k = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 30))
    users, items = random_tables(rng, num_items, data.draw(st.sampled_from((0.1, 0.5))))
    counts, numbers = rng.permutation(num_items), rng.permutation(num_items)
    seen = rng.random((70, num_items)) < 0.1
    candidates = np.flatnonzero(rng.random(num_items) < data.draw(st.sampled_from((0.5, 1.0))))
    own = {"seen": sparse.csr_array(seen), "counts": counts, "candidates": candidates}
    renumbered = {
        "seen": sparse.csr_array(seen[:, numbers]),
        "counts": counts[numbers],
        "candidates": np.argsort(numbers)[candidates],
    }
    for (user, item), scoring in dense_and_sparse(users, items):
        best = top_k.recommend(user, item, k=k, scoring=scoring, **own)
        other = top_k.recommend(user, item[numbers], k=k, scoring=scoring, **renumbered)
        np.testing.assert_array_equal(np.where(other.rows < 0, -1, numbers[other.rows]), best.rows)
        np.testing.assert_array_equal(other.scores, best.scores)


def test_by_popularity():
    """A user without entries is shown what most have; others only among equals."""
    for tables, scoring in dense_and_sparse(USERS, ITEMS):
        best = top_k.recommend(*tables, k=3, counts=np.array([1, 0, 7, 9, 7]), scoring=scoring)
        assert best.rows.tolist() == [[2, 1, 0], [1, 3, 2], [3, 2, 4]]


def test_as_wide_as_the_longest_list():
    seen = sparse.csr_array(np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]))
    best = top_k.recommend(USERS, ITEMS, k=9, seen=seen)
    assert best.rows.tolist() == [[-1, -1], [3, 4], [0, -1]]
    assert top_k.recommend(USERS, ITEMS, [0], k=9, seen=seen).rows.shape == (1, 0)
    assert top_k.recommend(USERS, ITEMS, [], k=9).rows.shape == (0, 0)
    assert top_k.recommend(USERS, ITEMS, [1], candidates=[]).rows.shape == (1, 0)


def test_seen_items_as_rows_of_ids(tiny_graph):
    """`IdLists`, here on the device, and any other pair of starts and ids."""
    rng = np.random.default_rng(0)
    users, items = rng.standard_normal((7, 4)), rng.standard_normal((11, 4))
    positives = tiny_graph.positives
    starts, ids = np.asarray(positives.starts), np.asarray(positives.ids)
    matrix = sparse.csr_array((np.ones(len(ids)), ids, starts), shape=(7, 11))
    best = [
        top_k.recommend(users, items, k=4, seen=seen)
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
    assert top_k.choose(few, few) == top_k.choose(*[sparse.csr_array(few)] * 2) == "sparse"
    assert top_k.choose(some, some) == top_k.choose(dense, few) == "dense"


def test_similar_by_hand():
    best = top_k.similar(ITEMS, k=2)
    assert best.rows.tolist() == [[2, 1], [0, 2], [0, 1], [4, 1], [0, 1]]  # never itself; zeros are 0 to all
    np.testing.assert_allclose(best.scores[1], 2 / np.sqrt(29), rtol=1e-6)
    np.testing.assert_allclose(best.scores[3], [0, -2 / np.sqrt(29)], rtol=1e-6)
    by_stored = top_k.similar(sparse.csr_array(ITEMS), k=2, scoring="sparse")
    np.testing.assert_array_equal(by_stored.rows, best.rows)
    np.testing.assert_allclose(by_stored.scores, best.scores, rtol=1e-6)


def test_similar_finds_all_others():
    assert top_k.similar(ITEMS, [3], k=99).rows.shape == (1, 4)


@pytest.mark.parametrize("dtype", [np.float16, np.int8])
def test_other_dtypes_are_scored_in_float32(dtype):
    best = top_k.recommend(USERS.astype(dtype), ITEMS.astype(dtype), k=3)
    np.testing.assert_array_equal(best.rows, top_k.recommend(USERS, ITEMS, k=3).rows)
    assert best.scores.dtype == np.float32


@pytest.mark.parametrize("scoring", ["dense", "sparse"])
def test_numbers_that_are_none_are_refused(scoring):
    broken = ITEMS.copy()
    broken[2, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        top_k.recommend(USERS, broken, scoring=scoring)


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"rows": [3]}, "0 to 2; got 3 to 3"),
        ({"rows": [-1]}, "got -1"),
        ({"rows": [0.5]}, "row numbers; got float64"),
        ({"candidates": [5]}, "candidates: wanted rows from 0 to 4"),
        ({"seen": sparse.csr_array((3, 4))}, r"shape \(3, 5\); got \(3, 4\)"),
        ({"seen": SimpleNamespace(starts=[0, 1, 1, 1], ids=[9])}, "got 9 to 9"),
        ({"counts": [1, 2, 3]}, r"counts: wanted one for each of 5 items; got shape \(3,\)"),
        ({"items": np.ones((4, 3))}, r"as many dimensions; got \(3, 2\) and \(4, 3\)"),
        ({"k": 0}, "k: wanted a whole number from 1; got 0"),
        ({"k": 2.0}, "k: wanted"),
        ({"scoring": "fast"}, "auto, dense or sparse; got 'fast'"),
        ({"k": True}, "k: wanted"),
    ],
)
def test_bad_input(arguments, wanted):
    with pytest.raises((DataError, SettingsError), match=wanted):
        top_k.recommend(**({"users": USERS, "items": ITEMS} | arguments))


def test_more_results_than_the_memory_may_hold():
    users, items = sparse.csr_array((100_000, 2)), sparse.csc_array((40_000, 2))
    with pytest.raises(SettingsError, match=r"67,108,864 results.*; got 100,000 lists of 40,000\. .* at most 1,677\."):
        top_k.recommend(users, items, k=40_000)
    assert top_k.recommend(users, items, range(3), k=50_000).rows.shape == (3, 40_000)


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
        (range(100, 110), r"got 10 unknown user ids: 100, 101, 102, 103, 104 and 5 more\."),
        (2**63, r"got 1 unknown user id: 9223372036854775808\."),
        (np.array([10, 2**63 + 1], np.uint64), r"got 1 unknown user id: 9223372036854775809\."),
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
    best = top_k.Best(np.array([[1, -1]]), np.array([[0.5, -np.inf]]))
    ranked = ids.named(best, np.array([7]), np.array([30, 10]))
    assert (ranked.found.tolist(), ranked.is_popularity.tolist()) == ([[10, -1]], [False])
    assert ids.named(best, np.array([7]), np.array(["x", "y"])).found.tolist() == [["y", ""]]


@pytest.mark.parametrize("asked", [[10**30], [[1], [1, 2]]])
def test_ids_that_no_table_has(asked):
    with pytest.raises(DataError, match="item ids: wanted"):
        ids.rows_of(asked, np.arange(3), "item")
