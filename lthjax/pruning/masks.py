"""Masks: pytrees of bool like the parameters, True where an entry is kept; of tables that are cut over devices, too.

sparsity = share of pruned entries, density = 1 - sparsity.
"""

import functools
import itertools
import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lthjax.sharding import table as sharded_tables
from lthjax.sharding.table import ShardedTable

Masks = Any  # a pytree of bool arrays, shaped like the parameters


def all_kept(params: Any) -> Masks:
    """Masks of the dense model."""
    return jax.tree.map(lambda p: jnp.ones(p.shape, bool), params)


def apply(masks: Masks, tree: Any) -> Any:
    """`tree` with exactly 0 where pruned, whatever stood there (NaN too)."""
    return jax.tree.map(lambda m, x: jnp.where(m, x, jnp.zeros_like(x)), masks, tree)


def num_astray(masks: Masks, tree: Any) -> int:
    """Entries of a tree that are not 0 though they are pruned."""
    return num_kept(jax.tree.map(lambda m, x: ~m & (x != 0), masks, tree))


def num_entries(masks: Masks) -> int:
    """Entries, kept or pruned."""
    return sum(m.size for m in jax.tree.leaves(masks))


def num_kept(masks: Masks) -> int:
    """Entries kept, exact beyond 2^31."""
    return sum(_num_true(m) for m in jax.tree.leaves(masks))


def _num_true(mask: Any) -> int:
    if isinstance(mask, ShardedTable):
        return mask.num_true
    if isinstance(mask, jax.Array) and len(mask.sharding.device_set) > 1:  # counted where it lies
        return sharded_tables.num_true(mask)
    return int(np.count_nonzero(np.asarray(mask)))


def sparsity(masks: Masks) -> float:
    """Share of entries pruned, 0 for the dense model."""
    return 1.0 - num_kept(masks) / num_entries(masks)


def are_nested(inner: Masks, outer: Masks) -> bool:
    """True where no entry is kept by `inner` that `outer` had pruned."""
    return all(
        not np.any(np.asarray(i) & ~np.asarray(o))
        for i, o in zip(jax.tree.leaves(inner), jax.tree.leaves(outer), strict=True)
    )


def are_equal(masks: Masks, others: Masks) -> bool:
    """True where both keep the same entries of tables of the same shapes."""
    return all(itertools.starmap(_are_equal, zip(jax.tree.leaves(masks), jax.tree.leaves(others), strict=True)))


def _are_equal(mask: Any, other: Any) -> bool:
    if isinstance(mask, ShardedTable) and isinstance(other, ShardedTable):
        return sharded_tables.are_equal(mask, other)
    return np.array_equal(mask, other)


def kept_per_row(masks: Masks) -> Any:
    """Entries kept of each row: [R] int64 for each [R, F] mask."""
    return jax.tree.map(lambda m: np.count_nonzero(np.asarray(m), axis=1), masks)


def num_dead(mask: Any) -> int:
    """Rows of a [R, F] mask that keep no entry."""
    if isinstance(mask, ShardedTable):
        return mask.num_empty
    return int(np.count_nonzero(~np.asarray(mask).any(axis=1)))


class Overlap(NamedTuple):
    """How much two masks have in common."""

    num_both: int  # entries that both keep
    overlap: float  # those, as a share of what the sparser one keeps; 1 where one lies within the other
    jaccard: float  # those, as a share of what either keeps
    hamming: float  # entries that only one of the two keeps, as a share of all
    chance: float  # the overlap that two random masks of these sizes have on average


def overlap(one: Masks, other: Masks) -> Overlap:
    """What two masks of one shape have in common; two that keep nothing are alike.

    With |a| and |b| entries kept of n: overlap = |a and b| / min(|a|, |b|), jaccard = |a and b| / |a or b|,
    hamming = (|a| + |b| - 2 |a and b|) / n, chance = max(|a|, |b|) / n.
    """
    kept, others, size = num_kept(one), num_kept(other), num_entries(one)
    both = num_kept(jax.tree.map(operator.and_, one, other))
    either = kept + others - both
    return Overlap(
        num_both=both,
        overlap=both / min(kept, others) if min(kept, others) else float(kept == others),
        jaccard=both / either if either else 1.0,
        hamming=(either - both) / size,
        chance=max(kept, others) / size,
    )


def pack(mask: Any) -> np.ndarray | ShardedTable:
    """[R, F] bool -> [R, ceil(F / 8)] uint8, eight entries a byte, each row padded by itself."""
    if isinstance(mask, ShardedTable):
        return mask.mapped(_packed)
    return np.packbits(np.asarray(mask), axis=-1)


def unpack(packed: np.ndarray | ShardedTable, embedding_dim: int) -> np.ndarray | ShardedTable:
    """The inverse of `pack`."""
    if isinstance(packed, ShardedTable):
        return packed.mapped(lambda rows: _unpacked(rows, embedding_dim))
    return np.unpackbits(packed, axis=-1, count=embedding_dim).astype(bool)


@jax.jit
def _packed(mask: jax.Array) -> jax.Array:
    return jnp.packbits(mask, axis=-1)


@functools.partial(jax.jit, static_argnums=1)
def _unpacked(packed: jax.Array, embedding_dim: int) -> jax.Array:
    return jnp.unpackbits(packed, axis=-1, count=embedding_dim).astype(bool)
