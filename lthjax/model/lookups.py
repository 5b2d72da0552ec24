"""Rows of a batch, read from tables that are cut over devices; and their gradient, that each device adds to its rows.

The gradient of a table is a sum over several readings: rows for L2 and for the ranking, of negatives and of positives.
XLA adds them on one device in an order that `_added` follows, so that weights are the same to the bit on a CPU: one bit
would end as other masks some levels later. The order is XLA's own, and may change with it; tests compare it.

Letters: R rows of a table, F dimensions, B batch, n negatives of each positive.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from lthjax.embeddings import Embeddings
from lthjax.graph.sharded import ShardedGraph
from lthjax.model.backbones import Backbone
from lthjax.model.losses import Loss, Triples
from lthjax.sharding.layout import AXES, AXIS, Layout


def loss_of_rows(loss: Loss, backbone: Backbone, layer0: Embeddings, graph: ShardedGraph, batch: Triples) -> jax.Array:
    """A loss of `losses.LOSSES`, which reads no rows but those of its batch, given these alone.

    Args:
      loss: from `losses.named`.
      backbone: layer-0 embeddings -> final ones.
      layer0: [., F] on the devices.
      graph: with the layout.
      batch: of rows there.
    """
    layout, final = graph.layout, backbone(layer0, graph)
    is_layer0 = all(table is first for table, first in zip(final, layer0, strict=True))  # MF
    if is_layer0 or loss.keywords["l2_on"] == "propagated":
        (regularized, rows), _ = _read(final, batch, layout, times=2)
    else:
        (regularized,), rest = _read(layer0, batch, layout)
        (rows,), _ = _read(backbone(rest, graph), batch, layout)
    number, size = jnp.arange(batch.user.shape[0], dtype=jnp.int32), batch.negative.size
    negative = jnp.arange(size, dtype=jnp.int32).reshape(batch.negative.shape)
    batch = batch._replace(user=number, positive=size + number, negative=negative)
    return functools.partial(loss.func, **loss.keywords | {"l2_on": "layer0"})(rows, regularized, batch)


def _read(tables: Embeddings, batch: Triples, layout: Layout, times: int = 1) -> tuple[list[Embeddings], Embeddings]:
    """Rows of users, and of negative, then positive items, as tables; and the whole tables, for who reads them next."""
    negative = batch.negative.ravel()
    users, user = lookup(tables.user, [batch.user], times, layout.num_users, layout)
    items, item = lookup(tables.item, [negative, batch.positive], times, layout.num_items, layout)
    pairs = zip(users, items[::2], items[1::2], strict=True)
    return [Embeddings(u, jnp.concatenate([n, p])) for u, n, p in pairs], Embeddings(user, item)


def lookup(
    table: jax.Array, readings: Sequence[jax.Array], times: int, num_rows: int, layout: Layout
) -> tuple[list[jax.Array], jax.Array]:
    """([B, F] rows of each reading, on every device; the table), whose gradients are added in the order of readings.

    Args:
      table: [., F] on the devices.
      readings: of [B] int32 rows each, where they stand.
      times: how often all of them are read, one time after the other; they are exchanged once.
      num_rows: R, without those that fill up.
      layout: of the tables.
    """

    @jax.custom_vjp
    def read(table, readings):
        return take(table, readings) * times, table

    def forward(table, readings):
        return read(table, readings), readings

    def backward(readings, gradients):
        of_rows, of_table = gradients
        return add(of_table, readings * times, of_rows), None

    def take_own(table, readings):
        def own_rows(rows):
            own, is_own = _own(rows, table.shape[0])
            return jnp.where(is_own[:, None], table[jnp.where(is_own, own, 0)], 0.0)

        return jax.lax.psum([own_rows(rows) for rows in readings], AXIS)

    def add_own(table, readings, values):
        places = []
        for rows in readings:
            own, is_own = _own(rows, table.shape[0])
            places.append(jnp.where(is_own, own, table.shape[0]))
        return _added(table, places, values, num_rows)

    def on_devices(function, out_specs, num_replicated):
        in_specs = (AXES["table"], *(AXES["batch"],) * num_replicated)
        return jax.shard_map(function, mesh=layout.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

    take, add = on_devices(take_own, AXES["batch"], 1), on_devices(add_own, AXES["table"], 2)
    read.defvjp(forward, backward)
    return read(table, list(readings))


def _added(table: jax.Array, places: list[jax.Array], values: list[jax.Array], num_rows: int) -> jax.Array:
    """A gradient of a table with those of its readings, summed as XLA does on one device.

    There scatters become one, as long as it holds no more rows than the table; what follows is scattered by itself, and
    added; and what follows that, scattered into the sum. A gradient that is there already, of propagation, is what is
    scattered into in the end.

    Args:
      table: [r, F] gradient so far, of the rows of this device.
      places: of each reading [B] int32 rows there; r for those of others.
      values: of each reading [B, F].
      num_rows: R, of the whole table.
    """
    groups = _together([len(rows) for rows in places], num_rows)

    def scatter(into: jax.Array, group: slice) -> jax.Array:  # at once, which copies the table once
        rows, reading = jnp.concatenate(places[group]), jnp.concatenate(values[group])
        return into.at[rows].add(reading, mode="drop")

    if len(groups) == 1:
        return scatter(table, groups[0])
    # A shard that is higher than the whole table, of fewer than 256 rows, would have room for what is to stay apart.
    apart = jax.lax.optimization_barrier if table.shape[0] > num_rows else lambda gradient: gradient
    total = jnp.zeros_like(table)
    for number, group in enumerate(groups):
        by_itself = number % 2 == 1
        total = apart(total + apart(scatter(jnp.zeros_like(table), group)) if by_itself else scatter(total, group))
    return table + total


def _together(numbers: list[int], num_rows: int) -> list[slice]:
    """Which readings are scattered at once: as many as hold no more rows than the table, then the next by itself, ...

    Args:
      numbers: of rows, of each reading.
      num_rows: R.
    """
    groups, first = [], 0
    while first < len(numbers):
        last = first + 1
        while len(groups) % 2 == 0 and last < len(numbers) and sum(numbers[first : last + 1]) <= num_rows:
            last += 1
        groups.append(slice(first, last))
        first = last
    return groups


def _own(rows: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Rows of a table as rows of this device, and whether they are its own."""
    own = rows - jax.lax.axis_index(AXIS) * size
    return own, (own >= 0) & (own < size)
