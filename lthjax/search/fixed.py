"""Masks that are given: a control beside a search, such as the row lengths of its masks with random entries."""

from collections.abc import Generator, Iterable, Mapping

from lthjax.errors import SettingsError
from lthjax.pruning.masks import Masks
from lthjax.search.problem import Problem
from lthjax.search.steps import Request, Search, dense, first_state, restart
from lthjax.tickets.effort import Effort
from lthjax.tickets.ticket import Ticket


def fixed(masks_of: Mapping[int, Masks], efforts: Mapping[int, Effort] | None = None) -> Search:
    """A search that trains tickets with masks that are known: `find_tickets(search=fixed({1: masks}))`.

    Args:
      masks_of: level, from 1 -> masks.
      efforts: level -> what finding its masks cost; nothing where it is not said.

    Raises:
      SettingsError: tickets were to start from trained values: there are none.
    """

    def search(problem: Problem) -> Generator[Iterable[Request], list[Ticket], None]:
        if problem.settings.rewind not in ("init", "reinit"):
            raise SettingsError(f"--rewind: wanted init or reinit with given masks; got {problem.settings.rewind}.")
        yield [dense(problem)]
        first = first_state(problem)

        def request(level: int) -> Request:
            masks = problem.placed(masks_of[level])
            start = restart(problem, masks, level, first.params, lambda: first)
            return Request(level, masks, start, search=(efforts or {}).get(level, Effort()))

        yield (request(level) for level in sorted(masks_of))

    return search
