"""The five ways to rewind: what survives is bit-equal to its source, what was pruned is 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.pruning import masks as masking
from lthjax.search.rewind import next_state
from lthjax.training.fit import begin
from lthjax.training.step import LossMeter

KEY = jax.random.key(5)
REINIT = jax.random.key(77)
MODES = ("init", "epoch:2", "reinit", "none", "lr")


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
def rewound(program, states, some_masks):
    first, early, final = states
    return {
        mode: next_state(
            mode, program, some_masks, origin=early if mode == "epoch:2" else first, final=final, reinit_key=REINIT
        )
        for mode in MODES
    }


@pytest.fixture(scope="module")
def sources(program, states):
    first, early, final = (state.params for state in states)
    return {"init": first, "epoch:2": early, "reinit": program.init(REINIT), "none": final, "lr": final}


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
def test_the_sources_are_not_given_away(mode, program, states, some_masks, tiny_graph, assert_same):
    first, _, final = states
    before = jax.tree.map(np.asarray, (first, final, some_masks))
    state = next_state(mode, program, some_masks, origin=first, final=final, reinit_key=REINIT)
    program.run_steps(begin(state, 0).train, LossMeter.zero(), some_masks, tiny_graph, KEY, jnp.int32(3))
    assert_same((first, final, some_masks), before)


def test_an_unknown_mode_is_refused(program, states, some_masks):
    first, _, final = states
    with pytest.raises(ValueError, match="wanted init, epoch:K, reinit, none or lr; got 'late'"):
        next_state("late", program, some_masks, origin=first, final=final, reinit_key=REINIT)
