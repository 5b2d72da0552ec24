"""Each verdict by hand, and the interval against SciPy."""

import numpy as np
import pytest
from scipy import stats

from lthjax.evaluation import verdict
from lthjax.evaluation.statistics import crossed_effect
from lthjax.evaluation.verdict import compare


def paired_interval(dense, ticket):
    return crossed_effect((ticket.astype(np.float64) - dense)[None])[:3]


DENSE = np.array([0.2, 0.4, 0.0, 0.6, 0.3], np.float32)
ABOVE = np.array([0.1, 0.12, 0.09, 0.11, 0.1], np.float32)  # a gain for every user
MIXED = np.array([0.3, -0.2, 0.25, -0.2, 0.05], np.float32)  # a small gain on the whole: the interval holds 0


@pytest.mark.parametrize(
    ("ticket", "epoch", "name", "is_winning"),
    [
        (DENSE + ABOVE, 9, "better", True),
        (DENSE + ABOVE, 10, "better", True),
        (DENSE + ABOVE, 11, "slower", False),
        (DENSE + MIXED, 10, "wins", True),
        (DENSE + MIXED, 11, "slower", False),
        (DENSE - MIXED, 9, "matches", False),
        (DENSE - MIXED, 11, "matches", False),
        (DENSE - ABOVE, 9, "worse", False),
        (DENSE - ABOVE, 11, "worse", False),
        (DENSE, 10, "wins", True),  # a' >= a: equal is enough
        (DENSE, 11, "slower", False),
        (DENSE - np.float32(0.25) * (DENSE > 1), 10, "wins", True),
    ],
)
def test_names(ticket, epoch, name, is_winning):
    got = compare(DENSE, ticket, 10, epoch)
    assert (got.name, got.is_winning) == (name, is_winning)
    np.testing.assert_allclose(got.difference, np.mean(ticket - DENSE, dtype=np.float64), rtol=1e-5, atol=1e-12)
    assert got.low <= got.difference <= got.high


@pytest.mark.parametrize("change", [ABOVE, MIXED, -MIXED, -ABOVE])
def test_interval_is_that_of_the_paired_t_test(change):
    ticket = DENSE + change
    mean, low, high = paired_interval(DENSE, ticket)
    wanted = stats.ttest_rel(ticket.astype(np.float64), DENSE.astype(np.float64)).confidence_interval(0.95)
    np.testing.assert_allclose([low, high], [wanted.low, wanted.high], rtol=1e-9)
    np.testing.assert_allclose(mean, (low + high) / 2, rtol=1e-6)


def test_identical_values_have_no_width():
    assert paired_interval(DENSE, DENSE) == (0, 0, 0)


def test_a_constant_difference_has_no_width():
    dense = np.array([0.0, 0.5, 0.25], np.float32)
    assert paired_interval(dense, dense + 0.25) == (0.25, 0.25, 0.25)
    assert compare(dense, dense + 0.25, 1, 1).name == "better"
    assert compare(dense, dense - 0.25, 1, 1).name == "worse"


@pytest.mark.parametrize(("ticket", "name"), [(0.75, "wins"), (0.5, "wins"), (0.25, "matches")])
def test_one_user_proves_nothing(ticket, name):
    got = compare(np.array([0.5], np.float32), np.array([ticket], np.float32), 1, 1)
    assert got == (name, ticket - 0.5, -np.inf, np.inf)


def test_the_dense_model_does_not_win():
    assert verdict.DENSE.name == "dense"
    assert verdict.UNJUDGED.name == "unjudged"
    assert not verdict.DENSE.is_winning
    assert not verdict.UNJUDGED.is_winning
