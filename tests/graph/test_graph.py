"""The normalized adjacency and its product, against dense NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import sparse

from lthjax.embeddings import Embeddings
from lthjax.graph import graph as graphs
from lthjax.graph import propagate as propagation


def propagate(graph, x, num_layers):
    """The sum of layers of a joint table, [M + N, F]."""
    total = propagation.propagate(graph, Embeddings(x[: graph.num_users], x[graph.num_users :]), num_layers)
    return jnp.concatenate(total)


def dense_adjacency(pairs, num_users, num_items):
    """D^-1/2 A D^-1/2 in float64."""
    plain = np.zeros((num_users + num_items,) * 2)
    plain[pairs[:, 0], num_users + pairs[:, 1]] = 1
    plain += plain.T
    degree = plain.sum(axis=1)
    scale = np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0)
    return scale[:, None] * plain * scale[None]


@pytest.fixture(scope="module")
def dense(tiny):
    return dense_adjacency(tiny.train, tiny.num_users, tiny.num_items)


def layer_sum(dense, num_layers):
    """I + A + ... + A^K."""
    return sum(np.linalg.matrix_power(dense, k) for k in range(num_layers + 1))


@pytest.fixture(scope="module")
def x(tiny):
    return np.random.default_rng(0).normal(size=(tiny.num_users + tiny.num_items, 5)).astype(np.float32)


def test_adjacency_is_the_normalized_one(tiny, tiny_graph, dense):
    adjacency = np.asarray(tiny_graph.adjacency.todense())
    np.testing.assert_allclose(adjacency, dense, rtol=1e-6)
    np.testing.assert_array_equal(adjacency, adjacency.T)
    assert tiny_graph.adjacency.nse == 2 * len(tiny.train)


def test_indices_are_sorted_int32(tiny_graph, dense):
    indices = np.asarray(tiny_graph.adjacency.indices)
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(indices, np.argwhere(dense))  # row-major order
    assert tiny_graph.adjacency.indices_sorted
    assert tiny_graph.adjacency.unique_indices
    users = tiny_graph.num_users
    for half, wanted in (
        (tiny_graph.items_of_users, dense[:users, users:]),
        (tiny_graph.users_of_items, dense[users:, :users]),
    ):
        np.testing.assert_allclose(half.todense(), wanted, rtol=1e-6)
        assert half.indices.dtype == half.indptr.dtype == np.int32


def test_sizes_and_positives(tiny, tiny_graph):
    assert (tiny_graph.num_users, tiny_graph.num_items, tiny_graph.num_interactions) == (7, 11, 25)
    pairs = np.stack([tiny_graph.pair_users, tiny_graph.positives.ids], axis=1)
    np.testing.assert_array_equal(pairs, tiny.train)
    assert tiny_graph.active_users.tolist() == [0, 1, 3, 4, 5, 6]


@pytest.mark.parametrize("num_layers", [0, 1, 2, 3])
def test_sum_and_gradient_are_those_of_the_dense_matrix(tiny_graph, dense, x, num_layers):
    wanted = layer_sum(dense, num_layers)
    np.testing.assert_allclose(propagate(tiny_graph, x, num_layers), wanted @ x, rtol=1e-5, atol=2e-6)
    g = x[::-1].copy()
    gradient = jax.grad(lambda x: jnp.vdot(jnp.asarray(g), propagate(tiny_graph, x, num_layers)))(x)
    np.testing.assert_allclose(gradient, wanted @ g, rtol=1e-5, atol=2e-6)
    through_dense = jax.grad(lambda x: jnp.sum(jnp.sin(jnp.asarray(wanted, jnp.float32) @ x)))(x)
    ours = jax.grad(lambda x: jnp.sum(jnp.sin(propagate(tiny_graph, x, num_layers))))(x)
    np.testing.assert_allclose(ours, through_dense, rtol=1e-4, atol=1e-5)


def test_nodes_without_interactions_keep_to_themselves(tiny, tiny_graph, x):
    total = np.asarray(propagate(tiny_graph, x, 3))
    lonely = [2, tiny.num_users + 7]
    np.testing.assert_array_equal(total[lonely], x[lonely])
    others = np.delete(np.arange(len(x)), lonely)
    assert (np.abs(total - x)[others].sum(axis=1) > 0).all()
    moved = x.copy()
    moved[lonely] = 1e6
    np.testing.assert_array_equal(np.asarray(propagate(tiny_graph, moved, 3))[others], total[others])


def test_in_a_compiled_loop_with_gradient(tiny_graph, dense, x):
    @jax.jit
    def descend(graph, x):
        def body(_, x):
            return x - 0.01 * jax.grad(lambda x: 0.5 * jnp.sum(propagate(graph, propagate(graph, x, 1), 2) ** 2))(x)

        return jax.lax.fori_loop(0, 3, body, x)

    wanted = x.astype(np.float64)
    both = layer_sum(dense, 1) @ layer_sum(dense, 2)
    for _ in range(3):
        wanted = wanted - 0.01 * both @ both @ wanted
    np.testing.assert_allclose(descend(tiny_graph, x), wanted, rtol=1e-4, atol=1e-5)


def test_many_dimensions_are_propagated_in_slabs(tiny_graph, monkeypatch):
    widths, multiply = [], graphs.sparse.BCSR.__matmul__
    monkeypatch.setattr(graphs.sparse.BCSR, "__matmul__", lambda a, x: widths.append(x.shape[1]) or multiply(a, x))
    propagation._by_halves(tiny_graph, Embeddings(jnp.ones((7, 70)), jnp.ones((11, 70))), 1)
    assert widths == [32, 32, 32, 32, 6, 6]


def test_under_vmap(tiny_graph, dense, x):
    several, wanted = np.stack([x, 2 * x, -x[::-1]]), layer_sum(dense, 2)
    mapped = jax.jit(jax.vmap(lambda graph, x: propagate(graph, x, 2), in_axes=(None, 0)))
    np.testing.assert_allclose(mapped(tiny_graph, several), wanted @ several, rtol=1e-5, atol=2e-6)
    gradients = jax.vmap(jax.grad(lambda x: jnp.sum(propagate(tiny_graph, x, 2) ** 2)))(several)
    np.testing.assert_allclose(gradients, 2 * wanted @ wanted @ several, rtol=1e-4, atol=1e-5)


def test_under_vmap_on_other_devices_tickets_stand_side_by_side(tiny_graph, dense, x, monkeypatch):
    """There the tickets become features of one wide product; `platform_dependent` is made to take that branch."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, default, **others: default(*args))
    propagation._layer_sum.cache_clear()
    several, widths, whole = np.stack([x, 2 * x, -x[::-1]]), [], propagation._whole

    def spy(graph, x, num_layers):
        widths.append(x.item.shape[1])
        return whole(graph, x, num_layers)

    monkeypatch.setattr(propagation, "_whole", spy)
    total = jax.vmap(lambda x: propagate(tiny_graph, x, 2))(several)
    np.testing.assert_allclose(total, layer_sum(dense, 2) @ several, rtol=1e-5, atol=2e-6)
    assert widths[-1] == 3 * x.shape[1]
    propagation._layer_sum.cache_clear()


