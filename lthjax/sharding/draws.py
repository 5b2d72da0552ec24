"""Uniform and normal numbers of some rows of a larger draw, bit-equal to those rows of `jax.random`'s.

Each number of `jax.random` is a hash of the key and of its own place in the array (with `jax_threefry_partitionable`,
the default). So a device can draw its rows of a table, in whatever order they stand there, and no other device's.

Letters: R rows of the whole draw, r rows that are wanted, F numbers a row.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p

from lthjax.errors import SettingsError


def uniform(
    key: jax.Array, shape: tuple[int, int], low: float = 0.0, high: float = 1.0, rows: jax.Array | None = None
) -> jax.Array:
    """`jax.random.uniform(key, shape, minval=low, maxval=high)`, or some of its rows.

    Args:
      key: of the draw.
      shape: (R, F) of the whole.
      low: least value.
      high: what all values are below.
      rows: [r] int32 numbers of the rows that are wanted; None for all.

    Returns:
      [R, F], or [r, F].
    """
    if rows is None:
        return jax.random.uniform(key, shape, jnp.float32, low, high)
    low, high = jnp.float32(low), jnp.float32(high)
    ones = np.array(1.0, np.float32).view(np.uint32)  # 23 random bits behind the exponent of 1: from 1 to below 2
    unit = jax.lax.bitcast_convert_type((_bits(key, rows, shape[1]) >> 9) | ones, jnp.float32) - 1.0
    return jnp.maximum(low, unit * (high - low) + low)


def normal(key: jax.Array, shape: tuple[int, int], rows: jax.Array | None = None) -> jax.Array:
    """`jax.random.normal(key, shape)`, or some of its rows; arguments as of `uniform`."""
    if rows is None:
        return jax.random.normal(key, shape, jnp.float32)
    low = np.nextafter(np.float32(-1), np.float32(0))
    values = np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform(key, shape, low, 1.0, rows))
    return jax.lax.optimization_barrier(values)  # a factor that follows would be multiplied with the root first


def check_generator() -> None:
    """Raise SettingsError where JAX draws in a way that rows alone cannot be drawn."""
    name = str(jax.random.key_impl(jax.random.key(0)))
    if name != "threefry2x32" or not jax.config.jax_threefry_partitionable:
        raise SettingsError(
            "--devices: wanted JAX's default random numbers (threefry2x32, jax_threefry_partitionable), of which every "
            f"device can draw those of its own rows; got {name}, {jax.config.jax_threefry_partitionable}."
        )


def _bits(key: jax.Array, rows: jax.Array, dim: int) -> jax.Array:
    """[r, F] uint32, random bits of each place, whose number, row F + column, is hashed as two halves of 64 bits."""
    row, column = rows.astype(jnp.uint32)[:, None], jnp.arange(dim, dtype=jnp.uint32)[None, :]
    low = row * jnp.uint32(dim)
    high = ((row >> 16) * jnp.uint32(dim) + (((row & 0xFFFF) * jnp.uint32(dim)) >> 16)) >> 16  # of the product
    place = low + column
    high = jnp.broadcast_to(high, place.shape) + (place < low)
    data = jax.random.key_data(key)
    first, second = threefry2x32_p.bind(
        jnp.broadcast_to(data[0], place.shape), jnp.broadcast_to(data[1], place.shape), high, place
    )
    return first ^ second
