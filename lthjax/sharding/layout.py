"""How arrays lie on several devices: a mesh of one axis, rows dealt out over it, users and items each for themselves.

Rows are dealt into `STRIPES` stripes, as cards are: row r goes to stripe r modulo 256 in bit-reversed order, so that of
neighbours in a file one goes to the first half of the devices and one to the second, and so on for 4, 8, ... devices.
Shards thus have about the same number of interactions, whatever a file is sorted by. Where a row stands follows from
its number alone: nothing is stored, and tables lie alike on 1, 2, 4, ... 256 devices, but for where they are cut.

Stripes of a table are filled up to one height. The rows that fill up hold zeros, and their masks are False: they are
neither counted, nor drawn, nor ranked. Numbers of rows are those of the data everywhere but on the devices:
`Layout.place` puts tables there, `Layout.gather` brings them back.

Letters: M users, N items, R rows of either table, F dimensions, D devices.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.runtime import processes
from lthjax.runtime.checkpoint import HOST_MEMORY
from lthjax.sharding import exchange as exchanges
from lthjax.sharding.exchange import Exchange
from lthjax.sharding.stripes import STRIPES, heights, id_at
from lthjax.sharding.table import ShardedTable, sharded_table

AXIS = "rows"

# Every kind of array that training holds -> the axis of the mesh that each of its dimensions is cut along. A model with
# arrays of another kind adds a line.
AXES = {
    "table": PartitionSpec(AXIS),  # [R, F]: weights, masks, gradients, moments, scores, final embeddings
    "blocks": PartitionSpec(AXIS),  # [D, ...]: what each device alone knows of the interactions
    "batch": PartitionSpec(),  # [B, ...]: ids, rows of the batch, users of a block that is ranked
    "scalars": PartitionSpec(),  # steps, losses, learning rates, keys, counts
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """The mesh, the tables that lie on it, and how their rows come to other devices in a product A' X."""

    mesh: Mesh
    num_users: int
    num_items: int
    exchange: Exchange = "gather"

    @property
    def num_devices(self) -> int:
        """D."""
        return self.mesh.devices.size

    @property
    def rows(self) -> Embeddings:
        """M and N."""
        return Embeddings(self.num_users, self.num_items)

    @property
    def heights(self) -> Embeddings:
        """Rows of each stripe of users and of items."""
        return heights(self.num_users, self.num_items)

    @property
    def padded(self) -> Embeddings:
        """Rows of the tables with those that fill them up, multiples of `STRIPES`."""
        return Embeddings(*(STRIPES * height for height in self.heights))

    def sharding(self, kind: str) -> NamedSharding:
        """Where an array of a kind of `AXES` lies."""
        return NamedSharding(self.mesh, AXES[kind])

    def shardings(self, tree: Any) -> Any:
        """Where each leaf of a pytree lies: what stands in an `Embeddings` is a table, all else is on every device."""
        return _by_kind(lambda side: lambda leaf: self.sharding("table"), lambda leaf: self.sharding("scalars"), tree)

    def constrain(self, tree: Any) -> Any:
        """The same pytree; under `jit`, with what tells XLA where its leaves lie."""
        return jax.tree.map(jax.lax.with_sharding_constraint, tree, self.shardings(tree))

    def place(self, tree: Any) -> Any:
        """A pytree on the devices, its tables dealt out; of several processes each puts its own part there.

        Args:
          tree: [M, F] and [N, F] in every `Embeddings`, of any dtype, or `ShardedTable`s; other leaves are put on every
            device.
        """
        return _by_kind(
            lambda side: lambda leaf: self._place_table(leaf, side), lambda leaf: replicate(leaf, self.mesh), tree
        )

    def place_like(self, tree: Any, like: Any) -> Any:
        """The same, but for leaves that are NumPy arrays in `like`: these stay on the host."""
        stays = jax.tree.map(lambda leaf: isinstance(leaf, np.ndarray), like)
        return jax.tree.map(lambda leaf, placed, stay: leaf if stay else placed, tree, self.place(tree), stays)

    def tables(self, tree: Any) -> Any:
        """What lies on the devices as files have it: `ShardedTable`s, which share the arrays; other leaves as NumPy."""
        rows = self.rows
        return _by_kind(lambda side: lambda leaf: sharded_table(leaf, getattr(rows, side)), on_host, tree)

    def shapes(self, tree: Any) -> Any:
        """Shapes and dtypes of what `tables` makes of a pytree."""

        def of_side(side: str) -> Callable[[jax.Array], jax.ShapeDtypeStruct]:
            num_rows = getattr(self.rows, side)
            return lambda leaf: jax.ShapeDtypeStruct((num_rows, *leaf.shape[1:]), leaf.dtype)

        return _by_kind(of_side, on_host, tree)

    def held(self, tree: Any) -> Any:
        """What `tables` made, or files hold, as tickets hold it, off the devices.

        That is whole, as NumPy arrays, where one process has all devices; of several each holds its own rows.
        """
        if self.is_of_one_process:
            return jax.tree.map(lambda leaf: np.asarray(leaf) if isinstance(leaf, ShardedTable) else leaf, tree)
        return jax.tree.map(lambda leaf: leaf.on_hosts() if isinstance(leaf, ShardedTable) else leaf, tree)

    def gather(self, tree: Any) -> Any:
        """The inverse of `place`, as NumPy arrays, where one process has all devices."""
        return self.held(self.tables(tree))

    def ids(self) -> Embeddings:
        """Numbers of the rows that stand in the tables, [.] int32; M and N or more for those that fill up."""
        return _ids(self)

    def all_kept(self, embedding_dim: int) -> Embeddings:
        """Masks of the dense model: True in all rows but those that fill up."""
        return _all_kept(self, embedding_dim)

    def by_row(self, function: Callable[..., Any], tables: Any, *replicated: Any) -> Any:
        """What a function makes of each device's rows of some tables, as tables; it sees no others.

        Args:
          function: (rows of the tables, what is replicated) -> a pytree of [rows, ...] arrays.
          tables: pytree of arrays of `padded` rows.
          *replicated: arrays that it needs, the same on all devices.
        """
        in_specs = (AXES["table"], *(AXES["scalars"] for _ in replicated))
        mapped = jax.shard_map(
            function, mesh=self.mesh, in_specs=in_specs, out_specs=AXES["table"], check_vma=False
        )  # fmt: skip
        return jax.jit(mapped)(tables, *replicated)

    @property
    def is_of_one_process(self) -> bool:
        """Whether this process has all devices."""
        return not self.mesh.is_multi_process

    @property
    def in_host_memory(self) -> NamedSharding:
        """Where tables lie that are off the devices: rows with the process whose device has them."""
        return self.sharding("table").with_memory_kind(HOST_MEMORY)

    def _place_table(self, table: np.ndarray | ShardedTable, side: str) -> jax.Array:
        num_rows, height = getattr(self.rows, side), getattr(self.heights, side)
        if table.shape[0] != num_rows:
            raise ValueError(f"wanted a table of {num_rows} rows; got {table.shape}.")
        if isinstance(table, ShardedTable):
            return jax.device_put(table.array, self.sharding("table"), may_alias=False)
        table = np.asarray(table)
        shape = (STRIPES * height, *table.shape[1:])

        def part(index: tuple[slice, ...]) -> np.ndarray:
            ids = id_at(np.arange(*index[0].indices(shape[0])), height)
            values = np.zeros((len(ids), *shape[1:]), table.dtype)
            values[ids < num_rows] = table[ids[ids < num_rows]]
            return values

        return jax.make_array_from_callback(shape, self.sharding("table"), part)


