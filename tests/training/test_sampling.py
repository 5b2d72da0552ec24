"""Batches: every interaction once, exact negatives, and nothing but key and step behind them."""

import collections
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lthjax.graph import graph
from lthjax.training import sampling
from lthjax.training.sampling import shuffled

SAMPLERS = {"every": sampling.every_interaction(4), "users": sampling.users_with_replacement(4)}
EPOCHS = 500  # of 7 steps
NUM_ITEMS = 11
SURE = 1 - 1e-6  # quantile of the chi-square bound; keys are fixed, so a test that passes always passes


def assert_uniform(counts):
    counts = np.asarray(counts)
    assert stats.chisquare(counts).statistic < stats.chi2.ppf(SURE, counts.size - 1)


def sets_of(graph):
    ids = np.asarray(graph.positives.ids)
    return [set(ids[a:b].tolist()) for a, b in itertools.pairwise(np.asarray(graph.positives.starts))]


def test_small_orders_are_bijections():
    with jax.disable_jit():  # else every size is a program
        for size in range(1, 71):
            order = shuffled(jax.random.key(size), jnp.arange(70) % size, size)
            assert sorted(order[:size].tolist()) == list(range(size))


@pytest.mark.parametrize("size", [1000, 4096, 10_007])
def test_large_orders_are_bijections(size):
    key, other = jax.random.key(0), jax.random.key(1)
    order = shuffled(key, jnp.arange(size), size)
    assert order.dtype == jnp.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(size))
    assert (np.asarray(order) == np.asarray(shuffled(other, jnp.arange(size), size))).sum() < 10
    # Near neighbours do not stay near: the mean step of a random order is a third of its length.
    np.testing.assert_allclose(np.abs(np.diff(order)).mean(), size / 3, rtol=0.1)


@pytest.mark.parametrize("size", [5, 16, 25])
def test_every_place_is_equally_likely(size):
    keys = jax.random.split(jax.random.key(0), 4000)
    orders = np.asarray(jax.jit(jax.vmap(lambda key: shuffled(key, jnp.arange(size), size)))(keys))
    for place in range(size):
        assert_uniform(np.bincount(orders[:, place], minlength=size))
    assert_uniform(np.bincount((orders[:, 0] - orders[:, 1]) % size, minlength=size)[1:])  # pairs, not places alone


@pytest.fixture(scope="module", params=SAMPLERS)
def compiled(request):
    """All batches of many steps by one program: (key, steps, graph) -> [steps, 4] on the host."""
    return jax.jit(jax.vmap(SAMPLERS[request.param].sample, in_axes=(None, 0, None)))


@pytest.fixture(scope="module")
def tiny_graph(tiny_graph):
    """With the search bound of the crowded graph, so that both share a program; a longer bound changes nothing."""
    return tiny_graph.replace(positives=dataclasses.replace(tiny_graph.positives, max_length=NUM_ITEMS))


@pytest.fixture(scope="module")
def crowded_graph(tiny):
    return graph.from_pairs(tiny.crowded, tiny.num_users, tiny.num_items)


@pytest.fixture(scope="module")
def drawn(compiled, tiny_graph):
    return jax.tree.map(np.asarray, compiled(jax.random.key(0), jnp.arange(7 * EPOCHS), tiny_graph))


def check_epoch(user, positive, weight, train):
    assert weight.tolist() == [1] * len(train) + [0] * (len(weight) - len(train))  # the last batch is short
    order = np.stack([user, positive], axis=1)[: len(train)]
    np.testing.assert_array_equal(order[np.lexsort((order[:, 1], order[:, 0]))], train)
    return order.tobytes()


@pytest.mark.parametrize("compiled", ["every"], indirect=True)
def test_every_interaction_once_an_epoch(tiny, compiled, drawn):
    by_epoch = (x.reshape(EPOCHS, 28) for x in (drawn.user, drawn.positive, drawn.weight))
    orders = {check_epoch(*epoch, tiny.train) for epoch in zip(*by_epoch, strict=True)}
    assert len(orders) == EPOCHS


def test_a_batch_larger_than_an_epoch(tiny, tiny_graph):
    assert [sampling.every_interaction(size).steps_per_epoch(25) for size in (1, 4, 5, 25, 40)] == [25, 7, 5, 1, 1]
    sample = jax.jit(sampling.every_interaction(40).sample)
    orders = set()
    for epoch in range(3):
        batch = sample(jax.random.key(0), jnp.int32(epoch), tiny_graph)
        orders.add(check_epoch(*map(np.asarray, (batch.user, batch.positive, batch.weight)), tiny.train))
    assert len(orders) == 3


def test_a_batch_depends_on_key_and_step_alone(tiny_graph, compiled, drawn, assert_same):
    steps = np.random.default_rng(0).permutation(7 * EPOCHS)
    again = compiled(jax.random.key(0), jnp.asarray(steps, jnp.int32), tiny_graph)
    assert_same(again, jax.tree.map(lambda x: x[steps], drawn))
    full = np.concatenate(drawn[:3], axis=1)[drawn.weight.all(axis=1)]
    assert len(np.unique(full, axis=0)) > 0.99 * len(full)  # each step has its own
    other = compiled(jax.random.key(1), jnp.arange(7 * EPOCHS), tiny_graph)
    assert (np.asarray(other.negative) == drawn.negative).mean() < 0.5


def test_negatives_are_uniform_among_the_rest(tiny, tiny_graph, drawn):
    assert drawn.weight.sum() == 25 * EPOCHS  # nobody has every item
    for user, positives in enumerate(sets_of(tiny_graph)):
        counts = np.bincount(drawn.negative[drawn.user == user], minlength=tiny.num_items)
        rest = sorted(set(range(tiny.num_items)) - positives)
        assert counts.sum() == counts[rest].sum()
        if counts.any() and len(rest) > 1:
            assert_uniform(counts[rest])


def test_a_user_with_every_item_does_not_count(tiny, compiled, crowded_graph):
    drawn = jax.tree.map(np.asarray, compiled(jax.random.key(0), jnp.arange(7 * EPOCHS), crowded_graph))
    full = drawn.user == 1
    in_epoch = np.ones((EPOCHS, 7, 4), bool)
    in_epoch[:, -1, 1:] = False  # 25 interactions: the last batch has one
    np.testing.assert_array_equal(drawn.weight == 1, ~full & in_epoch.reshape(-1, 4))
    assert (drawn.weight == 0).sum() > 3 * EPOCHS
    positives = sets_of(crowded_graph)
    assert not any(n in positives[u] for u, n in zip(drawn.user[~full], drawn.negative[~full], strict=True))
    assert drawn.negative.min() >= 0
    assert drawn.negative.max() < tiny.num_items


@pytest.mark.parametrize("compiled", ["users"], indirect=True)
def test_users_with_replacement_are_uniform(tiny_graph, compiled, drawn):
    weight = drawn.weight.reshape(EPOCHS, 28)
    assert (weight == ([1] * 25 + [0] * 3)).all()  # as many triples an epoch as there are interactions
    users = collections.Counter(drawn.user.ravel().tolist())
    assert sorted(users) == [0, 1, 3, 4, 5, 6]  # active users only
    assert_uniform(list(users.values()))
    for user, positives in enumerate(sets_of(tiny_graph)):
        taken = collections.Counter(drawn.positive[drawn.user == user].tolist())
        assert set(taken) == positives
        if len(positives) > 1:
            assert_uniform(list(taken.values()))
