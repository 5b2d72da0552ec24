"""Best users of an item, candidate lists, baskets: each against brute force, in ids, from dense and sparse tables."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, sparse

import lthjax
from lthjax.data import id_lists
from lthjax.errors import DataError, SettingsError
from lthjax.serving import baskets, ids, scipy_lightgcn, top_k


@pytest.fixture(scope="module")
def served_in_all_ways(ticket_of, split, tmp_path_factory):
    """The same MF ticket in memory, and from a file with dense and with sparse scoring."""
    path = lthjax.export(ticket_of(), split, tmp_path_factory.mktemp("files") / "t.npz")
    loaded = [lthjax.load_compressed(path, scoring=scoring) for scoring in ("dense", "sparse")]
    return [lthjax.explore(ticket_of(), split), *loaded]


def best_first(scores, counts, among):
    return sorted(among, key=lambda i: (-scores[i], -counts[i], i))


def test_the_best_users_of_items(served_in_all_ways, ticket_of, split):
    user, item = map(np.asarray, ticket_of().trained)
    both = np.concatenate([split.train, split.valid])
    counts = np.bincount(split.train[:, 0], minlength=7)
    for served in served_in_all_ways:
        ranked = served.recommend_users(split.item_ids, k=99)
        for place, row in enumerate(range(11)):
            scores = (user @ item[row]).astype(float)
            unseen = set(range(7)) - set(both[both[:, 1] == row, 0].tolist())
            wanted = split.user_ids[best_first(scores, counts, unseen)].tolist()
            assert ranked.found[place].tolist() == wanted + [""] * (ranked.found.shape[1] - len(wanted))
        assert ranked.asked.tolist() == split.item_ids.tolist()
        assert ranked.is_popularity.tolist() == [row == 3 for row in range(11)]  # its row is all zeros
        some = served.recommend_users(53, 2, exclude_seen=False, users=["user c", "user b", "user ü"])
        assert some.found.tolist() == [["user b", "user ü"]]  # by their 10, 4 and 0 training interactions
        with pytest.raises(DataError, match="1 unknown item id: 7"):
            served.recommend_users([50, 7])
        with pytest.raises(DataError, match="1 unknown user id: 'x'"):
            served.recommend_users(50, users=["x"])


def test_candidates_of_each_user(served_in_all_ways, ticket_of, split):
    """Duplicates count once, what is seen is left out unless it is asked for, empty lists stay empty."""
    user, item = map(np.asarray, ticket_of().trained)
    counts = np.bincount(split.train[:, 1], minlength=11)
    users, lists = ["user e", "user a", "user d", "user e"], [[54, 60, 51, 60], [50, 59], [57, 50, 52, 60], []]
    for served in served_in_all_ways:
        for k, exclude_seen in ((99, True), (2, True), (99, False)):
            ranked = served.recommend(users, k, exclude_seen, candidates=lists)
            for name, listed, found in zip(users, lists, ranked.found, strict=True):
                row = split.user_ids.tolist().index(name)
                seen = np.concatenate([split.train, split.valid])
                seen = set(seen[seen[:, 0] == row, 1].tolist()) if exclude_seen else set()
                wanted = best_first(item @ user[row], counts, {i - 50 for i in listed} - seen)[:k]
                assert found[found >= 0].tolist() == split.item_ids[wanted].tolist()
        assert ranked.is_popularity.tolist() == [False, False, True, False]
        arrays = [np.array(one, int) for one in lists]
        np.testing.assert_array_equal(served.recommend(users, 99, False, candidates=arrays).found, ranked.found)


@pytest.mark.parametrize(
    ("candidates", "wanted"),
    [
        ([[50], [51]], "candidates: wanted a list for each of 1 users; got 2"),
        ([], "candidates: wanted a list for each of 1 users; got 0"),
        ([[50, 7]], "1 unknown item id: 7"),
        ([50, 51], "wanted a list of lists of item ids; got 50 as number 0"),
        (["50"], "wanted a list of lists of item ids; got '50' as number 0"),
        ([["50"]], "item ids: wanted integers"),
        ([[50.0]], "item ids: wanted integers"),
        (50, "wanted a list of lists of item ids; got int"),
        ({1: [50]}, "wanted a list of lists of item ids; got dict"),
        ([np.array([[50]])], "wanted a list of lists of item ids; got array"),
    ],
)
def test_candidates_that_are_none(served_in_all_ways, candidates, wanted):
    for served in served_in_all_ways:
        with pytest.raises(DataError, match=wanted) as caught:
            served.recommend("user a", candidates=candidates)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="got both"):
        served.recommend("user a", items=[50], candidates=[[50]])


@given(data=st.data())
def test_lists_are_ranked_as_brute_force_does(data):
    """Whole numbers: scores are exact and ties many. Blocks are made small, so that there are several."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    num_users, num_items, k = 12, data.draw(st.integers(1, 60)), data.draw(st.integers(1, 20))
    density = data.draw(st.sampled_from((0.1, 0.5, 1.0)))
    users, items = (
        (rng.integers(-3, 4, (rows, 4)) * (rng.random((rows, 4)) < density)).astype(np.float32)
        for rows in (num_users, num_items)
    )
    counts, seen = rng.integers(0, 3, num_items), rng.random((num_users, num_items)) < 0.2
    rows, listed = rng.integers(0, num_users, 9), rng.random((9, num_items)) < data.draw(st.sampled_from((0, 0.3, 1)))
    lists = id_lists.from_pairs(np.argwhere(listed), 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k, "_PAIRS_PER_BLOCK", data.draw(st.sampled_from((1, 30, 2**20))))
        patch.setattr(top_k, "_NUMBERS_PER_BLOCK", data.draw(st.sampled_from((8, 2**20))))
        for tables in ((users, items), (sparse.csr_array(users), sparse.csc_array(items))):
            best = top_k.recommend(*tables, rows, k, seen=sparse.csr_array(seen), candidates=lists, counts=counts)
            for number, row in enumerate(rows):
                scores = items @ users[row]
                wanted = best_first(scores, counts, np.flatnonzero(listed[number] & ~seen[row]).tolist())[:k]
                pad = best.rows.shape[1] - len(wanted)
                assert best.rows[number].tolist() == wanted + [-1] * pad
                assert best.scores[number].tolist() == [*scores[wanted].tolist(), *[-np.inf] * pad]


