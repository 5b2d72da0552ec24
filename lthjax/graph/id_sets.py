"""Sorted sets of ids on the device: membership and complement by binary search. Nothing here is ever [M, N].

Letters: M rows, N possible ids, E ids in all rows together.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists

# Arrays are data; the longest length is part of the compiled program: it bounds searches and padding.
jax.tree_util.register_dataclass(IdLists, data_fields=["starts", "ids"], meta_fields=["max_length"])


def on_device(lists: IdLists) -> IdLists:
    """The same sets as int32 arrays of the device, with at least one id, since a gather needs an element."""
    ids = lists.ids if len(lists.ids) else np.zeros(1, np.int32)
    # jnp.asarray would compile a program for each shape.
    starts, ids = jax.device_put((lists.starts.astype(np.int32), ids))
    return IdLists(starts, ids, lists.max_length)


def from_pairs(pairs: np.ndarray, num_rows: int) -> IdLists:
    """Sets on the device from [E, 2] pairs (row, id), in any order."""
    return on_device(id_lists.from_pairs(pairs, num_rows))


def count_prefix(sets: IdLists, row: jax.Array, holds: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    """How many leading ids of a row satisfy `holds(id, position)`, which must be true first and false after."""
    start, stop = sets.starts[row], sets.starts[row + 1]

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        is_true = (low < high) & holds(sets.ids.at[middle].get(mode="clip"), middle - start)
        return jnp.where(is_true, middle + 1, low), jnp.where(is_true | (low >= high), high, middle)

    low, _ = jax.lax.fori_loop(0, sets.max_length.bit_length(), halve, (start, stop))
    return low - start


def contains(sets: IdLists, row: jax.Array, ids: jax.Array) -> jax.Array:
    """[...] bool, is the id in the row?

    Args:
      sets: of M rows.
      row: [...] int32.
      ids: [...] int32, of the same shape; ids out of range are in no row.
    """
    position = sets.starts[row] + count_prefix(sets, row, lambda member, _: member < ids)
    return (position < sets.starts[row + 1]) & (sets.ids.at[position].get(mode="clip") == ids)


def nth_absent(sets: IdLists, row: jax.Array, n: jax.Array) -> jax.Array:
    """[...] int32, the n-th id (from 0) that is not in the row.

    Below the id at position p are `id - p` absent ids, a number that never decreases along a sorted row, so the ids of
    the row below the answer are those with `id - p <= n`. One draw of n thus gives one exactly uniform negative,
    without rejection, whatever the row holds.

    Args:
      sets: of M rows.
      row: [...] int32.
      n: [...] int32, of the same shape, less than the number of absent ids; else the result is N or more.
    """
    return n + count_prefix(sets, row, lambda member, position: member - position <= n)


def chunk(sets: IdLists, row: jax.Array, number: jax.Array, width: int, fill: int) -> jax.Array:
    """[width] int32, consecutive ids of one row.

    Args:
      sets: of M rows.
      row: [] int32.
      number: [] int32, of the chunk, from 0.
      width: ids per chunk.
      fill: value after the end of the row.
    """
    position = sets.starts[row] + number * width + jnp.arange(width, dtype=jnp.int32)
    return jnp.where(position < sets.starts[row + 1], sets.ids.at[position].get(mode="clip"), fill)
