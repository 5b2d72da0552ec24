"""Interactions of users with items: from a name, a file, a folder, a matrix or a table, numbered from 0.

Letters: E interactions, M users, N items, T rows of a source.
Names and folders are in catalog.py, file formats in readers.py, splits in splits.py.
"""

import math
import os
from dataclasses import dataclass

import numpy as np

from lthjax.data import catalog, formats
from lthjax.data import columns as cols
from lthjax.data import reading as readers
from lthjax.data import tokens as tk
from lthjax.data.catalog import PARTS
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


def load(data, *, format="auto", columns=None, min_rating=None, items_after_users=False) -> Interactions:
    """Interactions from whatever holds them.

    Args:
      data: the name of a bundled or known data set or of a folder in $LTHJAX_DATA or ./data; a file, or a folder with
        train, valid and test files; a SciPy sparse matrix [users, items]; a pandas DataFrame; Interactions (as is).
      format: adjacency, pairs, inter, csv, or auto (from the file's name and shape).
      columns: user,item[,rating] by name or position, for csv, inter and DataFrame.
      min_rating: keep rows with at least this rating; None takes every row as a positive.
      items_after_users: item numbers start at the number of users; it is subtracted.

    Raises:
      DataError: whatever is wrong with the data, with the file and the line.
    """
    options = {"format": format, "columns": columns, "rated": min_rating is not None}
    if format not in formats.FORMATS:
        raise DataError(
            f"wanted a format of {', '.join(formats.FORMATS)}, got {format!r}{nearest(format, formats.FORMATS)}."
        )
    if min_rating is not None and not (isinstance(min_rating, int | float | np.number) and math.isfinite(min_rating)):
        raise DataError(f"wanted a finite number as min_rating, got {min_rating!r}.")
    if columns is not None and not isinstance(columns, str | tuple | list):
        raise DataError(f"wanted columns as user,item[,rating], got {columns!r}.")
    if isinstance(data, Interactions):
        if (format, columns, min_rating, items_after_users) != ("auto", None, None, False):
            raise DataError("wanted a source to read, got Interactions with options: they were read already.")
        return data
    if isinstance(data, str | os.PathLike):
        name, files, codes, notes = catalog.find(data)
        tables = readers.read_files(files, **options)
    elif hasattr(data, "tocsr"):
        name, tables, codes, notes = "matrix", [_matrix_table(data, options)], None, ()
    elif hasattr(data, "iloc") and hasattr(data, "columns"):
        name, tables, codes, notes = "table", [_frame_table(data, options)], None, ()
    else:
        raise DataError(f"wanted a name, a path, a SciPy sparse matrix or a DataFrame, got {type(data).__name__}.")
    return assemble(name, tables, codes, notes, min_rating=min_rating, items_after_users=items_after_users)


def assemble(
    name: str, tables: list[readers.Table], codes=None, notes=(), *, min_rating=None, items_after_users=False
) -> Interactions:
    """Number the ids of all tables together and drop duplicates; `codes` gives the part of each table."""
    notes = list(notes)
    for table in tables:
        prefix = f"{os.path.basename(table.source)}: " if len(tables) > 1 else ""
        notes.append(prefix + table.note)
    users = tk.join_ids([table.users for table in tables])
    items = tk.join_ids([table.items for table in tables])
    _refuse_negative(tables, users, items)
    if items_after_users:
        offset = _offset(name, users, items)
        items = items - offset
        notes.append(f"items numbered after users: {offset:,} subtracted from every item number")
    part = np.repeat(np.array([0] * len(tables) if codes is None else codes, np.int64), [len(t.users) for t in tables])
    if min_rating is not None:
        ratings = np.concatenate([table.ratings for table in tables])
        keep = ratings >= min_rating
        if not keep.any():
            raise DataError(f"wanted ratings >= {min_rating}, got {ratings.max():g} as the highest ({name}).")
        notes.append(f"kept {keep.sum():,} of {keep.size:,} rows, those with rating >= {min_rating:g}")
        users, items, part = users[keep], items[keep], part[keep]
    user_ids, user = np.unique(users, return_inverse=True)
    item_ids, item = np.unique(items, return_inverse=True)
    pairs, part, note = _unique_pairs(user, item, part, len(item_ids))
    user_ids, item_ids = _as_text(user_ids), _as_text(item_ids)
    empty = {str(user) for table in tables for user in _as_text(table.empty_users).tolist()}
    empty -= {str(user) for user in user_ids.tolist()} if empty else set()
    if empty:
        notes.append(f"{len(empty):,} users without any item left out")
    notes += [note] if note else []
    notes.append(f"{len(pairs):,} interactions of {len(user_ids):,} users with {len(item_ids):,} items")
    parts = None if codes is None else part.astype(np.int8)
    return Interactions(name, pairs, user_ids, item_ids, parts, tuple(notes))


