"""A table that is cut over devices, held, saved and compared without anybody having it whole.

Letters: R rows, F dimensions.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.errors import SettingsError
from lthjax.runtime.checkpoint import HOST_MEMORY
from lthjax.sharding import stripes


@dataclasses.dataclass(frozen=True, eq=False)
class ShardedTable:
    """[R, ...] rows, dealt out as `layout` has it; a leaf of pytrees, with the shape and dtype of the whole.

    Attributes:
      array: as the rows stand on the devices, or in the memory of their hosts, with those that fill stripes up.
      num_rows: R.
      num_true: of bool, entries that are True; else None.
      num_empty: of bool, rows without one; else None.
    """

    array: jax.Array
    num_rows: int
    num_true: int | None = None
    num_empty: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        return (self.num_rows, *self.array.shape[1:])

    @property
    def dtype(self) -> np.dtype:
        """Of its entries."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """Dimensions of the whole."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """Entries of the whole."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        """R."""
        return self.num_rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The whole, rows by their numbers.

        Raises:
          SettingsError: other processes have rows of it.
        """
        del copy
        if not self.array.is_fully_addressable:
            raise SettingsError(
                "wanted a table that this process has whole; got one whose rows lie in several processes. One process "
                "reads it from the run folder: lthjax.load_run(...), or lthjax.load_ticket(...)."
            )
        return whole(np.asarray(self.array), self.num_rows).astype(dtype or self.dtype, copy=False)

    def on_devices(self) -> jax.Array:
        """The rows as they stand on the devices."""
        return _on_devices(self.array)

    def on_hosts(self) -> "ShardedTable":
        """The same in the hosts' memory, each with the rows of its own devices; a copy, whatever becomes of this."""
        sharding = self.array.sharding.with_memory_kind(HOST_MEMORY)
        return dataclasses.replace(self, array=jax.device_put(self.array, sharding, may_alias=False))

    def mapped(self, function: Callable[[jax.Array], jax.Array]) -> "ShardedTable":
        """What a function of some rows makes of them, on the devices."""
        return sharded_table(function(self.on_devices()), self.num_rows)


def sharded_table(array: jax.Array, num_rows: int) -> ShardedTable:
    """A table of its rows as they stand on the devices; what counts of a mask is counted, by all processes together.

    Args:
      array: [256 h, ...], in whatever memory; False or 0 where a row only fills up.
      num_rows: R.
    """
    if array.dtype != bool:
        return ShardedTable(array, num_rows)
    mask = _on_devices(array)
    return ShardedTable(array, num_rows, num_true(mask), num_rows - int(np.asarray(_num_filled(mask))))


def num_true(mask: jax.Array) -> int:
    """Entries of a [R, F] mask that are True, counted where they lie; exact beyond 2^31."""
    return int(np.asarray(_true_by_column(mask)).sum(dtype=np.int64))


def are_equal(table: ShardedTable, other: ShardedTable) -> bool:
    """Whether two tables that lie alike hold the same; asked by all processes together."""
    return table.shape == other.shape and bool(_all_equal(table.on_devices(), other.on_devices()))


def whole(array: np.ndarray, num_rows: int) -> np.ndarray:
    """[R, ...], rows by their numbers.

    Args:
      array: [256 h, ...] rows as they stand on devices.
      num_rows: R.
    """
    return array[stripes.position(np.arange(num_rows), len(array) // stripes.STRIPES)]


def _on_devices(array: jax.Array) -> jax.Array:
    return jax.device_put(array, array.sharding.with_memory_kind(None))


@jax.jit
def _true_by_column(mask: jax.Array) -> jax.Array:
    return jnp.sum(mask, axis=0, dtype=jnp.int32)


@jax.jit
def _num_filled(mask: jax.Array) -> jax.Array:
    """Rows with an entry that is True."""
    return jnp.sum(mask.any(axis=tuple(range(1, mask.ndim))), dtype=jnp.int32)


@jax.jit
def _all_equal(array: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.all(array == other)
