"""Interactions of users with items: from a name, a file, a folder, a matrix or a table, numbered from 0.

Letters: E interactions, M users, N items, T rows of a source.
"""

import dataclasses
import math
import os
from dataclasses import dataclass

import numpy as np

from lthjax.data import filters, formats, ids, reading, sources
from lthjax.data import times as timing
from lthjax.data.catalog import PARTS, TEST
from lthjax.data.columns import Options, require_evidence
from lthjax.data.reading import Table
from lthjax.errors import DataError, nearest


@dataclass(frozen=True, eq=False)
class Interactions:
    """Unique user-item pairs; users and items are those with at least one interaction."""

    name: str  # e.g. "ml-latest-small", or the stem of a path
    pairs: np.ndarray  # [E, 2] int32, user and item, sorted by user then item, unique
    user_ids: np.ndarray  # [M] original ids, int64 or str, ascending: row m is user m
    item_ids: np.ndarray  # [N] likewise
    parts: np.ndarray | None  # [E] int8, 0 train, 1 valid, 2 test where the source has parts of its own
    notes: tuple[str, ...]  # a line each: what was taken as what, what was dropped
    times: np.ndarray | None = (
        None  # [E] datetime64[us] in UTC, or int64 where only the order is known; where asked for
    )
    values: np.ndarray | None = None  # [E] float32, from 0: ratings, counts and the like; where asked for
    dislikes: np.ndarray | None = None  # [D, 2] int32, sorted, unique: pairs of known users and items below min_rating

    @property
    def num_users(self) -> int:
        """M."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.item_ids)


def load(
    data,
    *,
    format="auto",
    columns=None,
    min_rating=None,
    items_after_users=False,
    encoding=None,
    event=None,
    dedupe="merge",
    core=None,
    times=False,
    values=False,
    dislikes=False,
) -> Interactions:
    """Interactions from whatever holds them. Filters take rows in this order: min_rating, event, dedupe, core.

    Args:
      data: the name of a bundled or known data set or of a folder in $LTHJAX_DATA or ./data; a file, or a folder with
        train, valid and test files, or of parquet files; a pattern such as "logs/*.parquet"; a SciPy sparse matrix
        [users, items]; a pandas or polars DataFrame or LazyFrame, an Arrow table; an array of pairs [E, 2] or [E, 3];
        a list of paths or of frames with the same columns, which are read as one; Interactions (as is).
      format: adjacency, pairs, inter, csv, or auto (from the file's first bytes and its shape).
      columns: user,item[,rating[,time]] by name or position, for csv, inter, JSON, parquet and DataFrame; the rating
        may be left empty, "user,item,,time".
      min_rating: keep rows with at least this rating; None takes every row as a positive, but for labels below 1 and
        negative values of a matrix.
      items_after_users: item numbers start at the number of users; it is subtracted.
      encoding: of text that is not UTF-8.
      event: keep rows of these events, "purchase" or "purchase,addtocart", in the column of a known name, or in the
        one that is told, "behavior=buy".
      dedupe: of several rows of one pair, its time and its value: merge, the earliest time and the sum of values; or
        those of the last or first row, by time where the source has times, else as they stand.
      core: 5 or (5, 10): keep users and items with so many interactions, until all have them.
      times: read and keep times.
      values: read and keep what the rating column holds, or one of counts and the like; else the number of rows.
      dislikes: keep pairs below min_rating, or with a label below 1, as dislikes.

    Raises:
      DataError: whatever is wrong with the data, with the file and the line.
    """
    if format not in formats.FORMATS:
        raise DataError(
            f"wanted a format of {', '.join(formats.FORMATS)}, got {format!r}{nearest(format, formats.FORMATS)}."
        )
    if min_rating is not None and not (isinstance(min_rating, int | float | np.number) and math.isfinite(min_rating)):
        raise DataError(f"wanted a finite number as min_rating, got {min_rating!r}.")
    if columns is not None and not isinstance(columns, str | tuple | list):
        raise DataError(f"wanted columns as user,item[,rating[,time]], got {columns!r}.")
    if dedupe not in filters.DEDUPE:
        wanted = ", ".join(filters.DEDUPE)
        raise DataError(f"wanted dedupe as one of {wanted}, got {dedupe!r}{nearest(dedupe, filters.DEDUPE)}.")
    event, core = filters.event_of(event), filters.core_sizes(core)
    if isinstance(data, Interactions):
        asked = (format, columns, min_rating, items_after_users, encoding, event, dedupe, core)
        if asked != ("auto", None, None, False, None, None, "merge", None):
            raise DataError("wanted a source to read, got Interactions with options: they were read already.")
        return data
    read_times = "required" if times else "if any" if values and dedupe != "merge" else "unread"
    options = Options(format, columns, min_rating, encoding, event, read_times, values, dislikes)
    source = sources.of(data, options)
    tables = [reading.read(opener.open, source.options) for opener in source.openers]
    if event is not None:
        filters.require_kinds(event, [table.events for table in tables], source.name)
    notes = source.notes if source.reader is None else source.reader.remarks(tables[0])
    return assemble(source.name, tables, source.parts, notes, items_after_users, dedupe, core)


def assemble(
    name: str, tables: list[Table], codes=None, notes=(), items_after_users=False, dedupe="merge", core=None
) -> Interactions:
    """Number the ids of all tables together and drop duplicates.

    Args:
      name: of the data set.
      tables: its sources.
      codes: the part of each table, if they have any.
      notes: to begin with.
      items_after_users: see `load`.
      dedupe: likewise.
      core: least interactions of a user and of an item, or None.
    """
    notes = [*notes, *(f"{os.path.basename(table.source)}: {note}" for table in tables for note in table.notes)]
    sizes = [table.users.codes.size for table in tables]
    positive = np.concatenate([table.positive for table in tables])
    if not positive.any():
        raise DataError(f"wanted interactions, got none: {'; '.join(notes)[:400]} ({name}).")
    users, items = ids.join(tables, "users"), ids.join(tables, "items")
    assumed = [table for table in tables if table.assumed_width]
    if any(table.is_lists for table in tables):
        for table in assumed:  # of two columns: read as lists or as pairs, they are the same interactions
            if table.assumed_width > 2:
                raise DataError(f"wanted lists as in the other parts, got a table: say --format ({table.source}).")
    elif assumed:
        rows = np.repeat([table.assumed_width > 0 for table in tables], sizes)
        require_evidence(assumed[0], users.at(rows), items.at(rows))
    if items_after_users:
        offset = _offset(name, users.words, items.words)
        items = items._replace(words=items.words - offset)
        notes.append(f"items numbered after users: {offset:,} subtracted from every item number")
    disliked = None
    if tables[0].disliked is not None:
        rows = np.concatenate([table.disliked for table in tables])
        disliked = users.at(rows), items.at(rows)
    (users, user_ids), (items, item_ids) = users.at(positive), items.at(positive)
    part = np.repeat(np.array(codes or [0] * len(tables), np.int8), sizes)[positive]
    times, note = _joined_times(name, tables, positive)
    notes += [note] if note else []
    values = None if tables[0].values is None else np.concatenate([table.values for table in tables])[positive]
    pairs, part, times, values, note = _unique_pairs(users, items, part, len(item_ids), times, values, dedupe)
    empty = {ids.canonical(user) for table in tables for user in table.empty_users}
    empty -= {str(user) for user in user_ids.tolist()} if empty else set()
    notes += empty_note(len(empty))
    notes += [note] if note else ["no duplicates"] * (dedupe != "merge")
    part, values = None if codes is None else part, None if values is None else values.astype(np.float32)
    found = Interactions(name, pairs, user_ids, item_ids, part, tuple(notes), times, values)
    found = found if core is None else _in_core(found, *core)
    found = found if disliked is None else _with_dislikes(found, *disliked)
    count = count_note(len(found.pairs), found.num_users, found.num_items)
    return dataclasses.replace(found, notes=(*found.notes, count))


def empty_note(number: int) -> list[str]:
    """What is said of users that are listed without an item; nothing of none."""
    return [f"{number:,} users without any item left out"] if number else []


def duplicates_note(dropped: int, across: int, which: str = "earliest") -> list[str]:
    """What is said of rows that were there already; nothing of none.

    Args:
      dropped: how many.
      across: of these, how many had the pair in another part.
      which: of its parts keeps a pair.
    """
    told = [f"{dropped:,} duplicates dropped"] if dropped else []
    told += [f"{across:,} of them in another part (a pair stays in its {which} part)"] if across else []
    return [", ".join(told)] if told else []


def count_note(num_pairs: int, num_users: int, num_items: int) -> str:
    """What is said of their numbers."""
    return f"{num_pairs:,} interactions of {num_users:,} users with {num_items:,} items"


def _joined_times(name: str, tables: list[Table], positive: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Times of the rows at a mask, and a note of their range; none where a table has none."""
    timed = [table for table in tables if table.times is not None]
    if not timed or any(table.times is None for table in tables if table.positive.any()):
        return None, ""
    if len({table.times.dtype for table in timed}) > 1:
        units = " and ".join(f"{table.time_unit} ({os.path.basename(table.source)})" for table in timed)
        raise DataError(f"wanted times of one kind, got {units[:300]} ({name}).")
    unread = np.zeros(1, timed[0].times.dtype)
    times = np.concatenate([np.repeat(unread, t.positive.size) if t.times is None else t.times for t in tables])
    return times[positive], timing.note(times[positive], " and ".join(sorted({table.time_unit for table in timed})))


def _unique_pairs(user, item, part, num_items: int, times=None, values=None, dedupe="merge"):
    """Sorted unique pairs [E, 2], their part, time and value [E], and a note of what was dropped."""
    key = user.astype(np.int64)  # M, N <= T: inside int64 for every T that fits in memory
    for size, digit in ((num_items, item), (len(PARTS), part)):
        key *= size
        key += digit
    num_rows, taken = key.size, ""
    if times is None and values is None:
        key.sort()
    else:
        key, times, values = rows = filters.one_each(filters.Rows(key, times, values), dedupe)
        taken = f": a pair has {filters.taken(rows, dedupe)}" if key.size < num_rows else ""
    pair = key // len(PARTS)
    part = (key - pair * len(PARTS)).astype(np.int8)
    first = np.append(True, pair[1:] != pair[:-1])
    across = np.count_nonzero(~first[1:] & (part[1:] != part[:-1]))
    kept, which = first, "earliest"
    if (part == TEST).any() and not (part[first] == TEST).any():  # train holds all of test: test is what was held out
        kept, which = np.append(first[1:], True), "latest"
    dropped = num_rows - np.count_nonzero(kept)
    note = "".join(duplicates_note(dropped, across, which))
    pair, part, times, values = (None if rows is None else rows[kept] for rows in (pair, part, times, values))
    pairs = np.stack([pair // num_items, pair % num_items], axis=1, dtype=np.int32)
    return pairs, part, times, values, note + taken


def _in_core(interactions: Interactions, least_user: int, least_item: int) -> Interactions:
    """Interactions of users and items that have enough of them, numbered anew."""
    kept = filters.core(interactions.pairs, least_user, least_item)
    before, num_kept = kept.size, np.count_nonzero(kept)
    if not num_kept:
        sizes = f"users with {least_user:,} and items with {least_item:,} interactions among themselves"
        raise DataError(f"--core: wanted {sizes}, got none: take smaller numbers ({interactions.name}).")
    found = only(interactions, kept)
    dropped = (
        f"{interactions.num_users - found.num_users:,} users and {interactions.num_items - found.num_items:,} items"
    )
    least = f"{least_user:,} interactions a user and {least_item:,} an item"
    note = f"kept {num_kept:,} of {before:,} interactions, at least {least}: {dropped} dropped"
    return dataclasses.replace(found, notes=(*interactions.notes, note))


def only(interactions: Interactions, kept: np.ndarray) -> Interactions:
    """Interactions at a mask [E]; users and items without any are dropped, the others numbered anew."""
    pairs, sizes = interactions.pairs[kept], (interactions.num_users, interactions.num_items)
    known = [np.bincount(pairs[:, side], minlength=size) > 0 for side, size in enumerate(sizes)]
    numbers = [np.cumsum(occurs) - 1 for occurs in known]

    def renumbered(rows: np.ndarray) -> np.ndarray:
        return np.stack([number[rows[:, side]] for side, number in enumerate(numbers)], axis=1).astype(np.int32)

    columns = {name: getattr(interactions, name) for name in ("parts", "times", "values")}
    columns = {name: None if column is None else column[kept] for name, column in columns.items()}
    if (dislikes := interactions.dislikes) is not None:
        columns["dislikes"] = renumbered(dislikes[known[0][dislikes[:, 0]] & known[1][dislikes[:, 1]]])
    ids_of_known = {"user_ids": interactions.user_ids[known[0]], "item_ids": interactions.item_ids[known[1]]}
    return dataclasses.replace(interactions, pairs=renumbered(pairs), **ids_of_known, **columns)


def _with_dislikes(interactions: Interactions, users: ids.Column, items: ids.Column) -> Interactions:
    """Interactions with the pairs of other rows, of users and items that they know, as dislikes.

    Args:
      interactions: a pair of theirs is no dislike.
      users: ids of the other rows.
      items: likewise.
    """
    num_items, sides = interactions.num_items, []
    for column, known in ((users, interactions.user_ids), (items, interactions.item_ids)):
        numbers = np.minimum(np.searchsorted(known, column.words), len(known) - 1)
        sides.append(np.where(known[numbers] == column.words, numbers, -1)[column.codes])
    is_known = (sides[0] >= 0) & (sides[1] >= 0)
    key = np.unique(sides[0][is_known] * num_items + sides[1][is_known])
    key = np.setdiff1d(key, interactions.pairs[:, 0].astype(np.int64) * num_items + interactions.pairs[:, 1])
    dislikes = np.stack(np.divmod(key, num_items), axis=1).astype(np.int32)
    note = f"{len(dislikes):,} dislikes, pairs in rows below the least rating or label alone"
    return dataclasses.replace(interactions, dislikes=dislikes, notes=(*interactions.notes, note))


def _offset(name: str, user_ids: np.ndarray, item_ids: np.ndarray) -> int:
    if user_ids.dtype.kind != "i" or item_ids.dtype.kind != "i":
        raise DataError(f"items_after_users needs integer ids, got text ({name}).")
    if item_ids[0] <= user_ids[-1]:
        raise DataError(
            f"items_after_users needs every item id above every user id, got item {item_ids[0]} and "
            f"user {user_ids[-1]} ({name})."
        )
    return int(item_ids[0])
