"""One-shot pruning: every level in one jump from the dense model (paper, section 4.3, OMP; with random scores RP)."""

from collections.abc import Generator, Iterable

from lthjax.search.problem import Problem
from lthjax.search.steps import Request, dense, prune, rewind
from lthjax.tickets.ticket import Ticket


def one_shot(problem: Problem) -> Generator[Iterable[Request], list[Ticket], None]:
    """The levels do not wait for one another."""
    (ticket,) = yield [dense(problem)]

    def request(level: int) -> Request:
        masks = prune(problem, ticket, level)
        return Request(level, masks, rewind(problem, ticket, masks, level), parent=0)

    yield (request(level) for level in problem.levels)  # one at a time: each start is as large as three tables
