"""The loop: the same result however it is cut, one program for all tickets, the best epoch, and loud failures."""

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
from lthjax.training import sampling
from lthjax.training.fit import Evaluation, Hooks, Member, Plan, begin, fit

STEPS = 7  # an epoch
PLAN = Plan(epochs=12, patience=0, eval_every=1, ks=(3,))


@pytest.fixture(scope="module")
def fitted(program, trainer, params, key):
    """(plan, start, masks, name, **hooks) -> last state, and all evaluations."""

    def run(plan, *, start=None, masks=None, name="a ticket", program=program, **hooks):
        masks = masking.all_kept(params) if masks is None else masks
        seen = []

        def report(number, epoch, loss, evaluation):
            assert number == 0
            if evaluation:
                seen.append(evaluation)

        state = begin(program.start(params, masks), 0) if start is None else start
        (result,) = fit(trainer(plan, program), [Member(name, masks, key, state)], Hooks(**{"report": report} | hooks))
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


def test_one_program_serves_all_tickets(make_program, trainer, key):
    """Three levels of LightGCN as the outer loop runs them: trained, pruned, rewound."""
    program = make_program(optax.adam(0.05), functools.partial(backbones.lightgcn, num_layers=2))
    params = program.init(jax.random.key(0))
    masks = masking.all_kept(params)
    state = program.start(params, masks)

    def to_first_values(masks, best):
        return program.start(params, masks)

    def as_trained(masks, best):
        return program.mask_state(best, masks).replace(step=jnp.int32(0))

    for rewind in (to_first_values, as_trained, None):
        member = Member("a ticket", masks, key, begin(state, 0))
        (trained,) = fit(trainer(dataclasses.replace(PLAN, epochs=2), program), [member])
        for mask, part in zip(masks, trained.best.params, strict=True):
            assert not np.asarray(part)[~np.asarray(mask)].any()
        if rewind:
            masks = pruning.prune(pruning.magnitude(trained.best.params), masks, 0.3)
            state = rewind(masks, trained.best)
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


def test_begin_copies(program, params, some_masks, fitted, assert_same, copy):
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


def test_a_huge_learning_rate_is_noticed(fitted, make_program):
    with pytest.raises(TrainingError, match="level 0, epoch 1:"):
        fitted(PLAN, program=make_program(optax.sgd(1e15)), name="level 0")


class Interrupt:
    """A report that presses Ctrl-C at its n-th call."""

    def __init__(self, call):
        self.left = call

    def __call__(self, member, epoch, loss, evaluation):
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("call", [1, 2, 3, 4, 9, 13])
def test_an_interrupted_run_ends_like_an_unbroken_one(fitted, unbroken, assert_same_fit, call):
    saved = []
    with pytest.raises(KeyboardInterrupt):
        fitted(PLAN, report=Interrupt(call), save=saved.extend)
    assert len(saved) == 1
    resumed, _ = fitted(PLAN, start=saved[0])
    assert_same_fit(resumed, unbroken[0])


def test_interrupted_again_and_again(fitted, unbroken, assert_same_fit):
    plan = dataclasses.replace(PLAN, keep_epoch=2)
    wanted, _ = fitted(plan)
    saved, sittings = [None], 1
    while True:
        try:
            result, _ = fitted(plan, start=saved[-1], report=Interrupt(3), save=saved.extend)
            break
        except KeyboardInterrupt:
            sittings += 1
            assert sittings < 50
    assert sittings > 5
    assert_same_fit(result, wanted)


@pytest.mark.parametrize("call", [1, 2, 5])
def test_an_interrupt_during_a_dispatch_waits_for_its_end(program, fitted, unbroken, assert_same_fit, call):
    calls = []

    def run_steps(*args):
        calls.append(args)
        result = program.run_steps(*args)  # the old state is given away, the new one not yet in hand
        if len(calls) == call:
            signal.raise_signal(signal.SIGINT)
        return result

    saved = []
    with pytest.raises(KeyboardInterrupt):
        fitted(PLAN, program=program._replace(run_steps=run_steps), save=saved.extend)
    assert len(calls) == call
    resumed, _ = fitted(PLAN, start=saved[0])
    assert_same_fit(resumed, unbroken[0])


