"""Early cut: masks of the dense model after its first epochs, in one jump (after You et al. 2020, early-bird tickets).

Their rule ends the search when masks stand still, by the share of all entries that changed. At high sparsity two random
masks differ by little of all, so here it is the share of what is kept.
"""

from collections.abc import Generator, Iterable
from typing import Any, NamedTuple

import numpy as np

from lthjax.pruning import masks as masking
from lthjax.pruning.masks import Masks
from lthjax.search.found import Found, nothing, number_of, prune_to, targets, tickets
from lthjax.search.problem import Problem
from lthjax.search.steps import Item, Progress, Stretch, dense, first_state
from lthjax.tickets.effort import Effort
from lthjax.training.keys import Purpose
from lthjax.training.step import TrainState

STILL = 0.1  # share of the kept entries that may differ between the masks of any two of the last epochs
_NUM_EPOCHS = 5  # last ones that are compared
MOST_EPOCHS = 60  # though the masks may still move


class _Carry(NamedTuple):
    epoch: np.ndarray  # [] int64
    state: TrainState
    seconds: np.ndarray  # [] float64
    recent: tuple[tuple[Masks, ...], ...]  # of the last epochs, each the masks of all levels; none with a fixed number
    found: Found


def early(problem: Problem) -> Generator[Iterable[Item], list[Any], None]:
    """Trains as the dense model does, `search_epochs`, or for each level until its masks stand still.

    Each level is one jump from all entries. The first epochs are the dense model's own, to the bit.
    """
    yield [dense(problem)]
    fixed, first, kept = problem.settings.search_epochs, first_state(problem), targets(problem)
    all_entries, key = problem.all_kept(first.params), problem.key(Purpose.BATCHES, 0)
    recent = () if fixed else ((all_entries,) * len(kept),) * _NUM_EPOCHS
    (carry,) = yield [Progress(_Carry(number_of(0), first, np.zeros(()), recent, nothing(problem, first)))]
    while not all(carry.found.steps):
        (stretched,) = yield [Stretch(all_entries, carry.state, key, fixed or 1)]
        epoch, seconds = int(carry.epoch) + (fixed or 1), carry.seconds + stretched.effort.seconds
        effort = Effort(epoch * problem.program.steps_per_epoch, 0, float(seconds))
        found = carry.found
        masks = tuple(  # what is found stays
            old if steps else prune_to(problem, first, stretched.state, all_entries, count)
            for old, steps, count in zip(found.masks, found.steps, kept, strict=True)
        )
        for level in np.flatnonzero(found.steps == 0):
            before = [of_epoch[level] for of_epoch in carry.recent]
            if fixed or epoch == MOST_EPOCHS or (epoch > _NUM_EPOCHS and _stand_still([*before, masks[level]])):
                found = found.with_level(level, masks[level], stretched.state, effort)
        recent = (*carry.recent[1:], masks) if carry.recent else ()
        carry = _Carry(number_of(epoch), stretched.state, seconds, recent, found)
        yield [Progress(carry)]
    yield tickets(problem, first, carry.found)


def _stand_still(masks: list[Masks]) -> bool:
    """Whether the last of some masks is near all the others: 1 - |a and b| / |a| for masks of one size."""
    return all(1 - masking.overlap(before, masks[-1]).overlap <= STILL for before in masks[:-1])
