"""Tables: parameters -> layer-0 embeddings.

A table is a pair of pure functions. `dense` is the plain table, whose pruned entries the masked optimizer keeps at
exactly 0, so that its lookup needs no mask; a table of another kind is another pair (`pep.table`, `lcm.table`).

Letters: M users, N items, F dimensions, R rows of a table.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lthjax.embeddings import Embeddings
from lthjax.sharding import draws
from lthjax.sharding.layout import Layout

# (key, M, N, F, rows) -> first values; of some rows only, where `rows` has the numbers of users and items
Draw = Callable[..., Embeddings]


class Table(NamedTuple):
    """How a table's parameters are drawn and read."""

    init: Callable[[jax.Array, int, int, int], Any]  # (key, M, N, F) -> parameters
    lookup: Callable[[Any], Embeddings]  # parameters -> layer-0 embeddings


def dense(draw: Draw, layout: Layout | None = None) -> Table:
    """The parameters are the embeddings; on several devices each draws its own rows of the same values."""
    return Table(init=draw if layout is None else functools.partial(_on_devices, draw, layout), lookup=_as_it_is)


def _as_it_is(params: Embeddings) -> Embeddings:
    return params


def _on_devices(draw: Draw, layout: Layout, key: jax.Array, *shape: int) -> Embeddings:
    return layout.by_row(lambda rows, key: draw(key, *shape, rows), layout.ids(), key)


def _joint(values: Callable[..., jax.Array]) -> Draw:
    """Users and items drawn as one table; `values(key, (R, F), rows)` gives its values."""

    def draw(key: jax.Array, num_users: int, num_items: int, dim: int, rows: Embeddings | None = None) -> Embeddings:
        shape = num_users + num_items, dim
        if rows is not None:
            return Embeddings(values(key, shape, rows.user), values(key, shape, num_users + rows.item))
        table = values(key, shape)
        return Embeddings(table[:num_users], table[num_users:])

    return draw


def _each(values: Callable[..., jax.Array]) -> Draw:
    """Users and items drawn as two tables."""

    def draw(key: jax.Array, num_users: int, num_items: int, dim: int, rows: Embeddings | None = None) -> Embeddings:
        rows, keys = rows or Embeddings(None, None), jax.random.split(key)
        return Embeddings(values(keys[0], (num_users, dim), rows.user), values(keys[1], (num_items, dim), rows.item))

    return draw


def _uniform(key: jax.Array, shape: tuple[int, int], rows: jax.Array | None = None) -> jax.Array:
    bound = (6.0 / sum(shape)) ** 0.5
    return draws.uniform(key, shape, -bound, bound, rows)


def _normal(
    key: jax.Array, shape: tuple[int, int], rows: jax.Array | None = None, std: float | None = None
) -> jax.Array:
    std = (2.0 / sum(shape)) ** 0.5 if std is None else std
    return std * draws.normal(key, shape, rows)


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
