"""Masks: applied, counted, nested, packed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.embeddings import Embeddings
from lthjax.pruning import masks as masking


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


def test_equal(some_masks):
    same = jax.tree.map(np.array, some_masks)
    assert masking.are_equal(some_masks, same)
    same.item[0, 0] ^= True
    assert not masking.are_equal(some_masks, same)
    assert not masking.are_equal(some_masks, same._replace(item=same.item[1:]))


def test_rows_without_an_entry_are_dead(some_masks):
    assert [masking.num_dead(mask) for mask in some_masks] == [1, 1]
    assert [masking.num_dead(mask) for mask in masking.all_kept(some_masks)] == [0, 0]
    assert masking.num_dead(np.zeros((4, 2), bool)) == 4


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


def test_overlap_by_hand():
    one = {"a": np.array([[True, True, False], [True, False, False]]), "b": np.array([[True, False, False]])}
    other = {"a": np.array([[True, False, False], [True, True, True]]), "b": np.array([[False, False, True]])}
    assert masking.overlap(one, other) == (2, 2 / 4, 2 / 7, 5 / 9, 5 / 9)
    assert masking.overlap(other, one) == masking.overlap(one, other)
    nothing = {"a": np.zeros((2, 3), bool), "b": np.zeros((1, 3), bool)}
    assert masking.overlap(nothing, nothing) == (0, 1, 1, 0, 0)
    assert masking.overlap(nothing, one)[:3] == (0, 0, 0)
    assert {name: kept.tolist() for name, kept in masking.kept_per_row(one).items()} == {"a": [2, 1], "b": [1]}
