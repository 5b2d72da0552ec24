"""Sheets of pandas DataFrames, arrays, JSON and sparse matrices."""

import ast
import io
import itertools
import json
import warnings
from collections.abc import Iterator

import numpy as np

from lthjax.data import arrow
from lthjax.data.columns import NAMES, Options, Sheet, plain
from lthjax.errors import DataError

_RECORDS_AT_ONCE = 1 << 16
_SAMPLE = 50  # rows that tell the columns


def read(kind: str, data: bytes, source: str, options: Options) -> Sheet:
    """The sheet of a file that is no plain text.

    Args:
      kind: what `formats.read` says it is.
      data: what it holds.
      source: for errors.
      options: how to read it.
    """
    if kind == "parquet":
        return arrow.parquet(data, source)
    if kind in ("jsonl", "literals"):
        parts = _json_lines(data, source) if kind == "jsonl" else _literal_lines(data, source)
        return frames(parts, source, unit="line")._replace(is_loose=True)
    try:
        loaded = _loaded(kind, data)
    except Exception as error:  # NumPy, SciPy and pandas raise whatever comes of damaged headers
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise DataError(f"wanted whole {kind} data, got: {reason} ({source}).") from None
    if kind in ("mtx", "npz"):
        return matrix(loaded, source, options)
    return array(loaded, source) if kind == "npy" else frames(iter([loaded]), source)._replace(is_loose=True)


def _loaded(kind: str, data: bytes):
    """What a library makes of a file; no pickle is ever loaded."""
    import pandas as pd
    import scipy.io
    import scipy.sparse

    file = io.BytesIO(data if kind != "mtx" or data.startswith(b"%%") else b"%" + data)
    if kind == "mtx":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # matrix or array: both are read
            return scipy.io.mmread(file)
    if kind == "npz":
        return scipy.sparse.load_npz(file)
    if kind == "npy":
        return np.load(file, allow_pickle=False)
    return pd.read_json(file, orient="records", dtype=False)


def _json_lines(data: bytes, source: str) -> Iterator:
    import pandas as pd

    try:
        yield from pd.read_json(io.BytesIO(data), lines=True, chunksize=_RECORDS_AT_ONCE, dtype=False)
    except ValueError as error:
        for number, line in enumerate(io.BytesIO(data), 1):
            try:
                json.loads(line if line.strip() else b"0")
            except (ValueError, RecursionError):
                raise DataError(f"wanted JSON in every line, got {line[:40]!r} ({source}, line {number}).") from None
        raise DataError(f"wanted JSON lines, got: {error} ({source}).") from None


def _literal_lines(data: bytes, source: str) -> Iterator:
    """Lines such as {u'user': u'x'}, in Python's notation; read as literals, never run."""
    import pandas as pd

    records = []
    for number, line in enumerate(io.BytesIO(data), 1):
        if line.isspace():
            continue
        try:
            record = ast.literal_eval(line.decode().strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            record = None
        if not isinstance(record, dict):
            raise DataError(
                f"wanted a Python literal {{...}} in every line, got {line[:40]!r} ({source}, line {number})."
            )
        records.append(record)
        if len(records) == _RECORDS_AT_ONCE:
            yield pd.DataFrame(records, dtype=object)
            records = []
    if records:
        yield pd.DataFrame(records, dtype=object)


def frames(parts: Iterator, source: str, reading: str = "records", unit: str = "row") -> Sheet:
    """The sheet of DataFrames with the same columns, one below the other.

    Args:
      parts: one or more, read when they are needed.
      source: for errors.
      reading: what they are read as.
      unit: rows are counted from 0, lines from 1.

    Raises:
      DataError: users or items in the index, a pivot, or no rows.
    """
    first = next(parts)
    header = None if all(isinstance(name, int | np.integer) for name in first.columns) else [*map(str, first.columns)]
    _refuse_index(first, header or [], source)
    if not len(first):
        raise DataError(f"wanted interactions, got a table without rows ({source}).")

    def blocks(positions: list[int]) -> Iterator:
        rest = (part.reindex(columns=first.columns) for part in parts)
        return (part.iloc[:, positions] for part in itertools.chain([first], rest))

    def where(row: int) -> str:
        return f"{source}, {unit} {row + (unit == 'line')}"

    rows = [list(map(str, row)) for row in first.head(_SAMPLE).astype(object).to_numpy()]
    return Sheet(source, reading, header, rows, blocks, where)


def _refuse_index(frame, header: list[str], source: str) -> None:
    sides = NAMES["user"] | NAMES["item"]
    held = [name for name in map(str, frame.index.names) if plain(name) in sides and name not in header]
    if plain(str(frame.columns.name)) in sides or (held and not header):
        mended = "frame.stack().loc[lambda value: value > 0].reset_index()"
        raise DataError(f"wanted a row for each interaction, got a pivot: pass {mended} ({source}).")
    if held:
        raise DataError(f"wanted {held[0]} as a column, got it as the index: pass frame.reset_index() ({source}).")


def array(values: np.ndarray, source: str) -> Sheet:
    """The sheet of an array of pairs, [E, 2], or [E, 3] with weights or times."""
    import pandas as pd

    if values.ndim != 2 or values.shape[1] not in (2, 3) or values.dtype.kind not in "iuf":
        raise DataError(f"wanted numbers, [E, 2] or [E, 3], got {values.dtype} {list(values.shape)} ({source}).")
    return frames(iter([pd.DataFrame(values)]), source, f"an array {list(values.shape)}")


def matrix(entries, source: str, options: Options) -> Sheet:
    """The sheet of a SciPy sparse matrix or array [users, items]; stored zeros are no interactions.

    Args:
      entries: row and column numbers are the ids.
      source: for errors.
      options: without a least rating, negative values are no positives.
    """
    import pandas as pd

    if options.columns is not None or not hasattr(entries, "tocsr") or len(entries.shape) != 2:
        came = f"{type(entries).__name__} {list(entries.shape)}"
        raise DataError(f"wanted a sparse matrix [users, items], and no --columns, got {came} ({source}).")
    stored = entries.tocsr().tocoo()
    values = stored.data.astype(np.float64)
    keep = values != 0 if options.min_rating is not None else values > 0
    users, items = stored.row[keep], stored.col[keep]
    if not keep.any():
        raise DataError(f"wanted interactions, got a matrix {list(entries.shape)} without positive values ({source}).")
    table = pd.DataFrame({"user": users, "item": items, "rating": values[keep]})
    negative = np.count_nonzero(~keep & (values != 0))
    notes = (f"{negative:,} values that are not above 0 are no positives: dropped",) if negative else ()
    empty = np.setdiff1d(np.arange(entries.shape[0]), users)
    sheet = frames(
        iter([table]), source, f"a sparse matrix of {entries.shape[0]:,} users and {entries.shape[1]:,} items"
    )
    return sheet._replace(notes=notes, empty_users=tuple(map(str, empty)))
