"""Which rows count: events of some kinds, one row of several of a pair, users and items with enough interactions.

Letters: E interactions, T rows, M users, N items.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lthjax.data.ids import Column, canonical
from lthjax.errors import DataError, nearest

DEDUPE = ("merge", "last", "first")


class Event(NamedTuple):
    """Which rows of a log count."""

    column: str | None  # by name or place; None for the one with a known name
    kinds: tuple[str, ...]  # what stands in it

    def __str__(self) -> str:
        return " or ".join(map(repr, self.kinds))


def event_of(text: str | None) -> Event | None:
    """`purchase`, `purchase,addtocart` or `behavior=buy` as an Event.

    Raises:
      DataError: nothing stands before or behind the `=` or between commas.
    """
    if text is None:
        return None
    column, equals, kinds = text.rpartition("=") if isinstance(text, str) else ("", "", "")
    event = Event(column.strip() or None, tuple(canonical(kind) for kind in kinds.split(",")))
    if not all(event.kinds) or bool(equals) != bool(event.column):
        raise DataError(f"--event: wanted purchase, purchase,addtocart or behavior=buy; got {text!r}.")
    return event


def require_kinds(event: Event, columns: Sequence[Column], source: str) -> None:
    """Refuse kinds of events that no row has.

    Args:
      event: what is asked for.
      columns: of all sources.
      source: for errors.
    """
    found = Counter()
    for column in columns:
        for word, count in zip(column.words, np.bincount(column.codes + 1, minlength=1)[1:], strict=False):
            found[canonical(word)] += int(count)
    for kind in event.kinds:
        if kind not in found:
            most = ", ".join(f"{word!r} ({count:,})" for word, count in found.most_common(8))
            rest = f" and {len(found) - 8:,} more" if len(found) > 8 else ""
            raise DataError(
                f"--event: wanted what occurs, {most[:300]}{rest}; got {kind!r}{nearest(kind, found)} ({source})."
            )


class Rows(NamedTuple):
    """Rows of positives, before a pair stands once."""

    key: np.ndarray  # [T] int64, one for each pair and part
    times: np.ndarray | None  # [T]
    values: np.ndarray | None  # [T] float


def one_each(rows: Rows, dedupe: str) -> Rows:
    """A row for each key, keys ascending.

    Args:
      rows: in any order.
      dedupe: merge: the earliest time, and the sum of the values. first, last: those of one row, the earliest or
        latest (of equal times the one with the smallest or largest value); without times, as rows stand in the source.
    """
    kept = [column for column in (rows.values, rows.times) if column is not None]
    if rows.times is None and dedupe != "merge":
        kept = []  # lexsort is stable: rows stay as they stand
    order = np.lexsort((*kept, rows.key))
    key = rows.key[order]
    starts = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
    chosen = order[np.append(starts[1:], key.size) - 1] if dedupe == "last" else order[starts]
    values = None
    if rows.values is not None:
        values = np.add.reduceat(rows.values[order], starts) if dedupe == "merge" else rows.values[chosen]
    return Rows(rows.key[chosen], None if rows.times is None else rows.times[chosen], values)


def taken(rows: Rows, dedupe: str) -> str:
    """What `one_each` takes of several rows, in words."""
    if dedupe == "merge":
        time = ["the time of its first row"] if rows.times is not None else []
        return " and ".join(time + ["the sum of its rows' values"] * (rows.values is not None))
    return f"what its {dedupe} row says, {'by time' if rows.times is not None else 'in the order of the source'}"


def core(pairs: np.ndarray, least_user: int, least_item: int) -> np.ndarray:
    """[E] bool, the largest part in which every user and every item has enough interactions (Seidman 1983's k-core).

    Args:
      pairs: [E, 2] user and item.
      least_user: interactions of a user.
      least_item: interactions of an item.
    """
    places, (users, items) = np.arange(len(pairs)), pairs.T
    while True:
        enough = (np.bincount(users)[users] >= least_user) & (np.bincount(items)[items] >= least_item)
        if enough.all():
            kept = np.zeros(len(pairs), bool)
            kept[places] = True
            return kept
        places, users, items = places[enough], users[enough], items[enough]


def core_sizes(sizes) -> tuple[int, int] | None:
    """Least interactions of a user and of an item: 5 or (5, 10).

    Raises:
      DataError: neither.
    """
    if sizes is None:
        return None
    both = tuple(sizes) if isinstance(sizes, tuple | list) else (sizes, sizes)
    if len(both) != 2 or not all(isinstance(size, int | np.integer) and size >= 1 for size in both):
        raise DataError(f"wanted 5 or (5, 10) as core, whole numbers from 1, got {sizes!r}.")
    return both
