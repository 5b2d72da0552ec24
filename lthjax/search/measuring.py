"""A trained model on the test and the validation part, and the verdict beside the dense model."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from lthjax.embeddings import Embeddings
from lthjax.evaluation.ranking import RankingMetrics, RankingTask
from lthjax.evaluation.sharded import evaluate
from lthjax.evaluation.verdict import UNJUDGED, Verdict, compare
from lthjax.search.problem import Problem
from lthjax.sharding.layout import Layout
from lthjax.tickets.result import Result
from lthjax.tickets.ticket import Ticket
from lthjax.training.fit import Plan
from lthjax.training.step import Program


class Measured(NamedTuple):
    """A trained model on the test part; the fields of tickets and results that follow from it."""

    metrics: dict[str, float]  # means there and, as `valid_...`, on the validation part
    users: np.ndarray  # [U] users with test items
    per_user: dict[str, np.ndarray]  # name -> [U]
    tied_users: int  # of whose first K + 1 items two score alike
    verdict: Verdict


def measure(
    problem: Problem,
    program: Program,
    params: Any,
    best_epoch: int,
    dense: Ticket | None,
    on_selection: Mapping[str, float] | None = None,
) -> Measured:
    """Rank the test and the validation part, and judge the result against the dense model of the same seed.

    Args:
      problem: with both parts.
      program: of the model.
      params: its trained parameters.
      best_epoch: when they stood.
      dense: the dense model; None where there is none to compare with.
      on_selection: means on the users that chose the epoch, as they were found then: where those are all of the
        validation part, it is not ranked again.
    """
    final = jax.block_until_ready(program.embed(params, problem.graph))
    return measure_ranking(problem, functools.partial(_rank, final, problem.layout), best_epoch, dense, on_selection)


def _rank(final: Embeddings, layout: Layout | None, task: RankingTask, plan: Plan) -> RankingMetrics:
    return evaluate(final, task, plan.ks, metrics=plan.metrics, layout=layout)


def measure_ranking(
    problem: Problem,
    rank: Callable[[RankingTask, Plan], RankingMetrics],
    best_epoch: int,
    dense: Ticket | Result | None,
    on_selection: Mapping[str, float] | None = None,
) -> Measured:
    """The same of any model.

    Args:
      problem: with both parts.
      rank: (task, plan) -> how good the model ranks for the task, by the plan's metrics and list lengths.
      best_epoch: of the model, 0 where it was not trained.
      dense: the dense model, or its result; None where there is none to compare with.
      on_selection: as in `measure`.
    """
    plan, main = problem.plan, problem.plan.main_metric
    measured = rank(problem.test, plan)
    metrics = measured.means()
    if problem.valid is not None:
        is_known = problem.sample is problem.valid and (on_selection or {}).keys() == metrics.keys()
        on_valid = on_selection if is_known else rank(problem.valid, plan).means()
        metrics |= {f"valid_{name}": on_valid[name] for name in measured.means()}
    verdict = UNJUDGED
    if dense is not None:
        # A table that was trained elsewhere has no epoch to be later than.
        dense_epoch = dense.best_epoch if dense.epochs else best_epoch
        verdict = compare(dense.per_user[main], measured.per_user[main], dense_epoch, best_epoch)
    return Measured(metrics, measured.users, measured.per_user, int(measured.tied[plan.ks[0]].sum()), verdict)
