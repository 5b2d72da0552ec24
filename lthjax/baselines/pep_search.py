"""PEP as a search: its masks, where its thresholds reach each sparsity, become tickets like any others.

    search = pep_search([0.5, 0.75], Search(granularity="row"))
    lthjax.find_tickets(split, search=search, levels=2)

So they are saved, resumed and measured as tickets are, and what finding them cost is on record (Liu et al. 2021; as the
lottery ticket paper ran it, `wangyf6891/LTH-MRS:train_pep.py`).

Letters: T sparsities.
"""

import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lthjax.baselines import pep as thresholds
from lthjax.baselines.records import Search, search_program
from lthjax.errors import SettingsError
from lthjax.pruning import masks as masking
from lthjax.pruning.masks import Masks
from lthjax.search.found import number_of
from lthjax.search.problem import Problem
from lthjax.search.steps import Item, Progress, Request, dense
from lthjax.search.steps import Search as TicketSearch
from lthjax.tickets.effort import Effort
from lthjax.training.keys import Purpose
from lthjax.training.step import TrainState


class _Carry(NamedTuple):
    reached: np.ndarray  # [] int64, sparsities so far
    state: TrainState  # of values and thresholds, when the last of them was reached
    masks: tuple[Masks, ...]  # [T] of them; all kept before they are reached
    steps: np.ndarray  # [T] int64, until each
    seconds: np.ndarray  # [T] float64


def pep_search(sparsities: Sequence[float], search: Search | None = None) -> TicketSearch:
    """A search whose level t has PEP's masks at the t-th sparsity, or a little beyond, and the dense first values.

    Args:
      sparsities: shares of the entries, rising; as many as the run has levels.
      search: thresholds and how they train.

    Raises:
      TrainingError: a sparsity is not reached; the tickets of lower ones have been found by then.
      SettingsError: another number of levels, or tickets were to start from trained values.
    """
    search = search or Search()

    def find(problem: Problem) -> Generator[Iterable[Item], list[Any], None]:
        _check(problem, len(sparsities))
        (ticket,) = yield [dense(problem)]
        program = search_program(problem, search, lambda key, num_users, num_items, dim: ticket.start)
        key = problem.key(Purpose.PEP_SEARCH)
        params = program.init(key)
        kept, number = masking.all_kept(ticket.start), len(sparsities)
        start = program.start(params, masking.all_kept(params))
        carry = _Carry(number_of(0), start, (kept,) * number, np.zeros(number, np.int64), np.zeros(number))
        (carry,) = yield [Progress(carry)]
        looks = thresholds.Looks(search.epochs, search.check_every)
        targets = sparsities[int(carry.reached) :]
        reached = thresholds.search(program, carry.state, targets, problem.graph, key, looks)
        for number, level in enumerate(problem.levels):
            if number >= int(carry.reached):
                carry = _next(carry, number, reached, program.steps_per_epoch)
                yield [Progress(carry)]
            masks, effort = carry.masks[number], Effort(int(carry.steps[number]), 0, float(carry.seconds[number]))
            yield [Request(level, masks, problem.program.start(ticket.start, masks), search=effort)]

    return find


def _next(carry: _Carry, number: int, reached: Iterable[thresholds.Found], steps_per_epoch: int) -> _Carry:
    """With one more sparsity reached."""
    clock = time.monotonic()
    at = next(iter(reached))
    steps, seconds = carry.steps.copy(), carry.seconds.copy()
    steps[number] = round(at.epochs * steps_per_epoch)
    seconds[number] = time.monotonic() - clock + (seconds[number - 1] if number else 0.0)
    masks = (*carry.masks[:number], at.masks, *carry.masks[number + 1 :])
    return _Carry(number_of(number + 1), at.state, masks, steps, seconds)


def _check(problem: Problem, number: int) -> None:
    settings = problem.settings
    if len(problem.levels) != number:
        raise SettingsError(f"PEP: wanted --levels {number}, one for each sparsity; got {len(problem.levels)}.")
    if settings.rewind != "init":
        raise SettingsError(f"--rewind: wanted init, as PEP trains first values anew; got {settings.rewind}.")
