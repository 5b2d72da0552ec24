"""Iterative magnitude pruning: train, prune, rewind, again (paper, algorithm 1)."""

from collections.abc import Generator

from lthjax.search.problem import Problem
from lthjax.search.steps import Request, dense, pruned
from lthjax.tickets.ticket import Ticket


def imp(problem: Problem) -> Generator[list[Request], list[Ticket], None]:
    """Each level prunes the one before it."""
    (ticket,) = yield [dense(problem)]
    for level in problem.levels:
        (ticket,) = yield [pruned(problem, ticket, level)]
