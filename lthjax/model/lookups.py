"""Rows of a batch, read from tables that are cut over devices; and their gradient, that each device adds to its rows.

The sums of a gradient have the order that XLA gives them on one device, where it makes one scatter of several: to what
came from propagation come the rows of layer 0, then those of the final table; negatives before positives. So weights
are the same to the bit on a CPU: one bit would end as other masks some levels later. Of larger batches (MF from some
2,500, LightGCN from some 5,000 on) XLA scatters the parts one by one, and weights are the same to rounding.

Letters: R rows of a table, F dimensions, B batch, n negatives of each positive.
"""

import functools

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
        rows, regularized = _read_twice(final, batch, layout)
    else:
        regularized, rest = _read(layer0, batch, layout)
        rows, _ = _read(backbone(rest, graph), batch, layout)
    number, size = jnp.arange(batch.user.shape[0], dtype=jnp.int32), batch.negative.size
    negative = jnp.arange(size, dtype=jnp.int32).reshape(batch.negative.shape)
    batch = batch._replace(user=number, positive=size + number, negative=negative)
    return functools.partial(loss.func, **loss.keywords | {"l2_on": "layer0"})(rows, regularized, batch)


def _read(tables: Embeddings, batch: Triples, layout: Layout) -> tuple[Embeddings, Embeddings]:
    """Rows of users and of negative, then positive items; and the tables for who reads them next."""
    user, user_rest = lookup(tables.user, batch.user, layout)
    item, item_rest = [], tables.item
    for ids in reversed(_items(batch)):
        rows, item_rest = lookup(item_rest, ids, layout)
        item.insert(0, rows)
    return Embeddings(user, jnp.concatenate(item)), Embeddings(user_rest, item_rest)


def _read_twice(tables: Embeddings, batch: Triples, layout: Layout) -> tuple[Embeddings, Embeddings]:
    """The rows for the ranking, and once more for L2 on the same tables."""
    if batch.negative.ndim > 1:
        return _each(tables, batch, layout), _each(tables, batch, layout)
    user = [lookup(tables.user, batch.user, layout)[0] for _ in range(2)]
    ids = jnp.concatenate(2 * _items(batch))
    regularized, rows = jnp.split(lookup(tables.item, ids, layout)[0], 2)
    return Embeddings(user[0], rows), Embeddings(user[1], regularized)


def _each(tables: Embeddings, batch: Triples, layout: Layout) -> Embeddings:
    user = lookup(tables.user, batch.user, layout)[0]
    positive, negative = (lookup(tables.item, ids, layout)[0] for ids in reversed(_items(batch)))
    return Embeddings(user, jnp.concatenate([negative, positive]))


def _items(batch: Triples) -> list[jax.Array]:
    """Rows of negatives, then of positives; together where they are of one shape, as XLA scatters those together."""
    items = [batch.negative.ravel(), batch.positive]
    return [jnp.concatenate(items)] if batch.negative.ndim == 1 else items


def lookup(table: jax.Array, rows: jax.Array, layout: Layout) -> tuple[jax.Array, jax.Array]:
    """([B, F] rows of a table, on every device, and the table); the gradient of the rows is added onto the table's.

    Args:
      table: [R, F] on the devices.
      rows: [B] int32, where they stand.
      layout: of the tables.
    """

    @jax.custom_vjp
    def read(table, rows):
        return gathered(table, rows), table

    def forward(table, rows):
        return read(table, rows), rows

    def backward(rows, gradients):
        of_rows, of_table = gradients
        return added(of_table, rows, of_rows), None

    def take(table, rows):
        own, is_own = _own(rows, table.shape[0])
        return jax.lax.psum(jnp.where(is_own[:, None], table[jnp.where(is_own, own, 0)], 0.0), AXIS)

    def add(table, rows, values):
        own, is_own = _own(rows, table.shape[0])
        return table.at[jnp.where(is_own, own, table.shape[0])].add(values, mode="drop")

    def on_devices(function, out_specs, num_replicated):
        in_specs = (AXES["table"], *(AXES["batch"],) * num_replicated)
        return jax.shard_map(function, mesh=layout.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)

    gathered, added = on_devices(take, AXES["batch"], 1), on_devices(add, AXES["table"], 2)
    read.defvjp(forward, backward)
    return read(table, rows)


def _own(rows: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Rows of a table as rows of this device, and whether they are its own."""
    own = rows - jax.lax.axis_index(AXIS) * size
    return own, (own >= 0) & (own < size)
