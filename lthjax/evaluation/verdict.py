"""Is it a winning ticket? The paper's definition first, statistics beside it.

Letters: U users with test items, S seeds, L levels.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lthjax.evaluation import statistics

WINNING = ("wins", "better")  # names of verdicts that meet the paper's definition


class Verdict(NamedTuple):
    """A ticket against the dense model of the same run."""

    name: str  # "dense", "better", "wins", "slower", "matches", "worse" or "unjudged"
    difference: float  # mean over users of ticket minus dense
    low: float  # 95% interval of that difference
    high: float

    def columns(self) -> dict[str, Any]:
        """The columns of tables that a verdict fills."""
        names = ("verdict", "difference", "interval_low", "interval_high")
        return dict(zip(names, self, strict=True))

    @property
    def is_winning(self) -> bool:
        """The paper's definition: a' >= a and j' <= j (section 3.3)."""
        return self.name in WINNING


DENSE = Verdict("dense", 0.0, 0.0, 0.0)
UNJUDGED = Verdict("unjudged", float("nan"), float("nan"), float("nan"))  # no dense model on the same test part


def compare(dense: np.ndarray, ticket: np.ndarray, dense_epoch: int, ticket_epoch: int) -> Verdict:
    """The verdict on a ticket of one run.

    With a the dense model's mean, reached at epoch j, and a' and j' the ticket's:
    `wins` if a' >= a and j' <= j; `better` if also the interval lies above 0; `slower` if a' >= a but j' > j;
    `matches` if a' < a but the interval contains 0; `worse` if the interval lies below 0.

    Both models rank for the same users, so the test is the paired t-test on each user's difference.

    Args:
      dense: [U] metric per user of the dense model.
      ticket: [U] metric of the same users.
      dense_epoch: j, best epoch of the dense model.
      ticket_epoch: j', best epoch of the ticket.
    """
    effect = statistics.crossed_effect((ticket.astype(np.float64) - dense)[None])
    return _verdict(effect, effect.low > 0, effect.high < 0, dense_epoch, ticket_epoch)


def compare_seeds(
    dense: np.ndarray, tickets: np.ndarray, dense_epochs: np.ndarray, ticket_epochs: np.ndarray
) -> list[Verdict]:
    """The verdicts on all levels of several runs that differ in their seed only.

    As `compare`, with means over users and seeds, both taken as samples (`statistics.crossed_effect`). `better` and
    `worse` are claimed at 5% for all levels together (Holm), but each interval is for its level alone.

    Args:
      dense: [S, U] metric per user of the dense models.
      tickets: [L, S, U] metric of the same users.
      dense_epochs: [S] best epochs.
      ticket_epochs: [L, S] best epochs.
    """
    effects = [statistics.crossed_effect(ticket.astype(np.float64) - dense) for ticket in tickets]
    certain = statistics.holm(np.asarray([effect.p_value for effect in effects])) < 1 - statistics.CONFIDENCE
    return [
        _verdict(effect, sure and effect.mean > 0, sure and effect.mean < 0, dense_epochs.mean(), epochs.mean())
        for effect, sure, epochs in zip(effects, certain, ticket_epochs, strict=True)
    ]


def _verdict(effect: statistics.Effect, above: bool, below: bool, dense_epoch: float, ticket_epoch: float) -> Verdict:
    if effect.mean < 0:
        name = "worse" if below else "matches"
    elif ticket_epoch > dense_epoch:
        name = "slower"
    else:
        name = "better" if above else "wins"
    return Verdict(name, effect.mean, effect.low, effect.high)


def sparsest_winner(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row of the sparsest winning ticket, or None."""
    winners = [row for row in rows if row["verdict"] in WINNING]
    return max(winners, key=lambda row: row["sparsity"], default=None)