def test_no_array_of_all_users_and_items(monkeypatch):
    """Blocks bound what is scored at once, by however many users and candidates."""
    most = []
    scores_of_pairs = top_k._scores_of_pairs
    monkeypatch.setattr(top_k, "_PAIRS_PER_BLOCK", 100)
    monkeypatch.setattr(top_k, "_scores_of_pairs", lambda *x: most.append(len(x[-1])) or scores_of_pairs(*x))
    lists = id_lists.from_pairs(np.stack([np.repeat(np.arange(50), 9), np.tile(np.arange(9), 50)], 1), 50)
    best = top_k.recommend(np.ones((50, 2), "f4"), np.ones((9, 2), "f4"), k=3, candidates=lists)
    assert best.rows.tolist() == [[0, 1, 2]] * 50
    assert sum(most) == 450
    assert max(most) <= 100


def pair_loss(row, basket, item):
    others = np.setdiff1d(np.arange(len(item)), basket)
    apart = (item[basket][:, None] - item[others][None]).reshape(-1, item.shape[1])
    return np.mean((apart @ row - 1) ** 2) + (apart**2).sum() / len(apart) / item.shape[1] * row @ row


def test_ridge_rows_are_the_minimum_of_their_loss():
    rng = np.random.default_rng(0)
    item = rng.standard_normal((9, 4)).astype(np.float32)
    lists = [[0, 3, 8], [], [5], list(range(9)), [1, 2, 4, 5, 6, 7]]
    rows = id_lists.from_pairs(np.array([(n, i) for n, one in enumerate(lists) for i in one]), 5)
    found = baskets.ridge(item, rows, baskets.sums_of(item))
    for row, basket in zip(found, lists, strict=True):
        if len(basket) in (0, 9):
            assert not row.any()
        else:
            best = optimize.minimize(pair_loss, np.zeros(4), (basket, item.astype(float)), tol=1e-12)
            np.testing.assert_allclose(row, best.x, rtol=1e-4, atol=1e-5)
    stored = sparse.csr_array(item)
    np.testing.assert_allclose(baskets.ridge(stored, rows, baskets.sums_of(stored)), found, rtol=1e-6)
    many = id_lists.from_pairs(np.repeat(rows.pairs(), 1, 0), 5)
    np.testing.assert_allclose(baskets.ridge(3 * item, many, baskets.sums_of(3 * item)), found / 3, rtol=1e-5)
    assert not baskets.ridge(0 * item, rows, baskets.sums_of(0 * item)).any()