def test_a_state_saved_in_mid_epoch_goes_on(fitted, unbroken, assert_same_fit, copy):
    saved = []
    fitted(PLAN, save=lambda states: saved.extend(copy(states)), save_seconds=0.0)
    middle = [fitting for fitting in saved if int(fitting.train.step) % STEPS]
    assert middle
    for fitting in middle[:3]:
        resumed, _ = fitted(PLAN, start=fitting)
        assert_same_fit(resumed, unbroken[0])


def test_a_finished_run_does_nothing_more(fitted, unbroken, assert_same_fit, copy):
    wanted = copy(unbroken[0])
    reports = []
    result, _ = fitted(PLAN, start=copy(unbroken[0]), report=lambda *args: reports.append(args))
    assert_same_fit(result, wanted)
    assert not reports


def test_reports_come_with_every_dispatch(fitted):
    reports = []
    fitted(dataclasses.replace(PLAN, epochs=2), report=lambda *args: reports.append(args))
    epochs = [epoch for _, epoch, _, _ in reports]
    assert epochs == sorted(epochs)
    evaluations = [evaluation for *_, evaluation in reports if evaluation]
    assert all(isinstance(evaluation, Evaluation) for evaluation in evaluations)
    assert all(loss == evaluation.loss for _, _, loss, evaluation in reports if evaluation)
    assert [evaluation.epoch for evaluation in evaluations] == [1, 2]
    assert 0 <= evaluations[0].seconds <= evaluations[1].seconds


def test_a_plan_without_evaluations(fitted, program, params, steps_from, assert_same, monkeypatch):
    """Trains to its last epoch, ranks nobody, and leaves the best epoch as it was."""
    monkeypatch.setattr("lthjax.training.fit.evaluate", None)
    masks = masking.all_kept(params)
    result, seen = fitted(dataclasses.replace(PLAN, epochs=3, eval_every=None))
    assert seen == []
    assert (int(result.evaluated_epoch), int(result.best_epoch)) == (3, 0)
    assert_same(result.train, steps_from(program.start(params, masks), masks, 3 * STEPS))
    huge = program.start(params, masks)
    huge = huge.replace(params=jax.tree.map(lambda leaf: leaf * np.inf, huge.params))
    with pytest.raises(TrainingError, match="a ticket, epoch 1: the loss is no longer finite"):
        fitted(dataclasses.replace(PLAN, epochs=1, eval_every=None), start=begin(huge, 0))


def test_gradients_of_all_entries_are_summed(fitted, program, params, some_masks, tiny_graph, key, steps_from):
    """Of pruned ones too, each at the weights of its step."""
    start = program.start(params, some_masks)
    plan = dataclasses.replace(PLAN, epochs=1, eval_every=None)
    result, _ = fitted(plan, start=begin(start, 0, sum_gradients=True), masks=some_masks)
    wanted, state = jax.tree.map(jnp.zeros_like, params), start
    for step in range(STEPS):
        batch = jax.jit(sampling.every_interaction(4).sample)(key, jnp.int32(step), tiny_graph)
        gradient = jax.grad(lambda p, batch=batch: losses.bpr(p, p, batch, 1e-3))(state.params)
        wanted = jax.tree.map(jnp.add, wanted, gradient)
        state = steps_from(start, some_masks, step + 1)
    for got, other, mask in zip(result.meter.gradients, wanted, some_masks, strict=True):
        np.testing.assert_allclose(got, other, rtol=1e-4, atol=1e-6)
        assert np.any(np.asarray(got)[~np.asarray(mask)])
