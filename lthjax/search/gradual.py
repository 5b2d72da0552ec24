"""Gradual pruning: one run that prunes as it trains (after Zhu and Gupta 2018).

After t of T epochs the share s_f (1 - (1 - t / T)^p) is pruned, s_f at the end: cubic with p = 3, linear with p = 1.
"""

from collections.abc import Generator, Iterable
from typing import Any, NamedTuple

import numpy as np

from lthjax.pruning.masks import Masks
from lthjax.search.found import Found, nothing, number_of, prune_to, targets, tickets
from lthjax.search.problem import Problem
from lthjax.search.steps import Item, Progress, Stretch, dense, first_state
from lthjax.tickets.effort import Effort
from lthjax.training.keys import Purpose
from lthjax.training.step import TrainState

EPOCHS = 40  # in all, where the settings leave it open


class _Carry(NamedTuple):
    epoch: np.ndarray  # [] int64
    masks: Masks
    state: TrainState
    seconds: np.ndarray  # [] float64
    found: Found


def gradual(problem: Problem, power: float = 3.0) -> Generator[Iterable[Item], list[Any], None]:
    """Prunes after each epoch and trains on; the masks of each level are those at the time when its share is reached.

    What becomes of the weights is `rewind`'s: first values again (init), or as trained (lr, none).

    Args:
      problem: to search for.
      power: of the schedule.
    """
    yield [dense(problem)]
    epochs, first, kept = problem.settings.search_epochs or EPOCHS, first_state(problem), targets(problem)
    all_entries, key = problem.all_kept(first.params), problem.key(Purpose.SEARCH_BATCHES)
    size = problem.num_entries
    (carry,) = yield [Progress(_Carry(number_of(0), all_entries, first, np.zeros(()), nothing(problem, first)))]
    while kept and int(carry.epoch) < epochs:
        (stretched,) = yield [Stretch(carry.masks, carry.state, key, 1)]
        epoch, seconds = int(carry.epoch) + 1, carry.seconds + stretched.effort.seconds
        effort = Effort(epoch * problem.program.steps_per_epoch, 0, float(seconds))
        now = round(size - (size - kept[-1]) * (1 - (1 - epoch / epochs) ** power))
        masks, found = carry.masks, carry.found
        for level in np.flatnonzero((found.steps == 0) & (np.asarray(kept) >= now)):
            masks = prune_to(problem, first, stretched.state, masks, kept[level])
            found = found.with_level(level, masks, stretched.state, effort)
        masks = prune_to(problem, first, stretched.state, masks, now)
        carry = _Carry(number_of(epoch), masks, problem.program.mask_state(stretched.state, masks), seconds, found)
        yield [Progress(carry)]
    yield tickets(problem, first, carry.found)
