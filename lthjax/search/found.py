"""What a search that trains by itself has come to: the masks of the levels it is asked for, as far as they are fixed.

Letters: T levels asked for.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from lthjax.pruning import masks as masking
from lthjax.pruning.masks import Masks
from lthjax.pruning.schedule import num_kept_at
from lthjax.search.problem import Problem
from lthjax.search.steps import Request, pruned_by, restart, scores_of
from lthjax.tickets.effort import Effort
from lthjax.training.keys import Purpose
from lthjax.training.step import TrainState


class Found(NamedTuple):
    """Masks of T levels, and what each cost; a pytree of arrays whose shapes stay the same."""

    masks: tuple[Masks, ...]  # all kept before they are fixed
    states: tuple[TrainState, ...]  # that were pruned, where tickets go on from trained values; else none
    steps: np.ndarray  # [T] int64, of the search
    seconds: np.ndarray  # [T] float64

    def with_level(self, number: int, masks: Masks, state: TrainState, effort: Effort) -> "Found":
        """With the masks of one more level.

        Args:
          number: of the level, from 0.
          masks: of it.
          state: that was pruned.
          effort: of the search up to here.
        """
        steps, seconds = self.steps.copy(), self.seconds.copy()
        steps[number], seconds[number] = effort.steps, effort.seconds
        states = _replaced(self.states, number, state) if self.states else ()
        return Found(_replaced(self.masks, number, masks), states, steps, seconds)


def nothing(problem: Problem, first: TrainState) -> Found:
    """Before the search, whose first state is given."""
    number = len(problem.levels)
    states = (first,) * number if problem.settings.rewind in ("lr", "none") else ()
    kept = problem.all_kept(first.params)
    return Found((kept,) * number, states, np.zeros(number, np.int64), np.zeros(number, np.float64))


def tickets(problem: Problem, first: TrainState, found: Found) -> Iterator[Request]:
    """The requests of all levels, each made when it is reached: a start is as large as three tables.

    Args:
      problem: with the levels.
      first: state of the search.
      found: all masks.
    """
    for number, level in enumerate(problem.levels):
        masks = found.masks[number]
        start = restart(problem, masks, level, first.params, lambda number=number: found.states[number])
        search = Effort(int(found.steps[number]), 0, float(found.seconds[number]))
        yield Request(level, masks, start, search=search)


def targets(problem: Problem) -> list[int]:
    """[T] entries kept at the levels that are asked for."""
    return num_kept_at(problem.settings, problem.num_entries)[1:]


def prune_to(problem: Problem, first: TrainState, trained: TrainState, masks: Masks, num_kept: int) -> Masks:
    """Masks that keep so many entries, those with the highest scores of what is kept; or that share of a table.

    Args:
      problem: with score, and scope, which may be one table.
      first: first values, where training began.
      trained: where it ended.
      masks: what is kept so far.
      num_kept: entries to keep.
    """
    rate = 1 - num_kept / problem.num_entries / _share_kept(problem, masks)
    if rate <= 0:
        return masks
    scores = scores_of(problem, trained.params, lambda: first.params, problem.key(Purpose.RANDOM_PRUNING))
    return pruned_by(problem, scores, masks, rate)


def _share_kept(problem: Problem, masks: Masks) -> float:
    """Of the entries that may fall, with --prune-scope user or item of that table alone.

    Its share is what a level prunes, as with one pruning: the other table's is not to be caught up on.
    """
    rows = {"user": problem.split.num_users, "item": problem.split.num_items}
    side = problem.settings.prune_scope
    if side not in rows:
        return masking.num_kept(masks) / problem.num_entries
    return masking.num_kept(getattr(masks, side)) / (rows[side] * problem.settings.dim)


def number_of(value: int) -> np.ndarray:
    """A whole number as a carry has it."""
    return np.asarray(value, np.int64)


def _replaced(parts: Sequence, number: int, part) -> tuple:
    return (*parts[:number], part, *parts[number + 1 :])
