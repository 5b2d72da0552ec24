"""What a run tells while it goes on: `find_tickets(..., on_event=f)` calls f with each event, as it happens.

    def follow(event):
        if isinstance(event, lthjax.events.TicketFound):
            print(event.level, event.verdict.name, event.left)

Of each run: RunBegun, then LevelBegun, Evaluated and Trained in turn, and TicketFound for each level, at last RunEnded.
What was done in an earlier sitting is told too, so that curves are whole, as `resumed`; evaluations then come from the
log, where there is one. What f returns is not looked at. What it raises ends the run, when all that is trained is
saved; f is not called again. Ctrl-C waits while f runs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lthjax.evaluation.verdict import Verdict
from lthjax.settings import Settings
from lthjax.tickets.ticket import Ticket
from lthjax.training.time_left import Left


class RunBegun(NamedTuple):
    """A run is about to look for tickets, or to go on."""

    seed: int
    settings: Settings
    data: str  # name of the data
    num_levels: int  # that the settings ask for, the dense one included
    folder: Path | None  # of the run


class LevelBegun(NamedTuple):
    """A level is about to train."""

    seed: int
    level: int
    sparsity: float  # share of the entries that are pruned
    epoch: int  # at which it stands, not 0 where it was stopped or rewound to a later one
    left: Left  # until all levels of all seeds are there
    resumed: bool = False


class Trained(NamedTuple):
    """Some epochs more: after each one, or about every half second where they are shorter."""

    seed: int
    level: int
    epoch: int
    loss: float  # mean over the steps since the last evaluation
    left: Left


class Evaluated(NamedTuple):
    """The part that chooses the best epoch was ranked."""

    seed: int
    level: int
    epoch: int
    loss: float  # mean over the steps since the evaluation before
    part: str  # "valid" or "test"
    metrics: dict[str, float]  # means over its users, "recall@20" and so on
    is_best: bool  # so far
    seconds: float  # spent on the level so far
    left: Left
    resumed: bool = False


class TicketFound(NamedTuple):
    """A ticket is trained, measured on the test part, judged and saved."""

    seed: int
    level: int
    ticket: Ticket
    row: dict[str, Any]  # of results.csv
    left: Left
    resumed: bool = False  # also of a dense model that was given

    @property
    def verdict(self) -> Verdict:
        """Against the dense model of the same seed."""
        return self.ticket.verdict


class RunEnded(NamedTuple):
    """Nothing more will be told of this seed."""

    seed: int
    is_finished: bool  # False where it was stopped, or has failed


Event = RunBegun | LevelBegun | Trained | Evaluated | TicketFound | RunEnded
OnEvent = Callable[[Event], Any]
