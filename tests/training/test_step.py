"""Training: one program for all tickets, the same result however it is cut, the best epoch, and loud failures."""

import dataclasses
import functools
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.errors import TrainingError
from lthjax.evaluation.ranking import evaluate
from lthjax.model import backbones, losses
from lthjax.pruning import masks as masking
from lthjax.pruning import rules as pruning
from lthjax.search import rewind
from lthjax.training import sampling
from lthjax.training.fit import Evaluation, Plan, begin, fit
from lthjax.training.step import LossMeter

STEPS = 7  # an epoch
KEY = jax.random.key(5)
PLAN = Plan(epochs=12, patience=0, eval_every=1, ks=(3,))


def copy(tree):
    return jax.tree.map(lambda x: x.copy(), tree)  # host arrays stay on the host


@pytest.fixture(scope="module")
def params(program):
    return program.init(jax.random.key(3))


@pytest.fixture(scope="module")
def steps_from(program, tiny_graph):
    """(state, masks, number of steps) -> state, by one dispatch."""

    def run(state, masks, num_steps):
        state, _ = program.run_steps(copy(state), LossMeter.zero(), masks, tiny_graph, KEY, jnp.int32(num_steps))
        return state

    return run


@pytest.fixture(scope="module")
def fitted(program, tiny_graph, selection, params):
    """(plan, **options) -> last state, and all evaluations."""

    def run(plan, *, start=None, masks=None, **options):
        masks = masking.all_kept(params) if masks is None else masks
        seen = []

        def report(epoch, loss, evaluation):
            if evaluation:
                seen.append(evaluation)

        fitting = begin(program.start(params, masks), 0) if start is None else start
        result = fit(program, fitting, masks, tiny_graph, selection, KEY, plan, **({"report": report} | options))
        return result, seen

    return run


@pytest.fixture(scope="module")
def unbroken(fitted):
    return fitted(PLAN)


@pytest.fixture
def assert_same_fit(assert_same):
    def check(got, wanted):
        assert_same(*(fitting.replace(seconds=np.asarray(0.0)) for fitting in (got, wanted)))

    return check


def test_steps_per_epoch(program):
    assert program.steps_per_epoch == STEPS


def test_start_copies_and_masks(program, params, some_masks, steps_from, assert_same, tiny_graph):
    before = copy(params)
    for masks in (masking.all_kept(params), some_masks):
        state = program.start(params, masks)
        assert int(state.step) == 0
        assert_same(state.params, masking.apply(masks, before))
        program.run_steps(copy(state), LossMeter.zero(), masks, tiny_graph, KEY, jnp.int32(3))
        program.run_steps(state, LossMeter.zero(), masks, tiny_graph, KEY, jnp.int32(3))  # gives `state` away
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


def test_a_step_is_the_masked_optimizer_on_the_gradient(program, params, some_masks, tiny_graph, steps_from):
    """One step of Adam from zero moments is lr * sign(gradient) wherever the gradient is not tiny."""
    start = program.start(params, some_masks)
    batch = jax.jit(sampling.every_interaction(4).sample)(KEY, jnp.int32(0), tiny_graph)
    gradient = jax.jit(jax.grad(lambda p: losses.bpr(p, p, batch, 1e-3)))(start.params)
    moved = steps_from(start, some_masks, 1)
    for mask, g, before, after in zip(some_masks, gradient, start.params, moved.params, strict=True):
        clear = np.asarray(mask & (jnp.abs(g) > 1e-4))
        assert clear.any()
        np.testing.assert_allclose((before - after)[clear], 0.05 * np.sign(g)[clear], rtol=1e-3)


def test_one_program_serves_all_tickets(make_program, tiny_graph, selection, assert_same):
    """Three levels of LightGCN as the outer loop runs them: trained, pruned, rewound."""
    program = make_program(optax.adam(0.05), functools.partial(backbones.lightgcn, num_layers=2))
    params = program.init(jax.random.key(0))
    masks = masking.all_kept(params)
    state = origin = program.start(params, masks)
    plan = dataclasses.replace(PLAN, epochs=2)
    for mode in ("init", "none", None):
        trained = fit(program, begin(state, 0), masks, tiny_graph, selection, KEY, plan)
        for mask, part in zip(masks, trained.best.params, strict=True):
            assert not np.asarray(part)[~np.asarray(mask)].any()
        if mode:
            masks = pruning.prune(pruning.magnitude(trained.best.params), masks, 0.3)
            state = rewind.next_state(
                mode, program, masks, origin=origin, final=trained.best, reinit_key=jax.random.key(1)
            )
    assert program.run_steps._cache_size() == 1
    assert program.embed._cache_size() == 1


def test_loss_falls(unbroken):
    losses = [evaluation.loss for evaluation in unbroken[1]]
    assert losses[-1] < 0.6 * losses[0]
    assert all(np.isfinite(losses))


