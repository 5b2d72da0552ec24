"""Tables: parameters -> layer-0 embeddings.

A table is a pair of pure functions. `dense` is the plain table, whose pruned entries the masked optimizer keeps at
exactly 0, so that its lookup needs no mask; a table of another kind is another pair (`pep.table`, `lcm.table`).

Letters: M users, N items, F dimensions, R rows of a table.
"""

import functools
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


def _joint(draw: Callable[[jax.Array, int, int], jax.Array]) -> Draw:
    """Users and items drawn as one table; `draw(key, R, F)` gives its values."""

    def draw_both(key: jax.Array, num_users: int, num_items: int, embedding_dim: int) -> Embeddings:
        table = draw(key, num_users + num_items, embedding_dim)
        return Embeddings(table[:num_users], table[num_users:])

    return draw_both


def _each(draw: Callable[[jax.Array, int, int], jax.Array]) -> Draw:
    """Users and items drawn as two tables."""

    def draw_both(key: jax.Array, num_users: int, num_items: int, embedding_dim: int) -> Embeddings:
        user_key, item_key = jax.random.split(key)
        return Embeddings(draw(user_key, num_users, embedding_dim), draw(item_key, num_items, embedding_dim))

    return draw_both


def _uniform(key: jax.Array, num_rows: int, embedding_dim: int) -> jax.Array:
    bound = (6.0 / (num_rows + embedding_dim)) ** 0.5
    return jax.random.uniform(key, (num_rows, embedding_dim), jnp.float32, -bound, bound)


def _normal(key: jax.Array, num_rows: int, embedding_dim: int, std: float | None = None) -> jax.Array:
    std = (2.0 / (num_rows + embedding_dim)) ** 0.5 if std is None else std
    return std * jax.random.normal(key, (num_rows, embedding_dim), jnp.float32)


# Within the Xavier bound +-sqrt(6 / (M + N + F)) of the joint table, as in
# `wangyf6891/LTH-MRS:model/lightgcn_me_emb.py`; the bounds of the two tables alone would be larger.
xavier_uniform = _joint(_uniform)
xavier_uniform_each = _each(_uniform)  # within +-sqrt(6 / (R + F)) in each table: RecBole's LightGCN and Cornac
xavier_normal_each = _each(_normal)  # N(0, 2 / (R + F)) in each table: RecBole's BPR


def normal(std: float) -> Draw:
    """Independent N(0, std^2) entries: 0.1 in LightGCN-PyTorch, 0.01 in LightGCN's TensorFlow code, 1 in its MF."""
    return _joint(functools.partial(_normal, std=std))


DRAWS = {  # by the names of --init
    "xavier": xavier_uniform,
    "xavier-each": xavier_uniform_each,
    "xavier-normal-each": xavier_normal_each,
    "normal-0.1": normal(0.1),
    "normal-0.01": normal(0.01),
    "normal-1": normal(1.0),
}
