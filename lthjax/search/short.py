"""Short levels: iterative pruning whose levels train a few epochs each, and no ticket before its masks are fixed.

That levels may be this short is what Paul et al. 2023 ("Unmasking the lottery ticket hypothesis") predict: how much one
pruning takes decides, much less how long each level trains.
"""

import itertools
from collections.abc import Generator, Iterable
from typing import Any, NamedTuple

import numpy as np

from lthjax.pruning.masks import Masks
from lthjax.pruning.schedule import rungs
from lthjax.search.found import Found, nothing, number_of, prune_to, targets, tickets
from lthjax.search.problem import Problem
from lthjax.search.steps import Item, Progress, Stretch, dense, first_state
from lthjax.tickets.effort import Effort
from lthjax.training.keys import Purpose

# A level, where the settings leave it open: a step of LightGCN moves all rows, one of MF those of its batch.
EPOCHS = {"mf": 5, "lightgcn": 2}


class _Carry(NamedTuple):
    rung: np.ndarray  # [] int64, prunings so far
    masks: Masks
    seconds: np.ndarray  # [] float64
    found: Found


def short(problem: Problem) -> Generator[Iterable[Item], list[Any], None]:
    """Prunes `prune_rate` of the entries at a time, hits each level on its way, and starts from first values each time.

    Weights that are pruned by are those after `search_epochs` epochs from first values, with all entries at first.
    """
    yield [dense(problem)]
    settings, first = problem.settings, first_state(problem)
    all_entries = problem.all_kept(first.params)
    ways = rungs(targets(problem), problem.num_entries, settings.prune_rate)
    ends = dict(zip(itertools.accumulate(map(len, ways)), range(len(ways)), strict=True))  # rung -> level, from 0
    kept = list(itertools.chain(*ways))
    (carry,) = yield [Progress(_Carry(number_of(0), all_entries, np.zeros(()), nothing(problem, first)), grows=True)]
    for rung in range(int(carry.rung), len(kept)):
        start = problem.program.start(first.params, carry.masks)
        key = problem.key(Purpose.SEARCH_BATCHES, rung)
        (stretched,) = yield [Stretch(carry.masks, start, key, settings.search_epochs or EPOCHS[settings.model])]
        masks = prune_to(problem, first, stretched.state, carry.masks, kept[rung])
        seconds, found = carry.seconds + stretched.effort.seconds, carry.found
        if (level := ends.get(rung + 1)) is not None:
            effort = Effort((rung + 1) * stretched.effort.steps, 0, float(seconds))
            found = found.with_level(level, masks, stretched.state, effort)
        carry = _Carry(number_of(rung + 1), masks, seconds, found)
        yield [Progress(carry)]
    yield tickets(problem, first, carry.found)
