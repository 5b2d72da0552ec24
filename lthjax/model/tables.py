"""Tables: parameters -> layer-0 embeddings.

A table is a pair of pure functions. `dense` is the plain table, whose pruned entries the masked optimizer keeps at
exactly 0, so that its lookup needs no mask; a table of another kind is another pair (`pep.table`, `lcm.table`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.embeddings import Embeddings

Draw = Callable[[jax.Array, int, int, int], Embeddings]  # (key, M, N, F) -> first values


class Table(NamedTuple):
    """How a table's parameters are drawn and read."""

    init: Callable[[jax.Array, int, int, int], Any]  # (key, M, N, F) -> parameters
    lookup: Callable[[Any], Embeddings]  # parameters -> layer-0 embeddings


def dense(draw: Draw) -> Table:
    """The parameters are the embeddings."""
    return Table(init=draw, lookup=lambda params: params)


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
