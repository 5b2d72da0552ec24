"""Files of pairs of whole numbers, read piece by piece: adjacency lists, and parquet by its row groups.

Users ascend in them, so that a user is in one piece. What is not plainly that is `Unsuited`: `interactions.load` reads
it whole, and refuses it where it is wrong.

Letters: n pairs of a piece, L lines of a piece.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lthjax.data import arrow, formats, text, widths
from lthjax.data.columns import Options, choose, note

_AT_ONCE = 1 << 21  # bytes of a text, of which the numbers and their order take some twenty times as much
_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)  # a number from the last one on may have been too large for int64


class Unsuited(Exception):
    """Why a file is not read in pieces."""


class Piece(NamedTuple):
    """Some rows of a file."""

    users: np.ndarray  # [n] int64, ascending
    items: np.ndarray  # [n] int64
    empty_users: np.ndarray  # int64, listed without an item


class Stream(NamedTuple):
    """A file that was looked through."""

    notes: tuple[str, ...]  # as the whole file would have
    pieces: Callable[[], Iterator[Piece]]  # read anew by each call


def of(path: Any, options: Options) -> Stream:
    """A file as a stream.

    Args:
      path: of adjacency lists, or of a parquet file.
      options: how it is to be read.

    Raises:
      Unsuited: at once or while it is read; it is neither, is an archive, has other ids, or users that do not ascend.
      DataError: as `interactions.load`, without the line.
    """
    if not isinstance(path, Path) or not path.is_file():
        raise Unsuited(f"{path} is no plain file")
    with path.open("rb") as file:
        is_parquet = file.read(4) == b"PAR1"
    return _parquet(path, options) if is_parquet else _adjacency(path, options)


def _adjacency(path: Path, options: Options) -> Stream:
    if options.format not in ("auto", "adjacency") or options.columns is not None or options.encoding is not None:
        raise Unsuited(f"{path.name} is to be read as a table")
    shortest, longest, first = 2**62, 0, []
    for piece in _texts(path):
        lengths = widths.words(piece)
        lengths = lengths[lengths > 0]
        shortest, longest = min(shortest, lengths.min(initial=2**62)), max(longest, lengths.max(initial=0))
        if not first and lengths.max(initial=0) > 1:
            first = next(words[:2] for words in map(bytes.split, piece.splitlines()) if len(words) > 1)
    if longest < 2 or (options.format == "auto" and shortest == longest):
        raise Unsuited(f"{path.name} is not surely lists (--format adjacency says that it is)")
    sheet = text.sheet_of_lists(str(path), (shortest, longest), [[word.decode() for word in first]])
    return Stream((note(sheet, choose(sheet, options), options),), lambda: _lists(path))


def _texts(path: Path) -> Iterator[bytes]:
    """Whole lines of whole numbers between blanks, each of which ends with a newline; some have numbers."""
    most, size = formats.most_unpacked(path.stat().st_size), 0
    with formats.stream(path) as file:
        for piece in widths.pieces(file, _AT_ONCE):
            size += len(piece)
            if size > most:
                raise Unsuited(f"{path.name} holds too much, unpacked")
            if piece.isspace():
                continue
            if not piece.translate(None, b" \t\n").isdigit():
                raise Unsuited(f"{path.name} is no lists of whole numbers between blanks")
            yield piece


def _lists(path: Path) -> Iterator[Piece]:
    before, begin_with_lengths, num_lines = -1, True, 0
    for piece in _texts(path):
        lengths = widths.words(piece)
        lengths = lengths[lengths > 0]
        values = np.fromstring(piece, np.int64, sep=" ")
        num_digits = np.searchsorted(_POWERS, values, side="right").sum() + values.size
        if num_digits != len(piece.translate(None, b" \t\n")) or (values >= _POWERS[-1]).any():
            raise Unsuited(f"{path.name} has numbers that begin with 0, or of more than 18 digits")
        head = np.cumsum(lengths) - lengths
        users, is_item = values[head], np.ones(values.size, bool)
        is_item[head] = False
        _require_ascending(np.append(before, users), path, strictly=True)
        before = users[-1] if users.size else before
        num_lines += users.size
        begin_with_lengths = begin_with_lengths and bool((users == lengths - 1).all())
        yield Piece(np.repeat(users, lengths - 1), values[is_item], users[lengths == 1])
    if begin_with_lengths and num_lines > 2:
        raise Unsuited(f"{path.name} has lines that begin with their length")


def _parquet(path: Path, options: Options) -> Stream:
    if options.format != "auto":
        raise Unsuited(f"{path.name} is no text")
    sheet = arrow.parquet(path, str(path))
    roles = choose(sheet, options)
    if roles.is_label or sheet.header[roles.user].isdecimal():
        raise Unsuited(f"{path.name} has labels, or names that are numbers")
    return Stream((note(sheet, roles, options),), lambda: _rows(path, [roles.user, roles.item]))


def _rows(path: Path, positions: list[int]) -> Iterator[Piece]:
    import pandas as pd

    left = np.zeros((2, 0), np.int64)
    for block in filter(len, arrow.parquet(path, str(path)).blocks(positions)):
        columns = [block.iloc[:, place] for place in range(2)]
        for column in columns:
            if not pd.api.types.is_integer_dtype(column.dtype) or "uint64" in str(column.dtype) or column.hasnans:
                raise Unsuited(f"{path.name} has ids that are no whole numbers")
        users, items = rows = np.append(left, [column.to_numpy(np.int64) for column in columns], axis=1)
        _require_ascending(users, path)
        end = np.searchsorted(users, users[-1])  # the last user may go on in the next block
        left = rows[:, end:]
        yield Piece(users[:end], items[:end], users[:0])
    yield Piece(*left, left[0, :0])


def _require_ascending(users: np.ndarray, path: Path, strictly: bool = False) -> None:
    if (users[1:] < users[:-1] + strictly).any():
        raise Unsuited(f"users do not ascend in {path.name}")
