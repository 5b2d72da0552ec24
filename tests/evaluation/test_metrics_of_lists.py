"""Precision, hit, MRR and MAP by hand and over all orders of tied items; metrics of the catalog by hand."""

import itertools
import math

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from lthjax import metric_names
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.evaluation import breakdown, metrics
from lthjax.evaluation.ranking import evaluate, evaluate_scores, ranking_task, sample_of, top_items

ALL = tuple(metric_names.OF_USERS)
KS = (3, 1, 2, 5, 6, 9)  # 9 is more than there are items


def of_one_order(hits, num_relevant, k):
    """{name: value} of a list without ties, from the definitions."""
    hits = hits[:k]
    places = [rank for rank, hit in enumerate(hits, 1) if hit]
    gain = sum(1 / math.log2(rank + 1) for rank in places)
    return {
        "recall": len(places) / num_relevant,
        "ndcg": gain / sum(1 / math.log2(rank + 1) for rank in range(1, min(k, num_relevant) + 1)),
        "precision": len(places) / k,
        "hit": float(bool(places)),
        "mrr": 1 / places[0] if places else 0.0,
        "map": sum(found / rank for found, rank in enumerate(places, 1)) / min(k, num_relevant),
    }


def over_all_orders(scores, relevant, k):
    """The mean of each metric over every order of the items in which no score comes before a higher one."""
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    values = [of_one_order([item in relevant for item in order], len(relevant), k) for order in orders]
    return {name: np.mean([value[name] for value in values]) for name in ALL}


def ranked(cases, ks=KS):
    """The evaluator on one user for each case: scores of up to six unseen items, and which of them are relevant."""
    scores = np.full((len(cases), 6), 9, np.float32)
    for user, (of_user, _) in enumerate(cases):
        scores[user, : len(of_user)] = of_user
    seen = [(user, i) for user, (of_user, _) in enumerate(cases) for i in range(len(of_user), 6)]
    held_out = np.array([(user, i) for user, (_, relevant) in enumerate(cases) for i in sorted(relevant)], np.int32)
    task = ranking_task(np.array(seen, np.int32).reshape(-1, 2), held_out, len(cases))
    return evaluate_scores(lambda users: scores[users], task, 6, ks, metrics=ALL)


@pytest.mark.parametrize(
    ("k", "hits", "num_relevant", "precision", "hit", "mrr", "map_"),
    [
        (3, [1, 0, 1], 2, 2 / 3, 1, 1, (1 + 2 / 3) / 2),
        (3, [0, 1, 1], 2, 2 / 3, 1, 1 / 2, (1 / 2 + 2 / 3) / 2),
        (3, [0, 0, 0], 2, 0, 0, 0, 0),
        (3, [1, 1, 1], 5, 1, 1, 1, 1),  # more relevant items than ranks: divided by the ranks
        (3, [0, 0, 1], 4, 1 / 3, 1, 1 / 3, 1 / 9),
        (1, [0, 1], 1, 0, 0, 0, 0),  # hits after rank k do not count
        (5, [1, 0], 1, 1 / 5, 1, 1, 1),  # fewer items than k: precision is still over k
    ],
)
def test_by_hand(k, hits, num_relevant, precision, hit, mrr, map_):
    scores = jnp.arange(len(hits), 0, -1, jnp.float32)
    ranks = metrics.ranks(scores, jnp.array(hits, bool), jnp.int32(0), jnp.int32(0))
    np.testing.assert_allclose(metrics.precision_at(k, ranks.chance), precision, rtol=1e-6)
    np.testing.assert_allclose(metrics.hit_at(k, ranks.miss), hit, rtol=1e-6)
    np.testing.assert_allclose(metrics.mrr_at(k, ranks.miss), mrr, rtol=1e-6)
    np.testing.assert_allclose(metrics.map_at(k, ranks, jnp.int32(num_relevant)), map_, rtol=1e-6)


def test_ties_by_hand():
    """Two of four that score alike are relevant, and the list ends after three of them."""
    got = ranked([([1, 1, 1, 1], {0, 3})], ks=(3, 1))
    orders = [set(pair) for pair in itertools.combinations((1, 2, 3, 4), 2)]  # where the two stand: all alike
    firsts = [min(pair) for pair in orders]
    assert got.per_user["hit@1"][0] == 0.5
    assert got.per_user["hit@3"][0] == 1  # two that are not relevant do not fill three places
    np.testing.assert_allclose(got.per_user["mrr@3"][0], np.mean([1 / first for first in firsts]), rtol=1e-6)
    hits = [[place in pair for place in (1, 2, 3)] for pair in orders]
    wanted = np.mean([of_one_order(hit, 2, 3)["map"] for hit in hits])
    np.testing.assert_allclose(got.per_user["map@3"][0], wanted, rtol=1e-6)


