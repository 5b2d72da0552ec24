"""Rows of the product A' X on several devices, each of which has those of its own users and items.

They stand in the order of one device's, with columns where the rows of the other side stand. So every sum has the order
that it has on one device.

In a ring (`sharding.exchange`) each device's rows are cut into D blocks, by the device that has the rows of their
columns. These travel: a device adds the block of its own columns first, then that of the device before it, and so on.
So the order of a sum depends on the device, and the product is that of one device to about 1e-5, not to the bit.

Letters: F dimensions, D devices; of a half of A' on one device, R' rows, E' entries and V columns.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import sparse

from lthjax.runtime import processes
from lthjax.sharding import stripes
from lthjax.sharding.layout import AXIS, Layout


class Rows(NamedTuple):
    """A device's rows of one half of A', filled up to the longest of all devices.

    In a ring all arrays have a leading axis of D blocks, in the order in which their columns' rows come by; a block's
    columns count from the first row of the device that has them.
    """

    values: jax.Array  # [E'] float32
    columns: jax.Array  # [E'] int32
    starts: jax.Array  # [R' + 1] int32


def rows_of(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, layout: Layout, side: str) -> list[Rows]:
    """Each device's rows of one half of A', as NumPy arrays.

    Args:
      rows: [E'] user or item of each interaction.
      columns: [E'] the other one, ascending within a row.
      values: [E'] entries of A'.
      layout: of the tables.
      side: "user" or "item", what the rows are of.
    """
    other = "item" if side == "user" else "user"
    places = stripes.position(rows, getattr(layout.heights, side))
    columns = stripes.position(columns, getattr(layout.heights, other)).astype(np.int32)
    size = getattr(layout.padded, side) // layout.num_devices
    by_place = np.argsort(places, kind="stable")  # the columns of a row stay in the order of their numbers
    ends = np.searchsorted(places[by_place], np.arange(layout.num_devices * size + 1))
    parts = []
    for device in range(layout.num_devices):
        starts = ends[device * size : (device + 1) * size + 1]
        own = by_place[starts[0] : starts[-1]]
        parts.append(Rows(values[own], columns[own], (starts - starts[0]).astype(np.int32)))
    return parts


def in_ring(rows: Mapping[int, Rows], num_columns: int, layout: Layout) -> Rows:
    """One half of A' for a ring, [D, D, ...]; the host has the blocks of one device at a time.

    Args:
      rows: of this process's devices, by their numbers, NumPy arrays.
      num_columns: V.
      layout: of the tables.
    """
    num_devices, size = layout.num_devices, num_columns // layout.num_devices
    (longest,) = processes.most(
        [max(1, *(np.bincount(part.columns // size, minlength=1).max() for part in rows.values()))]
    )
    devices = layout.mesh.devices.flat
    blocks = [
        jax.device_put(_blocks(part, number, num_devices, size, longest), devices[number])
        for number, part in rows.items()
    ]

    def whole(*leaves: jax.Array) -> jax.Array:
        shape = num_devices, *leaves[0].shape[1:]
        return jax.make_array_from_single_device_arrays(shape, layout.sharding("blocks"), leaves)

    return jax.tree.map(whole, *blocks)


def _blocks(rows: Rows, device: int, num_devices: int, size: int, longest: int) -> Rows:
    """A device's rows cut into blocks, [1, D, ...], in the order in which their columns' rows come round the ring.

    Args:
      rows: of the device.
      device: its number.
      num_devices: D.
      size: rows of the other side on each device.
      longest: entries of the longest block of all devices.
    """
    owners = rows.columns // size
    numbers = np.bincount(owners, minlength=num_devices)
    entries_of = np.split(np.argsort(owners, kind="stable"), np.cumsum(numbers)[:-1])
    values, columns = np.zeros((num_devices, longest), np.float32), np.zeros((num_devices, longest), np.int32)
    starts = np.empty((num_devices, len(rows.starts)), np.int32)
    for visit in range(num_devices):
        owner = (device - visit) % num_devices
        entries = entries_of[owner]  # ascending: of a row they stay in order
        values[visit, : len(entries)] = rows.values[entries]
        columns[visit, : len(entries)] = rows.columns[entries] - owner * size
        starts[visit] = np.searchsorted(entries, rows.starts)
    return Rows(values[None], columns[None], starts[None])


def multiply(rows: Rows, other: jax.Array) -> jax.Array:
    """[R', F] a device's rows of A' times all rows of the other side, of which `other` [V / D, F] are its own."""
    return _times(rows, jax.lax.all_gather(other, AXIS, tiled=True))


def multiply_in_ring(blocks: Rows, other: jax.Array) -> jax.Array:
    """The same, while the rows of all devices come by: D - 1 hops, each beside the product with what is there.

    In a loop: XLA would have rows of all devices arrive before it multiplies the first, which is the whole side again.

    Args:
      blocks: of this device, in the order of visits.
      other: [V / D, F] its own rows of the other side, the first to be multiplied.
    """
    num_devices = blocks.starts.shape[0]
    to_the_next = [(device, (device + 1) % num_devices) for device in range(num_devices)]

    def block(visit):
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, visit, keepdims=False), blocks)

    def hop(visit, carry):
        total, visiting = carry
        return total + _times(block(visit), visiting), jax.lax.ppermute(visiting, AXIS, to_the_next)

    begun = _times(block(0), other), jax.lax.ppermute(other, AXIS, to_the_next)
    total, visiting = jax.lax.fori_loop(1, num_devices - 1, hop, begun)
    return total + _times(block(num_devices - 1), visiting)


def _times(rows: Rows, other: jax.Array) -> jax.Array:
    shape = rows.starts.shape[0] - 1, other.shape[0]
    return sparse.BCSR((rows.values, rows.columns, rows.starts), shape=shape) @ other
