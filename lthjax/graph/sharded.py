"""The training interactions cut over devices: what each needs to draw batches, and its own rows of the product A' X.

Batches: users are cut into runs of neighbours with about as many interactions each, so that the interactions, which go
by user, are cut into runs too. Every device draws for the whole batch with the same random bits; what counts is the
answer of the one that has the user, which the others get by a sum. The batch is the same on any number of devices.

The product of rows of A' is `sharded_product`'s.

A process of several needs the interactions of its own devices alone, and of all others how many they are.

Letters: M users, N items, E training interactions, D devices, B batch.
"""

import itertools
from collections.abc import Callable, Collection
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.graph import popularity, sharded_product, weights
from lthjax.graph.graph import Reader
from lthjax.graph.popularity import Popularity
from lthjax.graph.sharded_product import Rows
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


@struct.dataclass
class ShardedGraph:
    """A `Graph` on the devices of a layout; every array has a leading axis of devices."""

    parts: _Part
    items_of_users: Rows | None  # rows of users; None where no product is wanted
    users_of_items: Rows | None  # rows of items
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

        product = sharded_product.multiply_in_ring if self.layout.exchange == "ring" else sharded_product.multiply

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
    parts = layouts.stacked({device: _part(training, of_ids, *runs[device]) for device in devices}, layout)
    halves: list[Rows | None] = [None, None]
    if multiplies:
        own_halves = {side: _own_rows(training, layout, side, devices) for side in Embeddings._fields}
        if layout.exchange == "ring":
            num_columns = layout.padded.item, layout.padded.user
            halves = [
                sharded_product.in_ring(*half, layout) for half in zip(own_halves.values(), num_columns, strict=True)
            ]
        else:
            halves = [layouts.stacked(half, layout) for half in own_halves.values()]
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


def _own_rows(training: Training, layout: Layout, side: str, devices: Collection[int]) -> dict[int, Rows]:
    """Rows of one half of A' by the numbers of some devices."""
    column, other = (0, 1) if side == "user" else (1, 0)
    is_own = getattr(own_rows(layout.rows, devices, layout.num_devices), side)
    pairs = training.pairs[is_own[training.pairs[:, column]]]
    _require(getattr(training.degrees, side)[is_own].sum(), len(pairs))
    values = weights.of_degrees(*(degree[ids] for degree, ids in zip(training.degrees, pairs.T, strict=True)))
    rows = sharded_product.rows_of(pairs[:, column], pairs[:, other], values, layout, side)
    return {device: rows[device] for device in devices}


def _own(blocks: Any) -> Any:
    """What a device has of arrays with a leading axis of devices."""
    return jax.tree.map(lambda block: block[0], blocks)


def _where(is_own: jax.Array, tree: Any) -> Any:
    """A pytree of [B, ...] arrays with 0 where a batch's row is another device's."""
    return jax.tree.map(lambda x: jnp.where(is_own.reshape(-1, *(1,) * (x.ndim - 1)), x, jnp.zeros_like(x)), tree)