def test_a_hit_among_ties_is_the_hypergeometric():
    """Ten items that score alike, three relevant, four places: 1 - C(7, 4) / C(10, 4)."""
    final = Embeddings(jnp.zeros((1, 2)), jnp.zeros((10, 2)))
    task = ranking_task(np.zeros((0, 2), np.int32), np.array([(0, 1), (0, 5), (0, 9)], np.int32), 1)
    got = evaluate(final, task, (4, 8), metrics=("hit",))
    np.testing.assert_allclose(got.per_user["hit@4"], 1 - math.comb(7, 4) / math.comb(10, 4), rtol=1e-6)
    assert got.per_user["hit@8"] == 1


CASES = [
    ([3, 2, 2, 1, 0], {1, 3}),  # inside
    ([3, 1, 1, 1, 1], {0, 4}),  # the end, and all that follow
    ([2, 2, 1, 1, 1, 0], {1, 2, 5}),  # both
    ([1, 1, 1, 1, 1, 1], {2}),  # everything
    ([1, 1, 1, 1, 1, 1], {0, 2, 3, 5}),
    ([0.0, -0.0, 1, -0.0, 0.0, -1], {1, 4}),  # zeros of both signs
    ([4, 3, 2, 1], {0, 3}),  # none
    ([2, 2], {0, 1}),  # all relevant
]


def assert_all_orders(cases):
    got = ranked(cases)
    for user, case in enumerate(cases):
        for k in KS:
            for name, wanted in over_all_orders(*case, k).items():
                value = got.per_user[f"{name}@{k}"][user]
                np.testing.assert_allclose(value, wanted, rtol=3e-6, atol=1e-7, err_msg=f"{name}@{k}, {case}")


def test_ties_are_the_mean_over_all_orders():
    assert_all_orders(CASES)


one_case = st.tuples(st.lists(st.integers(0, 2), min_size=6, max_size=6), st.sets(st.integers(0, 5), min_size=1))


@hypothesis.given(st.lists(one_case, min_size=3, max_size=3))
@hypothesis.settings(max_examples=15)
def test_random_ties_are_the_mean_over_all_orders(cases):
    assert_all_orders(cases)


@pytest.fixture(scope="module")
def many():
    """Forty users of two hundred items, many scores equal."""
    rng = np.random.default_rng(0)
    final = Embeddings(*(jnp.asarray(rng.integers(-2, 3, (n, 3)), jnp.float32) for n in (40, 200)))
    seen = rng.random((40, 200)) < 0.2
    held_out = ~seen & (rng.random((40, 200)) < 0.05)
    popularity = rng.integers(0, 9, 200)
    return final, np.argwhere(seen), np.argwhere(held_out), popularity


def test_long_ties_are_the_mean_of_drawn_orders(many):
    """Where all orders are too many: the mean of 4,000 drawn ones, within five standard errors."""
    final, seen, held_out, _ = many
    got = evaluate(final, ranking_task(seen, held_out, 40), (10,), metrics=ALL)
    scores, rng = np.asarray(final.user @ final.item.T), np.random.default_rng(1)
    for row, user in enumerate(got.users[:4].tolist()):
        unseen = np.setdiff1d(np.arange(200), seen[seen[:, 0] == user, 1])
        relevant = held_out[held_out[:, 0] == user, 1]
        values = {name: [] for name in ALL}
        for _ in range(4000):
            shuffled = rng.permutation(unseen)
            order = shuffled[np.argsort(-scores[user, shuffled], kind="stable")][:10]
            for name, value in of_one_order(np.isin(order, relevant).tolist(), len(relevant), 10).items():
                values[name].append(value)
        for name, drawn in values.items():
            error = 5 * np.std(drawn) / np.sqrt(len(drawn)) + 1e-6
            assert abs(got.per_user[f"{name}@10"][row] - np.mean(drawn)) < error, (user, name)


def test_more_metrics_change_none(many):
    """Nor do list lengths, nor metrics of the catalog: each is what it is alone."""
    final, seen, held_out, popularity = many
    task = ranking_task(seen, held_out, 40)
    got = evaluate(final, task.replace(popularity=None), (7, 20), metrics=ALL)
    for name in ALL:
        (alone,) = evaluate(final, task, (7,), metrics=(name,)).per_user.values()
        np.testing.assert_allclose(alone, got.per_user[f"{name}@7"], rtol=1e-6)
    served = evaluate(final, ranking_task(seen, held_out, 40, popularity), (7, 20), metrics=(*ALL, "gini", "coverage"))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), served.per_user, got.per_user)
    assert list(served.per_user) == [f"{name}@{k}" for k in (7, 20) for name in ALL]
    assert list(served.means()) == [*served.per_user, "gini@7", "coverage@7", "gini@20", "coverage@20"]