def test_blocks_of_baskets(monkeypatch):
    item = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    rows = id_lists.from_pairs(np.argwhere(np.random.default_rng(1).random((11, 20)) < 0.3), 11)
    whole = baskets.ridge(item, rows, baskets.sums_of(item))
    monkeypatch.setattr(baskets, "_NUMBERS_PER_BLOCK", 4 * 9)
    np.testing.assert_array_equal(baskets.ridge(item, rows, baskets.sums_of(item)), whole)


def test_baskets_are_ranked_as_users(served_in_all_ways, ticket_of, split):
    """Item 57 is nobody's in training: it says nothing of a basket, and is left out of its list all the same."""
    item = np.asarray(ticket_of().trained.item)
    counts = np.bincount(split.train[:, 1], minlength=11)
    lists, known = [[50, 53, 50], [60], [57], [52, 57]], [[0, 3], [10], [], [2]]
    for served in served_in_all_ways:
        ranked = served.recommend_for_basket(lists, k=99)
        for number, (basket, of_known) in enumerate(zip(lists, known, strict=True)):
            row = np.zeros(5)
            if of_known:
                row = optimize.minimize(pair_loss, row, (of_known, item.astype(float)), tol=1e-12).x
            wanted = best_first(np.round(item @ row, 6), counts, set(range(11)) - {i - 50 for i in basket})
            assert ranked.found[number][ranked.found[number] >= 0].tolist() == split.item_ids[wanted].tolist()
        assert ranked.asked.tolist() == [0, 1, 2, 3]
        assert ranked.is_popularity.tolist() == [False, False, True, False]
        whole = served.recommend_for_basket(lists, k=99, exclude_basket=False)
        assert whole.found.shape == (4, 11)
        some = served.recommend_for_basket(lists[:1], k=99, items=[51, 50, 60])
        assert sorted(some.found[0].tolist()) == [51, 60]


@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_a_basket_of_lightgcn_is_a_new_user_of_it(ticket_of, split, tmp_path, combine):
    """In a found ticket and in a file that holds layer 0, as `fold_in` has it."""
    ticket = ticket_of(model="lightgcn", layers=3, combine=combine)
    lists = [[50, 53], [60, 57, 51, 54], [52]]
    folded = lthjax.fold_in(ticket, split, lists)
    user, item = folded.final, np.asarray(folded.known.item)
    counts = np.bincount(split.train[:, 1], minlength=11)
    stored = lthjax.load_compressed(lthjax.export(ticket, split, tmp_path / "t.npz", store="layer0"))
    for served in (lthjax.explore(ticket, split), stored):
        ranked = served.recommend_for_basket(lists, k=99, by="propagation")
        for number, basket in enumerate(lists):
            scores = item @ user[number]
            wanted = best_first(np.round(scores, 5), counts, set(range(11)) - {i - 50 for i in basket})
            found = ranked.found[number][ranked.found[number] >= 0]
            assert found.tolist() == split.item_ids[wanted].tolist()
            np.testing.assert_allclose(ranked.scores[number][: len(found)], scores[wanted], rtol=1e-4, atol=1e-6)
        assert not served.recommend_for_basket([[57]], k=3, by="propagation").scores.any()
        ridge = served.recommend_for_basket(lists, k=99)
        assert ridge.found.shape == ranked.found.shape
        assert not np.array_equal(ridge.scores, ranked.scores)


def test_propagation_needs_layer_0(served_in_all_ways, ticket_of, split, tmp_path):
    ticket = ticket_of(model="lightgcn", layers=2)
    final = lthjax.load_compressed(lthjax.export(ticket, split, tmp_path / "t.npz"))
    for served in (*served_in_all_ways, final):
        with pytest.raises(SettingsError, match="by propagation: wanted LightGCN's layer-0 table"):
            served.recommend_for_basket([[50]], by="propagation")
    assert len(final.recommend_for_basket([[50]], k=3).found[0]) == 3


