"""Several tickets as one program: each ends as it would alone, wherever it starts, stops or is interrupted."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.errors import TrainingError
from lthjax.model import backbones
from lthjax.pruning import masks as masking
from lthjax.training import fit as fitting
from lthjax.training.fit import Hooks, Member, Plan, begin, fit

PLAN = Plan(epochs=10, patience=3, eval_every=1, ks=(3,), keep_epoch=2)
SEEDS = (0, 1, 2, 3, 4)


@pytest.fixture(scope="module")
def all_masks(some_masks):
    """Dense, a ticket, and one that is half of another kind."""
    dense = masking.all_kept(some_masks)
    rng = np.random.default_rng(3)
    half = jax.tree.map(lambda mask: jnp.asarray(rng.random(mask.shape) < 0.5), some_masks)
    return [dense, some_masks, half, dense, some_masks]


@pytest.fixture(scope="module")
def members(program, all_masks):
    """() -> five tickets about to train; training gives their states away."""

    def make(program=program):
        return [
            Member(
                f"seed {seed}",
                masks,
                jax.random.key(100 + seed),
                begin(program.start(program.init(jax.random.key(seed)), masks), 0),
            )
            for seed, masks in zip(SEEDS, all_masks, strict=True)
        ]

    return make


def one_by_one(trainer, members):
    return [state for member in members for state in fit(trainer, [member])]


@pytest.fixture(scope="module")
def alone(trainer, members):
    return one_by_one(trainer(PLAN), members())


def assert_close(got, wanted):
    """The same run to rounding."""
    for one, other in zip(got, wanted, strict=True):
        assert one.best_epoch == other.best_epoch
        assert one.evaluated_epoch == other.evaluated_epoch
        np.testing.assert_allclose(one.best_value, other.best_value, rtol=1e-6)
        parts = ("train", "best", "kept", "meter")
        for a, b in zip(*(jax.tree.leaves([getattr(x, part) for part in parts]) for x in (one, other)), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


def test_each_ends_as_alone_and_stops_by_itself(program, all_masks, members, trainer, alone):
    program.run_together.clear_cache()
    stopped = [int(one.evaluated_epoch) for one in alone]
    assert len(set(stopped)) > 1, "the example should stop them at different epochs"
    heard = []
    hooks = Hooks(report=lambda member, epoch, loss, evaluation: evaluation and heard.append((member, epoch)))
    got = fit(trainer(PLAN), members(), hooks)
    assert_close(got, alone)
    assert sorted(heard) == [(number, epoch) for number, last in enumerate(stopped) for epoch in range(1, last + 1)]
    for one, masks in zip(got, all_masks, strict=True):
        for part, mask in zip(one.train.params, masks, strict=True):
            assert not np.asarray(part)[~np.asarray(mask)].any()
    assert program.run_together._cache_size() <= 3  # for 5, 3 and 2 tickets; one goes on alone


def spied(program):
    """The program, and a list of how many tickets each dispatch held."""
    widths = []

    def run_together(state, *others):
        widths.append(len(state.step))
        return program.run_together(state, *others)

    def run_steps(*arguments):
        widths.append(1)
        return program.run_steps(*arguments)

    return program._replace(run_together=run_together, run_steps=run_steps), widths


def test_four_of_five_run_as_five(program, members, trainer):
    begun = members()
    plan = dataclasses.replace(PLAN, epochs=2, patience=0)
    done = begun[2].state
    begun[2] = begun[2]._replace(state=done.replace(evaluated_epoch=np.asarray(2), kept=done.train))  # done already
    watched, widths = spied(program)
    got = fit(trainer(plan, watched), begun)
    assert set(widths) == {5}
    wanted = one_by_one(trainer(plan), members())
    for number in (0, 1, 3, 4):
        np.testing.assert_allclose(
            got[number].train.params.item, wanted[number].train.params.item, rtol=2e-4, atol=2e-6
        )
    assert int(got[2].train.step) == 0


def test_those_behind_go_first(program, members, trainer, alone):
    begun = members()[:3]
    (ahead,) = fit(trainer(Plan(2, 0, 1, (3,), keep_epoch=2)), [begun[1]])
    begun[1] = begun[1]._replace(state=ahead)
    watched, widths = spied(program)
    assert_close(fit(trainer(PLAN, watched), begun), alone[:3])
    assert widths[0] == 2  # the other two catch up first
    assert 3 in widths
    assert sum(float(one.seconds) for one in alone) > 0


def test_interrupted_again_and_again(members, trainer, alone, copy):
    going, saved = members()[:3], []

    def interrupt(member, epoch, loss, evaluation):
        if len(saved) < 6:
            raise KeyboardInterrupt

    while True:
        try:
            got = fit(trainer(PLAN), going, Hooks(report=interrupt, save=saved.append))
            break
        except KeyboardInterrupt:
            going = [member._replace(state=copy(state)) for member, state in zip(going, saved[-1], strict=True)]
    assert len(saved) == 6
    assert_close(got, alone[:3])


def test_learning_rates_as_a_population(make_program, members, trainer):
    program, plan = make_program(optax.inject_hyperparams(optax.adam)(learning_rate=0.01)), Plan(3, 0, 1, (3,))

    def start(rate):
        member = members(program)[0]
        state = member.state.train
        inner = state.opt_state[1]._replace(hyperparams={"learning_rate": jnp.float32(rate)})
        state = state.replace(opt_state=(state.opt_state[0], inner, state.opt_state[2]))
        return member._replace(name=str(rate), state=begin(state, 0))

    rates = (0.01, 0.3)
    apart = one_by_one(trainer(plan, program), map(start, rates))
    got = fit(trainer(plan, program), list(map(start, rates)))
    for one, other in zip(got, apart, strict=True):
        np.testing.assert_allclose(one.train.params.item, other.train.params.item, rtol=2e-4, atol=2e-6)
    assert np.abs(np.asarray(got[0].train.params.item - got[1].train.params.item)).max() > 0.1


def test_lightgcn_as_a_population(make_program, members, trainer):
    program = make_program(optax.adam(0.05), functools.partial(backbones.lightgcn, num_layers=2))
    two = trainer(Plan(2, 0, 1, (3,)), program)
    got, wanted = fit(two, members(program)[:2]), one_by_one(two, members(program)[:2])
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one.train.params.user, other.train.params.user, rtol=2e-4, atol=2e-6)


def test_the_one_that_diverges_is_named(members, trainer):
    begun = members()[:2]
    train = begun[1].state.train
    broken = train.params._replace(item=train.params.item.at[0, 0].set(jnp.nan))
    begun[1] = begun[1]._replace(name="the second", state=begun[1].state.replace(train=train.replace(params=broken)))
    with pytest.raises(TrainingError, match=r"^the second, epoch 1"):
        fit(trainer(PLAN), begun)


@pytest.mark.parametrize(
    ("members", "tickets", "width"), [(5, 5, 5), (4, 5, 5), (3, 5, 3), (2, 5, 2), (9, 16, 16), (2, 2, 2)]
)
def test_widths_are_few(members, tickets, width):
    assert fitting._width(members, tickets) == width
