"""The pytree that parameters, gradients, masks and optimizer moments share, and the ways to draw its first values.

Letters: M users, N items, F dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Embeddings(NamedTuple):
    """One row a user, one row an item."""

    user: jax.Array  # [M, F]
    item: jax.Array  # [N, F]


Draw = Callable[[jax.Array, int, int, int], Embeddings]  # (key, M, N, F) -> first values


def xavier_uniform(key: jax.Array, num_users: int, num_items: int, embedding_dim: int) -> Embeddings:
    """Uniform in +-sqrt(6 / (M + N + F)), the Xavier bound of the joint (M + N) x F table.

    Users and items are one table, as in `wangyf6891/LTH-MRS:model/lightgcn_me_emb.py`; a bound for each of the two
    alone would be larger.
    """
    bound = (6.0 / (num_users + num_items + embedding_dim)) ** 0.5
    table = jax.random.uniform(key, (num_users + num_items, embedding_dim), jnp.float32, -bound, bound)
    return Embeddings(table[:num_users], table[num_users:])


def xavier_uniform_each(key: jax.Array, num_users: int, num_items: int, embedding_dim: int) -> Embeddings:
    """Uniform in +-sqrt(6 / (rows + F)) of each table by itself, as RecBole's LightGCN and Cornac have it."""

    def draw(key, num_rows):
        bound = (6.0 / (num_rows + embedding_dim)) ** 0.5
        return jax.random.uniform(key, (num_rows, embedding_dim), jnp.float32, -bound, bound)

    user_key, item_key = jax.random.split(key)
    return Embeddings(draw(user_key, num_users), draw(item_key, num_items))


def xavier_normal_each(key: jax.Array, num_users: int, num_items: int, embedding_dim: int) -> Embeddings:
    """N(0, 2 / (rows + F)) of each table by itself, as RecBole's BPR has it."""

    def draw(key, num_rows):
        std = (2.0 / (num_rows + embedding_dim)) ** 0.5
        return std * jax.random.normal(key, (num_rows, embedding_dim), jnp.float32)

    user_key, item_key = jax.random.split(key)
    return Embeddings(draw(user_key, num_users), draw(item_key, num_items))


def normal(std: float) -> Draw:
    """Independent N(0, std^2) entries: 0.1 in LightGCN-PyTorch, 0.01 in LightGCN's TensorFlow code, 1 in its MF."""

    def draw(key: jax.Array, num_users: int, num_items: int, embedding_dim: int) -> Embeddings:
        table = std * jax.random.normal(key, (num_users + num_items, embedding_dim), jnp.float32)
        return Embeddings(table[:num_users], table[num_users:])

    return draw