def test_every_due_epoch_is_evaluated(fitted):
    for epochs, eval_every, wanted in [(5, 2, [2, 4, 5]), (4, 2, [2, 4]), (3, 10, [3]), (2, 1, [1, 2])]:
        result, seen = fitted(dataclasses.replace(PLAN, epochs=epochs, eval_every=eval_every))
        assert [evaluation.epoch for evaluation in seen] == wanted
        assert int(result.train.step) == epochs * STEPS
        assert int(result.evaluated_epoch) == epochs


def test_best_state_is_that_of_the_best_epoch(unbroken, program, params, steps_from, assert_same):
    result, seen = unbroken
    values = [evaluation.means["recall@3"] for evaluation in seen]
    best = int(np.argmax(values)) + 1  # the first of equals
    assert best < len(values) == PLAN.epochs  # so the last state is another
    assert int(result.best_epoch) == best
    assert float(result.best_value) == max(values)
    assert [e.is_best for e in seen] == [v > max(values[:n], default=-1) for n, v in enumerate(values)]
    masks = masking.all_kept(params)
    start = program.start(params, masks)
    assert_same(result.best, steps_from(start, masks, best * STEPS))
    assert_same(result.train, steps_from(start, masks, PLAN.epochs * STEPS))


def test_evaluations_measure_the_state_of_their_epoch(fitted, program, params, steps_from, tiny_graph, selection):
    masks = masking.all_kept(params)
    _, seen = fitted(dataclasses.replace(PLAN, epochs=3, ks=(3, 1)))
    for evaluation in seen:
        state = steps_from(program.start(params, masks), masks, evaluation.epoch * STEPS)
        wanted = evaluate(program.embed(state.params, tiny_graph), selection, (3, 1)).means()
        assert evaluation.means == wanted


@pytest.mark.parametrize(("patience", "eval_every", "stops"), [(3, 1, 4), (3, 2, 6), (1, 2, 4), (0, 2, 12)])
def test_patience(fitted, params, patience, eval_every, stops):
    nothing = jax.tree.map(jnp.zeros_like, masking.all_kept(params))  # an empty ticket never gets better
    plan = dataclasses.replace(PLAN, patience=patience, eval_every=eval_every)
    result, seen = fitted(plan, masks=nothing)
    assert seen[-1].epoch == stops
    assert int(result.best_epoch) == eval_every  # a value that only equals the best does not replace it
    assert [evaluation.is_best for evaluation in seen] == [True] + [False] * (len(seen) - 1)


def test_patience_of_a_real_run(fitted, unbroken, assert_same):
    result, seen = fitted(dataclasses.replace(PLAN, patience=3))
    assert [e[:4] for e in seen] == [e[:4] for e in unbroken[1][: len(seen)]]
    best = 0
    for evaluation in unbroken[1]:
        best = evaluation.epoch if evaluation.is_best else best
        if evaluation.epoch - best >= 3:
            break
    assert seen[-1].epoch == evaluation.epoch
    assert int(result.best_epoch) == best


@pytest.mark.parametrize("keep_epoch", [0, 1, 3, 4])
@pytest.mark.parametrize("eval_every", [1, 5])
def test_keep_epoch(fitted, program, params, steps_from, assert_same, keep_epoch, eval_every):
    masks = masking.all_kept(params)
    plan = dataclasses.replace(PLAN, epochs=6, eval_every=eval_every)
    kept, _ = fitted(dataclasses.replace(plan, keep_epoch=keep_epoch))
    assert_same(kept.kept, steps_from(program.start(params, masks), masks, keep_epoch * STEPS))
    plain, _ = fitted(plan)
    assert plain.kept is None
    assert_same(kept.train, plain.train)  # to keep a state changes nothing else
    assert_same(kept.best, plain.best)


@pytest.mark.parametrize("keep_epoch", [2, 3, 5])
def test_keep_epoch_is_reached_though_patience_ends(fitted, program, params, steps_from, assert_same, keep_epoch):
    nothing = jax.tree.map(jnp.zeros_like, masking.all_kept(params))
    plan = dataclasses.replace(PLAN, patience=2, keep_epoch=keep_epoch)  # by itself it would stop at epoch 3
    result, _ = fitted(plan, masks=nothing)
    assert_same(result.kept, steps_from(program.start(params, nothing), nothing, keep_epoch * STEPS))
    assert int(result.best_epoch) == 1


def test_a_level_may_begin_at_a_later_epoch(fitted, program, params, steps_from, assert_same):
    masks = masking.all_kept(params)
    start = program.start(params, masks)
    result, seen = fitted(dataclasses.replace(PLAN, epochs=5), start=begin(steps_from(start, masks, 3 * STEPS), 3))
    assert [evaluation.epoch for evaluation in seen] == [4, 5]
    assert_same(result.train, steps_from(start, masks, 5 * STEPS))


def test_begin_copies(program, params, some_masks, fitted, assert_same):
    state = program.start(params, some_masks)
    before = copy(state)
    fitted(dataclasses.replace(PLAN, epochs=1), start=begin(state, 0), masks=some_masks)
    assert_same(state, before)


