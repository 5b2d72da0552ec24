"""The training interactions cut over devices: what each needs to draw batches, and its own rows of the product A' X.

Batches: users are cut into runs of neighbours with about as many interactions each, so that the interactions, which go
by user, are cut into runs too. Every device draws for the whole batch with the same random bits; what counts is the
answer of the one that has the user, which the others get by a sum. The batch is the same on any number of devices.

The product: each device has the rows of A' of its own users and items, in the order of one device's, with columns where
the rows of the other side stand. So every sum has the order that it has on one device.

A process of several needs the interactions of its own devices alone, and of all others how many they are.

In a ring (`sharding.exchange`) each device's rows are cut into D blocks, by the device that has the rows of their
columns. These travel: a device adds the block of its own columns first, then that of the device before it, and so on.
So the order of a sum depends on the device, and the product is that of one device to about 1e-5, not to the bit.

Letters: M users, N items, E training interactions, F dimensions, D devices, B batch; of a half of A' on one device, R'
rows, E' entries and V columns.
"""

import itertools
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import sparse

from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.graph import popularity, weights
from lthjax.graph.graph import Reader
from lthjax.graph.popularity import Popularity
from lthjax.runtime import processes
from lthjax.sharding import layout as layouts
from lthjax.sharding import stripes
from lthjax.sharding.layout import AXES, AXIS, Layout


@struct.dataclass
class Interactions:
    """What a device knows of the interactions of its users, as a `Reader` may read it."""

    positives: IdLists
    pair_users: jax.Array
    active_users: jax.Array
    weights: jax.Array | None
    popularity: Popularity | None
    dislikes: IdLists | None
    num_items: int = struct.field(pytree_node=False)


class _Part(NamedTuple):
    """A device's share of the interactions; the firsts are numbers among all."""

    interactions: Interactions
    first_user: jax.Array  # [] int32
    first_interaction: jax.Array  # [] int32
    first_active: jax.Array  # [] int32
    num_interactions: jax.Array  # [] int32
    num_active: jax.Array  # [] int32


class _Rows(NamedTuple):
    """A device's rows of one half of A', filled up to the longest of all devices.

    In a ring all arrays have a leading axis of D blocks, in the order in which their columns' rows come by; a block's
    columns count from the first row of the device that has them.
    """

    values: jax.Array  # [E'] float32
    columns: jax.Array  # [E'] int32
    starts: jax.Array  # [R' + 1] int32