def test_under_vmap_only_one_table_may_be_mapped(tiny_graph, x):
    users, items = jnp.asarray(x[:7]), jnp.asarray(x[7:])
    several = jnp.stack([users, 2 * users])
    total = jax.vmap(lambda users: propagation.propagate(tiny_graph, Embeddings(users, items), 2))(several)
    wanted = propagate(tiny_graph, np.concatenate([2 * users, items]), 2)
    np.testing.assert_allclose(jnp.concatenate([total.user[1], total.item[1]]), wanted, rtol=1e-5, atol=2e-6)
    assert total.item.shape == (2, 11, 5)


def test_vmap_over_graphs_is_refused(tiny_graph, x):
    with pytest.raises(NotImplementedError, match="one graph for all tickets"):
        jax.vmap(lambda users: propagate(tiny_graph.replace(active_users=users), x, 1))(jnp.zeros((2, 3), jnp.int32))


@pytest.mark.parametrize(("num_users", "num_items", "density"), [(300, 200, 0.03), (1, 50, 0.5), (50, 1, 0.5)])
def test_random_graph_and_many_dimensions_against_scipy(num_users, num_items, density):
    rng = np.random.default_rng(1)
    pairs = np.argwhere(rng.random((num_users, num_items)) < density)
    graph = graphs.from_pairs(pairs, num_users, num_items)
    adjacency = sparse.csr_array(dense_adjacency(pairs, num_users, num_items))
    x = rng.normal(size=(num_users + num_items, 70)).astype(np.float32)
    wanted = x + adjacency @ x + adjacency @ (adjacency @ x)
    np.testing.assert_allclose(propagate(graph, x, 2), wanted, rtol=1e-4, atol=1e-5)
    # What other devices do, and a CPU does not take by itself.
    on_others = propagation._whole(graph, Embeddings(x[:num_users], x[num_users:]), 2)
    np.testing.assert_allclose(jnp.concatenate(on_others), wanted, rtol=1e-4, atol=1e-5)


def test_a_new_graph_of_the_same_size_is_no_new_program(tiny, tiny_graph, x):
    total = jax.jit(lambda graph, x: propagate(graph, x, 1))
    other = tiny.train.copy()
    other[0] = (0, 1)  # was (0, 0)
    other_graph = graphs.from_pairs(other, tiny.num_users, tiny.num_items)
    first, second = total(tiny_graph, x), total(other_graph, x)
    assert total._cache_size() == 1
    np.testing.assert_allclose(second, layer_sum(dense_adjacency(other, 7, 11), 1) @ x, rtol=1e-5, atol=2e-6)
    assert np.abs(np.asarray(first - second)).max() > 0.01
