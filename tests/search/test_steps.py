"""The steps of searches: the dense model, pruning, and five ways to rewind, bit-equal to their source."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.pruning import masks as masking
from lthjax.pruning.rules import magnitude
from lthjax.pruning.schedule import num_kept_at
from lthjax.search import problem as problems
from lthjax.search import steps
from lthjax.settings import Settings
from lthjax.training.fit import begin
from lthjax.training.keys import Purpose
from lthjax.training.step import LossMeter

KEY = jax.random.key(5)
LEVEL = 3  # of the ticket that is rewound
MODES = ("init", "epoch:2", "reinit", "none", "lr")
SETTINGS = Settings(data=None, dim=5, batch_size=4, levels=4, prune_rate=0.2)


@pytest.fixture(scope="module")
def tiny_problem(tiny_split, program):
    """settings -> Problem on the tiny data, with the program that is compiled already."""
    made = problems.prepare(tiny_split, SETTINGS)
    return lambda **changes: dataclasses.replace(
        made, program=program, settings=dataclasses.replace(SETTINGS, **changes)
    )


@pytest.fixture(scope="module")
def states(program, tiny_graph):
    """The dense model before its first step, after epoch 2, and after epoch 4."""
    params = program.init(jax.random.key(3))
    masks = masking.all_kept(params)
    first = program.start(params, masks)
    run = [first]
    for _ in range(2):
        state = jax.tree.map(jnp.copy, run[-1])  # run_steps gives its argument away
        run.append(program.run_steps(state, LossMeter.zero(), masks, tiny_graph, KEY, jnp.int32(14))[0])
    return run


@pytest.fixture(scope="module")
def dense_ticket(tiny_split, make_ticket, states):
    """The dense model as the ticket that a mode leaves: mode -> Ticket."""
    first, early, final = states

    def make(mode):
        ticket = make_ticket(tiny_split, dataclasses.replace(SETTINGS, rewind=mode), masking.all_kept(first.params))
        return dataclasses.replace(
            ticket,
            start=first.params,
            trained=final.params,
            origin=early if mode == "epoch:2" else None,
            final=final if mode == "none" else None,
        )

    return make


@pytest.fixture(scope="module")
def rewound(tiny_problem, dense_ticket, some_masks):
    return {mode: steps.rewind(tiny_problem(rewind=mode), dense_ticket(mode), some_masks, LEVEL) for mode in MODES}


@pytest.fixture(scope="module")
def sources(program, states, tiny_problem):
    first, early, final = (state.params for state in states)
    fresh = program.init(tiny_problem().key(Purpose.FRESH_VALUES, LEVEL))
    return {"init": first, "epoch:2": early, "reinit": fresh, "none": final, "lr": final}


@pytest.mark.parametrize("mode", MODES)
def test_survivors_are_bit_equal_to_their_source(mode, rewound, sources, some_masks):
    for mask, part, source in zip(some_masks, rewound[mode].params, sources[mode], strict=True):
        np.testing.assert_array_equal(part, np.where(mask, source, 0))
        assert np.asarray(part)[np.asarray(mask)].all()


def test_the_sources_differ(sources):
    values = [np.asarray(sources[mode].item) for mode in ("init", "epoch:2", "reinit", "none")]
    assert len({value.tobytes() for value in values}) == 4


@pytest.mark.parametrize("mode", ["init", "reinit", "lr"])
def test_a_fresh_optimizer(mode, rewound, program, some_masks, assert_same):
    assert int(rewound[mode].step) == 0
    fresh = program.start(rewound[mode].params, some_masks)
    assert_same(rewound[mode], fresh)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(rewound[mode].opt_state))


@pytest.mark.parametrize(("mode", "place", "step"), [("epoch:2", 1, 14), ("none", 2, 0)])
def test_the_optimizer_as_it_was(mode, place, step, rewound, states, some_masks):
    got = rewound[mode]
    assert int(got.step) == step  # epochs are counted from the step; fine-tuning begins a new count
    adam, source = got.opt_state[1][0], states[place].opt_state[1][0]
    assert int(adam.count) == int(source.count) == 14 * place
    for moments, wanted in ((adam.mu, source.mu), (adam.nu, source.nu)):
        for mask, part, full in zip(some_masks, moments, wanted, strict=True):
            np.testing.assert_array_equal(part, np.where(mask, full, 0))
            assert np.asarray(part)[np.asarray(mask)].any()


@pytest.mark.parametrize("mode", MODES)
def test_the_sources_are_not_given_away(
    mode, program, states, dense_ticket, tiny_problem, some_masks, tiny_graph, assert_same
):
    before = jax.tree.map(np.asarray, (states, some_masks))
    state = steps.rewind(tiny_problem(rewind=mode), dense_ticket(mode), some_masks, LEVEL)
    program.run_steps(begin(state, 0).train, LossMeter.zero(), some_masks, tiny_graph, KEY, jnp.int32(3))
    assert_same((states, some_masks), before)


def test_fresh_values_are_others_at_each_level(tiny_problem, dense_ticket, some_masks):
    def drawn(seed, level):
        start = steps.rewind(tiny_problem(rewind="reinit", seed=seed), dense_ticket("init"), some_masks, level)
        return np.asarray(start.params.item).tobytes()

    assert len({drawn(*place) for place in ((0, 1), (0, 2), (1, 1))}) == 3


def test_the_dense_model_has_the_first_values_of_its_seed(tiny_problem, program, assert_same):
    request = steps.dense(tiny_problem(seed=4, rewind="epoch:2"))
    params = program.init(tiny_problem(seed=4).key(Purpose.FIRST_VALUES))
    assert (request.level, request.parent) == (0, None)
    assert masking.sparsity(request.masks) == 0
    assert_same(request.start, program.start(params, request.masks))
    assert request.plan.keep_epoch == 2  # for later levels to rewind to
    assert steps.dense(tiny_problem()).plan == tiny_problem().plan


def test_a_level_has_its_size_whichever_ticket_is_pruned_for_it(tiny_problem, dense_ticket, assert_same):
    problem, parent = tiny_problem(), dense_ticket("init")
    wanted = num_kept_at(SETTINGS, 90)
    kept = [steps.prune(problem, parent, level) for level in problem.levels]
    assert [masking.num_kept(masks) for masks in kept] == wanted[1:]
    for level, masks in enumerate(kept[:-1], 1):
        child = dataclasses.replace(parent, level=level, masks=masks, trained=masking.apply(masks, parent.trained))
        assert_same(steps.prune(problem, child, level + 1), kept[level])  # of the same weights the same entries


def test_the_smallest_of_the_state_that_is_gone_on_from(tiny_problem, dense_ticket, states):
    """`final` where there is one: the last epoch's, not the best one's."""
    _, early, final = states
    ticket = dataclasses.replace(dense_ticket("none"), trained=early.params)
    for left, state in ((ticket, final), (dataclasses.replace(ticket, final=None), early)):
        masks = steps.prune(tiny_problem(), left, 1)
        sizes, kept = (np.concatenate([np.ravel(part) for part in tree]) for tree in (magnitude(state.params), masks))
        assert sizes[kept].min() >= sizes[~kept].max()


def test_random_scores_are_others_at_each_level_and_seed(tiny_problem, dense_ticket):
    """The score is given the key of its seed, purpose and level."""
    problem, ticket, keys = tiny_problem(), dense_ticket("init"), []

    def score(params, key):
        keys.append(jax.random.key_data(key).tolist())
        return magnitude(params)

    for one, level in ((problem, 1), (problem, 2), (problem.with_seed(1), 1)):
        steps.prune(dataclasses.replace(one, score=score), ticket, level)
    assert len(set(map(tuple, keys))) == 3
    assert keys[1] == jax.random.key_data(problem.key(Purpose.RANDOM_PRUNING, 2)).tolist()
