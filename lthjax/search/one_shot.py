"""One-shot pruning: every level in one jump from the dense model (paper, section 4.3, OMP; with random scores RP)."""

from collections.abc import Generator, Iterable

from lthjax.search.problem import Problem
from lthjax.search.steps import Request, dense, pruned
from lthjax.tickets.ticket import Ticket


def one_shot(problem: Problem) -> Generator[Iterable[Request], list[Ticket], None]:
    """The levels do not wait for one another."""
    (ticket,) = yield [dense(problem)]
    yield (pruned(problem, ticket, level) for level in problem.levels)  # one at a time: a start is as large as 3 tables
