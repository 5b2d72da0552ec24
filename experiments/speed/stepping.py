"""Tickets in training, one or several as one program, that go on by as many steps as they are told.

Letters: T tickets.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.pruning import masks as masking
from lthjax.pruning import rules
from lthjax.search.problem import Problem
from lthjax.training.keys import Purpose
from lthjax.training.step import LossMeter, TrainState

Steps = Callable[[int], LossMeter]  # goes on training by so many steps; their losses, when they are done


class Ticket(NamedTuple):
    """A ticket before its first step."""

    state: TrainState
    masks: masking.Masks
    key: jax.Array  # of its batches


def first_values(problem: Problem) -> Any:
    """The parameters of the problem's seed."""
    return problem.program.init(problem.key(Purpose.FIRST_VALUES))


def ticket_of(problem: Problem, params: Any, num_prunings: int = 0) -> Ticket:
    """A ticket that starts from these parameters.

    Args:
      problem: with the program and the seed of the batches.
      params: first values.
      num_prunings: how often the smallest tenth was pruned; 0 is the dense model.
    """
    masks = masking.all_kept(params)
    for _ in range(num_prunings):
        masks = rules.prune(rules.magnitude(params), masks, 0.1)
    return Ticket(problem.program.start(params, masks), masks, problem.key(Purpose.BATCHES))


def alone(problem: Problem, ticket: Ticket) -> Steps:
    """One ticket in training; the state is its own from now on, as every step gives it away."""
    state, masks, key = ticket

    def run(num_steps: int) -> LossMeter:
        nonlocal state
        number = jnp.int32(num_steps)
        state, meter = problem.program.run_steps(state, LossMeter.zero(), masks, problem.graph, key, number)
        return jax.block_until_ready((state, meter))[1]

    return run


def together(problem: Problem, tickets: list[Ticket]) -> Steps:
    """T tickets in training as one program; the meter is [T]. The tickets keep their states."""
    stack = functools.partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    state, masks = stack(*(ticket.state for ticket in tickets)), stack(*(ticket.masks for ticket in tickets))
    keys = jnp.stack([ticket.key for ticket in tickets])

    def run(num_steps: int) -> LossMeter:
        nonlocal state
        meter, number = stack(*(LossMeter.zero() for _ in tickets)), jnp.int32(num_steps)
        state, meter = problem.program.run_together(state, meter, masks, problem.graph, keys, number)
        return jax.block_until_ready((state, meter))[1]

    return run