def _unique_pairs(user: np.ndarray, item: np.ndarray, part: np.ndarray, num_items: int):
    """Sorted unique pairs [E, 2], their earliest part [E], and a note of what was dropped."""
    key = (user * num_items + item) * len(PARTS) + part  # M, N <= T: inside int64 for every T that fits in memory
    key.sort()
    pair = key // len(PARTS)
    first = np.diff(pair, prepend=-1) != 0
    dropped = key.size - np.count_nonzero(first)
    across = np.count_nonzero(~first & (np.diff(key, prepend=-1) != 0))
    note = f"{dropped:,} duplicates dropped" if dropped else ""
    if across:
        note += f", {across:,} of them in a later part (a pair stays in its earliest part)"
    pair, part = pair[first], (key % len(PARTS))[first]
    return np.stack([pair // num_items, pair % num_items], axis=1).astype(np.int32), part, note


def _refuse_negative(tables: list[readers.Table], users: np.ndarray, items: np.ndarray):
    for side, joined in (("users", users), ("items", items)):
        if joined.dtype.kind != "i" or joined.min() >= 0:
            continue
        table = next(table for table in tables if getattr(table, side).min(initial=0) < 0)
        row = np.flatnonzero(getattr(table, side) < 0)[0]
        raise DataError(f"wanted {side[:-1]} ids from 0, got {getattr(table, side)[row]} ({table.where(row)}).")


def _offset(name: str, users: np.ndarray, items: np.ndarray) -> int:
    if users.dtype.kind != "i" or items.dtype.kind != "i":
        raise DataError(f"items_after_users needs integer ids, got text ({name}).")
    if items.min() <= users.max():
        raise DataError(
            f"items_after_users needs every item id above every user id, got item {items.min()} and user {users.max()}"
            f" ({name})."
        )
    return int(items.min())


def _as_text(ids: np.ndarray) -> np.ndarray:
    return ids if ids.dtype.kind == "i" else np.array([word.decode() for word in ids.tolist()], np.str_)


def _matrix_table(matrix, options: dict) -> readers.Table:
    """A SciPy sparse matrix or array [users, items]; stored zeros are no interactions."""
    if options["format"] != "auto" or options["columns"] is not None:
        raise DataError("format and columns are for files and tables, got a sparse matrix.")
    if len(matrix.shape) != 2:
        raise DataError(f"wanted a matrix [users, items], got shape {matrix.shape}.")
    entries = matrix.tocsr().tocoo()
    keep = entries.data != 0
    users, items = (np.asarray(axis)[keep].astype(np.int64) for axis in (entries.row, entries.col))
    if not users.size:
        raise DataError(f"wanted interactions, got a sparse matrix {list(matrix.shape)} without non-zeros.")
    ratings = entries.data[keep].astype(np.float64) if options["rated"] else None
    empty = np.setdiff1d(np.arange(matrix.shape[0]), users)
    note = f"read as a sparse matrix of {matrix.shape[0]:,} users and {matrix.shape[1]:,} items"
    return readers.Table("matrix", users, items, ratings, users, empty, note, unit="row")


def _frame_table(frame, options: dict) -> readers.Table:
    """A pandas DataFrame: columns by usual names, by `columns`, else the first ones."""
    if options["format"] != "auto":
        raise DataError("format is for files, got a DataFrame.")
    header = [str(name) for name in frame.columns]
    columns, rated = options["columns"], options["rated"]
    if columns is None and not cols.has_usual_names(header):
        columns = ("0", "1", "2") if rated else ("0", "1")
    wanted = cols.choose(header, len(header), columns, rated, "DataFrame")
    if not len(frame):
        raise DataError("wanted interactions, got a DataFrame without rows.")
    users, items = (_series_ids(frame.iloc[:, j], side) for j, side in zip(wanted, ("user", "item"), strict=False))
    ratings = _series_numbers(frame.iloc[:, wanted[2]]) if rated else None
    note = f"read as a DataFrame: user {header[wanted[0]]!r}, item {header[wanted[1]]!r}"
    if len(wanted) > 2:
        note += f", rating {header[wanted[2]]!r}" + ("" if rated else " not used (every row is a positive)")
    return readers.Table("DataFrame", users, items, ratings, np.arange(len(frame)), users[:0], note, unit="row")


def _series_ids(series, side: str) -> np.ndarray:
    for bad in np.flatnonzero(series.isna())[:1]:
        raise DataError(f"wanted a {side} id, got {series.iloc[bad]} (DataFrame, row {bad}).")
    if series.dtype.kind in "iuf":
        return readers.whole_ids(series.to_numpy(), "DataFrame", "row")
    return tk.to_ids(tk.tokens_of([str(value) for value in series], np.arange(len(series))), "DataFrame", side)


def _series_numbers(series) -> np.ndarray:
    if series.dtype.kind in "iuf" and not series.isna().any():
        return series.to_numpy(np.float64)
    return tk.to_numbers(tk.tokens_of([str(value) for value in series], np.arange(len(series))), "DataFrame", "rating")
