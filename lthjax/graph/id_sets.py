"""Sorted sets of ids on the device: membership and complement by binary search. Nothing here is ever [M, N].

Letters: M rows, N ids that there may be.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists

# Arrays are data; the longest length is part of the program: it bounds searches and padding.
jax.tree_util.register_dataclass(IdLists, data_fields=["starts", "ids"], meta_fields=["max_length"])


def on_device(lists: IdLists) -> IdLists:
    """The same sets as int32 arrays of the device, at least one id long, since a gather needs one element."""
    ids = lists.ids if len(lists.ids) else np.zeros(1, np.int32)
    # jnp.asarray would compile a program for each shape.
    starts, ids = jax.device_put((lists.starts.astype(np.int32), ids))
    return IdLists(starts, ids, lists.max_length)


def from_pairs(pairs: np.ndarray, num_rows: int) -> IdLists:
    """Sets on the device from [E, 2] pairs (row, id), in any order."""
    return on_device(id_lists.from_pairs(pairs, num_rows))


def _count_prefix(sets: IdLists, row: jax.Array, holds: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
    """How many leading ids of a row satisfy `holds(id, place)`, which must be true first and false after."""
    start, stop = sets.starts[row], sets.starts[row + 1]

    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        true_here = (low < high) & holds(sets.ids.at[middle].get(mode="clip"), middle - start)
        return jnp.where(true_here, middle + 1, low), jnp.where(true_here | (low >= high), high, middle)

    low, _ = jax.lax.fori_loop(0, sets.max_length.bit_length(), halve, (start, stop))
    return low - start


def contains(sets: IdLists, row: jax.Array, ids: jax.Array) -> jax.Array:
    """[...] bool, is `ids` in row `row`? Both [...] int32 of one shape."""
    place = sets.starts[row] + _count_prefix(sets, row, lambda here, _: here < ids)
    return (place < sets.starts[row + 1]) & (sets.ids.at[place].get(mode="clip") == ids)


def nth_absent(sets: IdLists, row: jax.Array, n: jax.Array) -> jax.Array:
    """[...] int32, the n-th id (from 0) that is not in the row.

    Before the id at place p lie `id - p` absent ids, a number that never falls along a sorted row: as many ids of the
    row lie below the answer as have `id - p <= n`. So one draw of n gives one exact uniform negative, without
    rejection, whatever the row holds.
    """
    return n + _count_prefix(sets, row, lambda here, place: here - place <= n)


def chunk(sets: IdLists, row: jax.Array, number: jax.Array, width: int, fill: int) -> jax.Array:
    """[width] int32, the `number`-th stretch of `width` ids of one row (a scalar), with `fill` behind its end."""
    place = sets.starts[row] + number * width + jnp.arange(width, dtype=jnp.int32)
    return jnp.where(place < sets.starts[row + 1], sets.ids.at[place].get(mode="clip"), fill)
