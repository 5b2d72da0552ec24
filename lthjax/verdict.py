"""Is it a winning ticket? The paper's definition first, statistics beside it.

Letters: U users with test items.
"""

import warnings
from typing import NamedTuple

import numpy as np

TEST_NAME = "paired t"
_CONFIDENCE = 0.95


class Verdict(NamedTuple):
    """A ticket against the dense model of the same run."""

    name: str  # "dense", "better", "wins", "slower", "matches", "worse" or "unjudged"
    difference: float  # mean over users of ticket minus dense
    low: float  # 95% interval of that difference
    high: float

    @property
    def is_winning(self) -> bool:
        """The paper's definition: a' >= a and j' <= j (section 3.3)."""
        return self.name in ("wins", "better")


DENSE = Verdict("dense", 0.0, 0.0, 0.0)
UNJUDGED = Verdict("unjudged", float("nan"), float("nan"), float("nan"))  # no dense model on the same test part


def compare(dense: np.ndarray, ticket: np.ndarray, dense_epoch: int, ticket_epoch: int) -> Verdict:
    """The verdict on a ticket.

    With a the dense model's mean, reached at epoch j, and a' and j' the ticket's:
    `wins` if a' >= a and j' <= j; `better` if besides the interval lies above 0; `slower` if a' >= a but j' > j;
    `matches` if a' < a but the interval holds 0; `worse` if the interval lies below 0.

    Args:
      dense: [U] metric per user of the dense model.
      ticket: [U] metric of the same users.
      dense_epoch: j, best epoch of the dense model.
      ticket_epoch: j', best epoch of the ticket.
    """
    difference, low, high = paired_interval(dense, ticket)
    if difference < 0:
        name = "matches" if high >= 0 else "worse"
    elif ticket_epoch > dense_epoch:
        name = "slower"
    else:
        name = "better" if low > 0 else "wins"
    return Verdict(name, difference, low, high)


def paired_interval(dense: np.ndarray, ticket: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high) of ticket - dense, with the 95% interval of the paired t-test over users.

    The same users are ranked by both models, so their differences are tested, not their means; with hundreds of users
    the mean difference is near enough to normal. With one user there is no interval: it is infinite.
    """
    from scipy import stats

    difference = ticket.astype(np.float64) - dense.astype(np.float64)
    mean = float(difference.mean())
    if len(difference) < 2:
        return mean, -np.inf, np.inf
    if np.all(difference == difference[0]):
        return mean, mean, mean
    with warnings.catch_warnings():
        # Nearly equal differences lose digits in the variance; the interval is then as narrow as they are close.
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        interval = stats.ttest_1samp(difference, 0.0).confidence_interval(_CONFIDENCE)
    return mean, float(interval.low), float(interval.high)
