"""Dynamic sparse training: sparse from the start, drops what is small and grows what the loss pulls at.

Begins with random entries, rows by degree. After each epoch a share of the entries with the smallest weights falls, and
as many grow whose gradients, summed over the epoch, are largest (sums: SparseRec, arXiv 2411.12205; drop and grow:
RigL, Evci et al. 2020). The share falls from `DROP` to 0 as a cosine. Grown entries begin at 0, with moments of 0.

Weights and moments are stored as whole tables, 0 where pruned: this saves no memory while it trains.
"""

import functools
import math
from collections.abc import Generator, Iterable
from typing import Any, NamedTuple

import numpy as np

from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.pruning import rules
from lthjax.pruning.masks import Masks
from lthjax.search.found import Found, nothing, number_of, targets, tickets
from lthjax.search.problem import Problem
from lthjax.search.steps import Item, Progress, Stretch, dense, first_state
from lthjax.tickets.effort import Effort
from lthjax.training.keys import Purpose
from lthjax.training.step import TrainState

EPOCHS = 20  # for each level, where the settings leave it open
DROP = 0.3  # share of the kept entries that the first exchange takes


class _Carry(NamedTuple):
    level: np.ndarray  # [] int64, from 0
    epoch: np.ndarray  # [] int64, of this level
    masks: Masks
    state: TrainState
    seconds: np.ndarray  # [] float64, of this level
    found: Found


def dynamic(problem: Problem) -> Generator[Iterable[Item], list[Any], None]:
    """Each level is a search of its own, `search_epochs` long.

    Raises:
      SettingsError: a score was given in code: by magnitude and gradient alone entries come and go.
    """
    if "score" in problem.given:
        raise SettingsError("score: wanted none with --search dynamic, which drops by magnitude; got one.")
    yield [dense(problem)]
    settings, split, kept, first = problem.settings, problem.split, targets(problem), first_state(problem)
    epochs, all_entries = settings.search_epochs or EPOCHS, problem.all_kept(first.params)
    by_degree = functools.partial(rules.by_degree, Embeddings(*split.degrees), first.params, layout=problem.layout)

    def begin(level: int, found: Found) -> _Carry:
        if level == len(kept):
            return _Carry(number_of(level), number_of(0), all_entries, first, np.zeros(()), found)
        scores = by_degree(problem.key(Purpose.SEARCH_MASKS, level))
        masks = rules.prune(scores, all_entries, 1 - kept[level] / problem.num_entries, layout=problem.layout)
        state = problem.program.start(first.params, masks)
        return _Carry(number_of(level), number_of(0), masks, state, np.zeros(()), found)

    (carry,) = yield [Progress(begin(0, nothing(problem, first)), grows=True)]
    if not carry.epoch:  # the last of a run that has more levels now did not begin another
        carry = begin(int(carry.level), carry.found)
    while (level := int(carry.level)) < len(kept):
        key = problem.key(Purpose.SEARCH_BATCHES, level)
        (stretched,) = yield [Stretch(carry.masks, carry.state, key, 1, sum_gradients=True)]
        epoch, seconds = int(carry.epoch) + 1, carry.seconds + stretched.effort.seconds
        number = round(DROP / 2 * (1 + math.cos(math.pi * epoch / epochs)) * kept[level])
        masks = rules.exchange(carry.masks, stretched.state.params, stretched.gradients, number, problem.layout)
        state = problem.program.mask_state(stretched.state, masks)
        if epoch < epochs:
            carry = _Carry(number_of(level), number_of(epoch), masks, state, seconds, carry.found)
        else:
            effort = Effort(epochs * problem.program.steps_per_epoch, 0, float(seconds))
            carry = begin(level + 1, carry.found.with_level(level, masks, state, effort))
        yield [Progress(carry)]
    yield tickets(problem, first, carry.found)
