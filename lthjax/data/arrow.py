"""Sheets of Arrow tables, parquet files and polars frames: by columns, without a Python object for each cell.

Letters: E rows.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lthjax.data.columns import Sheet
from lthjax.errors import DataError

_ROWS_AT_ONCE = 1 << 20
_SAMPLE = 50  # rows that tell the columns


def parquet(data: bytes | Path, source: str) -> Sheet:
    """The sheet of a parquet file, of which only the columns that matter are read, some rows at a time.

    Args:
      data: what the file holds; or where it is, which holds no more of it than some row groups.
      source: for errors.

    Raises:
      DataError: pyarrow is not there, or the file is damaged.
    """
    pa = _pyarrow("read parquet", source)
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(data if isinstance(data, Path) else pa.BufferReader(data))
        first = next(file.iter_batches(batch_size=_SAMPLE), None)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(error, source) from None

    def blocks(positions: list[int]) -> Iterator:
        columns = [file.schema_arrow.names[position] for position in positions]
        try:
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
                yield _to_pandas(batch.select(columns))
        except (pa.ArrowException, OSError, KeyError) as error:
            raise _damaged(error, source) from None

    rows = [] if first is None else _rows(first)
    return _sheet(source, "parquet", file.schema_arrow.names, rows, blocks)


def as_table(data: Any) -> Any:
    """A pyarrow Table of whatever offers Arrow data (Table, RecordBatch, a reader, a DuckDB relation); no copy.

    Raises:
      DataError: pyarrow is not there, or the data are no table.
    """
    pa = _pyarrow("read Arrow data", type(data).__name__)
    try:
        return pa.table(data)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"wanted Arrow data in columns, got {type(data).__name__}: {_line(error)}.") from None


def table(data: Any, source: str) -> Sheet:
    """The sheet of a pyarrow Table."""

    def blocks(positions: list[int]) -> Iterator:
        for start in range(0, data.num_rows, _ROWS_AT_ONCE):
            yield _to_pandas(data.slice(start, _ROWS_AT_ONCE).select(positions))

    return _sheet(source, "an Arrow table", data.column_names, _rows(data.slice(0, _SAMPLE)), blocks)


def polars(frame: Any, source: str) -> Sheet:
    """The sheet of a polars DataFrame or LazyFrame; the latter is computed for its first rows, then for some columns.

    Raises:
      DataError: the query of a LazyFrame fails.
    """
    is_lazy = hasattr(frame, "collect_schema") and hasattr(frame, "collect")

    def collected(query: Any) -> Any:
        try:
            return query.collect() if is_lazy else query
        except Exception as error:  # whatever the query does: files, types, functions of the user
            raise DataError(f"wanted a LazyFrame that can be computed, got: {_line(error)} ({source}).") from None

    sample = collected(frame.head(_SAMPLE))
    names = sample.columns

    def blocks(positions: list[int]) -> Iterator:
        import pandas as pd

        chosen = collected(frame.select([names[position] for position in positions]))
        for part in chosen.iter_slices(_ROWS_AT_ONCE):
            columns = dict(enumerate(map(_pandas_column, part.get_columns())))
            yield pd.DataFrame(columns, copy=False)

    reading = "a polars LazyFrame" if is_lazy else "a polars DataFrame"
    return _sheet(source, reading, names, [list(map(str, row)) for row in sample.rows()], blocks)


def _pandas_column(series: Any) -> Any:
    """[E] what pandas makes of a polars Series: texts as numbers of a category, whole numbers exactly."""
    import pandas as pd
    import polars as pl

    kind, is_none = series.dtype, series.is_null().to_numpy()
    if kind in (pl.String, pl.Categorical, pl.Enum):
        numbers = series.cast(pl.String).cast(pl.Categorical)
        words, places = numbers.unique().drop_nulls(), numbers.to_physical()
        codes = np.full(int(places.max() or 0) + 1, -1, np.int32)  # polars may number words of other columns too
        codes[words.to_physical().to_numpy()] = np.arange(len(words))
        rows = np.where(is_none, -1, codes[places.fill_null(0).to_numpy()])
        return pd.Categorical.from_codes(rows, words.cast(pl.String).to_list())
    if kind.is_nested():
        return pd.Series(series.to_list(), dtype=object)
    if kind.is_integer() and is_none.any():
        return pd.arrays.IntegerArray(series.fill_null(0).to_numpy(), is_none)  # NumPy's have no place for none
    return series.to_numpy()


def _to_pandas(table: Any) -> Any:
    import pandas as pd

    plain = table.replace_schema_metadata(None)  # pandas would make an index of some columns
    return plain.to_pandas(types_mapper=pd.ArrowDtype)  # the same memory


def _rows(table: Any) -> list[list[str]]:
    return [list(map(str, row)) for row in zip(*(column.to_pylist() for column in table.columns), strict=True)]


def _sheet(source: str, reading: str, names: list[str], rows: list[list[str]], blocks: Callable) -> Sheet:
    if not rows:
        raise DataError(f"wanted interactions, got a table without rows ({source}).")
    return Sheet(source, reading, list(names), rows, blocks, lambda row: f"{source}, row {row}")


def _pyarrow(purpose: str, source: str) -> Any:
    try:
        import pyarrow
    except ImportError:
        raise DataError(f"wanted pyarrow to {purpose}, got none: pip install pyarrow ({source}).") from None
    return pyarrow


def _damaged(error: Exception, source: str) -> DataError:
    return DataError(f"wanted whole parquet data, got: {_line(error)} ({source}).")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
