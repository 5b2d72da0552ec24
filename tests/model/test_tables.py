"""The first values of the tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.model import tables
from lthjax.model.tables import xavier_uniform

DRAWS = [xavier_uniform, tables.normal(0.1)]


@pytest.mark.parametrize("draw", DRAWS)
def test_a_draw_depends_on_its_key_alone(draw, assert_same):
    first = draw(jax.random.key(1), 7, 11, 5)
    assert (first.user.shape, first.item.shape) == ((7, 5), (11, 5))
    assert first.user.dtype == first.item.dtype == jnp.float32
    assert_same(draw(jax.random.key(1), 7, 11, 5), first)
    other = draw(jax.random.key(2), 7, 11, 5)
    assert not np.any(np.asarray(first.item) == np.asarray(other.item))
    assert len(np.unique(np.concatenate(first))) == 18 * 5  # users and items are not the same numbers


def test_xavier_bound_is_that_of_the_joint_table():
    values = np.concatenate(xavier_uniform(jax.random.key(0), 400, 568, 32))
    bound = np.sqrt(6 / 1000)  # a bound for the users alone would be 1.5 times as large
    assert 0.999 * bound < np.abs(values).max() <= bound
    np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.01)
    assert abs(values.mean()) < 0.001


@pytest.mark.parametrize("std", [0.01, 1.0])
def test_normal_has_its_standard_deviation(std):
    values = np.concatenate(tables.normal(std)(jax.random.key(0), 400, 568, 32))
    np.testing.assert_allclose(values.std(), std, rtol=0.02)
    np.testing.assert_allclose((np.abs(values) < std).mean(), 0.6827, rtol=0.02)
