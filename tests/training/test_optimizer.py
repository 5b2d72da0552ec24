"""Pruned entries never move, for whatever Optax offers."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.embeddings import Embeddings
from lthjax.pruning import masks as masking
from lthjax.training import optimizer as optim


def compiled(optimizer):
    """Muon's loops would be compiled anew at every update."""
    return optax.GradientTransformation(optimizer.init, jax.jit(optimizer.update))


OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "sgd_schedule": optax.sgd(optax.cosine_decay_schedule(0.1, 10)),
    "adam": optax.adam(0.1),
    "amsgrad": optax.amsgrad(0.1),
    "adamw": optax.adamw(0.1, weight_decay=10.0),
    "lion": optax.lion(0.1),
    "rmsprop": optax.rmsprop(0.1, momentum=0.9),
    "adagrad": optax.adagrad(0.1),
    "noisy_sgd": optax.noisy_sgd(0.1, eta=1.0, key=0),
    "lamb": optax.lamb(0.1),
    "adabelief": optax.adabelief(0.1),
    "muon": compiled(optax.contrib.muon(0.1)),
    "clipped": optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(optax.linear_schedule(0.1, 0.01, 5), weight_decay=0.1)
    ),
    "injected": optax.inject_hyperparams(optax.adam)(learning_rate=0.1),
}
EVERY = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


def first_values(masks):
    return Embeddings(*(jnp.linspace(-1, 2, m.size).reshape(m.shape) for m in masks))


def gradients(params, step):
    return jax.tree.map(lambda p: jnp.cos((step + 1) * (p + jnp.arange(p.size).reshape(p.shape))) + 0.05, params)


def train(optimizer, params, at_pruned=None, masks=None):
    """Parameters and optimizer state after five steps; `masks` only where the optimizer takes them."""
    extra = {} if masks is None else {"masks": masks}
    state = optimizer.init(params)
    for step in range(5):
        gradient = gradients(params, step)
        if at_pruned is not None:
            gradient = jax.tree.map(lambda m, g: jnp.where(m, g, at_pruned), masks, gradient)
        updates, state = optimizer.update(gradient, state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params, state


def copies(optimizer, state, masks):
    """(leaf, its mask) for all that the state holds in the shape of the parameters."""
    found = []

    def find(leaf, mask):
        if not isinstance(leaf, optax.MaskedNode):
            found.append((np.asarray(leaf), np.asarray(mask)))

    optax.tree.map_params(optimizer, find, state, masks, is_leaf=lambda leaf: isinstance(leaf, optax.MaskedNode))
    return found


@pytest.mark.parametrize("at_pruned", [None, np.nan], ids=["any_gradient", "nan_gradient"])
@EVERY
def test_pruned_entries_never_move(optimizer, some_masks, at_pruned):
    optimizer = optim.masked(optimizer)
    start = masking.apply(some_masks, first_values(some_masks))
    params, state = train(optimizer, start, at_pruned, some_masks)
    for mask, before, after in zip(some_masks, start, params, strict=True):
        pruned = ~np.asarray(mask)
        assert not np.asarray(after)[pruned].any()
        assert (np.asarray(after) != np.asarray(before))[~pruned].all()
    before = copies(optimizer, optimizer.init(start), some_masks)
    for (first, mask), (last, _) in zip(before, copies(optimizer, state, some_masks), strict=True):
        # 0, but for the 0.1 that Adagrad begins with and the 1e-16 that AdaBelief adds at each step.
        np.testing.assert_allclose(last[~mask], first[~mask], rtol=0, atol=1e-15)
        assert np.isfinite(last).all()


@EVERY
def test_all_ones_masks_are_no_masks(optimizer, some_masks, assert_same):
    params = first_values(some_masks)
    bare, bare_state = train(optimizer, params)
    masked, state = train(optim.masked(optimizer), params, masks=masking.all_kept(params))
    assert_same(masked, bare)
    assert_same(jax.tree.leaves(state), jax.tree.leaves(bare_state))


@EVERY
def test_mask_state_zeroes_what_was_pruned(optimizer, some_masks, assert_same):
    optimizer = optim.masked(optimizer)
    params = first_values(some_masks)
    _, state = train(optimizer, params, masks=masking.all_kept(params))
    masked = optim.mask_state(optimizer, state, some_masks)
    for (before, mask), (after, _) in zip(
        copies(optimizer, state, some_masks), copies(optimizer, masked, some_masks), strict=True
    ):
        np.testing.assert_array_equal(after, np.where(mask, before, 0))
    assert_same(optim.mask_state(optimizer, state, masking.all_kept(params)), state)


@pytest.mark.parametrize(("name", "number"), [("sgd", 0), ("momentum", 1), ("adam", 2), ("rmsprop", 2), ("lion", 1)])
def test_moments_are_found(name, number, some_masks):
    optimizer = optim.masked(OPTIMIZERS[name])
    params = first_values(some_masks)
    _, state = train(optimizer, params, masks=masking.all_kept(params))
    found = copies(optimizer, state, some_masks)
    assert len(found) == number * len(params)
    assert all(leaf.all() for leaf, _ in found)  # so there was something to mask


def test_survivors_do_not_feel_the_pruned(some_masks):
    """With an optimizer that treats entries one by one, a mask is as if the pruned entries were not there."""
    optimizer = OPTIMIZERS["adamw"]
    params = masking.apply(some_masks, first_values(some_masks))
    bare, _ = train(optimizer, params)
    masked, _ = train(optim.masked(optimizer), params, masks=some_masks)
    for mask, b, m in zip(some_masks, bare, masked, strict=True):
        np.testing.assert_array_equal(m[mask], b[mask])
