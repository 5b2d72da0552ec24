"""Sources -> Tables of ids; every file is read by what itself is.

adjacency   `user item item ...` (LightGCN)         pairs   `user item [weight] [time]` as text or .npy
inter       RecBole, `user_id:token` header         csv     any delimited table, with or without a header

JSON lines, parquet, SciPy's .npz and MatrixMarket need no format. Any file may be packed (gzip, bz2, xz, zip).

Letters: E rows, each one interaction.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from lthjax.data import formats, frames, ids, text
from lthjax.data import times as timing
from lthjax.data.columns import Options, Roles, Sheet, choose, note
from lthjax.data.ids import Column
from lthjax.errors import DataError

_MOST_MISSING = {"user": 0.01, "item": 0.05}  # share of rows; published logs lack an item here and there


class Table(NamedTuple):
    """The rows of one source that have a user and an item, before ids are numbered."""

    source: str
    users: Column  # [E]
    items: Column  # [E]
    notes: tuple[str, ...]
    where: Callable[[int], str]  # row -> its place, for errors
    empty_users: tuple[str, ...]  # listed without an item
    is_lists: bool
    assumed_width: int  # columns, where users and items are told by their place alone; else 0
    positive: np.ndarray  # [E] bool
    disliked: np.ndarray | None = None  # [E] bool, rows below the least rating, where they are kept
    times: np.ndarray | None = None  # [E], of `times.settled`; those of positives mean something
    time_unit: str = ""
    values: np.ndarray | None = None  # [E] float64, likewise
    events: Column | None = None  # [E]


def open_file(path, options: Options) -> Sheet:
    """The sheet of one file (pathlib.Path or a resource of importlib).

    Raises:
      DataError: a file that cannot be read or does not fit the format.
    """
    source = str(path)
    kind, data = formats.read(path, options.encoding)
    if options.columns is not None and options.format in ("adjacency", "pairs"):
        raise DataError(f"--columns are for tables, got --format {options.format} too: leave one out ({source}).")
    if kind == "text":
        return _open_text(data, source, options)
    if options.format not in ("auto", "pairs" if kind == "npy" else "auto"):
        raise DataError(f"--format {options.format} is for text, got {kind}: leave it out ({source}).")
    return frames.read(kind, data, source, options)


def _open_text(data: bytes, source: str, options: Options) -> Sheet:
    data, num_comments = text.without_comments(data)
    if not data or data.isspace():
        raise DataError(f"wanted interactions, got comments only ({source}).")
    is_lists = options.format == "auto" and options.columns is None and text.are_lists(data)
    read = text.lists if is_lists or options.format == "adjacency" else text.table
    sheet = read(data, source, options)
    notes = (f"{num_comments:,} comment lines skipped",) if num_comments else ()
    return sheet._replace(notes=sheet.notes + notes)


def read(open_sheet: Callable[[], Sheet], options: Options) -> Table:
    """The Table of a sheet.

    Args:
      open_sheet: gives the sheet; once more for the place of an error, so that no text stays in memory.
      options: how to read it.

    Raises:
      DataError: damage, doubt which column is what, rows that are none, too many without a user or an item.
    """
    sheet = open_sheet()
    roles = choose(sheet, options)
    least = options.min_rating if options.min_rating is not None else 1 if roles.is_label else None
    positions = [roles.user, roles.item] + ([] if least is None else [roles.value])
    positions += [] if roles.event is None else [roles.event]
    parsers = {} if roles.time is None else {roles.time: timing.parsed}
    parsers |= {} if roles.kept is None else {roles.kept: _floats}
    (users, items, *rest), parsed = _columns(sheet, positions, parsers)
    values, events = rest[: least is not None], rest[least is not None :]
    _refuse_swallowed_rows(sheet, roles, users, items)
    notes = [note(sheet, roles, options), *sheet.notes]
    missing = [column.map(ids.is_missing) for column in (users, items)]
    for (side, most), is_missing in zip(_MOST_MISSING.items(), missing, strict=True):
        if is_missing.mean() > most:
            came = f"{np.count_nonzero(is_missing):,} of {is_missing.size:,} rows without"
            raise DataError(f"wanted {side} ids in every row, got {came} ({sheet.where(np.argmax(is_missing))}).")
    keep = ~(missing[0] | missing[1])
    if not keep.all():
        notes.append(f"{np.count_nonzero(~keep):,} rows without a user or an item dropped")
    positive, disliked = np.ones(keep.size, bool), None
    for column in values:
        numbers, what = column.map(ids.to_float), "label" if roles.is_label else "rating"
        for row in np.flatnonzero(~np.isfinite(numbers))[:1]:
            came = column.words[column.codes[row]] if column.codes[row] >= 0 else ""
            raise DataError(f"wanted a number as {what}, got {came!r} ({sheet.where(row)}).")
        positive = numbers >= least
        disliked = ~positive
        notes.append(f"kept {np.count_nonzero(positive):,} of {positive.size:,} rows, those with {what} >= {least:g}")
    for column in events:
        is_kind = column.map(lambda word: ids.canonical(word) in options.event.kinds)
        before, positive = np.count_nonzero(positive), positive & is_kind
        disliked = None if disliked is None else disliked & is_kind
        notes.append(f"kept {np.count_nonzero(positive):,} of {before:,} rows, those with event {options.event}")
    counted, (times, unit), kept = keep & positive, (None, ""), None
    if roles.time is not None and counted.any():
        try:
            times, unit = timing.settled(parsed[roles.time], counted)
        except timing.NotATime as error:
            came = f"{_word(open_sheet, roles.time, error.row)!r} among {error}"
            raise DataError(f"wanted times as {timing.WANTED}, got {came} ({sheet.where(error.row)}).") from None
    if roles.kept is not None:
        kept = np.concatenate(parsed[roles.kept])
        for row in np.flatnonzero(counted & ~((kept >= 0) & np.isfinite(kept)))[:1]:
            came = _word(open_sheet, roles.kept, row)
            raise DataError(f"--weights: wanted a value of 0 or more in every row, got {came!r} ({sheet.where(row)}).")
    elif options.values:
        kept = np.ones(keep.size)

    def where(row: int) -> str:
        return open_sheet().where(np.flatnonzero(keep)[row])

    return Table(
        sheet.source,
        users.at(keep),
        items.at(keep),
        tuple(notes),
        where,
        sheet.empty_users,
        sheet.is_lists,
        assumed_width=len(sheet.rows[0]) if roles.assumed else 0,
        positive=positive[keep],
        disliked=disliked[keep] if options.dislikes else None,
        times=None if times is None else times[keep],
        time_unit=unit,
        values=None if kept is None else kept[keep],
        events=events[0].at(keep) if events else None,
    )


def _columns(sheet: Sheet, words: list[int], parsers: dict[int, Callable]) -> tuple[list[Column], dict[int, list]]:
    """Columns as words, and others as what their parser makes of a block of rows at a time, for memory's sake.

    Args:
      sheet: the source.
      words: positions of columns of ids and the like.
      parsers: position -> pandas Series to array.
    """
    positions, parsed = list(dict.fromkeys([*words, *parsers])), {position: [] for position in parsers}

    def blocks() -> Iterator:
        for block in sheet.blocks(positions):
            for position, parse in parsers.items():
                parsed[position].append(parse(block.iloc[:, positions.index(position)]))
            yield block.iloc[:, [positions.index(position) for position in words]]

    return ids.columns(blocks(), len(words), sheet.source), parsed


def _floats(column) -> np.ndarray:
    """[E] float64, NaN where there is no number."""
    import pandas as pd

    codes, words = pd.factorize(column)
    return np.array([*(ids.to_float(str(word)) for word in words), np.nan])[codes]


def _word(open_sheet: Callable[[], Sheet], position: int, row: int) -> str:
    """What stands in a cell, for errors."""
    for block in open_sheet().blocks([position]):
        if row < len(block):
            return str(block.iloc[row, 0])[:60]
        row -= len(block)
    return ""


def _refuse_swallowed_rows(sheet: Sheet, roles: Roles, users: Column, items: Column) -> None:
    """Refuse rows within quotes, and a second header."""
    known_users, known_items = set(users.words), set(items.words)
    for line, fields in sheet.quoted:
        if fields[roles.user] in known_users and fields[roles.item] in known_items:
            came = "a quote that opens in one row and closes in another"
            raise DataError(f"wanted quotes around one field, got {came}: take it out ({sheet.source}, line {line}).")
    if sheet.header and sheet.header[roles.user] in known_users and sheet.header[roles.item] in known_items:
        user, item = sheet.header[roles.user], sheet.header[roles.item]
        is_header = users.map(lambda word: word == user) & items.map(lambda word: word == item)
        for row in np.flatnonzero(is_header)[:1]:
            raise DataError(f"wanted one header, got it again: take it out ({sheet.where(row)}).")
