"""Interactions of users with items: from a name, a file, a folder, a matrix or a table, numbered from 0.

Letters: E interactions, M users, N items, T rows of a source.
"""

import math
import os
from dataclasses import dataclass

import numpy as np

from lthjax.data import formats, ids, reading, sources
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

    @property
    def num_users(self) -> int:
        """M."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """N."""
        return len(self.item_ids)


def load(data, *, format="auto", columns=None, min_rating=None, items_after_users=False, encoding=None) -> Interactions:
    """Interactions from whatever holds them.

    Args:
      data: the name of a bundled or known data set or of a folder in $LTHJAX_DATA or ./data; a file, or a folder with
        train, valid and test files, or of parquet files; a pattern such as "logs/*.parquet"; a SciPy sparse matrix
        [users, items]; a pandas or polars DataFrame or LazyFrame, an Arrow table; an array of pairs [E, 2] or [E, 3];
        a list of paths or of frames with the same columns, which are read as one; Interactions (as is).
      format: adjacency, pairs, inter, csv, or auto (from the file's first bytes and its shape).
      columns: user,item[,rating] by name or position, for csv, inter, JSON, parquet and DataFrame.
      min_rating: keep rows with at least this rating; None takes every row as a positive, but for labels below 1 and
        negative values of a matrix.
      items_after_users: item numbers start at the number of users; it is subtracted.
      encoding: of text that is not UTF-8.

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
        raise DataError(f"wanted columns as user,item[,rating], got {columns!r}.")
    if isinstance(data, Interactions):
        if (format, columns, min_rating, items_after_users, encoding) != ("auto", None, None, False, None):
            raise DataError("wanted a source to read, got Interactions with options: they were read already.")
        return data
    options = Options(format, columns, min_rating, encoding)
    source = sources.of(data, options)
    tables = [reading.read(opener.open, source.options) for opener in source.openers]
    notes = source.notes if source.reader is None else source.reader.remarks(tables[0])
    return assemble(source.name, tables, source.parts, notes, items_after_users)


def assemble(name: str, tables: list[Table], codes=None, notes=(), items_after_users=False) -> Interactions:
    """Number the ids of all tables together and drop duplicates.

    Args:
      name: of the data set.
      tables: its sources.
      codes: the part of each table, if they have any.
      notes: to begin with.
      items_after_users: see `load`.
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
    (users, user_ids), (items, item_ids) = users.at(positive), items.at(positive)
    part = np.repeat(np.array(codes or [0] * len(tables), np.int8), sizes)[positive]
    pairs, part, note = _unique_pairs(users, items, part, len(item_ids))
    empty = {ids.canonical(user) for table in tables for user in table.empty_users}
    empty -= {str(user) for user in user_ids.tolist()} if empty else set()
    if empty:
        notes.append(f"{len(empty):,} users without any item left out")
    notes += [note] if note else []
    notes.append(f"{len(pairs):,} interactions of {len(user_ids):,} users with {len(item_ids):,} items")
    return Interactions(name, pairs, user_ids, item_ids, None if codes is None else part, tuple(notes))


def _unique_pairs(user: np.ndarray, item: np.ndarray, part: np.ndarray, num_items: int):
    """Sorted unique pairs [E, 2], the part of each [E], and a note of what was dropped."""
    key = user.astype(np.int64)  # M, N <= T: inside int64 for every T that fits in memory
    for size, digit in ((num_items, item), (len(PARTS), part)):
        key *= size
        key += digit
    key.sort()
    pair = key // len(PARTS)
    part = (key - pair * len(PARTS)).astype(np.int8)
    first = np.append(True, pair[1:] != pair[:-1])
    across = np.count_nonzero(~first[1:] & (part[1:] != part[:-1]))
    kept, which = first, "earliest"
    if (part == TEST).any() and not (part[first] == TEST).any():  # train holds all of test: test is what was held out
        kept, which = np.append(first[1:], True), "latest"
    dropped = key.size - np.count_nonzero(kept)
    note = f"{dropped:,} duplicates dropped" if dropped else ""
    if across:
        note += f", {across:,} of them in another part (a pair stays in its {which} part)"
    pair, part = pair[kept], part[kept]
    return np.stack([pair // num_items, pair % num_items], axis=1, dtype=np.int32), part, note


def _offset(name: str, user_ids: np.ndarray, item_ids: np.ndarray) -> int:
    if user_ids.dtype.kind != "i" or item_ids.dtype.kind != "i":
        raise DataError(f"items_after_users needs integer ids, got text ({name}).")
    if item_ids[0] <= user_ids[-1]:
        raise DataError(
            f"items_after_users needs every item id above every user id, got item {item_ids[0]} and "
            f"user {user_ids[-1]} ({name})."
        )
    return int(item_ids[0])
