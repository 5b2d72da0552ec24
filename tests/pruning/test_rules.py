"""Exact counts, nested masks, ties by index."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthjax.embeddings import Embeddings
from lthjax.pruning import masks as masking
from lthjax.pruning.rules import by_degree, exchange, magnitude, prune, random_within_rows, uniform

SHAPES = ((13, 8), (20, 8))
SCOPES = ("joint", "table", "row")


def weights(seed):
    rng = np.random.default_rng(seed)
    return Embeddings(*(jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in SHAPES))


def falls(scores, mask, number):
    """`mask` without the `number` smallest-scored of its entries, the first of equals before the others."""
    kept = np.flatnonzero(mask)
    mask = mask.copy()
    mask[sorted(kept, key=lambda place: (scores[place], place))[:number]] = False
    return mask


def slow_prune(scores, masks, rate, scope, min_per_row=0):
    """The same by loops over groups; all groups are flat arrays."""
    scores, masks = ([np.asarray(part) for part in tree] for tree in (scores, masks))
    if scope == "joint":
        flat = [np.concatenate([part.ravel() for part in tree]) for tree in (scores, masks)]
        joint = falls(*flat, round(rate * np.count_nonzero(flat[1])))
        cut = masks[0].size
        return joint[:cut].reshape(masks[0].shape), joint[cut:].reshape(masks[1].shape)
    if scope == "table":
        return tuple(
            falls(s.ravel(), m.ravel(), round(rate * np.count_nonzero(m))).reshape(m.shape)
            for s, m in zip(scores, masks, strict=True)
        )

    def by_row(scores, mask):
        number = [min(round(rate * m.sum()), max(m.sum() - min_per_row, 0)) for m in mask]
        return np.stack(list(map(falls, scores, mask, number)))

    return tuple(map(by_row, scores, masks))


@pytest.mark.parametrize("scope", SCOPES)
def test_imp_equals_the_slow_one(scope):
    masks = slow = masking.all_kept(weights(0))
    for level in range(1, 21):
        trained = weights(level)
        before, masks = masks, prune(magnitude(trained), masks, 0.1, scope)
        slow = slow_prune([np.abs(part) for part in trained], slow, 0.1, scope)
        for got, wanted in zip(masks, slow, strict=True):
            np.testing.assert_array_equal(got, wanted)
        assert masking.are_nested(masks, before)


def test_each_level_keeps_the_exact_count():
    masks = masking.all_kept(weights(0))
    wanted = masking.num_entries(masks)
    for level in range(1, 40):
        masks = prune(magnitude(weights(level)), masks, 0.1)
        wanted -= round(0.1 * wanted)
        assert masking.num_kept(masks) == wanted
    assert wanted == 5  # round(0.1 * 5) = 0: a handful of entries is never pruned away


small = st.integers(0, 3)  # many ties


@given(
    scores=st.lists(small, min_size=27, max_size=27),
    kept=st.lists(st.booleans(), min_size=27, max_size=27),
    rate=st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9, 0.99]),
    scope=st.sampled_from(SCOPES),
    min_per_row=st.integers(0, 3),
)
def test_any_masks_and_ties(scores, kept, rate, scope, min_per_row):
    scores, masks = (
        Embeddings(x[:12].reshape(4, 3), x[12:].reshape(5, 3))
        for x in (np.array(scores, np.float32), np.array(kept, bool))
    )
    got = prune(*(jax.tree.map(jnp.asarray, tree) for tree in (scores, masks)), rate, scope, min_per_row)
    for g, wanted in zip(got, slow_prune(scores, masks, rate, scope, min_per_row), strict=True):
        np.testing.assert_array_equal(g, wanted)


def test_ties_fall_by_index():
    masks = masking.all_kept(weights(0))
    got = prune(jax.tree.map(lambda m: jnp.ones(m.shape), masks), masks, 0.5)
    flat = np.concatenate([part.ravel() for part in got])
    np.testing.assert_array_equal(flat, np.arange(flat.size) >= flat.size // 2)


def test_what_is_pruned_does_not_fall_again_in_the_place_of_infinite_scores():
    scores = Embeddings(jnp.array([[1.0, jnp.inf], [jnp.nan, jnp.inf]]), jnp.array([[2.0, jnp.inf]]))
    masks = Embeddings(jnp.array([[False, True], [True, True]]), jnp.array([[True, True]]))
    left = prune(scores, masks, 0.4)
    assert [part.tolist() for part in left] == [[[False, False], [True, True]], [[False, True]]]  # 2 and an infinity


def test_magnitude_ignores_the_sign():
    params = Embeddings(jnp.array([[-3.0, 1.0]]), jnp.array([[-0.5, 2.0]]))
    got = prune(magnitude(params), masking.all_kept(params), 0.5)
    assert (got.user.tolist(), got.item.tolist()) == ([[True, False]], [[False, True]])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("value", [0.0, 1e9, np.inf, np.nan])
def test_weights_of_pruned_entries_do_not_matter(some_masks, scope, value, assert_same):
    params = jax.tree.map(lambda m: jnp.sin(jnp.arange(m.size, dtype=jnp.float32)).reshape(m.shape), some_masks)
    wanted = prune(magnitude(params), some_masks, 0.3, scope)
    spoiled = jax.tree.map(lambda m, p: jnp.where(m, p, value), some_masks, params)
    assert_same(prune(magnitude(spoiled), some_masks, 0.3, scope), wanted)


def test_scopes_differ_in_what_they_share():
    params = weights(0)
    params = params._replace(user=params.user * 100)  # all users above all items
    kept = {scope: prune(magnitude(params), masking.all_kept(params), 0.5, scope) for scope in SCOPES}
    assert np.asarray(kept["joint"].user).sum() >= 100  # of 104
    assert [int(m.sum()) for m in kept["table"]] == [52, 80]
    assert all((np.asarray(m).sum(axis=1) == 4).all() for m in kept["row"])


def test_rows_keep_their_minimum(some_masks):
    masks = some_masks
    for level in range(8):
        masks = prune(uniform(masks, jax.random.key(level)), masks, 0.5, "row", min_per_row=2)
    for before, after in zip(some_masks, masks, strict=True):
        np.testing.assert_array_equal(after.sum(axis=1), np.minimum(before.sum(axis=1), 2))


def test_uniform_is_random_and_repeatable(assert_same):
    params = weights(0)
    scores = uniform(params, jax.random.key(0))
    assert_same(uniform(weights(1), jax.random.key(0)), scores)  # the weights do not matter
    flat = np.concatenate([part.ravel() for part in scores])
    assert len(np.unique(flat)) == flat.size
    masks = [prune(uniform(params, jax.random.key(k)), masking.all_kept(params), 0.5) for k in range(40)]
    kept = np.stack([np.concatenate([part.ravel() for part in m]) for m in masks])
    assert (kept.sum(axis=1) == 132).all()
    assert len({row.tobytes() for row in kept}) == 40
    assert kept.sum(axis=0).min() > 4  # no entry is doomed: 20 of 40 are expected, with a deviation of 3.2
    assert kept.sum(axis=0).max() < 36


@given(st.integers(0, 10**6), st.floats(0.05, 0.9), st.integers(0, 300))
def test_an_exchange(seed, rate, number):
    """As many grow as fall: the smallest of the kept, the largest gains of the pruned; what falls does not grow."""
    values, gains = weights(seed), weights(seed + 1)
    masks = prune(uniform(values, jax.random.key(seed)), masking.all_kept(values), rate)
    after = exchange(masks, values, gains, number)
    kept, now = (np.concatenate([np.ravel(leaf) for leaf in each]) for each in (masks, after))
    moved = min(number, np.count_nonzero(~kept))
    size, gain = (np.abs(np.concatenate([np.ravel(leaf) for leaf in each])) for each in (values, gains))
    moved = min(moved, np.count_nonzero(kept))
    assert np.count_nonzero(now) == np.count_nonzero(kept)
    fell, grew = kept & ~now, now & ~kept
    assert np.count_nonzero(fell) == np.count_nonzero(grew) == moved
    if 0 < moved < np.count_nonzero(kept):
        assert size[fell].max() <= size[kept & now].min()
    if 0 < moved < np.count_nonzero(~kept):
        assert gain[grew].min() >= gain[~kept & ~now].max()


def test_rows_keep_entries_by_degree():
    """On average in proportion, none more than F, and the exact count over all."""
    degrees = Embeddings(np.array([0, 1, 2, 4, 100]), np.array([3, 3, 3]))
    params = Embeddings(jnp.zeros((5, 8)), jnp.zeros((3, 8)))
    kept, of_columns = [], []
    for seed in range(400):
        scores = by_degree(degrees, params, jax.random.key(seed))
        masks = prune(scores, masking.all_kept(params), 1 - 24 / 64)
        assert masking.num_kept(masks) == 24
        kept.append(np.concatenate(masking.kept_per_row(masks)))
        of_columns.append(np.asarray(masks.item).mean(axis=0))
    mean = np.mean(kept, axis=0)
    assert mean[0] == 0
    assert mean[4] == 8  # all of the longest
    np.testing.assert_allclose(mean[[1, 2, 3, 5, 6, 7]], [1, 2, 4, 3, 3, 3], atol=0.2)  # one entry for each interaction
    np.testing.assert_allclose(np.mean(of_columns, axis=0), 3 / 8, atol=0.1)  # no column is favoured


def test_random_entries_in_rows_of_the_same_length():
    masks = prune(magnitude(weights(3)), masking.all_kept(weights(3)), 0.6)
    shuffled = random_within_rows(masks, jax.random.key(0))
    for rows, others in zip(masking.kept_per_row(masks), masking.kept_per_row(shuffled), strict=True):
        np.testing.assert_array_equal(rows, others)
    assert not masking.are_equal(masks, shuffled)
    assert masking.overlap(masks, shuffled).overlap < 0.7