def test_the_catalog_by_hand():
    """Three users, lists of two: item 0 three times, 1 twice, 3 once; item 2 never."""
    lists, popularity = np.array([[0, 1], [0, 1], [3, 0]]), np.array([10, 4, 0, 2])
    got = breakdown.of_lists(lists, popularity, (2, 1), ("coverage", "popularity", "gini"))
    assert got["coverage@2"] == 3 / 4
    assert got["popularity@2"] == pytest.approx((3 * 10 + 2 * 4 + 2) / 6)
    assert got["gini@2"] == pytest.approx((-3 * 0 - 1 * 1 + 1 * 2 + 3 * 3) / (4 * 6))
    assert got["coverage@1"] == 2 / 4


def test_lists_of_the_catalog_are_those_that_are_served(many):
    """Of equal scores the more popular item first, whatever the numbers are: against sorted()."""
    final, seen, held_out, popularity = many
    task = ranking_task(seen, held_out, 40, popularity)
    got, served = evaluate(final, task, (5,), metrics=("recall", "coverage", "popularity")), top_items(final, task, 5)
    scores = np.asarray(final.user) @ np.asarray(final.item).T
    for user, items in zip(served.users.tolist(), served.items.tolist(), strict=True):
        left = np.setdiff1d(np.arange(200), seen[seen[:, 0] == user, 1]).tolist()
        assert items == sorted(left, key=lambda i: (-scores[user, i], -popularity[i], i))[:5]
    assert got.of_catalog["coverage@5"] == len(set(served.items.ravel().tolist())) / 200
    assert got.of_catalog["popularity@5"] == pytest.approx(popularity[served.items].mean())
    by_scores = evaluate_scores(lambda users: scores[users], task, 200, (5,), metrics=("recall", "coverage"))
    assert by_scores.of_catalog["coverage@5"] == got.of_catalog["coverage@5"]


def test_lists_that_end_early_hold_no_items():
    final, popularity = Embeddings(jnp.ones((2, 1)), jnp.ones((3, 1))), np.array([1, 3, 2])
    seen, held_out = np.array([(0, 1), (0, 2)], np.int32), np.array([(0, 0), (1, 0)], np.int32)
    task = ranking_task(seen, held_out, 2, popularity)
    assert top_items(final, task, 3).items.tolist() == [[0, -1, -1], [1, 2, 0]]
    got = evaluate(final, task, (2,), metrics=("hit", "popularity", "coverage"))
    assert got.of_catalog == {"popularity@2": (1 + 3 + 2) / 3, "coverage@2": 1.0}


def test_what_cannot_be_measured_is_refused(many):
    final, seen, held_out, _ = many
    task = ranking_task(seen, held_out, 40)
    with pytest.raises(ValueError, match="popularity for coverage; got one without"):
        evaluate(final, task, metrics=("recall", "coverage"))
    with pytest.raises(ValueError, match="wanted names of"):
        evaluate(final, task, metrics=("recal",))
    with pytest.raises(SettingsError, match="metrics: wanted one of recall@20; got 'map'"):
        evaluate(final, task, metrics=("recall",)).of("map")


def test_every_name_is_defined():
    assert tuple(metrics.OF_USERS) == tuple(metric_names.OF_USERS)
    assert tuple(breakdown.OF_CATALOG) == tuple(metric_names.OF_CATALOG)


def test_a_sample_of_users(many):
    """The same users for the same seed, in the order of the task; all where there are no more."""
    final, seen, held_out, _ = many
    task = ranking_task(seen, held_out, 40)
    sample = sample_of(task, 9, seed=3)
    assert len(set(sample.users.tolist())) == 9
    assert [user for user in task.users.tolist() if user in sample.users] == sample.users.tolist()
    again = sample_of(ranking_task(seen[:0], held_out, 40), 9, seed=3)  # seen items order the users, and choose none
    assert sorted(again.users.tolist()) == sorted(sample.users.tolist())
    assert sample_of(task, 9, seed=4).users.tolist() != sample.users.tolist()
    assert sample_of(task, len(task.users), seed=3) is task
    whole, part = evaluate(final, task), evaluate(final, sample)
    np.testing.assert_array_equal(part.recall[20], whole.recall[20][np.isin(whole.users, part.users)])
