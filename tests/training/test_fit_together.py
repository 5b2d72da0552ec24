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
from lthjax.training.fit import Plan, begin, fit, fit_together

PLAN = Plan(epochs=10, patience=3, eval_every=1, ks=(3,), keep_epoch=2)
SEEDS = (0, 1, 2, 3, 4)


def keys():
    return [jax.random.key(100 + seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def all_masks(program, some_masks):
    """Dense, a ticket, and one that is half of another kind."""
    dense = masking.all_kept(some_masks)
    rng = np.random.default_rng(3)
    half = jax.tree.map(lambda mask: jnp.asarray(rng.random(mask.shape) < 0.5), some_masks)
    return [dense, some_masks, half, dense, some_masks]


def starts(program, all_masks):
    return [
        begin(program.start(program.init(jax.random.key(seed)), masks), 0)
        for seed, masks in zip(SEEDS, all_masks, strict=True)
    ]


@pytest.fixture(scope="module")
def alone(program, all_masks, tiny_graph, selection):
    return [
        fit(program, start, masks, tiny_graph, selection, key, PLAN)
        for start, masks, key in zip(starts(program, all_masks), all_masks, keys(), strict=True)
    ]


def assert_close(got, wanted):
    """The same run to rounding."""
    for one, other in zip(got, wanted, strict=True):
        assert one.best_epoch == other.best_epoch
        assert one.evaluated_epoch == other.evaluated_epoch
        np.testing.assert_allclose(one.best_value, other.best_value, rtol=1e-6)
        parts = ("train", "best", "kept", "meter")
        for a, b in zip(*(jax.tree.leaves([getattr(x, part) for part in parts]) for x in (one, other)), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


def test_each_ends_as_alone_and_stops_by_itself(program, all_masks, tiny_graph, selection, alone):
    program.run_together.clear_cache()
    stopped = [int(one.evaluated_epoch) for one in alone]
    assert len(set(stopped)) > 1, "the example should stop them at different epochs"
    names = [str(seed) for seed in SEEDS]
    heard = []
    got = fit_together(
        program,
        starts(program, all_masks),
        all_masks,
        tiny_graph,
        selection,
        keys(),
        PLAN,
        names=names,
        report=lambda member, epoch, loss, evaluation: evaluation and heard.append((member, epoch)),
    )
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


def test_four_of_five_run_as_five(program, all_masks, tiny_graph, selection, alone):
    begun = starts(program, all_masks)
    plan = dataclasses.replace(PLAN, epochs=2, patience=0)
    begun[2] = begun[2].replace(evaluated_epoch=np.asarray(2), kept=begun[2].train)  # done already
    watched, widths = spied(program)
    got = fit_together(watched, begun, all_masks, tiny_graph, selection, keys(), plan, names="abcde")
    assert set(widths) == {5}
    for number in (0, 1, 3, 4):
        start = starts(program, all_masks)[number]
        wanted = fit(program, start, all_masks[number], tiny_graph, selection, keys()[number], plan)
        np.testing.assert_allclose(got[number].train.params.item, wanted.train.params.item, rtol=2e-4, atol=2e-6)
    assert int(got[2].train.step) == 0


def test_those_behind_go_first(program, all_masks, tiny_graph, selection, alone):
    some = slice(0, 3)
    begun = starts(program, all_masks)[some]
    begun[1] = fit(program, begun[1], all_masks[1], tiny_graph, selection, keys()[1], Plan(2, 0, 1, (3,), keep_epoch=2))
    watched, widths = spied(program)
    args = (watched, begun, all_masks[some], tiny_graph, selection, keys()[some], PLAN)
    assert_close(fit_together(*args, names="abc"), alone[some])
    assert widths[0] == 2  # the other two catch up first
    assert 3 in widths
    assert sum(float(one.seconds) for one in alone) > 0


def test_interrupted_again_and_again(program, all_masks, tiny_graph, selection, alone):
    some, saved = slice(0, 3), []

    def interrupt(member, epoch, loss, evaluation):
        if len(saved) < 6:
            raise KeyboardInterrupt

    going = starts(program, all_masks)[some]
    while True:
        args = (program, going, all_masks[some], tiny_graph, selection, keys()[some], PLAN)
        try:
            got = fit_together(*args, names="abc", report=interrupt, save=saved.append)
            break
        except KeyboardInterrupt:
            going = jax.tree.map(jnp.copy, saved[-1])
            going = [
                one.replace(**{name: np.asarray(getattr(one, name)) for name in ("best_value", "best_epoch")})
                for one in going
            ]
    assert len(saved) == 6
    assert_close(got, alone[some])


def test_learning_rates_as_a_population(make_program, all_masks, tiny_graph, selection):
    program = make_program(optax.inject_hyperparams(optax.adam)(learning_rate=0.01))
    params, dense = program.init(jax.random.key(0)), all_masks[0]

    def start(rate):
        state = program.start(params, dense)
        inner = state.opt_state[1]
        inner = inner._replace(hyperparams={"learning_rate": jnp.float32(rate)})
        return begin(state.replace(opt_state=(state.opt_state[0], inner, state.opt_state[2])), 0)

    rates, key, plan = (0.01, 0.3), keys()[0], Plan(3, 0, 1, (3,))
    apart = [fit(program, start(rate), dense, tiny_graph, selection, key, plan) for rate in rates]
    got = fit_together(
        program, [start(rate) for rate in rates], [dense] * 2, tiny_graph, selection, [key] * 2, plan, names="ab"
    )
    for one, other in zip(got, apart, strict=True):
        np.testing.assert_allclose(one.train.params.item, other.train.params.item, rtol=2e-4, atol=2e-6)
    assert np.abs(np.asarray(got[0].train.params.item - got[1].train.params.item)).max() > 0.1


def test_lightgcn_as_a_population(make_program, all_masks, tiny_graph, selection):
    program = make_program(optax.adam(0.05), functools.partial(backbones.lightgcn, num_layers=2))
    plan, some = Plan(2, 0, 1, (3,)), slice(0, 2)
    args = (all_masks[some], tiny_graph, selection, keys()[some], plan)
    got = fit_together(program, starts(program, all_masks)[some], *args, names="ab")
    for number, one in enumerate(got):
        start = starts(program, all_masks)[number]
        wanted = fit(program, start, all_masks[number], tiny_graph, selection, keys()[number], plan)
        np.testing.assert_allclose(one.train.params.user, wanted.train.params.user, rtol=2e-4, atol=2e-6)


def test_the_one_that_diverges_is_named(program, all_masks, tiny_graph, selection):
    begun = starts(program, all_masks)[:2]
    broken = begun[1].train.params._replace(item=begun[1].train.params.item.at[0, 0].set(jnp.nan))
    begun[1] = begun[1].replace(train=begun[1].train.replace(params=broken))
    args = (all_masks[:2], tiny_graph, selection, keys()[:2], PLAN)
    with pytest.raises(TrainingError, match="the second, epoch 1"):
        fit_together(program, begun, *args, names=["the first", "the second"])


@pytest.mark.parametrize(
    ("members", "tickets", "width"), [(5, 5, 5), (4, 5, 5), (3, 5, 3), (2, 5, 2), (9, 16, 16), (2, 2, 2)]
)
def test_widths_are_few(members, tickets, width):
    assert fitting._width(members, tickets) == width