@struct.dataclass
class ShardedGraph:
    """A `Graph` on the devices of a layout; every array has a leading axis of devices."""

    parts: _Part
    items_of_users: _Rows | None  # rows of users; None where no product is wanted
    users_of_items: _Rows | None  # rows of items
    popularity_ends: jax.Array | None  # [N], on every device
    layout: Layout = struct.field(pytree_node=False)
    num_interactions: int = struct.field(pytree_node=False)
    num_active: int = struct.field(pytree_node=False)

    @property
    def adjacency(self) -> NoReturn:
        """No device has the whole matrix.

        Raises:
          SettingsError: always.
        """
        raise SettingsError(
            "backbone: wanted one that multiplies by `propagate` of lthjax.graph.propagate on several devices, as none "
            "has the whole matrix; got one that reads graph.adjacency."
        )

    @property
    def num_users(self) -> int:
        """M."""
        return self.layout.num_users

    @property
    def num_items(self) -> int:
        """N."""
        return self.layout.num_items

    def at_interactions(self, read: Reader, index: jax.Array, key: jax.Array) -> Any:
        """As `Graph.at_interactions`."""
        return self._at("interaction", read, index, key)

    def at_active_users(self, read: Reader, place: jax.Array, key: jax.Array) -> Any:
        """As `Graph.at_active_users`."""
        return self._at("active", read, place, key)

    def table_rows(self, side: str, ids: jax.Array) -> jax.Array:
        """Where users or items stand in their table."""
        return stripes.position(ids, getattr(self.layout.heights, side))

    def product(self, x: Embeddings) -> Embeddings:
        """A' X, for a slab of columns that is gathered from all devices (its rows of one side at a time), or travels.

        Raises:
          SettingsError: the graph was made for a backbone that takes no product.
        """
        if self.items_of_users is None:
            raise SettingsError("backbone: wanted --model lightgcn for one that propagates; got mf.")

        product = _multiply_in_ring if self.layout.exchange == "ring" else _multiply

        def multiply(items_of_users, users_of_items, x):
            halves = zip((items_of_users, users_of_items), (x.item, x.user), strict=True)
            return Embeddings(*(product(_own(rows), other) for rows, other in halves))

        table = Embeddings(AXES["table"], AXES["table"])
        return self._on_devices(multiply, (AXES["blocks"], AXES["blocks"], table), table)(
            self.items_of_users, self.users_of_items, x
        )

    def _at(self, what: str, read: Reader, place: jax.Array, key: jax.Array) -> Any:
        def answer(parts, ends, place, key):
            part = _own(parts)
            interactions = part.interactions
            if ends is not None:
                interactions = interactions.replace(popularity=interactions.popularity.replace(ends=ends))
            first, number = (
                (part.first_interaction, part.num_interactions)
                if what == "interaction"
                else (part.first_active, part.num_active)
            )
            local = place - first
            is_own = (local >= 0) & (local < number)
            users, rest = read(interactions, jnp.clip(local, 0, jnp.maximum(number - 1, 0)), key)
            return jax.lax.psum(_where(is_own, (users + part.first_user, rest)), AXIS)

        replicated = AXES["batch"]
        in_specs = (AXES["blocks"], replicated, replicated, replicated)
        return self._on_devices(answer, in_specs, replicated)(self.parts, self.popularity_ends, place, key)

    def _on_devices(self, function: Callable[..., Any], in_specs: Any, out_specs: Any) -> Callable[..., Any]:
        # Nothing is differentiated in here, which is what the check is for.
        return jax.shard_map(
            function, mesh=self.layout.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
        )  # fmt: skip


class Training(NamedTuple):
    """The training interactions: all, or those that a process's devices need."""

    pairs: np.ndarray  # [E', 2] int32, user and item, sorted by user then item
    degrees: Embeddings  # [M] and [N] int64, of all interactions
    weights: np.ndarray | None = None  # [E'] float32, as `Graph` has them
    dislikes: IdLists | None = None  # M rows, as `Graph` has them
    by_popularity: bool = False  # whether negatives are drawn by degree


def shard(training: Training, layout: Layout, multiplies: bool = True) -> ShardedGraph:
    """The graph of some interactions, cut; every process of several gives those that its devices need, or more.

    Args:
      training: with weights, popularity and dislikes where there are any.
      layout: of the tables, with the way of exchange.
      multiplies: whether the backbone takes products; else devices hold no rows of A'.

    Returns:
      A graph that draws the same batches as `graph.from_pairs`, and whose product is the same to the bit; in a ring, to
      about 1e-5.

    Raises:
      ValueError: interactions that a device of this process needs are not among them.
    """
    devices, degree = own_devices(layout.mesh), training.degrees.user
    runs, of_ids = _cuts(_starts(degree), layout.num_devices), None
    if training.by_popularity:
        of_ids = popularity.weights_by_degree(training.degrees.item)
    parts = _stacked({device: _part(training, of_ids, *runs[device]) for device in devices}, layout)
    halves: list[_Rows | None] = [None, None]
    if multiplies:
        own_halves = {side: _own_rows(training, layout, side, devices) for side in Embeddings._fields}
        if layout.exchange == "ring":
            num_columns = layout.padded.item, layout.padded.user
            halves = [_in_ring(*half, layout) for half in zip(own_halves.values(), num_columns, strict=True)]
        else:
            halves = [_stacked(half, layout) for half in own_halves.values()]
    return ShardedGraph(
        parts=parts,
        items_of_users=halves[0],
        users_of_items=halves[1],
        popularity_ends=None if of_ids is None else layouts.replicate(popularity.ends(of_ids), layout.mesh),
        layout=layout,
        num_interactions=int(degree.sum()),
        num_active=int(np.count_nonzero(degree)),
    )


