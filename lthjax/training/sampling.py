"""Samplers: one batch of triples a step, drawn on the device inside the training loop.

A batch depends on the key and the number of the step alone. So a run can stop after any step and go on with the same
batches, and no shuffled copy of the interactions is ever made.

Letters: E training interactions, B batch, n negatives of each positive.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.graph.graph import Graph
from lthjax.model.losses import Triples
from lthjax.training import negatives

_NUM_ROUNDS = 6  # of the Feistel network; 4 already pass a chi-square test of uniformity


class Sampler(NamedTuple):
    """Where batches come from, and how many make an epoch."""

    sample: Callable[[jax.Array, jax.Array, Graph], Triples]  # (key, step, graph) -> batch
    steps_per_epoch: Callable[[int], int]  # E -> steps


def every_interaction(batch_size: int, num_negatives: int = 1) -> Sampler:
    """Each epoch takes every training interaction once, in an order of its own, with fresh negatives each.

    ceil(E / B) steps; the last batch may be short.
    """

    def sample(key: jax.Array, step: jax.Array, graph: Graph) -> Triples:
        place, counts, epoch = _places(step, graph, batch_size)
        order_key, draw_key = jax.random.split(key)
        index = shuffled(jax.random.fold_in(order_key, epoch), place, graph.num_interactions)
        read = functools.partial(_of_interactions, num_negatives=num_negatives)
        return _triples(graph.at_interactions(read, index, jax.random.fold_in(draw_key, step)), counts, graph)

    return Sampler(sample, lambda num_interactions: _ceil(num_interactions, batch_size))


def users_with_replacement(batch_size: int, num_negatives: int = 1) -> Sampler:
    """Each epoch draws E users uniformly, and one of each one's positives (`wangyf6891/LTH-MRS:utils/dataset.py`)."""

    def sample(key: jax.Array, step: jax.Array, graph: Graph) -> Triples:
        _, counts, _ = _places(step, graph, batch_size)
        user_key, rest = jax.random.split(jax.random.fold_in(key, step))
        place = jax.random.randint(user_key, (batch_size,), 0, graph.num_active)
        read = functools.partial(_of_users, num_negatives=num_negatives)
        return _triples(graph.at_active_users(read, place, rest), counts, graph)

    return Sampler(sample, lambda num_interactions: _ceil(num_interactions, batch_size))


def distinct_users(batch_size: int, num_negatives: int = 1) -> Sampler:
    """Each step draws B different users, and one of each one's positives; floor(E / B) + 1 steps an epoch.

    As in `kuandeng/LightGCN:LightGCN.py`. With fewer than B users that have positives they are drawn with replacement.
    """

    def sample(key: jax.Array, step: jax.Array, graph: Graph) -> Triples:
        user_key, rest = jax.random.split(jax.random.fold_in(key, step))
        if graph.num_active >= batch_size:
            place = shuffled(user_key, jnp.arange(batch_size, dtype=jnp.int32), graph.num_active)
        else:
            place = jax.random.randint(user_key, (batch_size,), 0, graph.num_active)
        read = functools.partial(_of_users, num_negatives=num_negatives)
        return _triples(graph.at_active_users(read, place, rest), jnp.ones(batch_size, bool), graph)

    return Sampler(sample, lambda num_interactions: num_interactions // batch_size + 1)


SAMPLERS = {  # by the names of --sampler; batch size, n -> sampler
    "interactions": every_interaction,
    "users": users_with_replacement,
    "distinct-users": distinct_users,
}


class _Drawn(NamedTuple):
    """What is read of the interactions of a batch."""

    positive: jax.Array  # [B]
    negative: jax.Array  # [B] or [B, n]
    weight: jax.Array  # [B] float32, 0 where there is no negative
    log_q: jax.Array | None  # of `Triples`


def _of_users(interactions: Any, place: jax.Array, key: jax.Array, num_negatives: int) -> tuple[jax.Array, _Drawn]:
    """[B] users by their place among those with positives; one uniform positive of each, and its negatives."""
    positive_key, negative_key = jax.random.split(key)
    users = interactions.active_users[place]
    starts, stops = interactions.positives.starts[users], interactions.positives.starts[users + 1]
    index = jax.random.randint(positive_key, users.shape, starts, stops)
    return _of_interactions(interactions, index, negative_key, num_negatives)


def _of_interactions(
    interactions: Any, index: jax.Array, key: jax.Array, num_negatives: int
) -> tuple[jax.Array, _Drawn]:
    """The users of [B] interactions by their numbers, and what makes triples of them."""
    users = interactions.pair_users[index]
    drawn = negatives.draw(key, users, interactions, num_negatives)
    weight = drawn.exist.astype(jnp.float32)
    if interactions.weights is not None:
        weight = weight * interactions.weights[index]
    return users, _Drawn(interactions.positives.ids[index], drawn.items, weight, drawn.log_q)


def _triples(read: tuple[jax.Array, _Drawn], counts: jax.Array, graph: Graph) -> Triples:
    """Triples of rows of the tables; `counts` [B] bool says which of them count."""
    users, (positive, negative, weight, log_q) = read
    positive, negative = graph.table_rows("item", positive), graph.table_rows("item", negative)
    return Triples(graph.table_rows("user", users), positive, negative, jnp.where(counts, weight, 0.0), log_q)


def _ceil(number: int, size: int) -> int:
    return -(-number // size)


def _places(step: jax.Array, graph: Graph, batch_size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Places of the batch within its epoch ([B], kept below E), which of them count ([B] bool), and the epoch."""
    steps = _ceil(graph.num_interactions, batch_size)
    place = (step % steps) * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
    return jnp.minimum(place, graph.num_interactions - 1), place < graph.num_interactions, step // steps


def shuffled(key: jax.Array, place: jax.Array, size: int) -> jax.Array:
    """[...] int32, the `place`-th number of a random order of 0..size-1: a bijection, computed place by place.

    A Feistel network over the numbers x = a * R + r below a grid just larger than `size`, walked again from the few
    values that fall outside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). Unlike a sorted
    permutation it costs nothing per epoch and stores nothing.
    """
    right = max(int(size**0.5), 2)
    left = _ceil(size, right)
    round_keys = jax.random.bits(key, (_NUM_ROUNDS,), jnp.uint32)

    def permute(x):
        a, r = x // right, x % right
        for number in range(_NUM_ROUNDS):
            if number % 2 == 0:
                a = (a + _hash(r, round_keys[number]) % left) % left
            else:
                r = (r + _hash(a, round_keys[number]) % right) % right
        return a * right + r

    def outside(x):
        return jnp.any(x >= size)

    first = permute(place.astype(jnp.uint32))
    walked = jax.lax.while_loop(outside, lambda x: jnp.where(x >= size, permute(x), x), first)
    return walked.astype(jnp.int32)


def _hash(x: jax.Array, key: jax.Array) -> jax.Array:
    """A 32-bit mixer: multiply and shift, each a bijection of uint32."""
    x = (x ^ key) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16) ^ key
