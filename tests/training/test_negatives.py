"""Negatives: how many, how likely, which first; and that one uniform negative is what it was."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lthjax.graph.training_graph import training_graph
from lthjax.settings import Settings
from lthjax.training import negatives, sampling

USERS, ITEMS, NUMBER, DRAWS = 7, 11, 3, 6000
DISLIKES = {0: [1, 7], 1: [7], 2: [9], 3: [0, 1, 2, 3]}

# Steps 0 to 2 with key 0 and batches of 4, as they were drawn before there were several negatives.
AS_BEFORE = {
    "interactions": (
        [[4, 0, 1, 1], [4, 6, 6, 4], [1, 1, 1, 0]],
        [[2, 0, 10, 3], [3, 9, 2, 8], [5, 1, 6, 4]],
        [[7, 10, 7, 7], [9, 0, 0, 10], [7, 7, 7, 6]],
    ),
    "users": (
        [[4, 6, 5, 3], [4, 6, 0, 3], [1, 5, 3, 6]],
        [[3, 10, 0, 10], [1, 10, 3, 10], [9, 0, 10, 9]],
        [[10, 7, 1, 7], [0, 8, 7, 1], [7, 4, 2, 0]],
    ),
    "distinct-users": (
        [[5, 1, 4, 3], [1, 0, 6, 4], [3, 0, 5, 4]],
        [[0, 10, 8, 10], [0, 0, 2, 8], [10, 0, 9, 8]],
        [[10, 7, 7, 7], [7, 10, 4, 10], [7, 7, 6, 9]],
    ),
}


@pytest.mark.parametrize("name", AS_BEFORE)
def test_one_uniform_negative_is_drawn_as_before(tiny_graph, name):
    sample = jax.jit(jax.vmap(sampling.SAMPLERS[name](4).sample, in_axes=(None, 0, None)))
    batch = sample(jax.random.key(0), jnp.arange(3), tiny_graph)
    assert tuple(part.tolist() for part in batch[:3]) == AS_BEFORE[name]
    assert batch.log_q is None
    assert bool((batch.weight == 1).all())


@pytest.fixture(scope="module")
def graph_of(tiny_split):
    pairs = np.array([(user, item) for user, items in DISLIKES.items() for item in items], np.int32)
    values = np.arange(1, len(tiny_split.train) + 1, dtype=np.float32)
    split = dataclasses.replace(tiny_split, dislikes=pairs, train_values=values)
    return lambda **changes: training_graph(split, Settings(**changes))


def chances(graph, tiny, user):
    """[N] probability of each item as a negative of a user, by hand."""
    own = tiny.train[tiny.train[:, 0] == user, 1]
    weight = np.ones(ITEMS)
    if graph.popularity is not None:
        weight = np.bincount(tiny.train[:, 1], minlength=ITEMS) ** 0.75
    weight[own] = 0
    rest = weight / weight.sum() if weight.any() else weight
    if graph.dislikes is None or user not in DISLIKES:
        return rest
    first = np.bincount(DISLIKES[user], minlength=ITEMS) / len(DISLIKES[user])
    return first / 2 + rest / 2 if weight.any() else first


WAYS = [{"negative_sampling": way, "dislikes": first} for way in ("uniform", "popularity") for first in (False, True)]


@pytest.mark.parametrize("changes", WAYS, ids=str)
def test_negatives_have_their_chances(graph_of, tiny, changes):
    graph = graph_of(**changes)
    users = jnp.repeat(jnp.arange(USERS), DRAWS // NUMBER)
    drawn = jax.jit(negatives.draw, static_argnums=3)(jax.random.key(0), users, graph, NUMBER)
    assert drawn.items.shape == (len(users), NUMBER)
    assert drawn.exist.shape == users.shape
    assert (drawn.log_q is None) == (graph.popularity is None)
    for user in range(USERS):
        wanted, of_user = chances(graph, tiny, user), np.asarray(users) == user
        assert np.asarray(drawn.exist)[of_user].all() == bool(wanted.any())
        if not wanted.any():  # user 1 has all items but one that nobody has
            continue
        counts = np.bincount(np.asarray(drawn.items)[of_user].ravel(), minlength=ITEMS)
        assert not counts[wanted == 0].any()  # training positives among them
        kept = wanted > 0
        if kept.sum() > 1:
            bound = stats.chi2.ppf(1 - 1e-6, kept.sum() - 1)
            assert stats.chisquare(counts[kept], wanted[kept] * DRAWS).statistic < bound
    if drawn.log_q is not None:
        assert np.isfinite(drawn.log_q).all()


def test_log_q_is_that_of_the_popularity_and_0_of_dislikes(graph_of, tiny):
    users = jnp.repeat(jnp.arange(USERS), 50)
    plain, mixed = (
        jax.tree.map(np.asarray, negatives.draw(jax.random.key(0), users, graph, NUMBER))
        for graph in (graph_of(negative_sampling="popularity"), graph_of(negative_sampling="popularity", dislikes=True))
    )
    graph = graph_of(negative_sampling="popularity")
    for drawn, may_be_disliked in ((plain, False), (mixed, True)):
        for user, items, exists, log_q in zip(users.tolist(), *drawn, strict=True):
            chance = chances(graph, tiny, user)
            num_absent = ITEMS - (tiny.train[:, 0] == user).sum()
            for item, value in zip(items, log_q, strict=True):
                known = chance[item] and abs(np.exp(value) - chance[item] * num_absent) < 1e-4
                disliked = may_be_disliked and value == 0 and item in DISLIKES.get(user, [])
                assert known or disliked or not exists
    assert (mixed.log_q == 0).any()


@pytest.mark.parametrize("name", sampling.SAMPLERS)
def test_batches_have_several_negatives_and_the_weights_of_their_interactions(graph_of, tiny, name):
    graph = graph_of(weights="linear", negative_sampling="popularity")
    sampler = sampling.SAMPLERS[name](4, NUMBER)
    batch = jax.jit(jax.vmap(sampler.sample, in_axes=(None, 0, None)))(jax.random.key(0), jnp.arange(70), graph)
    assert batch.negative.shape == batch.log_q.shape == (70, 4, NUMBER)
    values = {tuple(pair): 1.0 + number for number, pair in enumerate(tiny.train.tolist())}
    mean = np.mean(list(values.values()))
    seen = 0
    for user, positive, weight in zip(*(part.ravel().tolist() for part in batch[:2] + batch[3:4]), strict=True):
        counted = weight == pytest.approx(values[user, positive] / mean, rel=1e-5)
        seen += counted
        assert counted or weight == 0
    assert seen >= 150  # user 1 has no negative by popularity, and short batches are filled up
    own = {(user, item) for user, item in tiny.train.tolist()}
    users, items, weights = (np.asarray(part) for part in (batch.user, batch.negative, batch.weight))
    assert not any(
        (users[step, row], item) in own
        for step, row in zip(*np.nonzero(weights), strict=True)
        for item in items[step, row]
    )


def test_several_negatives_of_one_key_differ(tiny_graph):
    drawn = negatives.draw(jax.random.key(1), jnp.full(200, 3), tiny_graph, 2)
    assert np.mean(drawn.items[:, 0] == drawn.items[:, 1]) < 0.3  # by chance: a tenth