def own_devices(mesh: jax.sharding.Mesh) -> list[int]:
    """Which of the D devices are this process's."""
    devices = enumerate(mesh.devices.flat)
    return [number for number, device in devices if device.process_index == jax.process_index()]


def needed(degrees: Embeddings, devices: Collection[int], num_devices: int, multiplies: bool) -> Embeddings:
    """[M] and [N] bool: an interaction is needed by some devices where its user or its item is marked.

    Those of a device's run of users are drawn from, those of its rows are multiplied, and those of its items are left
    out where it ranks them.

    Args:
      degrees: interactions of each user and of each item.
      devices: their numbers.
      num_devices: D.
      multiplies: whether the backbone takes products.
    """
    runs = _cuts(_starts(degrees.user), num_devices)
    rows = own_rows(Embeddings(*map(len, degrees)), devices, num_devices)
    users = rows.user if multiplies else np.zeros_like(rows.user)
    for device in devices:
        users[slice(*runs[device])] = True
    return rows._replace(user=users)


def own_rows(num_rows: Embeddings, devices: Collection[int], num_devices: int) -> Embeddings:
    """[M] and [N] bool, the rows of the tables that lie on some devices.

    Args:
      num_rows: M and N.
      devices: their numbers.
      num_devices: D.
    """
    device_of = stripes.position(np.arange(stripes.STRIPES), 1) // (stripes.STRIPES // num_devices)  # row r: r % 256
    return Embeddings(*(np.resize(np.isin(device_of, list(devices)), number) for number in num_rows))


def _starts(degree: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(degree, dtype=np.int64)])


def _cuts(starts: np.ndarray, num_devices: int) -> list[tuple[int, int]]:
    """D runs of users, (first, behind the last), with about as many interactions each."""
    wanted = starts[-1] * np.arange(1, num_devices) / num_devices
    ends = np.searchsorted(starts, wanted).clip(0, len(starts) - 1)
    edges = [0, *ends.tolist(), len(starts) - 1]
    return list(itertools.pairwise(edges))


def _part(training: Training, of_ids: np.ndarray | None, first: int, last: int) -> _Part:
    """The share of the users from `first` to before `last`, as NumPy arrays.

    Args:
      training: with all of theirs.
      of_ids: [N] weights that negatives are drawn by; None for uniformly.
      first: user.
      last: user behind the last.
    """
    pairs, degree = training.pairs, training.degrees.user
    own = slice(*np.searchsorted(pairs[:, 0], [first, last]))
    first_interaction, number = degree[:first].sum(), degree[first:last].sum()
    _require(number, own.stop - own.start)
    positives = id_lists.from_lengths(degree[first:last], pairs[own, 1])
    below = None if of_ids is None else popularity.of_weights(of_ids, positives)
    interactions = Interactions(
        positives=IdLists(positives.starts.astype(np.int32), positives.ids, int(degree.max(initial=0))),
        pair_users=(pairs[own, 0] - first).astype(np.int32),
        active_users=np.flatnonzero(degree[first:last]).astype(np.int32),
        weights=None if training.weights is None else training.weights[own],
        popularity=None if below is None else below.replace(ends=np.zeros(0, np.int32)),
        dislikes=None if training.dislikes is None else _lists(training.dislikes, first, last),
        num_items=len(training.degrees.item),
    )
    first_active = np.count_nonzero(degree[:first])
    numbers = (first, first_interaction, first_active, number, len(interactions.active_users))
    return _Part(interactions, *(np.asarray(number, np.int32) for number in numbers))


