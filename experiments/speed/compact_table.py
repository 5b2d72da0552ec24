"""A pruned table in compact form: its kept entries as a vector, and where they stand. Pure functions.

Kept entries are numbered row by row. There are two ways to tell where they stand. `Bitmap` finds the entries of any
row, so that a batch is read without the rest of the table; `Places` makes the whole table, which propagation needs,
several times as fast.

Letters: R rows, F dimensions, S kept entries, S' vectors' length, B batch.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lthjax.pruning import masks as masking

_LENGTH = 1024  # vectors are a multiple of it: on a CPU XLA takes 5 times as long for Adam on 640,433 as on 640,512


@struct.dataclass
class Bitmap:
    """Where the kept entries of each row stand: a bit an entry, and the number of each row's first."""

    bits: jax.Array  # [R, ceil(F / 8)] uint8, of `masking.pack`: the first entry is the highest bit of the first byte
    starts: jax.Array  # [R + 1] int32, number of the first kept entry of each row; the last is S
    dim: int = struct.field(pytree_node=False)  # F

    @property
    def num_kept(self) -> jax.Array:
        """[] int32, S."""
        return self.starts[-1]


@struct.dataclass
class Places:
    """Where the kept entries stand in the table read row by row."""

    places: jax.Array  # [S'] int32, rising, row x F + column; from R x F on where the vector is padded
    num_kept: jax.Array  # [] int32, S
    shape: tuple[int, int] = struct.field(pytree_node=False)  # (R, F)


@struct.dataclass
class Rows:
    """A table whose rows are read as those of an array [R, F]: what a loss sees that reads no others."""

    values: jax.Array  # [S']
    bitmap: Bitmap

    def __getitem__(self, rows: jax.Array) -> jax.Array:
        return rows_of(self.values, self.bitmap, rows)


def compress(table: jax.Array, mask: jax.Array) -> jax.Array:
    """[S'] kept entries of a table, and 0 up to a length that is quick to work on.

    Args:
      table: [R, F].
      mask: [R, F] bool.
    """
    values = np.asarray(table)[np.asarray(mask)]
    return jnp.asarray(np.pad(values, (0, _length(len(values)) - len(values))))


def _length(num_kept: int) -> int:
    """S', also of a table that keeps nothing."""
    return max(-(-num_kept // _LENGTH), 1) * _LENGTH


def bitmap_of(mask: jax.Array) -> Bitmap:
    """Where the entries that a mask keeps stand, by rows.

    Args:
      mask: [R, F] bool.
    """
    mask = np.asarray(mask)
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(mask, axis=1))]).astype(np.int32)
    return Bitmap(jnp.asarray(masking.pack(mask)), jnp.asarray(starts), mask.shape[1])


def places_of(mask: jax.Array) -> Places:
    """Where the entries that a mask keeps stand, one by one.

    Args:
      mask: [R, F] bool.
    """
    places = np.flatnonzero(np.asarray(mask))
    beyond = mask.size + np.arange(_length(len(places)) - len(places))
    numbers = np.concatenate([places, beyond]).astype(np.int32)
    return Places(jnp.asarray(numbers), jnp.int32(len(places)), mask.shape)


def is_value(values: jax.Array, where: Bitmap | Places) -> jax.Array:
    """[S'] bool, False where a vector is padded.

    Args:
      values: [S'].
      where: they stand in the table.
    """
    return jnp.arange(len(values)) < where.num_kept


def table_of(values: jax.Array, where: Bitmap | Places) -> Rows | jax.Array:
    """The table, to be read by rows or whole, as where the entries stand allows.

    Args:
      values: [S'].
      where: they stand in it.
    """
    return Rows(values, where) if isinstance(where, Bitmap) else expand(values, where)


def rows_of(values: jax.Array, bitmap: Bitmap, rows: jax.Array) -> jax.Array:
    """[B, F] rows of a table, with 0 where an entry is pruned; their gradient is added to the kept entries alone.

    Args:
      values: [S'].
      bitmap: of the table.
      rows: [B] int32, or of another shape, which then is in place of [B] everywhere.
    """
    return values.at[numbers_of(bitmap, rows)].get(mode="fill", fill_value=0.0)


def numbers_of(bitmap: Bitmap, rows: jax.Array) -> jax.Array:
    """[B, F] int32, the number of each entry among the kept ones of the table; beyond all where it is pruned.

    It is the number of the row's first, plus the bits before its own: those of the bytes before, and those in its byte.

    Args:
      bitmap: of the table.
      rows: [B] int32.
    """
    bits = bitmap.bits[rows]  # [B, ceil(F / 8)]
    counts = jax.lax.population_count(bits).astype(jnp.int32)
    first = bitmap.starts[rows][..., None] + jnp.cumsum(counts, axis=-1) - counts  # [B, ceil(F / 8)], of each byte
    bit = np.arange(8, dtype=np.uint8).reshape(*(1,) * rows.ndim, 1, 8)
    own, higher = np.uint8(128) >> bit, ~(np.uint8(255) >> bit)  # the entry's bit, and those before it in its byte
    before = jax.lax.population_count(bits[..., None] & higher).astype(jnp.int32)  # [B, ceil(F / 8), 8]
    numbers = jnp.where(bits[..., None] & own != 0, first[..., None] + before, jnp.iinfo(jnp.int32).max)
    return numbers.reshape(*rows.shape, -1)[..., : bitmap.dim]


def expand(values: jax.Array, places: Places) -> jax.Array:
    """[R, F] the whole table, with 0 where an entry is pruned; the gradient is that of the kept entries alone.

    Args:
      values: [S'].
      places: of the table.
    """
    num_rows, dim = places.shape
    hints = {"mode": "drop", "unique_indices": True, "indices_are_sorted": True}
    return jnp.zeros(num_rows * dim, values.dtype).at[places.places].set(values, **hints).reshape(num_rows, dim)
