"""The losses against float64 NumPy, and what holds between them."""

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


# Several negatives, cosines, softmax: by loops, one triple at a time.

NEGATIVES = np.array([[1, 2, 2], [2, 1, 3], [3, 0, 0], [3, 3, 0], [2, 1, 3]])
MANY = BATCH._replace(negative=NEGATIVES)
LOG_Q = RNG.normal(size=NEGATIVES.shape)
TEMPERATURE = 0.4
SHAPES = pytest.mark.parametrize("batch", [BATCH, MANY], ids=["1 negative", "3 negatives"])
ON_COSINES = pytest.mark.parametrize("name", ["sampled-softmax", "cosine-bpr"])


def cosine(a, b):
    length = np.sqrt(a @ a) * np.sqrt(b @ b)
    return a @ b / length if length else 0.0


def slow(name, final, layer0, batch, l2):
    """Any of the losses, with L2 of the form "squared" on layer 0."""
    total = 0.0
    for row, (user, positive, weight) in enumerate(zip(batch.user, batch.positive, batch.weight, strict=True)):
        negatives = np.atleast_1d(batch.negative[row])
        similarity = np.dot if name == "bpr" else lambda a, b: cosine(a, b) / TEMPERATURE
        y = similarity(final.user[user], final.item[positive])
        others = np.array([similarity(final.user[user], final.item[item]) for item in negatives])
        if name == "sampled-softmax":
            log_q = 0.0 if batch.log_q is None else np.atleast_1d(batch.log_q[row])
            ranking = -np.log(np.exp(y) / (np.exp(y) + np.exp(others - log_q).sum()))
        else:
            ranking = np.mean(np.log1p(np.exp(others - y)))
        squares = [(layer0.user[user] ** 2).sum(), (layer0.item[positive] ** 2).sum()]
        squares.append(np.mean((layer0.item[negatives] ** 2).sum(axis=1)))
        total += weight * (ranking + l2 / 2 * sum(squares))
    return total / batch.weight.sum()


def named(name, l2=L2, **options):
    return losses.named(name, TEMPERATURE, l2=l2, **options)


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("batch", [BATCH, MANY, MANY._replace(log_q=LOG_Q), BATCH._replace(log_q=LOG_Q[:, 0])])
def test_every_loss_against_loops(name, batch):
    final, layer0 = FINAL, LAYER0._replace(user=LAYER0.user * 3)
    value, gradients = jax.jit(jax.value_and_grad(named(name), argnums=(0, 1)))(*map(on_device, (final, layer0, batch)))
    np.testing.assert_allclose(value, slow(name, final, layer0, batch, L2), rtol=1e-5)
    leaves, structure = jax.tree.flatten((final, layer0))
    for number, gradient in enumerate(jax.tree.leaves(gradients)):
        for index in np.ndindex(leaves[number].shape):
            sides = []
            for shift in (1e-6, -1e-6):
                moved = [leaf.copy() for leaf in leaves]
                moved[number][index] += shift
                sides.append(slow(name, *structure.unflatten(moved), batch, L2))
            np.testing.assert_allclose(gradient[index], (sides[0] - sides[1]) / 2e-6, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("l2_on", ["layer0", "propagated"])
@pytest.mark.parametrize("name", ["bpr", "cosine-bpr"])
def test_several_negatives_are_the_mean_of_one_each(name, l2_on):
    loss, tables = named(name, l2_on=l2_on), [on_device(table) for table in (FINAL, LAYER0)]
    one_each = [loss(*tables, on_device(MANY._replace(negative=NEGATIVES[:, number]))) for number in range(3)]
    np.testing.assert_allclose(loss(*tables, on_device(MANY)), np.mean(one_each), rtol=1e-6)


@pytest.mark.parametrize("name", losses.LOSSES)
def test_one_negative_may_have_an_axis_of_its_own(name):
    for form in ("squared", "norm"):
        loss = named(name, l2_form=form)
        flat, deep = (BATCH, BATCH._replace(negative=BATCH.negative[:, None]))
        values = [loss(*map(on_device, (FINAL, LAYER0, batch))) for batch in (flat, deep)]
        np.testing.assert_allclose(*values, rtol=1e-6)


@ON_COSINES
@SHAPES
def test_cosines_do_not_see_lengths(name, batch):
    tables = [Embeddings(*(part * scale for part in FINAL)) for scale in (1.0, 7.0)]
    values = [named(name, 0.0)(*map(on_device, (table, LAYER0, batch))) for table in tables]
    np.testing.assert_allclose(*values, rtol=1e-5)


@ON_COSINES
def test_rows_without_an_entry_have_finite_gradients(name):
    """All entries of a row can be pruned: it is like no other, and does not move."""
    final = Embeddings(FINAL.user * [[1], [0], [1]], FINAL.item * [[1], [1], [0], [1]])
    value, gradient = jax.value_and_grad(named(name, 0.0))(*map(on_device, (final, LAYER0, MANY)))
    np.testing.assert_allclose(value, slow(name, final, LAYER0, MANY, 0.0), rtol=1e-5)
    assert all(np.isfinite(part).all() for part in gradient)
    assert not np.asarray(gradient.user[1]).any()
    assert not np.asarray(gradient.item[2]).any()


@ON_COSINES
def test_small_temperatures_do_not_overflow(name):
    loss = losses.named(name, 1e-3, l2=0.0)
    value, gradient = jax.value_and_grad(loss)(*map(on_device, (FINAL, LAYER0, MANY)))
    assert np.isfinite(value)
    assert all(np.isfinite(part).all() for part in gradient)


def test_corrected_negatives_expect_what_uniform_ones_do():
    """Exact, over all that can be drawn: the sum over negatives of exp(y - log q) under q is their plain mean."""
    q = np.array([0.1, 0.2, 0.3, 0.4])  # of the four items, as if no positive stood among them
    y = np.array([0.3, -1.0, 2.0, 0.5])
    np.testing.assert_allclose(q @ np.exp(y - np.log(q * 4)), np.exp(y).mean())
    user, positive = np.array([0.6, 0.8]), np.array([0.8, 0.6])
    items = np.stack([positive, *RNG.normal(size=(4, 2))])
    final = on_device(Embeddings(user[None], items))
    parts = []
    for item in range(4):
        batch = Triples(*map(np.array, ([0], [0], [[item + 1]], [1.0])), log_q=np.log(q[item] * 4).reshape(1, 1))
        value = float(named("sampled-softmax", 0.0)(final, final, on_device(batch)))
        parts.append(np.expm1(value))  # sum over negatives of exp(y_uj - log q) / exp(y_ui)
    of_items = [cosine(user, item) / TEMPERATURE for item in items]
    np.testing.assert_allclose(q @ parts, np.exp(of_items[1:]).mean() / np.exp(of_items[0]), rtol=1e-4)


def test_importance_weighs_a_mean():
    weight = np.array([0.5, 2.0, 0.0, 1.5, 1.0])
    for name in losses.LOSSES:
        value = named(name)(*map(on_device, (FINAL, LAYER0, MANY._replace(weight=weight))))
        np.testing.assert_allclose(value, slow(name, FINAL, LAYER0, MANY._replace(weight=weight), L2), rtol=1e-5)
