"""MagPrune: exact counts, protected rows, the best m."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.baselines import magprune
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.evaluation import ranking as evaluate
from lthjax.model import backbones, tables
from lthjax.pruning import masks
from lthjax.pruning import rules as prune
from lthjax.pruning.rules import most_per_row, prune_to_sparsity


@pytest.fixture(scope="module")
def trained(tiny):
    return tables.normal(0.5)(jax.random.key(0), tiny.num_users, tiny.num_items, tiny.embedding_dim)


def brute_force(table, num_drop, min_per_row):
    """Which entries are left when the smallest fall one by one, except where the row could not spare them."""
    kept = np.ones(table.shape, bool)
    protected = {(r, f) for r, row in enumerate(np.abs(table)) for f in np.argsort(row)[len(row) - min_per_row :]}
    places = [(r, f) for r in range(table.shape[0]) for f in range(table.shape[1]) if (r, f) not in protected]
    for place in sorted(places, key=lambda place: abs(table[place]))[:num_drop]:
        kept[place] = False
    return kept


def test_by_hand():
    table = Embeddings(jnp.asarray([[5.0, -4.0], [1.0, -2.0]]), jnp.asarray([[0.1, 0.2], [0.3, 0.4]]))
    free = prune_to_sparsity(table, 0.5)
    np.testing.assert_array_equal(free.params.user, [[5, -4], [0, 0]])
    np.testing.assert_array_equal(free.masks.item, [[False, False], [True, True]])
    fair = prune_to_sparsity(table, 0.5, min_per_row=1)
    np.testing.assert_array_equal(fair.params.user, [[5, 0], [0, -2]])
    np.testing.assert_array_equal(fair.masks.item, [[False, True], [False, True]])
    joint = prune_to_sparsity(table, 0.5, scope="joint")
    np.testing.assert_array_equal(joint.masks.user, np.ones((2, 2), bool))
    assert not np.asarray(joint.masks.item).any()


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.34, 0.5, 0.6, 0.8, 0.99])
def test_counts_rows_and_places(trained, tiny, sparsity):
    for m in range(most_per_row(tiny.embedding_dim, sparsity) + 1):
        pruned = prune_to_sparsity(trained, sparsity, min_per_row=m)
        assert pruned.min_per_row == m
        for table, mask, values in zip(trained, pruned.masks, pruned.params, strict=True):
            num_drop = round(sparsity * table.size)
            assert np.count_nonzero(mask) == table.size - num_drop
            assert np.asarray(mask).sum(axis=1).min() >= m
            np.testing.assert_array_equal(mask, brute_force(np.asarray(table), num_drop, m))
            np.testing.assert_array_equal(values, np.where(mask, table, 0))


def test_higher_sparsities_are_nested(trained):
    kept = [prune_to_sparsity(trained, sparsity).masks for sparsity in (0.0, 0.2, 0.5, 0.9)]
    assert all(masks.are_nested(inner, outer) for outer, inner in itertools.pairwise(kept))


def test_without_protection_it_is_one_pruning_of_the_dense_model(trained, assert_same):
    for scope in ("table", "joint"):
        wanted = prune.prune(prune.magnitude(trained), masks.all_kept(trained), 0.4, scope)
        assert_same(prune_to_sparsity(trained, 0.4, scope=scope).masks, wanted)


def test_the_best_m_is_the_first_with_the_highest_value(trained, tiny_graph, selection):
    def embed(layer0):
        return backbones.lightgcn(layer0, tiny_graph, num_layers=1)

    for sparsity in (0.2, 0.4):
        values = [
            evaluate.evaluate(embed(prune_to_sparsity(trained, sparsity, min_per_row=m).params), selection, (3,))
            .recall[3]
            .mean()
            for m in range(most_per_row(5, sparsity) + 1)
        ]
        assert magprune.best(trained, sparsity, embed, selection, (3,)).min_per_row == int(np.argmax(values))


def test_room_for_protection():
    assert [most_per_row(10, sparsity) for sparsity in (0, 0.5, 0.7, 0.9, 0.95)] == [10, 5, 3, 1, 0]
    assert most_per_row(32, 0.75) == 8


def test_what_cannot_be_is_refused(trained):
    with pytest.raises(SettingsError, match=r"wanted a share from 0 to below 1; got 1\.0"):
        prune_to_sparsity(trained, 1.0)
    with pytest.raises(SettingsError, match=r"wanted 0 to 2 of 5 entries at a sparsity of 50.0%; got 3"):
        prune_to_sparsity(trained, 0.5, min_per_row=3)
