"""FAISS and hnswlib over the items of a ticket: exact where they are exact, nearly so where they are not."""

import sys

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

import lthjax
from lthjax.data import id_lists
from lthjax.errors import DataError, SettingsError
from lthjax.serving import compressed, item_index
from lthjax.serving.file_format import Contents, Tables
from lthjax.settings import Settings


def served_of(user, item, train=None, scoring="dense"):
    """A ticket with these tables, under ids of their own."""
    rows = id_lists.from_pairs(np.argwhere(train), len(user)) if train is not None else None
    counts = None if train is None else np.count_nonzero(train, axis=0)
    contents = Contents(
        tables=Tables(user, item),
        user_ids=1000 + 3 * np.arange(len(user)),
        item_ids=np.sort(np.array([f"item {number}" for number in range(len(item))])),
        train=rows,
        valid=None,
        item_counts=counts,
        facts={},
    )
    return compressed.serve(contents, scoring=scoring)


@pytest.fixture(scope="module")
def large():
    """300 users and 2,000 items, 60% of the entries and some rows pruned; up to 200 items seen."""
    rng = np.random.default_rng(0)
    user, item = (rng.standard_normal((rows, 16)).astype(np.float32) for rows in (300, 2000))
    item *= rng.gamma(2, 0.5, (2000, 1)).astype(np.float32)
    for table in (user, item):
        table *= (rng.random(table.shape) < 0.4) & (rng.random((len(table), 1)) < 0.95)
    train = rng.random((300, 2000)) < rng.random((300, 1)) * 0.1
    return served_of(user, item, train)


def test_flat_gives_what_recommend_gives(large):
    found = large.index("faiss")
    assert isinstance(found.index, faiss.IndexFlat)
    assert (found.index.ntotal, found.index.d, found.index.metric_type) == (2000, 16, faiss.METRIC_INNER_PRODUCT)
    for exclude_seen in (True, False):
        ours, theirs = (x(large.user_ids, 10, exclude_seen) for x in (large.recommend, found.search))
        np.testing.assert_array_equal(theirs.found, ours.found)
        np.testing.assert_array_equal(theirs.is_popularity, ours.is_popularity)
        np.testing.assert_allclose(theirs.scores, ours.scores, rtol=1e-5, atol=1e-6)
    assert ours.is_popularity.sum() > 5
    _, labels = found.index.search(large.user[:5], 3)
    plain = large.recommend(large.user_ids[:5], 3, exclude_seen=False).found
    np.testing.assert_array_equal(found.item_ids[labels][~ours.is_popularity[:5]], plain[~ours.is_popularity[:5]])


