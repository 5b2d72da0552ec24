"""What `population` times: tickets alone and together, whose losses are the same.

Letters: T tickets.
"""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed import stepping
from experiments.speed.stepping import Steps, Ticket
from lthjax.errors import LthjaxError
from lthjax.search.problem import Problem

_AGREE = 1e-3  # of the loss, relative, after a few steps: sums in another order, and Adam divides small by small


def tickets_of(problem: Problem, number: int) -> list[Ticket]:
    """Tickets with seeds of their own; the first is dense, each further one has a tenth less than the one before."""
    tickets = []
    for num_prunings in range(number):
        own = problem.with_seed(problem.settings.seed + num_prunings)
        tickets.append(stepping.ticket_of(own, stepping.first_values(own), num_prunings))
    return tickets


def alone(problem: Problem, ticket: Ticket) -> Steps:
    """A copy of the ticket in training, since it takes part in populations too."""
    return stepping.alone(problem, ticket._replace(state=jax.tree.map(jnp.copy, ticket.state)))


def check_equal(problem: Problem, tickets: list[Ticket], num_steps: int = 5) -> float:
    """Largest relative difference of a ticket's loss over the first steps, in the population and alone.

    Args:
      problem: that all share.
      tickets: before their first step.
      num_steps: how many are compared.

    Raises:
      LthjaxError: they differ by more than rounding.
    """
    at_once = np.asarray(stepping.together(problem, tickets)(num_steps).total)
    by_itself = np.array([float(alone(problem, ticket)(num_steps).total) for ticket in tickets])
    difference = float(np.max(np.abs(at_once - by_itself) / by_itself))
    if not difference < _AGREE:
        raise LthjaxError(
            f"wanted equal losses of {len(tickets)} tickets at once and alone; got {difference:.1e} between them."
        )
    return difference
