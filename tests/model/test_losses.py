"""The BPR loss against float64 NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.embeddings import Embeddings
from lthjax.model import losses
from lthjax.model.losses import Triples

bpr = jax.jit(losses.bpr)
L2 = 0.3
RNG = np.random.default_rng(0)
FINAL, LAYER0 = (Embeddings(RNG.normal(size=(3, 2)), RNG.normal(size=(4, 2))) for _ in range(2))
BATCH = Triples(*map(np.array, ([0, 1, 1, 2, 0], [3, 0, 2, 1, 0], [1, 2, 3, 3, 2], [1.0, 1, 0, 1, 0])))


def slow_bpr(final, layer0, batch, l2):
    total = 0.0
    for user, positive, negative, weight in zip(*batch[:4], strict=True):
        difference = final.user[user] @ final.item[negative] - final.user[user] @ final.item[positive]
        rows = (layer0.user[user], layer0.item[positive], layer0.item[negative])
        total += weight * (np.log1p(np.exp(difference)) + l2 / 2 * sum((row**2).sum() for row in rows))
    return total / batch.weight.sum()


def on_device(tree):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.int32 if x.dtype.kind == "i" else jnp.float32), tree)


def test_by_hand():
    final = Embeddings(jnp.array([[2.0]]), jnp.array([[1.5], [1.0]]))  # scores 3 and 2
    layer0 = Embeddings(jnp.array([[1.0]]), jnp.array([[2.0], [3.0]]))  # squares 1, 4 and 9
    batch = on_device(Triples(*map(np.array, ([0], [0], [1], [1.0]))))
    np.testing.assert_allclose(bpr(final, layer0, batch, 0.1), np.log(1 + np.exp(-1)) + 0.05 * 14, rtol=1e-6)


@pytest.mark.parametrize("l2", [0.0, L2])
def test_value_and_gradient_against_numpy(l2):
    value, gradients = jax.value_and_grad(bpr, argnums=(0, 1))(*map(on_device, (FINAL, LAYER0, BATCH)), l2)
    np.testing.assert_allclose(value, slow_bpr(FINAL, LAYER0, BATCH, l2), rtol=1e-6)
    leaves, structure = jax.tree.flatten((FINAL, LAYER0))
    for number, gradient in enumerate(jax.tree.leaves(gradients)):
        for index in np.ndindex(leaves[number].shape):
            sides = []
            for shift in (1e-6, -1e-6):
                moved = [leaf.copy() for leaf in leaves]
                moved[number][index] += shift
                sides.append(slow_bpr(*structure.unflatten(moved), BATCH, l2))
            np.testing.assert_allclose(gradient[index], (sides[0] - sides[1]) / 2e-6, rtol=1e-4, atol=1e-6)


def test_rows_of_weight_zero_do_not_count():
    counted = jax.tree.map(lambda x: x[BATCH.weight > 0], BATCH)
    full, short = (bpr(*map(on_device, (FINAL, LAYER0, batch)), L2) for batch in (BATCH, counted))
    np.testing.assert_allclose(full, short, rtol=1e-6)
    none = on_device(BATCH._replace(weight=np.zeros(5)))
    assert bpr(*map(on_device, (FINAL, LAYER0)), none, L2) == 0


def test_l2_is_on_the_layer0_rows_only():
    final, layer0, batch = map(on_device, (FINAL, LAYER0, BATCH))
    gradient = jax.grad(lambda final: bpr(final, layer0, batch, L2) - bpr(final, layer0, batch, 0.0))(final)
    assert max(float(jnp.abs(g).max()) for g in gradient) < 1e-6


@pytest.mark.parametrize("score", [1e4, -1e4])
def test_finite_at_large_scores(score):
    final = Embeddings(jnp.array([[score]]), jnp.array([[1.0], [0.0]]))
    batch = on_device(Triples(*map(np.array, ([0], [0], [1], [1.0]))))
    value, gradient = jax.value_and_grad(bpr)(final, final, batch, 0.0)
    np.testing.assert_allclose(value, max(-score, 0.0), rtol=1e-6)
    assert all(jnp.isfinite(g).all() for g in gradient)
