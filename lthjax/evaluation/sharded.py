"""The all-ranking evaluator on several devices: each ranks its own items for a block of users, and the best are merged.

No device scores all items, or holds another's rows. Lists of seen and held-out items stay on the host, which hands out
those of a block; a process of several needs the seen items of its own devices alone. Metrics are the same as on one
device: items that score alike count by expectation, and in lists the lower number or, where these are wanted, the more
popular item comes first.

Letters: M users, N items, F dimensions, D devices, B users per block, K items per list, S and H seen and held-out ones.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax import metric_names
from lthjax.data.id_lists import IdLists
from lthjax.embeddings import Embeddings
from lthjax.evaluation import ranking
from lthjax.evaluation.ranking import Asked, Lists, RankingMetrics, RankingTask
from lthjax.sharding import stripes
from lthjax.sharding.layout import AXES, AXIS, Layout

_NOWHERE = np.int32(2**31 - 1)  # behind the last row


class _Block(NamedTuple):
    """Some users, and where the items that they have stand in the table; `_NOWHERE` behind the last."""

    users: np.ndarray  # [B] int32
    seen: jax.Array  # [D, B, S] int32, for each device at least those of its own items
    relevant: np.ndarray  # [B, H] int32


def evaluate(
    final: Embeddings,
    task: RankingTask,
    ks: tuple[int, ...] = (20,),
    between_dispatches: Callable[[], None] = lambda: None,
    metrics: tuple[str, ...] = metric_names.DEFAULT,
    layout: Layout | None = None,
) -> RankingMetrics:
    """`ranking.evaluate` of tables that lie on several devices, or on one.

    Args:
      final: final embeddings.
      task: users, seen and held-out items.
      ks: list lengths K.
      between_dispatches: called now and then, so that an interrupt need not wait for the whole ranking.
      metrics: names of `metric_names`.
      layout: of the tables on several devices; None for one.
    """
    if layout is None:
        return ranking.evaluate(final, task, ks, between_dispatches=between_dispatches, metrics=metrics)
    asked = ranking.asked_of(ks, metrics, task)
    _, items_at = ranking.as_served(task)  # the task's numbers of items, where lists are wanted -> items
    order = None
    if items_at is not None:
        order = layout.place(Embeddings(np.zeros(layout.num_users, np.int32), np.argsort(items_at).astype(np.int32)))
        order = order.item

    def rank(users: np.ndarray, num_chunks: np.ndarray) -> tuple[jax.Array, ...]:
        del num_chunks
        seen = _rows(task.seen, users[0], items_at, layout, task.num_seen)
        relevant = _rows(task.relevant, users[0], items_at, layout)
        return _rank_block(final, _Block(users[0], _on_each(seen, layout), relevant), order, layout, asked)

    measured = ranking.in_blocks(rank, layout.num_items, task, None, 1, between_dispatches)
    return ranking.by_name(asked, measured, task, items_at)


def _rows(
    lists: IdLists, users: np.ndarray, items_at: np.ndarray | None, layout: Layout, lengths: np.ndarray | None = None
) -> np.ndarray:
    """[B, S] int32, where the items of some users stand; as wide as a power of two, so that few programs are made.

    Args:
      lists: M rows of items.
      users: [B].
      items_at: [N] items by the numbers that the lists have of them; None for their own.
      layout: of the tables.
      lengths: [M] of the rows of all processes, so that the width is one for all; None where the lists are whole.
    """
    starts, ids = np.asarray(lists.starts), np.asarray(lists.ids)
    own = (starts[users + 1] - starts[users]).astype(np.int64)
    longest = (own if lengths is None else lengths[users]).max(initial=1)
    column = np.arange(1 << int(longest - 1).bit_length())
    places = np.minimum(starts[users][:, None] + column, len(ids) - 1)
    items = ids[places] if items_at is None else items_at[ids[places]]
    return np.where(column < own[:, None], stripes.position(items, layout.heights.item), _NOWHERE).astype(np.int32)


def _on_each(seen: np.ndarray, layout: Layout) -> jax.Array:
    """[D, B, S] of [B, S]: what this process knows, on each of its devices."""
    shape = (layout.num_devices, *seen.shape)
    return jax.make_array_from_callback(shape, layout.sharding("blocks"), lambda index: seen[None])


@functools.partial(jax.jit, static_argnames=("layout", "asked"))
def _rank_block(final: Embeddings, block: _Block, order: jax.Array | None, layout: Layout, asked: Asked):
    """Of [1, B] users what `ranking.measure_lists` gives.

    Args:
      final: final embeddings.
      block: of users.
      order: for each row of items, what decides between those that score alike, the lower first; None where nothing
        needs to.
      layout: of the tables.
      asked: list lengths and metrics.
    """
    rows = final.user[stripes.position(block.users, layout.heights.user)]  # [B, F]
    shard = functools.partial(_lists, layout=layout, k=max(asked.ks))
    replicated = AXES["batch"]
    blocks = _Block(replicated, AXES["blocks"], replicated)
    lists = jax.shard_map(
        shard, mesh=layout.mesh, in_specs=(AXES["table"], AXES["table"], replicated, blocks), out_specs=replicated,
        check_vma=False,
    )(final.item, order, rows, block)  # fmt: skip
    measured = jax.tree.map(lambda values: values[None], ranking.measure_lists(lists, asked))
    return jax.lax.with_sharding_constraint(measured, layout.sharding("batch"))  # any process can read it


def _lists(items: jax.Array, order: jax.Array | None, rows: jax.Array, block: _Block, layout: Layout, k: int) -> Lists:
    """The best items of a block of users, as one device knows them with the help of the others.

    Args:
      items: [N', F] its rows of the table.
      order: [N'] of them, or None.
      rows: [B, F] of the users.
      block: of the users.
      layout: of the tables.
      k: list length.
    """
    size, num_items = items.shape[0], layout.num_items
    first = jax.lax.axis_index(AXIS) * size
    ids = stripes.id_at(first + jnp.arange(size, dtype=jnp.int32), layout.heights.item)
    scores = jax.vmap(lambda row: jnp.dot(items, row, precision="highest"))(rows)  # as `ranking` does
    scores = jnp.where((ids < num_items)[None, :], scores, -jnp.inf)
    scores = jax.vmap(lambda s, at: s.at[_within(at, first, size)].set(-jnp.inf, mode="drop"))(scores, block.seen[0])
    best, top = _own_best(scores, ids if order is None else order, min(k + 1, num_items, size), order is not None)
    best, top, items_of = (_gathered(x) for x in (best, top + first, ids[top] if order is None else order[top]))
    # Of those that score alike the lower number first, as they stand on one device.
    best, items_of, top = jax.lax.sort((-best, items_of, top), dimension=1, num_keys=2)
    width = min(k + 1, num_items)
    best, items_of, top = -best[:, :width], items_of[:, :width], top[:, :width]
    last = best[:, min(k, num_items) - 1]
    goes_on = (best[:, -1] == last) & (last > -jnp.inf) if num_items > k else jnp.zeros(last.shape, bool)
    own_hits = jax.vmap(lambda s, at: s.at[_within(at, first, size)].get(mode="fill", fill_value=-jnp.inf))(
        scores, block.relevant
    )
    tied = [jnp.sum(x == last[:, None], axis=1, dtype=jnp.int32) for x in (scores, own_hits)]
    tied_size, tied_hits = (jnp.where(goes_on, jax.lax.psum(number, AXIS), 0) for number in tied)
    relevant = (top[:, :, None] == block.relevant[:, None, :]).any(axis=-1)
    return Lists(best, items_of, relevant, tied_size, tied_hits, jnp.sum(block.relevant != _NOWHERE, axis=1))


def _own_best(scores: jax.Array, order: jax.Array, k: int, is_ordered: bool) -> tuple[jax.Array, jax.Array]:
    """([B, k], [B, k]) scores and rows of a device's best; of equal scores the lower in order, where that counts."""
    by_order = jnp.argsort(order) if is_ordered else None
    scores = scores if by_order is None else scores[:, by_order]
    filled = jnp.pad(scores, ((0, 0), (0, -scores.shape[1] % ranking.GROUP)), constant_values=-jnp.inf)
    best, top = jax.vmap(functools.partial(ranking.top_of, k=k))(filled)
    top = jnp.minimum(top, scores.shape[1] - 1)
    return best, top if by_order is None else by_order[top]


def _within(places: jax.Array, first: jax.Array, size: int) -> jax.Array:
    """Places in the table as places on this device, out of range where another has them."""
    own = places - first
    return jnp.where((own >= 0) & (own < size), own, size)


def _gathered(x: jax.Array) -> jax.Array:
    """[B, D k] of [B, k]."""
    return jax.lax.all_gather(x, AXIS, axis=1, tiled=True)