def _require(wanted: int, came: int) -> None:
    if wanted != came:
        raise ValueError(f"wanted the {wanted:,} interactions that this process's devices need; got {came:,} of them.")


def _lists(lists: IdLists, first: int, last: int) -> IdLists:
    own = lists.starts[first : last + 1]
    return IdLists((own - own[0]).astype(np.int32), lists.ids[own[0] : own[-1]], lists.max_length)


def _own_rows(training: Training, layout: Layout, side: str, devices: Collection[int]) -> dict[int, _Rows]:
    """Rows of one half of A' by the numbers of some devices."""
    column, other = (0, 1) if side == "user" else (1, 0)
    is_own = getattr(own_rows(layout.rows, devices, layout.num_devices), side)
    pairs = training.pairs[is_own[training.pairs[:, column]]]
    _require(getattr(training.degrees, side)[is_own].sum(), len(pairs))
    values = weights.of_degrees(*(degree[ids] for degree, ids in zip(training.degrees, pairs.T, strict=True)))
    rows = _rows(pairs[:, column], pairs[:, other], values, layout, side)
    return {device: rows[device] for device in devices}


def _rows(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, layout: Layout, side: str) -> list[_Rows]:
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
        parts.append(_Rows(values[own], columns[own], (starts - starts[0]).astype(np.int32)))
    return parts


def _stacked(parts: Mapping[int, Any], layout: Layout) -> Any:
    """Pytrees with a leading axis of devices, filled up to the longest of all, each on its device.

    Args:
      parts: of this process's devices, by their numbers, all of one structure.
      layout: of all devices.
    """
    own = {device: jax.tree.leaves(part) for device, part in parts.items()}
    longest = processes.most([max(map(np.size, leaves)) for leaves in zip(*own.values(), strict=True)])
    sharding = layout.sharding("blocks")

    def stack(place: int) -> jax.Array:
        has_axis = next(iter(own.values()))[place].ndim
        # What fills starts up is their end: a row behind the last is empty. A gather needs an element.
        length = max(1, longest[place])

        def block(index: tuple[slice, ...]) -> np.ndarray:
            (device,) = range(*index[0].indices(layout.num_devices))
            leaf = own[device][place]
            filled = np.pad(leaf, (0, length - len(leaf)), "edge" if len(leaf) else "empty") if has_axis else leaf
            return filled[None]

        shape = (layout.num_devices, length) if has_axis else (layout.num_devices,)
        return jax.make_array_from_callback(shape, sharding, block)

    return jax.tree.unflatten(jax.tree.structure(next(iter(parts.values()))), map(stack, range(len(longest))))


def _in_ring(rows: Mapping[int, _Rows], num_columns: int, layout: Layout) -> _Rows:
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


def _blocks(rows: _Rows, device: int, num_devices: int, size: int, longest: int) -> _Rows:
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
    return _Rows(values[None], columns[None], starts[None])


def _own(blocks: Any) -> Any:
    """What a device has of arrays with a leading axis of devices."""
    return jax.tree.map(lambda block: block[0], blocks)


def _multiply(rows: _Rows, other: jax.Array) -> jax.Array:
    return _times(rows, jax.lax.all_gather(other, AXIS, tiled=True))


def _multiply_in_ring(blocks: _Rows, other: jax.Array) -> jax.Array:
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


def _times(rows: _Rows, other: jax.Array) -> jax.Array:
    shape = rows.starts.shape[0] - 1, other.shape[0]
    return sparse.BCSR((rows.values, rows.columns, rows.starts), shape=shape) @ other


def _where(is_own: jax.Array, tree: Any) -> Any:
    """A pytree of [B, ...] arrays with 0 where a batch's row is another device's."""
    return jax.tree.map(lambda x: jnp.where(is_own.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros_like(x)), tree)
