"""How long a run will still take, from what its epochs took and how long its levels were."""

import dataclasses
import time
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

from lthjax.training.fit import Plan

_NUM_TYPICAL = 3  # levels that were finished last, whose mean length is the typical one: sparser ones end earlier


class Left(NamedTuple):
    """An estimate, in words by `str`; "" where there is none yet, and at the end."""

    seconds: float | None = None  # None before the first whole epoch
    is_most: bool = True  # no level is finished: each may take all its epochs
    has_ranked: bool = False  # False: no ranking was timed yet, and none is counted

    def __str__(self) -> str:
        if not self.seconds:
            return ""
        aside = "" if self.has_ranked else ", rankings aside"
        return f"{'at most' if self.is_most else 'about'} {duration(self.seconds)} left{aside}"


@dataclasses.dataclass
class _Level:
    """A level in work."""

    epoch: int
    best_epoch: int
    plan: Plan


class TimeLeft:
    """Told of every epoch, it says how long all levels will still take.

    The time of an epoch is the mean over this sitting, rankings and whatever the caller does in between included. The
    levels to come are taken to be as long as those that ended last or, before one has, as long as they may be. So are
    the epochs that searches train besides their tickets; a search that goes on counts as a whole one.
    """

    def __init__(
        self,
        num_levels: int,
        clock: Callable[[], float] = time.monotonic,
        search_epochs: Mapping[Hashable, int] | None = None,
    ):
        """Before the first level.

        Args:
          num_levels: of all runs together, the dense ones included.
          clock: seconds from any time on.
          search_epochs: that each run's search trains besides its tickets, at most, before the first of them.
        """
        self._num_left, self._clock, self._to_search = num_levels, clock, dict(search_epochs or {})
        self._in_work: dict[Hashable, _Level] = {}
        self._lengths: list[int] = []  # of finished levels, in epochs
        self._longest = 0  # epochs that a level may take
        self._began: float | None = None
        self._num_epochs, self._has_ranked = 0, False

    def begin(self, key: Hashable, epoch: int, plan: Plan) -> None:
        """A level begins, or goes on.

        Args:
          key: of the level.
          epoch: at which it stands.
          plan: how long it trains.
        """
        self._in_work[key], self._longest = _Level(epoch, epoch, plan), plan.epochs

    def advance(self, key: Hashable, epoch: int, is_best: bool | None = None) -> None:
        """A level stands at an epoch.

        Args:
          key: of the level.
          epoch: done.
          is_best: of an evaluated epoch.
        """
        level = self._in_work[key]
        self._count(epoch - level.epoch)
        level.epoch, self._has_ranked = epoch, self._has_ranked or is_best is not None
        level.best_epoch = epoch if is_best else level.best_epoch

    def advance_search(self, run: Hashable, epochs: int) -> None:
        """So many epochs more were trained, in no ticket.

        Args:
          run: whose search it is.
          epochs: how many.
        """
        self._count(epochs)
        self._to_search[run] = max(self._to_search.get(run, 0) - epochs, 0)

    def end_search(self, run: Hashable) -> None:
        """The search of a run is done: its tickets are trained now."""
        self._to_search.pop(run, None)

    def _count(self, epochs: int) -> None:
        if self._began is None:  # the first report comes when the program is compiled
            self._began = self._clock()
        self._num_epochs += epochs

    def end(self, key: Hashable, epochs: int) -> None:
        """A ticket is there, after so many epochs, of this sitting or of an earlier one."""
        self._in_work.pop(key, None)
        self._lengths.append(epochs)
        self._num_left -= 1

    def left(self) -> Left:
        """From now on."""
        if not self._num_epochs:
            return Left()
        recent = self._lengths[-_NUM_TYPICAL:]
        typical = sum(recent) / len(recent) if recent else None
        epochs = sum(_epochs_left(level, typical) for level in self._in_work.values())
        to_come = max(self._num_left - len(self._in_work), 0)
        epochs += to_come * (self._longest if typical is None else typical) + sum(self._to_search.values())
        seconds = epochs * (self._clock() - self._began) / self._num_epochs
        return Left(seconds, typical is None, self._has_ranked)


def _epochs_left(level: _Level, typical: float | None) -> float:
    """Until a level that is as long as others ends; never before its patience."""
    plan = level.plan
    if typical is None or not plan.patience:
        return plan.epochs - level.epoch
    return min(max(typical, level.best_epoch + plan.patience), plan.epochs) - level.epoch


def duration(seconds: float) -> str:
    """Two units at most: 12 s, 3 min, 2 h 05 min, 3 d 4 h."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
