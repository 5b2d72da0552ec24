"""Masks: applied, counted, nested, packed."""

import jax.numpy as jnp
import numpy as np
import pytest

from lthjax import masks as masking
from lthjax.embeddings import Embeddings


def test_pruned_entries_become_zero_whatever_they_were(some_masks):
    tree = Embeddings(jnp.full(some_masks.user.shape, jnp.nan), jnp.full(some_masks.item.shape, -jnp.inf))
    applied = masking.apply(some_masks, tree)
    for mask, part in zip(some_masks, applied, strict=True):
        assert not np.asarray(part)[~np.asarray(mask)].any()
        assert not np.signbit(np.asarray(part)[~np.asarray(mask)]).any()
        assert not np.isfinite(np.asarray(part)[np.asarray(mask)]).any()


def test_kept_entries_keep_their_bits(some_masks, assert_same):
    tree = Embeddings(*(jnp.linspace(-1, 1, m.size).reshape(m.shape) for m in some_masks))
    assert_same(masking.apply(masking.all_kept(tree), tree), tree)
    applied = masking.apply(some_masks, tree)
    for mask, part, before in zip(some_masks, applied, tree, strict=True):
        np.testing.assert_array_equal(part[mask], before[mask])


def test_counts():
    masks = Embeddings(jnp.array([[True, False], [False, False]]), jnp.array([[True, True]]))
    assert (masking.num_entries(masks), masking.num_kept(masks)) == (6, 3)
    assert masking.sparsity(masks) == 0.5
    assert masking.sparsity(masking.all_kept(masks)) == 0


def test_nested(some_masks):
    everything = masking.all_kept(some_masks)
    assert masking.are_nested(some_masks, everything)
    assert masking.are_nested(some_masks, some_masks)
    assert not masking.are_nested(everything, some_masks)
    pruned = np.argwhere(~np.asarray(some_masks.item))[-1]
    grown = some_masks._replace(item=some_masks.item.at[tuple(pruned)].set(True))
    assert not masking.are_nested(grown, some_masks)
    assert masking.are_nested(some_masks, grown)


@pytest.mark.parametrize("embedding_dim", [1, 5, 7, 8, 9, 16, 17])
def test_packed_masks_come_back(embedding_dim):
    mask = np.random.default_rng(embedding_dim).random((6, embedding_dim)) < 0.5
    mask[0], mask[1] = True, False
    packed = masking.pack(jnp.asarray(mask))
    assert packed.dtype == np.uint8
    assert packed.shape == (6, -(-embedding_dim // 8))
    back = masking.unpack(packed, embedding_dim)
    assert back.dtype == bool
    np.testing.assert_array_equal(back, mask)
