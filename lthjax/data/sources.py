"""What was asked for -> how to read it: paths and names by the catalog, and what Python holds."""

import functools
import os
from typing import Any, NamedTuple

import numpy as np

from lthjax.data import arrow, catalog, frames, reading, several
from lthjax.data.columns import Options
from lthjax.data.library import Reader
from lthjax.data.several import Opener
from lthjax.errors import DataError


class Opened(NamedTuple):
    """A data set before it is read."""

    name: str
    openers: list[Opener]  # one for each table
    options: Options
    parts: list[int] | None = None  # the part of each table
    notes: tuple[str, ...] = ()
    reader: Reader | None = None  # of a published data set


def of(data: Any, options: Options) -> Opened:
    """How to read a name, a path, a pattern, what Python holds, or a list of paths or of frames.

    Raises:
      DataError: nothing is there, or what is there is no data set.
    """
    if isinstance(data, str | os.PathLike):
        return _of_files(catalog.find(data), options)
    if isinstance(data, list | tuple):
        return _of_list(data, options)
    if options.format != "auto" or options.encoding is not None:
        raise DataError(f"format and encoding are for files, got {type(data).__name__}.")
    name, opener = _in_memory(data, options)
    return Opened(name, [opener], options)


def _of_files(source: catalog.Source, options: Options) -> Opened:
    if source.is_published:
        reader = Reader(source.name, source.files[0], options)
        return Opened(source.name, [Opener(str(reader.file), reader.open)], reader.options, reader=reader)
    openers = [Opener(str(file), functools.partial(reading.open_file, file, options)) for file in source.files]
    if source.pattern and len(openers) > 1:
        root = os.path.commonpath([os.path.dirname(os.path.abspath(opener.name)) for opener in openers])
        named = [opener._replace(name=os.path.relpath(opener.name, root)) for opener in openers]
        openers = _joined(source.pattern, named, "files")
    return Opened(source.name, openers, options, source.parts, source.notes)


def _of_list(data: list | tuple, options: Options) -> Opened:
    """Paths or frames, of which each is a piece of one log."""
    if not data:
        raise DataError("wanted a list of paths or of frames, got an empty one.")
    if any(isinstance(one, str | os.PathLike) for one in data):
        others = [type(one).__name__ for one in data if not isinstance(one, str | os.PathLike)]
        if others:
            raise DataError(f"wanted a list of paths or of frames, got both: paths, and {others[0]}.")
        return _of_files(catalog.pieces(data), options)
    if options.format != "auto" or options.encoding is not None:
        raise DataError(f"format and encoding are for files, got a list of {type(data[0]).__name__}.")
    if all(isinstance(one, list | tuple | int | np.integer) for one in data):
        raise DataError("wanted a list of paths or of frames, got a list of pairs: pass numpy.array(pairs).")
    opened = [_in_memory(one, options)[1] for one in data]
    if len(opened) == 1:
        return Opened("table", opened, options)
    named = [opener._replace(name=f"{opener.name} {number}") for number, opener in enumerate(opened)]
    return Opened("tables", _joined("list", named, "tables"), options)


def _joined(source: str, openers: list[Opener], unit: str) -> list[Opener]:
    return [Opener(source, functools.partial(several.join, source, openers, unit))]


def _in_memory(data: Any, options: Options) -> tuple[str, Opener]:
    """The name of data that are no file, and how to read them."""
    kind = type(data).__name__
    if hasattr(data, "tocsr"):
        return "matrix", Opener("matrix", lambda: frames.matrix(data, "matrix", options))
    if isinstance(data, np.ndarray):
        return "table", Opener("array", lambda: frames.array(data, "array"))
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        return "table", Opener("DataFrame", lambda: frames.frames(iter([data]), "DataFrame", "a DataFrame"))
    if type(data).__module__.startswith("polars.") and hasattr(data, "select"):
        return "table", Opener(kind, lambda: arrow.polars(data, kind))
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        table = arrow.as_table(data)  # here: a stream is read once
        return "table", Opener(kind, lambda: arrow.table(table, kind))
    wanted = "a name, a path, a SciPy sparse matrix, a DataFrame (pandas, polars, Arrow), an array of pairs, or a list"
    raise DataError(f"wanted {wanted}, got {kind}.")
