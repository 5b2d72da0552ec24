"""Sets of item ids, one sorted row a user, with membership and complement by binary search on the device.

Letters: M rows, E ids in all rows together. Nothing here is ever [M, N].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct


@struct.dataclass
class Rows:
    """M sorted sets of ids, stored end to end as in CSR."""

    starts: jax.Array  # [M + 1] int32, row m is ids[starts[m]:starts[m + 1]]
    ids: jax.Array  # [max(E, 1)] int32, ascending and unique within a row
    max_length: int = struct.field(pytree_node=False)  # ids of the longest row: bounds searches and padding

    @property
    def num_rows(self) -> int:
        """M."""
        return self.starts.shape[0] - 1


def from_pairs(pairs: np.ndarray, num_rows: int) -> Rows:
    """Rows of [E, 2] pairs (row, id) that are sorted by row, then id, without duplicates."""
    lengths = np.bincount(pairs[:, 0], minlength=num_rows)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    ids = pairs[:, 1].astype(np.int32) if len(pairs) else np.zeros(1, np.int32)  # a gather needs one element
    starts, ids = jax.device_put((starts, ids))  # jnp.asarray would compile a program for each shape
    return Rows(starts, ids, int(lengths.max(initial=0)))


def _count_prefix(rows: Rows, row: jax.Array, holds: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    """How many leading ids of the rows satisfy `holds(id, place)`, which must be true first and false after."""
    start, stop = rows.starts[row], rows.starts[row + 1]

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        true_here = (low < high) & holds(rows.ids.at[middle].get(mode="clip"), middle - start)
        return jnp.where(true_here, middle + 1, low), jnp.where(true_here | (low >= high), high, middle)

    low, _ = jax.lax.fori_loop(0, rows.max_length.bit_length(), halve, (start, stop))
    return low - start


def contains(rows: Rows, row: jax.Array, ids: jax.Array) -> jax.Array:
    """[...] bool, is `ids` in row `row`? Both [...] int32 of one shape."""
    place = rows.starts[row] + _count_prefix(rows, row, lambda here, _: here < ids)
    return (place < rows.starts[row + 1]) & (rows.ids.at[place].get(mode="clip") == ids)


def nth_absent(rows: Rows, row: jax.Array, n: jax.Array) -> jax.Array:
    """[...] int32, the n-th id (from 0) that is not in the row.

    Before the id at place p lie `id - p` absent ids, a number that never falls along a sorted row: as many ids of the
    row lie below the answer as have `id - p <= n`. So one draw of n gives one exact uniform negative, without
    rejection, whatever the row holds.
    """
    return n + _count_prefix(rows, row, lambda here, place: here - place <= n)


def chunk(rows: Rows, row: jax.Array, number: jax.Array, width: int, fill: int) -> jax.Array:
    """[width] int32, the `number`-th stretch of `width` ids of one row (a scalar), with `fill` behind its end."""
    place = rows.starts[row] + number * width + jnp.arange(width, dtype=jnp.int32)
    return jnp.where(place < rows.starts[row + 1], rows.ids.at[place].get(mode="clip"), fill)
