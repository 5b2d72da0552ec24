"""What both comparisons start from: first values, and a program that takes given batches."""

import functools

import jax
import jax.numpy as jnp
import optax
import pytest

from lthjax.model import backbones, tables
from lthjax.training.sampling import Sampler
from lthjax.training.step import make_program


@pytest.fixture(scope="session")
def start(tiny):
    return tables.normal(0.5)(jax.random.key(0), tiny.num_users, tiny.num_items, tiny.embedding_dim)


@pytest.fixture(scope="session")
def backbone_of():
    """(K, combine) -> MF, or LightGCN with K layers."""
    return lambda num_layers, combine: backbones.named("lightgcn" if num_layers else "mf", num_layers, combine)


@pytest.fixture(scope="session")
def program_on(tiny, make_parts, backbone_of):
    """(stacked batches, learning rate of Adam, weight of L2) -> (K, combine) -> Program whose step t takes the t-th."""

    def on(batches, learning_rate, l2):
        stacked = jax.tree.map(jnp.asarray, batches)
        num_steps = len(stacked.user)
        sampler = Sampler(lambda key, step, graph: jax.tree.map(lambda part: part[step], stacked), lambda _: num_steps)

        @functools.cache
        def program(num_layers, combine):
            parts = make_parts(optax.adam(learning_rate), backbone_of(num_layers, combine), l2)
            return make_program(parts._replace(sampler=sampler), tiny.shape, len(tiny.train))

        return program

    return on
