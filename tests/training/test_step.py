"""Training steps: pruned entries stay 0, dispatches may be cut anywhere, the meter counts."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.model import losses
from lthjax.pruning import masks as masking
from lthjax.training import sampling
from lthjax.training.step import LossMeter

STEPS = 7  # an epoch


def test_steps_per_epoch(program):
    assert program.steps_per_epoch == STEPS


def test_start_copies_and_masks(program, params, some_masks, assert_same, tiny_graph, key, copy):
    before = copy(params)
    for masks in (masking.all_kept(params), some_masks):
        state = program.start(params, masks)
        assert int(state.step) == 0
        assert_same(state.params, masking.apply(masks, before))
        program.run_steps(copy(state), LossMeter.zero(), masks, tiny_graph, key, jnp.int32(3))
        program.run_steps(state, LossMeter.zero(), masks, tiny_graph, key, jnp.int32(3))  # gives `state` away
    assert_same(params, before)  # but not the caller's weights
    assert_same(some_masks, copy(some_masks))


def test_pruned_entries_stay_zero(program, params, some_masks, steps_from):
    start = program.start(params, some_masks)
    state = steps_from(start, some_masks, 30)
    moments = state.opt_state[1][0]
    for tree in (state.params, moments.mu, moments.nu):
        for mask, part in zip(some_masks, tree, strict=True):
            assert not np.asarray(part)[~np.asarray(mask)].any()
    for mask, before, after, first in zip(some_masks, start.params, state.params, params, strict=True):
        np.testing.assert_array_equal(before[mask], first[mask])
        moved = np.asarray(before != after)
        rows = np.asarray(mask).any(axis=1)
        assert moved[~rows].sum() == 0
        assert (moved == np.asarray(mask)).mean() > 0.8  # users and items that no batch drew stay where they were


def test_dispatches_may_be_cut_anywhere(program, params, some_masks, steps_from, assert_same):
    start = program.start(params, some_masks)
    whole = steps_from(start, some_masks, 10)
    assert int(whole.step) == 10
    assert_same(steps_from(steps_from(start, some_masks, 3), some_masks, 7), whole)
    one_by_one = start
    for _ in range(10):
        one_by_one = steps_from(one_by_one, some_masks, 1)
    assert_same(one_by_one, whole)
    assert_same(steps_from(start, some_masks, 0), start)


def test_a_step_is_the_masked_optimizer_on_the_gradient(program, params, some_masks, tiny_graph, steps_from, key):
    """One step of Adam from zero moments is lr * sign(gradient) wherever the gradient is not tiny."""
    start = program.start(params, some_masks)
    batch = jax.jit(sampling.every_interaction(4).sample)(key, jnp.int32(0), tiny_graph)
    gradient = jax.jit(jax.grad(lambda p: losses.bpr(p, p, batch, 1e-3)))(start.params)
    moved = steps_from(start, some_masks, 1)
    for mask, g, before, after in zip(some_masks, gradient, start.params, moved.params, strict=True):
        clear = np.asarray(mask & (jnp.abs(g) > 1e-4))
        assert clear.any()
        np.testing.assert_allclose((before - after)[clear], 0.05 * np.sign(g)[clear], rtol=1e-3)


def test_meter_remembers_the_first_bad_step():
    meter = LossMeter.zero()
    for step, loss in enumerate([1.0, 2.0, np.nan, 3.0, np.inf]):
        assert int(meter.first_bad_step) == (-1 if step < 3 else 2)
        if step == 2:
            assert (float(meter.total), int(meter.num_steps)) == (3, 2)
        meter = meter.add(jnp.float32(loss), jnp.int32(step), None)


@pytest.mark.parametrize(
    "optimizer",
    [optax.lbfgs(), optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau())],
    ids=["lbfgs", "plateau"],
)
def test_optimizers_that_want_the_loss_get_it(make_program, some_masks, tiny_graph, key, copy, optimizer):
    """Line searches, and what watches the loss for a plateau."""
    program = make_program(optimizer)
    first = program.init(jax.random.key(3))
    state = copy(program.start(first, some_masks))  # L-BFGS begins with one array in two places
    state, meter = program.run_steps(state, LossMeter.zero(), some_masks, tiny_graph, key, jnp.int32(14))
    assert np.isfinite(meter.mean())
    for mask, before, after in zip(some_masks, first, state.params, strict=True):
        assert not np.asarray(after)[~np.asarray(mask)].any()
        assert (np.asarray(before) != np.asarray(after))[np.asarray(mask)].mean() > 0.8
