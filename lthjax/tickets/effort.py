"""What a ticket cost: the search for it, and its own training.

A step counts 1 whatever the mask. The search is every step, on any model, before mask and start were fixed; one search
may serve several tickets, and counts in full for each. The unit is the training of the run's dense model until its
patience ended.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Effort(NamedTuple):
    """Of steps, evaluations and seconds."""

    steps: int = 0
    evaluations: int = 0
    seconds: float = 0.0

    def plus(self, other: "Effort") -> "Effort":
        """Both together."""
        return Effort(*(mine + its for mine, its in zip(self, other, strict=True)))


class Cost(NamedTuple):
    """Of a ticket."""

    search: Effort
    own: Effort  # its own training
    of_dense: int  # steps of the dense model, the unit; 0 where there was none

    @property
    def whole(self) -> Effort:
        """What a search has spent that goes on from this ticket."""
        return self.search.plus(self.own)

    def columns(self) -> dict[str, Any]:
        """As results.csv has it; the search's cost in trainings of the dense model."""
        return {
            "search_steps": self.search.steps,
            "own_steps": self.own.steps,
            "search_cost": self.search.steps / self.of_dense if self.of_dense else "",
            "search_evaluations": self.search.evaluations,
            "search_seconds": self.search.seconds,
        }

    def record(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"search": self.search._asdict(), "own": self.own._asdict(), "of_dense": self.of_dense}


COLUMNS = tuple(Cost(Effort(), Effort(), 0).columns())


def from_record(record: Mapping[str, Any]) -> Cost:
    """The cost that a record tells."""
    return Cost(Effort(**record["search"]), Effort(**record["own"]), record["of_dense"])
