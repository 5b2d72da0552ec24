"""First values and steps of the compiled program on the tiny data."""

import jax
import jax.numpy as jnp
import pytest

from lthjax.training.fit import Trainer
from lthjax.training.step import LossMeter


@pytest.fixture(scope="session")
def key():
    """Of the batches."""
    return jax.random.key(5)


@pytest.fixture(scope="session")
def params(program):
    return program.init(jax.random.key(3))


@pytest.fixture(scope="session")
def copy():
    """Of a pytree, so that it may be given away."""
    return lambda tree: jax.tree.map(lambda x: x.copy(), tree)  # host arrays stay on the host


@pytest.fixture(scope="session")
def steps_from(program, tiny_graph, key, copy):
    """(state, masks, number of steps) -> state, by one dispatch."""

    def run(state, masks, num_steps):
        state, _ = program.run_steps(copy(state), LossMeter.zero(), masks, tiny_graph, key, jnp.int32(num_steps))
        return state

    return run


@pytest.fixture(scope="session")
def trainer(program, tiny_graph, selection):
    """plan, another program -> Trainer."""
    return lambda plan, program=program: Trainer(program, tiny_graph, selection, plan)
