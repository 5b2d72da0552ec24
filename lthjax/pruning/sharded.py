"""Pruning of tables that are cut over devices: by exact count, without gathering or sorting a table.

Scores are compared by their bits. Which score falls last is found bit by bit: 32 times every device counts its own
entries below a bound, and the counts are summed. Among equal scores users fall before items, then the lower row, then
the lower column, as on one device: where that ends is found in the same way.

Letters: M users, N items, R rows of either table, F dimensions.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.embeddings import Embeddings
from lthjax.pruning.masks import Masks
from lthjax.sharding.layout import Layout


class _Bound(NamedTuple):
    """What falls: scores below `bits`; of those that equal it the rows before `row`, and of that row those columns."""

    bits: int = 0
    row: int = 0
    column: int = 0


def drop(scores: Embeddings, masks: Masks, number: int, layout: Layout) -> Masks:
    """Masks without their entries of the `number` smallest scores, of users and items together.

    Args:
      scores: [., F] float32 on the devices.
      masks: True where kept; others do not count.
      number: entries that fall, at most those that are kept.
      layout: of the tables.
    """
    keys = sortable(scores)
    count = functools.partial(_count, keys, masks, layout)
    bits = _score_at(number, count)
    left = number - count(dict.fromkeys(Embeddings._fields, _Bound(bits)))
    bounds = {}
    for side, num_rows in layout.rows._asdict().items():
        at = functools.partial(_count_of_side, count, side, bits)
        tied = at(_Bound(bits, num_rows))
        bounds[side] = _last(bits, num_rows, masks.user.shape[1], left, at) if left < tied else _Bound(bits, num_rows)
        left -= min(left, tied)
    return _without(keys, masks, _as_arrays(bounds), layout)


def num_up_to(scores: Embeddings, masks: Masks, rank: int, layout: Layout) -> int:
    """How many kept entries score at most what the one of a rank (from 0) does; arguments as of `drop`."""
    count = functools.partial(_count, sortable(scores), masks, layout)
    bits = _score_at(rank, count)
    return count({side: _Bound(bits, num_rows) for side, num_rows in layout.rows._asdict().items()})


def of_side(tree: Embeddings, side: str, fill: Callable[[jax.Array], jax.Array]) -> Embeddings:
    """A pair of tables of which only one counts.

    Args:
      tree: both.
      side: the one that counts.
      fill: makes of the other what stands in its place.
    """
    return Embeddings(*(x if name == side else fill(x) for name, x in tree._asdict().items()))


def _score_at(rank: int, count: Callable[[dict[str, _Bound]], int]) -> int:
    """Bits of the score of a rank (from 0) among what is kept: the largest below which no more than `rank` lie."""
    return _largest(32, lambda bits: count(dict.fromkeys(Embeddings._fields, _Bound(bits))) <= rank)


def _last(bits: int, num_rows: int, dim: int, left: int, count: Callable[[_Bound], int]) -> _Bound:
    """Where the `left` first of equal scores of a table end."""
    row = _largest(num_rows.bit_length(), lambda row: count(_Bound(bits, min(row, num_rows))) <= left)
    row = min(row, num_rows)
    column = _largest(dim.bit_length(), lambda column: count(_Bound(bits, row, min(column, dim))) <= left)
    return _Bound(bits, row, min(column, dim))


def _largest(num_bits: int, holds: Callable[[int], bool]) -> int:
    """The largest number of so many bits that something holds for, as it does for 0 and for all below."""
    number = 0
    for bit in reversed(range(num_bits)):
        if holds(number | 1 << bit):
            number |= 1 << bit
    return number


def _count_of_side(count: Callable[[dict[str, _Bound]], int], side: str, bits: int, bound: _Bound) -> int:
    """How many of the entries of one table that score exactly `bits` fall."""
    before = dict.fromkeys(Embeddings._fields, _Bound(bits))
    return count(before | {side: bound}) - count(before)


def _count(keys: Embeddings, masks: Masks, layout: Layout, bounds: dict[str, _Bound]) -> int:
    by_column = _fallen_by_column(keys, masks, _as_arrays(bounds), layout)
    return int(sum(np.asarray(number).sum(dtype=np.int64) for number in by_column))  # more than an int32 holds


def _as_arrays(bounds: dict[str, _Bound]) -> Embeddings:
    return Embeddings(
        *(_Bound(np.uint32(b.bits), np.int32(b.row), np.int32(b.column)) for b in map(bounds.get, Embeddings._fields))
    )


@jax.jit
def sortable(scores: Any) -> Any:
    """Scores as uint32 of the same order, with -0 as 0, and NaN above all but the largest uint32."""

    def bits_of(x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        x = jnp.where(x == 0, 0.0, jnp.where(jnp.isnan(x), jnp.nan, x))
        bits = jax.lax.bitcast_convert_type(x, jnp.uint32)
        return jnp.where(bits >> 31 == 1, ~bits, bits | jnp.uint32(1 << 31))

    return jax.tree.map(bits_of, scores)


@functools.partial(jax.jit, static_argnames="layout")
def _fallen_by_column(keys: Embeddings, masks: Masks, bounds: Embeddings, layout: Layout) -> list[jax.Array]:
    """[F] int32 of each table, kept entries that fall."""
    falls = _falls(keys, bounds, layout)
    return [jnp.sum(m & f, axis=0, dtype=jnp.int32) for m, f in zip(masks, falls, strict=True)]


@functools.partial(jax.jit, static_argnames="layout")
def _without(keys: Embeddings, masks: Masks, bounds: Embeddings, layout: Layout) -> Masks:
    falls = _falls(keys, bounds, layout)
    return layout.constrain(jax.tree.map(lambda m, f: m & ~f, masks, falls))


def _falls(keys: Embeddings, bounds: Embeddings, layout: Layout) -> Embeddings:
    def falls(key: jax.Array, bound: _Bound, row: jax.Array) -> jax.Array:
        row, column = row[:, None], jnp.arange(key.shape[1])[None, :]
        is_before = (row < bound.row) | ((row == bound.row) & (column < bound.column))
        return (key < bound.bits) | ((key == bound.bits) & is_before)

    return Embeddings(*map(falls, keys, bounds, layout.ids()))
