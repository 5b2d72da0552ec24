"""Intervals over users and seeds: against SciPy, by simulation, by hand."""

import numpy as np
import pytest
from scipy import stats

from lthjax.evaluation.statistics import crossed_effect, holm, sparsest_winner_interval


def test_one_seed_is_the_paired_t_test():
    differences = np.random.default_rng(0).normal(0.01, 0.1, 50)
    got = crossed_effect(differences[None])
    wanted = stats.ttest_1samp(differences, 0.0)
    np.testing.assert_allclose(got.p_value, wanted.pvalue, rtol=1e-9)
    np.testing.assert_allclose([got.low, got.high], wanted.confidence_interval(0.95), rtol=1e-9)


def test_variance_by_hand():
    """Two seeds, two users: MS_users = 1, MS_seeds = 9, MS_rest = 0, so Var(mean) = 10 / 4."""
    got = crossed_effect(np.array([[0.0, 1.0], [3.0, 4.0]]))
    freedom = 10**2 / (1 + 81)
    np.testing.assert_allclose(got.p_value, 2 * stats.t.sf(2 / np.sqrt(2.5), freedom), rtol=1e-9)
    np.testing.assert_allclose(got.high - got.mean, stats.t.ppf(0.975, freedom) * np.sqrt(2.5), rtol=1e-9)


def test_components_below_zero_are_zero():
    """Rows and columns alike, all in the rest (mean square 4): Var(mean) = 4 / (S U) = 1."""
    got = crossed_effect(np.array([[2.0, 0.0], [0.0, 2.0]]))
    assert (got.mean, got.p_value < 1, np.isfinite(got.low)) == (1.0, True, True)
    np.testing.assert_allclose(got.high - got.mean, stats.t.ppf(0.975, 4**2 / (3 * 4**2)) * np.sqrt(4 / 4))


def test_epochs_that_are_equal_on_the_mean_are_not_later():
    sparsity, clear = np.array([0.1]), np.full((1, 3, 5), 0.1)
    for epochs in ([10, -5, -5], [5, 10, -15], [0, 0, 0]):
        low, high = sparsest_winner_interval(clear, np.array([epochs]), sparsity)
        assert high == 0.1
    assert low == 0.1


def test_alike_differences_and_one_user():
    assert crossed_effect(np.zeros((3, 5))) == (0, 0, 0, 1)
    assert crossed_effect(np.full((3, 5), 0.25)) == (0.25, 0.25, 0.25, 0)
    assert crossed_effect(np.ones((3, 1))) == (1, -np.inf, np.inf, 1)


@pytest.mark.parametrize(("of_users", "of_seeds"), [(0.1, 0.0), (0.1, 0.03), (0.0, 0.03)])
def test_nothing_is_called_something_in_about_one_case_of_twenty(of_users, of_seeds):
    """The naive test over all S x U values calls far more, as soon as seeds differ."""
    draws = np.random.default_rng(1)
    calls, naive = [], []
    for _ in range(400):
        differences = (
            draws.normal(0, of_users, (1, 60)) + draws.normal(0, of_seeds, (4, 1)) + draws.normal(0, 0.1, (4, 60))
        )
        calls.append(crossed_effect(differences).p_value < 0.05)
        naive.append(stats.ttest_1samp(differences.ravel(), 0).pvalue < 0.05)
    assert np.mean(calls) < 0.08
    if of_seeds:
        assert np.mean(naive) > 0.15


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.9, 0.6])), [1.0, 1.0])
    assert len(holm(np.array([]))) == 0


def test_a_clear_winner_has_a_narrow_interval_and_none_has_zero():
    draws = np.random.default_rng(2)
    sparsity = np.array([0.1, 0.19, 0.271])
    clear = np.stack([draws.normal(mean, 0.1, (3, 200)) for mean in (0.2, 0.2, -0.2)])
    on_time = np.zeros((3, 3))
    assert sparsest_winner_interval(clear, on_time, sparsity) == (0.19, 0.19)
    assert sparsest_winner_interval(-np.abs(clear), on_time, sparsity) == (0.0, 0.0)
    assert sparsest_winner_interval(clear, on_time + 1, sparsity) == (0.0, 0.0)  # all late


def test_a_doubtful_winner_has_a_wide_interval_that_is_the_same_each_time():
    draws = np.random.default_rng(3)
    doubtful = np.stack([draws.normal(mean, 0.1, (3, 200)) for mean in (0.2, 0.0, 0.0)])
    doubtful[1:] -= doubtful[1:].mean(axis=(1, 2), keepdims=True)
    first = sparsest_winner_interval(doubtful, np.zeros((3, 3)), np.array([0.1, 0.19, 0.271]))
    assert first == (0.1, 0.271)
    assert sparsest_winner_interval(doubtful, np.zeros((3, 3)), np.array([0.1, 0.19, 0.271])) == first