def make(mesh: Mesh, num_users: int, num_items: int, exchange: Exchange = "gather") -> Layout:
    """The layout of tables on a mesh of one axis, "rows".

    Args:
      mesh: of `jax.make_mesh((D,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))`, or of `mesh_of`.
      num_users: M.
      num_items: N.
      exchange: how a product gets the rows of other devices, see `sharding.exchange`.

    Raises:
      SettingsError: the mesh has other axes, or a number of devices that does not divide `STRIPES`, or that is no ring.
    """
    if not isinstance(mesh, Mesh) or mesh.axis_names != (AXIS,):
        raise SettingsError(f"mesh: wanted one of one axis, {AXIS!r}; got {getattr(mesh, 'axis_names', mesh)!r:.60}.")
    if mesh.axis_types != (jax.sharding.AxisType.Auto,):
        raise SettingsError(
            "mesh: wanted axis_types=(jax.sharding.AxisType.Auto,), under which rows can be looked up by number; got "
            f"{mesh.axis_types}."
        )
    check_number(mesh.devices.size, "mesh")
    exchanges.check(exchange, mesh.devices.size)
    return Layout(mesh, num_users, num_items, exchange)


def mesh_of(devices: Any) -> Mesh:
    """A mesh of some devices, in their order."""
    return Mesh(np.asarray(devices), (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def check_number(number: int, what: str) -> None:
    """Raise SettingsError for a number of devices that rows cannot be dealt to.

    Args:
      number: D.
      what: where it was given.
    """
    if number < 1 or STRIPES % number:
        raise SettingsError(f"{what}: wanted 1, 2, 4, ... or {STRIPES} devices; got {number}.")


def replicate(leaf: Any, mesh: Mesh) -> jax.Array:
    """An array on every device of a mesh; every process of several gives the same.

    Args:
      leaf: array or number; random keys too.
      mesh: of the devices.
    """
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(replicate(jax.random.key_data(leaf), mesh), impl=jax.random.key_impl(leaf))
    array = np.asarray(leaf)
    return jax.make_array_from_callback(array.shape, NamedSharding(mesh, PartitionSpec()), lambda index: array[index])


def stacked(parts: Mapping[int, Any], layout: Layout) -> Any:
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


def on_host(leaf: Any) -> Any:
    """A leaf that lies on every device as a NumPy array; random keys stay keys, on one device."""
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(jnp.asarray(on_host(jax.random.key_data(leaf))), impl=jax.random.key_impl(leaf))
    return np.asarray(leaf)


def _by_kind(of_table: Callable[[str], Callable[[Any], Any]], of_other: Callable[[Any], Any], tree: Any) -> Any:
    """A pytree with each leaf changed, by whether it stands in an `Embeddings`.

    Args:
      of_table: "user" or "item" -> what is done with the leaves there.
      of_other: what is done with all other leaves.
      tree: the pytree.
    """

    def change(node: Any) -> Any:
        if not isinstance(node, Embeddings):
            return of_other(node)
        return Embeddings(*(jax.tree.map(of_table(side), getattr(node, side)) for side in Embeddings._fields))

    return jax.tree.map(change, tree, is_leaf=lambda node: isinstance(node, Embeddings))


@functools.partial(jax.jit, static_argnames="layout")
def _ids(layout: Layout) -> Embeddings:
    def own_ids() -> Embeddings:
        shard = jax.lax.axis_index(AXIS)
        sizes = (num_rows // layout.num_devices for num_rows in layout.padded)
        places = (shard * size + jnp.arange(size, dtype=jnp.int32) for size in sizes)
        return Embeddings(*map(id_at, places, layout.heights))

    return jax.shard_map(own_ids, mesh=layout.mesh, in_specs=(), out_specs=AXES["table"], check_vma=False)()


@functools.partial(jax.jit, static_argnames=("layout", "dim"))
def _all_kept(layout: Layout, dim: int) -> Embeddings:
    masks = (ids < num_rows for ids, num_rows in zip(_ids(layout), layout.rows, strict=True))
    return layout.constrain(Embeddings(*(jnp.broadcast_to(mask[:, None], (len(mask), dim)) for mask in masks)))
