"""LightGCN against dense powers of the adjacency."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.embeddings import Embeddings
from lthjax.model.backbones import lightgcn, mf


@pytest.fixture(scope="module")
def layer0(tiny):
    rng = np.random.default_rng(0)
    return Embeddings(*(jnp.asarray(rng.normal(size=(n, 5)), jnp.float32) for n in (tiny.num_users, tiny.num_items)))


@pytest.fixture(scope="module")
def dense(tiny_graph):
    return np.asarray(tiny_graph.adjacency.todense(), np.float64)


@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_zero_layers_is_mf(layer0, tiny_graph, combine, assert_same):
    assert_same(lightgcn(layer0, tiny_graph, num_layers=0, combine=combine), mf(layer0, tiny_graph))
    assert_same(mf(layer0, tiny_graph), layer0)


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_layers_and_gradient_are_powers_of_the_adjacency(layer0, tiny_graph, dense, num_layers, combine):
    total = sum(np.linalg.matrix_power(dense, k) for k in range(num_layers + 1))
    if combine == "mean":
        total = total / (num_layers + 1)
    weight = jax.tree.map(lambda x: jnp.sin(3 * x), layer0)

    def weighed(layer0):
        final = lightgcn(layer0, tiny_graph, num_layers=num_layers, combine=combine)
        return sum(jnp.vdot(w, f) for w, f in zip(weight, final, strict=True)), final

    (_, final), gradient = jax.value_and_grad(weighed, has_aux=True)(layer0)
    assert isinstance(final, Embeddings)
    assert jax.tree.map(jnp.shape, final) == jax.tree.map(jnp.shape, layer0)
    np.testing.assert_allclose(np.concatenate(final), total @ np.concatenate(layer0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(gradient), total @ np.concatenate(weight), rtol=1e-4, atol=1e-6)


def test_default_is_the_mean(layer0, tiny_graph, assert_same):
    mean = lightgcn(layer0, tiny_graph, num_layers=3, combine="mean")
    assert_same(lightgcn(layer0, tiny_graph, num_layers=3), mean)
