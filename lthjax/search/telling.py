"""The one place that tells of runs: to the progress bars, and to the function that the caller gave.

`lthjax.events` says what is told.
"""

import collections
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lthjax.errors import SettingsError
from lthjax.events import Evaluated, Event, LevelBegun, OnEvent, RunBegun, RunEnded, TicketFound, Trained
from lthjax.search.problem import Problem
from lthjax.tickets.folder import RunFolder
from lthjax.tickets.ticket import Ticket
from lthjax.training import fit as fitting
from lthjax.training.fit import Plan
from lthjax.training.progress import Bars
from lthjax.training.time_left import TimeLeft


def check_listener(on_event: OnEvent | None) -> None:
    """Raise SettingsError where what is to be told is no function."""
    if on_event is not None and not callable(on_event):
        raise SettingsError(f"on_event: wanted a function of one event; got {on_event!r:.60}.")


class Teller:
    """Tells of runs that go through the executor together."""

    def __init__(self, bars: Bars, time_left: TimeLeft, on_event: OnEvent | None):
        self.bars, self._time_left, self._on_event = bars, time_left, on_event
        self._logged: dict[int, list[dict[str, Any]]] = {}  # seed -> lines of earlier sittings
        self._shown_epoch: dict[tuple[int, int], int] = {}

    @contextlib.contextmanager
    def run(self, problem: Problem, folder: RunFolder | None, num_levels: int | None = None) -> Iterator[None]:
        """Tell that a run begins and, however this block ends, that it has ended.

        Args:
          problem: of the run.
          folder: likewise, or None.
          num_levels: the dense one included; None for what the settings ask for.
        """
        seed, settings = problem.settings.seed, problem.settings
        if folder and self._on_event:
            self._logged[seed] = folder.logged()
        self._tell(
            RunBegun(
                seed,
                settings,
                problem.split.name,
                settings.num_levels + 1 if num_levels is None else num_levels,
                folder.path if folder else None,
            )
        )
        is_finished = False
        try:
            yield
            is_finished = True
        finally:
            self._tell(RunEnded(seed, is_finished))

    def level_begun(self, problem: Problem, level: int, sparsity: float, start: int, epoch: int, plan: Plan) -> None:
        """A level begins, or goes on from a snapshot.

        Args:
          problem: of its run.
          level: of the ticket.
          sparsity: of its masks.
          start: epoch at which the level began.
          epoch: at which it stands.
          plan: how long it trains.
        """
        seed = problem.settings.seed
        self._search_ended(seed, level)
        self._time_left.begin((seed, level), epoch, plan)
        self._shown_epoch[seed, level] = epoch
        self._tell(LevelBegun(seed, level, sparsity, epoch, self._time_left.left(), resumed=epoch > start))
        self._tell_logged(problem, level, epoch)

    def trained(
        self, problem: Problem, level: int, epoch: int, loss: float, evaluation: fitting.Evaluation | None
    ) -> None:
        """A level stands at an epoch.

        Args:
          problem: of its run.
          level: of the ticket.
          epoch: done.
          loss: mean so far.
          evaluation: of this epoch, where one was made.
        """
        seed, key = problem.settings.seed, (problem.settings.seed, level)
        self._time_left.advance(key, epoch, evaluation.is_best if evaluation else None)
        left = self._time_left.left()
        self.bars.show_left(str(left))
        if evaluation:
            measured = (evaluation.means, evaluation.is_best, evaluation.seconds)
            self._tell(Evaluated(seed, level, epoch, evaluation.loss, problem.selection_name, *measured, left))
        elif epoch > self._shown_epoch[key]:
            self._tell(Trained(seed, level, epoch, loss, left))
        self._shown_epoch[key] = epoch

    def search_report(self, sparsity: float, epoch: int, last: int, seeds: Sequence[int]) -> Callable[..., None]:
        """What stretches of searches report to, as `Hooks.report`.

        Args:
          sparsity: of their masks.
          epoch: at which they stand.
          last: at which they end.
          seeds: of their runs.
        """
        show, stands = self.bars.stretch(sparsity, epoch, last), collections.defaultdict(lambda: epoch)

        def report(number: int, epoch: int, loss: float, evaluation: fitting.Evaluation | None) -> None:
            show(epoch, loss, evaluation)
            self._time_left.advance_search(seeds[number], epoch - stands[number])
            stands[number] = epoch

        return report

    def found(self, problem: Problem, ticket: Ticket, row: Mapping[str, Any], resumed: bool) -> None:
        """A ticket is there.

        Args:
          problem: of its run.
          ticket: that was found.
          row: of results.csv.
          resumed: it was there already.
        """
        seed, level = problem.settings.seed, ticket.level
        self._search_ended(seed, level)
        self._time_left.end((seed, level), ticket.epochs)
        left = self._time_left.left()
        if resumed:
            self._tell(LevelBegun(seed, level, ticket.sparsity, 0, left, resumed))
            self._tell_logged(problem, level, ticket.epochs)
        self.bars.levels_done(1)
        self._tell(TicketFound(seed, level, ticket, dict(row), left, resumed))

    def _search_ended(self, seed: int, level: int) -> None:
        if level:  # the dense model stands before a search, all other tickets behind it
            self._time_left.end_search(seed)

    def _tell_logged(self, problem: Problem, level: int, last: int) -> None:
        """The evaluations of a level up to an epoch, as an earlier sitting wrote them into the log."""
        for line in self._logged.get(problem.settings.seed, ()):
            if line["level"] == level and line["epoch"] <= last:
                self._tell(_evaluated(line, problem.settings.seed, problem.selection_name, self._time_left))

    def _tell(self, event: Event) -> None:
        on_event = self._on_event
        if on_event is None:
            return
        self._on_event = None  # after an error it is not called again, not even to be told that the run has ended
        on_event(event)
        self._on_event = on_event


def _evaluated(line: Mapping[str, Any], seed: int, part: str, time_left: TimeLeft) -> Evaluated:
    """The event that a line of the log was written for."""
    prefix = f"{part}_"
    means = {name.removeprefix(prefix): value for name, value in line.items() if name.startswith(prefix)}
    told = (line["epoch"], line["loss"], part, means, line["is_best"], line["seconds"])
    return Evaluated(seed, line["level"], *told, time_left.left(), resumed=True)