@pytest.mark.parametrize(
    ("lists", "options", "wanted"),
    [
        ([[50], []], {}, "baskets: wanted an item in each; got 1 empty, the first is number 1"),
        ([[50, 7]], {}, "1 unknown item id: 7"),
        ([50, 51], {}, "wanted a list of lists of item ids; got 50 as number 0"),
        ("50", {}, "wanted a list of lists of item ids; got str"),
        ([[50]], {"by": "mean"}, "by: wanted ridge or propagation; got 'mean'"),
        ([[50]], {"k": 0}, "k: wanted a whole number from 1"),
        ([[50]], {"items": [7]}, "1 unknown item id: 7"),
    ],
)
def test_baskets_that_are_none(served_in_all_ways, lists, options, wanted):
    for served in served_in_all_ways:
        with pytest.raises((DataError, SettingsError), match=wanted) as caught:
            served.recommend_for_basket(lists, **options)
        assert "\n" not in str(caught.value)


def test_without_seen_items(ticket_of, split, tmp_path):
    served = lthjax.load_compressed(lthjax.export(ticket_of(), split, tmp_path / "t.npz", seen=False))
    with pytest.raises(DataError, match="exported without"):
        served.recommend_users(50)
    assert served.recommend_users(53, 3, exclude_seen=False).found.tolist() == [["user a", "user b", "user c"]]
    assert len(served.recommend_for_basket([[50]], k=3).found[0]) == 3
    assert served.recommend("user a", 2, False, candidates=[[50, 51, 52]]).found.shape == (1, 2)


def test_baskets_of_two_tastes():
    """Items of a group of taste bring the rest of it, though those of the other are longer."""
    rng = np.random.default_rng(0)
    centre = np.repeat([[1.0, 0, 0, 0], [0, 3.0, 0, 0]], 20, axis=0)
    item = (centre + 0.3 * rng.standard_normal((40, 4))).astype(np.float32)
    rows = id_lists.from_pairs(np.array([(0, 1), (0, 4), (0, 7), (1, 22), (1, 25)]), 2)
    best = top_k.recommend(baskets.ridge(item, rows, baskets.sums_of(item)), item, k=15, seen=rows)
    assert (best.rows[0] < 20).all()
    assert (best.rows[1] >= 20).all()


def test_layers_of_items():
    rng = np.random.default_rng(0)
    user, item = rng.standard_normal((4, 2)).astype("f4"), rng.standard_normal((3, 2)).astype("f4")
    pairs = np.array([[0, 0], [1, 1], [2, 0], [3, 2], [3, 0]])
    for num_layers in (1, 2, 3):
        fewer = scipy_lightgcn.lightgcn(user, item, pairs, num_layers - 1, "sum").item
        np.testing.assert_array_equal(scipy_lightgcn.lightgcn(user, item, pairs, num_layers, "sum").item_layers, fewer)
        mean = scipy_lightgcn.lightgcn(user, item, pairs, num_layers).item_layers
        np.testing.assert_allclose(mean, fewer / (num_layers + 1), rtol=1e-6)
    assert not scipy_lightgcn.lightgcn(user, item, pairs, 0).item_layers.any()


def test_lists_of_ids():
    lists = ids.lists_of([["b", "a", "b"], (), np.array(["a"])], np.array(["a", "b"]), "item")
    assert lists.pairs().tolist() == [[0, 0], [0, 1], [2, 0]]
    assert ids.lists_of([], np.array([1]), "item").num_rows == 0


def test_no_jax(ticket_of, split, tmp_path):
    path = lthjax.export(ticket_of(model="lightgcn", layers=2), split, tmp_path / "t.npz", store="layer0")
    script = f"""
import sys, lthjax
t = lthjax.load_compressed({str(path)!r})
t.recommend("user a", 3, candidates=[[50, 51, 59]])
t.recommend_users([50], 3)
t.recommend_for_basket([[50, 51]], 3), t.recommend_for_basket([[50, 51]], 3, by="propagation")
assert not {{"jax", "faiss", "hnswlib"}} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
