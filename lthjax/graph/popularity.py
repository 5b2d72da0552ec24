"""Ids in proportion to a weight, among those that a row does not have: exact, by inverse CDF, without rejection.

Weights are whole numbers of a total below 2^31, so that their sums are exact. Laid end to end they cut a line into one
interval for each id. Without the intervals of a row's own ids the line is shorter; a place on the shorter line is an
id that the row does not have, with its probability. Nothing here is ever [M, N].

Letters: M rows (users), N ids (items), E ids in all rows together.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lthjax.data.id_lists import IdLists
from lthjax.graph import id_sets

EXPONENT = 0.75  # of the degree, as in word2vec (Mikolov et al. 2013, "Distributed Representations", section 2.2)
_TOTAL = 2**30  # of the weights, about


@struct.dataclass
class Popularity:
    """Weights of ids, and what of them is left where a row's own ids are taken out."""

    ends: jax.Array  # [N] int32, where the interval of each id ends
    below: jax.Array  # [E] int32, for each id of a row: the weight below it that the row does not have
    absent: jax.Array  # [M] int32, the weight of all ids that the row does not have


def by_degree(degree: np.ndarray, rows: IdLists) -> Popularity:
    """Weights in proportion to degree^0.75; ids of degree 0 are never drawn.

    Args:
      degree: [N] of each id, in training.
      rows: M rows of ids of a positive degree.
    """
    return of_weights(weights_by_degree(degree), rows)


def weights_by_degree(degree: np.ndarray) -> np.ndarray:
    """[N] int64, the weights of ids of the given degrees."""
    power = degree.astype(np.float64) ** EXPONENT
    weights = np.where(degree > 0, np.maximum(np.rint(power * (_TOTAL / max(power.sum(), 1.0))), 1), 0)
    return weights.astype(np.int64)


def ends(weights: np.ndarray) -> np.ndarray:
    """[N] int32, where the interval of each id ends."""
    return np.cumsum(weights).astype(np.int32)


def of_weights(weights: np.ndarray, rows: IdLists) -> Popularity:
    """The tables of whole-numbered weights.

    Args:
      weights: [N] int64, below 2^31 in all.
      rows: M rows of ids of a positive weight.
    """
    starts, ids = np.asarray(rows.starts, np.int64), np.asarray(rows.ids)[: int(rows.starts[-1])]
    ends, own = np.cumsum(weights), np.concatenate([[0], np.cumsum(weights[ids])])
    if ends[-1] >= 2**31:
        raise ValueError(f"wanted weights below 2^31 in all; got {ends[-1]}.")
    before = own[:-1] - np.repeat(own[starts[:-1]], np.diff(starts))  # of the row's own ids below
    below = ends[ids] - weights[ids] - before
    absent = ends[-1] - (own[starts[1:]] - own[starts[:-1]])
    below = below if len(below) else np.zeros(1, np.int64)  # a gather needs an element
    return Popularity(*jax.device_put(tuple(x.astype(np.int32) for x in (ends, below, absent))))


def draw(key: jax.Array, popularity: Popularity, rows: IdLists, row: jax.Array) -> jax.Array:
    """[...] int32, an id that each row does not have, in proportion to its weight, to within 2^-32.

    Args:
      key: of the draw.
      popularity: of the ids.
      rows: its M rows.
      row: [...] int32; one without a weight left gets any id.
    """
    bits = jax.random.bits(key, row.shape, jnp.uint32)
    return at(popularity, rows, row, _share(bits, popularity.absent[row].astype(jnp.uint32)))


def at(popularity: Popularity, rows: IdLists, row: jax.Array, place: jax.Array) -> jax.Array:
    """[...] int32, the id at a place on the line of what each row does not have.

    The row's own ids below the answer are those that have no more than `place` below them: a prefix of the row.

    Args:
      popularity: of the ids.
      rows: its M rows.
      row: [...] int32.
      place: [...] int32, of the same shape, less than `absent` of the row.
    """
    start = rows.starts[row]
    passed = id_sets.count_prefix(rows, row, lambda _, p: popularity.below.at[start + p].get(mode="clip") <= place)
    last = jnp.maximum(start + passed - 1, 0)
    own = popularity.ends[rows.ids[last]] - popularity.below[last]  # the row's own weight up to there
    found = jnp.searchsorted(popularity.ends, place + jnp.where(passed > 0, own, 0), side="right")
    return jnp.minimum(found, popularity.ends.shape[0] - 1).astype(jnp.int32)


def log_q(popularity: Popularity, row: jax.Array, ids: jax.Array, num_absent: jax.Array) -> jax.Array:
    """[...] float32, log of how much likelier an id was drawn for a row than uniformly among those it does not have.

    Args:
      popularity: that drew.
      row: [...] int32.
      ids: [...] int32, of the same shape, drawn for the row.
      num_absent: [...] int32, how many ids the row does not have.
    """
    weight = popularity.ends[ids] - jnp.where(ids > 0, popularity.ends[jnp.maximum(ids - 1, 0)], 0)
    weight, absent, number = (jnp.log(jnp.maximum(x, 1)) for x in (weight, popularity.absent[row], num_absent))
    return weight - absent + number


def _share(bits: jax.Array, span: jax.Array) -> jax.Array:
    """[...] int32, floor(bits * span / 2^32) of two uint32, by halves.

    `jax.random.randint` takes bits modulo the span, which favours low places where that is large.
    """
    low, high, span_low, span_high = bits & 0xFFFF, bits >> 16, span & 0xFFFF, span >> 16
    middle = high * span_low + ((low * span_low) >> 16)
    carry = low * span_high + (middle & 0xFFFF)
    return (high * span_high + (middle >> 16) + (carry >> 16)).astype(jnp.int32)
