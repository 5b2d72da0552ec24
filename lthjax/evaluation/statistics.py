"""Intervals and tests for differences measured on the same users, with one seed or several.

Letters: S seeds, U users, L levels, B bootstrap resamples.
"""

from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Effect(NamedTuple):
    """A mean difference, its interval, and the two-sided p-value of "there is none"."""

    mean: float
    low: float
    high: float
    p_value: float


def crossed_effect(differences: np.ndarray) -> Effect:
    """Mean of [S, U] differences, with users and seeds both taken as samples.

    The claim is about other users and other seeds, so both are random effects: several seeds share their users, so that
    the S x U values are not independent, and a test that takes them as such calls noise a result. The two-way layout
    without repetition gives Var(mean) = (MS_users + MS_seeds - MS_rest) / (S U), components below 0 taken as 0, and
    Student's t with Satterthwaite's degrees of freedom (the quasi-F of Clark 1973, "The language-as-fixed-effect
    fallacy"). With one seed it is the paired t-test over users. Two seeds leave one degree of freedom for the variance
    over seeds, and wide intervals: take five or more. With one user the interval is infinite.
    """
    from scipy import stats

    differences = np.asarray(differences, np.float64)
    num_seeds, num_users = differences.shape
    mean = float(differences.mean())
    if num_users < 2:
        return Effect(mean, -np.inf, np.inf, 1.0)
    if np.ptp(differences) <= 1e-12 * abs(mean):  # all equal: no variance to estimate
        return Effect(mean, mean, mean, 1.0 if mean == 0 else 0.0)
    of_users, of_seeds = differences.mean(axis=0), differences.mean(axis=1)
    users = num_seeds * np.sum((of_users - mean) ** 2) / (num_users - 1)
    if num_seeds == 1:
        square, freedom = users, num_users - 1.0
    else:
        seeds = num_users * np.sum((of_seeds - mean) ** 2) / (num_seeds - 1)
        rest_freedom = (num_seeds - 1) * (num_users - 1)
        rest = np.sum((differences - of_users - of_seeds[:, None] + mean) ** 2) / rest_freedom
        users, seeds = max(users, rest), max(seeds, rest)  # a component of variance below 0 is 0
        square = users + seeds - rest
        freedom = square**2 / (users**2 / (num_users - 1) + seeds**2 / (num_seeds - 1) + rest**2 / rest_freedom)
    error = np.sqrt(square / differences.size)
    margin = stats.t.ppf(0.5 + CONFIDENCE / 2, freedom) * error
    return Effect(mean, float(mean - margin), float(mean + margin), float(2 * stats.t.sf(abs(mean) / error, freedom)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """[L] p-values, adjusted so that any false claim among the L has at most the stated probability (Holm 1979)."""
    order = np.argsort(p_values)
    steps = np.asarray(p_values, np.float64)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def sparsest_winner_interval(
    differences: np.ndarray,
    epochs_later: np.ndarray,
    sparsity: np.ndarray,
    seed: int = 0,
    num_resamples: int = 2000,
) -> tuple[float, float]:
    """95% interval of the highest winning sparsity, by resampling users and seeds together.

    The pigeonhole bootstrap (Owen 2007): users and seeds are drawn with replacement, independently, and each resample
    has its sparsest winner; one without a winner counts as sparsity 0. With one seed only users are drawn.

    Args:
      differences: [L, S, U], ticket minus dense.
      epochs_later: [L, S], best epoch of the ticket minus that of the dense model of the same seed; a level wins only
        where its mean over the drawn seeds is at most 0.
      sparsity: [L], ascending.
      seed: of the resampling.
      num_resamples: B.
    """
    num_levels, num_seeds, num_users = differences.shape
    draws = np.random.default_rng(seed)
    sparsest = np.empty(num_resamples)
    for start in range(0, num_resamples, 100):  # b = 100 resamples at a time, which bounds the memory
        size = min(100, num_resamples - start)
        users = draws.multinomial(num_users, np.full(num_users, 1 / num_users), size)  # [b, U] counts
        seeds = draws.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size)  # [b, S] counts
        per_seed = (differences.reshape(-1, num_users) @ users.T).reshape(num_levels, num_seeds, size)
        total = np.einsum("lsb,bs->lb", per_seed, seeds)
        wins = (total >= 0) & (epochs_later @ seeds.T <= 0)  # [L, b]; sums, not means: whole epochs stay whole
        sparsest[start : start + size] = np.max(np.where(wins, sparsity[:, None], 0.0), axis=0)
    tail = 50 * (1 - CONFIDENCE)
    return float(np.percentile(sparsest, tail)), float(np.percentile(sparsest, 100 - tail))
