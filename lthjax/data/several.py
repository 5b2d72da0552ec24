"""Several sources with the same columns as one sheet, read one after the other: no two of them stay in memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lthjax.data.columns import Sheet
from lthjax.errors import DataError

_MOST_NOTES = 10


class Opener(NamedTuple):
    """A source that is not yet read."""

    name: str  # for errors
    open: Callable[[], Sheet]


class _Columns(NamedTuple):
    """What all sources must have."""

    source: str
    header: list[str] | None
    width: int
    is_lists: bool
    is_loose: bool

    @property
    def kind(self) -> str:
        """In words: names in any order, or how many."""
        if self.is_lists:
            return "lists of items"
        return f"{self.width} columns without names" if self.header is None else str(sorted(self.header))


def _columns(sheet: Sheet) -> _Columns:
    return _Columns(sheet.source, sheet.header, len(sheet.rows[0]), sheet.is_lists, sheet.is_loose)


def _places(wanted: _Columns, came: _Columns, positions: list[int]) -> list[int]:
    """Where the columns at some positions of one source stand in another.

    Raises:
      DataError: the other's columns are others; records of JSON need but those that are read.
    """
    names = [] if wanted.header is None else [wanted.header[position] for position in positions]
    if wanted.is_loose and came.is_loose:
        missing = [name for name in names if name not in came.header]
        kinds = (str(missing), f"none of them in {came.kind}") if missing else None
    else:
        kinds = (wanted.kind, came.kind) if wanted.kind != came.kind else None
    if kinds:
        told = f"{kinds[0][:160]} ({wanted.source}) and {kinds[1][:160]} ({came.source})"
        raise DataError(f"wanted the same columns in all, got {told}: mend one, or read them apart.")
    return positions if wanted.header is None else [came.header.index(name) for name in names]


def join(source: str, openers: Sequence[Opener], unit: str) -> Sheet:
    """One sheet of the rows of all; its notes, empty users and quoted rows are whole once its blocks are read.

    Args:
      source: names all of them, for notes.
      openers: one or more.
      unit: what they are, such as files.

    Raises:
      DataError: columns that differ, with the names of both.
    """
    first = openers[0].open()
    opened, wanted = [first], _columns(first._replace(source=openers[0].name))
    notes = [f"{len(openers):,} {unit} read as one, from {openers[0].name} to {openers[-1].name}"]
    empty_users, quoted = [], []

    def sheets() -> Iterator[Sheet]:
        for number, opener in enumerate(openers):
            sheet = opened.pop() if opened and number == 0 else opener.open()  # the first one is not read twice
            yield sheet._replace(source=opener.name)

    def blocks(positions: list[int]) -> Iterator:
        of_files = []
        for sheet in sheets():
            yield from sheet.blocks(_places(wanted, _columns(sheet), positions))
            empty_users.extend(sheet.empty_users)
            quoted.extend((f"{line} of {sheet.source}", fields) for line, fields in sheet.quoted)
            of_files += [f"{sheet.source}: {note}" for note in sheet.notes]
        notes.extend(of_files[:_MOST_NOTES])
        if len(of_files) > _MOST_NOTES:
            notes.append(f"{len(of_files) - _MOST_NOTES:,} more notes on single {unit}")

    def where(row: int) -> str:
        for sheet in sheets():
            size = sum(len(block) for block in sheet.blocks([0]))
            if row < size:
                return sheet.where(row)
            row -= size
        return source

    joined = {"notes": notes, "empty_users": empty_users, "quoted": quoted}
    return first._replace(source=source, blocks=blocks, where=where, **joined)