@effort(max_examples=25)
@given(data=st.data())
def test_flat_breaks_ties_as_recommend_does(data):
    """Whole numbers: ties everywhere, lists that end, users who have seen all; blocks as small as can be."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    num_items, k = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 60))
    user, item = (
        (rng.integers(-2, 3, (rows, 3)) * (rng.random((rows, 3)) < 0.5)).astype(np.float32) for rows in (9, num_items)
    )
    train = rng.random((9, num_items)) < data.draw(st.sampled_from((0.0, 0.2, 0.9)))
    train[0] = True
    served = served_of(user, item, train, data.draw(st.sampled_from(("dense", "sparse"))))
    asked = rng.choice(served.user_ids, data.draw(st.integers(0, 12)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_index, "_USERS_PER_BLOCK", data.draw(st.sampled_from((1, 4, 256))))
        patch.setattr(item_index, "_LABELS_PER_BLOCK", data.draw(st.sampled_from((1, 64, 2**22))))
        for exclude_seen in (True, False):
            ours, theirs = (x(asked, k, exclude_seen) for x in (served.recommend, served.index().search))
            width = ours.found.shape[1]
            np.testing.assert_array_equal(theirs.found[:, :width], ours.found)
            np.testing.assert_array_equal(theirs.scores[:, :width], ours.scores)
            assert (theirs.found[:, width:] == "").all()


@pytest.mark.parametrize(
    ("kind", "options", "least"),
    [
        ("hnsw", {}, 0.97),
        ("hnsw", {"M": 32, "ef": 400}, 0.995),
        ("faiss", {"factory": "HNSW32"}, 0.9),
        ("faiss", {"factory": "IVF8,Flat"}, 0.2),
    ],
)
def test_approximate_ones_find_nearly_all(large, kind, options, least):
    """Share of the exact ten, over users with an entry; nothing that is seen, and scores that are right."""
    pytest.importorskip("hnswlib" if kind == "hnsw" else "faiss")
    found, exact = large.index(kind, **options), large.recommend(large.user_ids, 10)
    ranked = found.search(large.user_ids, 10)
    counted = ~ranked.is_popularity
    hits = [len(set(a) & set(b)) / 10 for a, b in zip(ranked.found[counted], exact.found[counted], strict=True)]
    assert least <= np.mean(hits) <= 1
    assert not found.is_exact
    seen = {(row, item) for row, item in large.seen.pairs().tolist()}
    row_of = {name: row for row, name in enumerate(large.item_ids.tolist())}
    for user, (names, scores) in enumerate(zip(ranked.found, ranked.scores, strict=True)):
        rows = [row_of[name] for name in names.tolist() if name]
        assert not {(user, row) for row in rows} & seen
        np.testing.assert_allclose(scores[: len(rows)], large.item[rows] @ large.user[user], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(ranked.found[~counted], exact.found[~counted])


def test_hnswlib_is_hnswlibs_own(large):
    hnswlib = pytest.importorskip("hnswlib")
    found = large.index("hnsw", M=8, ef_construction=50, ef=70, seed=3)
    assert isinstance(found.index, hnswlib.Index)
    index = found.index
    assert (index.space, index.dim, index.M, index.ef_construction, index.ef) == ("ip", 16, 8, 50, 70)
    assert index.get_current_count() == 2000
    labels, distances = index.knn_query(large.user[:1], 5)
    np.testing.assert_allclose(1 - distances[0], large.item[labels[0].astype(int)] @ large.user[0], rtol=1e-4)
    again = large.index("hnsw", M=8, ef_construction=50, ef=70, seed=3)
    np.testing.assert_array_equal(again.search(large.user_ids).found, found.search(large.user_ids).found)


def test_a_graph_that_reaches_too_few_says_so():
    """Items in two far groups, two links each: from one the other is not reached."""
    pytest.importorskip("hnswlib")
    rng = np.random.default_rng(0)
    item = np.concatenate([rng.standard_normal((400, 2)) + far for far in ([30, 0], [-30, 0])]).astype(np.float32)
    served = served_of(item[:3], item)
    with pytest.raises(SettingsError, match=r"hnsw: wanted 800 of 800 items .*its graph reaches fewer"):
        served.index("hnsw", M=2, ef_construction=2).search(served.user_ids, 800, exclude_seen=False)


def test_a_found_ticket_has_it_too(tiny_split, some_masks, make_ticket):
    found = lthjax.explore(make_ticket(tiny_split, Settings(dim=5), some_masks), tiny_split)
    users = tiny_split.user_ids
    np.testing.assert_array_equal(found.index().search(users, 10).found, found.recommend(users, 10).found)
    assert "faiss" in repr(found.index())


@pytest.mark.parametrize(
    ("kind", "options", "wanted"),
    [
        ("annoy", {}, "kind: wanted faiss or hnsw; got 'annoy'"),
        ("faiss", {"M": 8}, "index faiss: wanted the options factory; got M"),
        (
            "hnsw",
            {"factory": "Flat"},
            "index hnsw: wanted the options M, ef_construction, ef, seed, threads; got factory",
        ),
        ("faiss", {"factory": "nonsense"}, r"got 'nonsense' \(could not parse index string nonsense\)"),
        (
            "faiss",
            {"factory": "IVF9999,Flat"},
            r"wanted one that FAISS makes of \(2000, 16\) items; got 'IVF9999,Flat'",
        ),
        ("faiss", {"factory": 3}, "factory: wanted text"),
        ("hnsw", {"M": 1}, "M: wanted a whole number from 2; got 1"),
        ("hnsw", {"ef": 0}, "ef: wanted a whole number from 1; got 0"),
        ("hnsw", {"seed": 0.5}, "seed: wanted a whole number from 0; got 0.5"),
        ("hnsw", {"threads": True}, "threads: wanted a whole number from 1; got True"),
    ],
)
def test_choices_that_cannot_be(large, kind, options, wanted):
    if kind == "hnsw":
        pytest.importorskip("hnswlib")
    with pytest.raises(SettingsError, match=wanted) as caught:
        large.index(kind, **options)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_searched(large):
    found = large.index()
    with pytest.raises(DataError, match="1 unknown user id: 7"):
        found.search([7])
    with pytest.raises(SettingsError, match="k: wanted a whole number from 1; got 0"):
        found.search(1000, 0)
    unseen = served_of(large.user, large.item)
    with pytest.raises(DataError, match="exported without"):
        unseen.index().search(1000)
    assert unseen.index().search(1000, 3, exclude_seen=False).found.shape == (1, 3)
    with pytest.raises(SettingsError, match="index: wanted items; there are none"):
        served_of(large.user, large.item[:0]).index()


@pytest.mark.parametrize(
    ("kind", "module", "package"), [("faiss", "faiss", "faiss-cpu"), ("hnsw", "hnswlib", "hnswlib")]
)
def test_a_package_that_is_not_there_is_named(large, monkeypatch, kind, module, package):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        SettingsError, match=f"wanted the package {package}, which is not installed: pip install {package}"
    ):
        large.index(kind)
