"""Samplers: (key, step, graph) -> one batch of triples, drawn on the device inside the training loop.

A batch depends on the key and the number of the step alone. So a run can stop after any step and go on with the same
batches, and no shuffled copy of the interactions is ever made.

Letters: E training interactions, B batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from lthjax import rows
from lthjax.graph import Graph
from lthjax.losses import Triples

Sampler = Callable[[jax.Array, jax.Array, Graph], Triples]
_NUM_ROUNDS = 6  # of the Feistel network; 4 already pass a chi-square test of uniformity


def steps_per_epoch(num_interactions: int, batch_size: int) -> int:
    """ceil(E / B): the last batch of an epoch may be short."""
    return -(-num_interactions // batch_size)


def every_interaction(batch_size: int) -> Sampler:
    """Each epoch takes every training interaction once, in an order of its own, with one fresh negative each."""

    def sample(key: jax.Array, step: jax.Array, graph: Graph) -> Triples:
        place, counts, epoch = _places(step, graph, batch_size)
        order_key, draw_key = jax.random.split(key)
        index = shuffled(jax.random.fold_in(order_key, epoch), place, graph.num_interactions)
        users, positives = graph.pair_users[index], graph.positives.ids[index]
        negatives, exists = _negatives(jax.random.fold_in(draw_key, step), users, graph)
        return Triples(users, positives, negatives, (counts & exists).astype(jnp.float32))

    return sample


def users_with_replacement(batch_size: int) -> Sampler:
    """Each epoch draws E users uniformly, and one of each one's positives (`wangyf6891/LTH-MRS:utils/dataset.py`)."""

    def sample(key: jax.Array, step: jax.Array, graph: Graph) -> Triples:
        _, counts, _ = _places(step, graph, batch_size)
        user_key, positive_key, negative_key = jax.random.split(jax.random.fold_in(key, step), 3)
        users = jax.random.choice(user_key, graph.active_users, (batch_size,))
        starts, stops = graph.positives.starts[users], graph.positives.starts[users + 1]
        positives = graph.positives.ids[jax.random.randint(positive_key, (batch_size,), starts, stops)]
        negatives, exists = _negatives(negative_key, users, graph)
        return Triples(users, positives, negatives, (counts & exists).astype(jnp.float32))

    return sample


def _places(step: jax.Array, graph: Graph, batch_size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Places of the batch within its epoch ([B], kept below E), which of them count ([B] bool), and the epoch."""
    steps = steps_per_epoch(graph.num_interactions, batch_size)
    place = (step % steps) * batch_size + jnp.arange(batch_size, dtype=jnp.int32)
    return jnp.minimum(place, graph.num_interactions - 1), place < graph.num_interactions, step // steps


def _negatives(key: jax.Array, users: jax.Array, graph: Graph) -> tuple[jax.Array, jax.Array]:
    """[B] items, each uniform among those that are no training positive of its user; [B] bool, is there any?"""
    lengths = graph.positives.starts[users + 1] - graph.positives.starts[users]
    num_absent = graph.num_items - lengths
    draw = jax.random.randint(key, users.shape, 0, jnp.maximum(num_absent, 1))
    negatives = rows.nth_absent(graph.positives, users, draw)
    return jnp.minimum(negatives, graph.num_items - 1), num_absent > 0


def shuffled(key: jax.Array, place: jax.Array, size: int) -> jax.Array:
    """[...] int32, the `place`-th number of a random order of 0..size-1: a bijection, computed place by place.

    A Feistel network over the numbers x = a * R + r below a grid just larger than `size`, walked again from the few
    values that fall outside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"). Unlike a sorted
    permutation it costs nothing per epoch and stores nothing.
    """
    right = max(int(size**0.5), 2)
    left = -(-size // right)
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