def test_a_loss_that_is_not_finite_names_level_and_epoch(fitted, program, params, steps_from):
    masks = masking.all_kept(params)
    state = steps_from(program.start(params, masks), masks, 2 * STEPS)
    state = state.replace(params=jax.tree.map(lambda p: jnp.full_like(p, jnp.inf), state.params))
    with pytest.raises(TrainingError, match=r"^level 4, epoch 3: the loss .*wanted a finite loss") as caught:
        fitted(PLAN, start=begin(state, 2), name="level 4")
    assert "\n" not in str(caught.value)


def test_a_huge_learning_rate_is_noticed(make_program, tiny_graph, selection):
    program = make_program(optax.sgd(1e15))
    params = program.init(jax.random.key(0))
    masks = masking.all_kept(params)
    with pytest.raises(TrainingError, match="level 0, epoch 1:"):
        fit(program, begin(program.start(params, masks), 0), masks, tiny_graph, selection, KEY, PLAN, name="level 0")


def test_meter_remembers_the_first_bad_step():
    meter = LossMeter.zero()
    for step, loss in enumerate([1.0, 2.0, np.nan, 3.0, np.inf]):
        assert int(meter.first_bad_step) == (-1 if step < 3 else 2)
        if step == 2:
            assert (float(meter.total), int(meter.num_steps)) == (3, 2)
        meter = meter.add(jnp.float32(loss), jnp.int32(step))


class Interrupt:
    """A report that presses Ctrl-C at its n-th call."""

    def __init__(self, call):
        self.left = call

    def __call__(self, epoch, loss, evaluation):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("call", [1, 2, 3, 4, 9, 13])
def test_an_interrupted_run_ends_like_an_unbroken_one(fitted, unbroken, assert_same_fit, call):
    saved = []
    with pytest.raises(KeyboardInterrupt):
        fitted(PLAN, report=Interrupt(call), save=saved.append)
    assert len(saved) == 1
    resumed, _ = fitted(PLAN, start=saved[0])
    assert_same_fit(resumed, unbroken[0])


def test_interrupted_again_and_again(fitted, unbroken, assert_same_fit):
    plan = dataclasses.replace(PLAN, keep_epoch=2)
    wanted, _ = fitted(plan)
    saved, sittings = [None], 1
    while True:
        try:
            result, _ = fitted(plan, start=saved[-1], report=Interrupt(3), save=saved.append)
            break
        except KeyboardInterrupt:
            sittings += 1
            assert sittings < 50
    assert sittings > 5
    assert_same_fit(result, wanted)


@pytest.mark.parametrize("call", [1, 2, 5])
def test_an_interrupt_during_a_dispatch_waits_for_its_end(
    program, params, tiny_graph, selection, fitted, unbroken, assert_same_fit, call
):
    calls = []

    def run_steps(*args):
        calls.append(args)
        result = program.run_steps(*args)  # the old state is given away, the new one not yet in hand
        if len(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return result

    masks = masking.all_kept(params)
    saved = []
    with pytest.raises(KeyboardInterrupt):
        fit(
            program._replace(run_steps=run_steps),
            begin(program.start(params, masks), 0),
            masks,
            tiny_graph,
            selection,
            KEY,
            PLAN,
            save=saved.append,
        )
    assert len(calls) == call
    resumed, _ = fitted(PLAN, start=saved[0])
    assert_same_fit(resumed, unbroken[0])


def test_a_state_saved_in_mid_epoch_goes_on(fitted, unbroken, assert_same_fit):
    saved = []
    fitted(PLAN, save=lambda fitting: saved.append(copy(fitting)), save_seconds=0.0)
    middle = [fitting for fitting in saved if int(fitting.train.step) % STEPS]
    assert middle
    for fitting in middle[:3]:
        resumed, _ = fitted(PLAN, start=fitting)
        assert_same_fit(resumed, unbroken[0])


def test_a_finished_run_does_nothing_more(fitted, unbroken, assert_same_fit):
    wanted = copy(unbroken[0])
    reports = []
    result, _ = fitted(PLAN, start=copy(unbroken[0]), report=lambda *args: reports.append(args))
    assert_same_fit(result, wanted)
    assert not reports


def test_reports_come_with_every_dispatch(fitted):
    reports = []
    fitted(dataclasses.replace(PLAN, epochs=2), report=lambda *args: reports.append(args))
    epochs = [epoch for epoch, _, _ in reports]
    assert epochs == sorted(epochs)
    evaluations = [evaluation for _, _, evaluation in reports if evaluation]
    assert all(isinstance(evaluation, Evaluation) for evaluation in evaluations)
    assert all(loss == evaluation.loss for _, loss, evaluation in reports if evaluation)
    assert [evaluation.epoch for evaluation in evaluations] == [1, 2]
    assert 0 <= evaluations[0].seconds <= evaluations[1].seconds
