"""Sheets of texts: lists `user item item ...`, or a table in columns.

Letters: E interactions.
"""

import csv
import functools
import io
import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from lthjax.data import widths
from lthjax.data.columns import Options, Sheet, header_of
from lthjax.data.ids import columns
from lthjax.errors import DataError

csv.field_size_limit(2**31 - 1)  # a long text in a column that is not read is no fault
_BLANKS = " "  # any run of blanks and tabs
_DELIMITERS = ("\t", "::", ";", "|", ",", _BLANKS)  # of two with as many fields, the first
_UNIT = "\x1f"  # stands for `::`, since pandas' C engine splits at single characters only
_SAMPLE = 50  # rows that tell delimiter, header and columns
_ROWS_AT_ONCE = 1 << 18  # every block has words anew: few of them cost less time, and more memory
_TYPED = re.compile(rb"\s*[^\n]*:(?:token|float)(?:_seq)?\b")  # RecBole's header


class _Grid(NamedTuple):
    """A text, and how to split its lines."""

    content: bytes
    source: str  # for errors
    mark: str  # of _DELIMITERS
    quoting: int  # of the csv module


def without_comments(content: bytes) -> tuple[bytes, int]:
    """The text with comment lines made blank, and their number.

    A mark (# or %) that stands before the first row makes comments of all lines that begin with it.
    """
    head = re.match(rb"(?:[ \t]*\n|[#%][^\n]*(?:\n|\Z))*", content)[0]
    marks = b"".join(set(re.findall(rb"(?m)^[#%]", head)))
    return re.subn(rb"(?m)^[" + marks + rb"][^\n]*", b"", content) if marks else (content, 0)


def are_lists(content: bytes) -> bool:
    """Whether a text is lines of whole numbers of differing length."""
    if re.match(rb"[^\n]*[^-0-9 ,\t\n]", content) or content.translate(None, b"-0123456789 ,\t\n"):
        return False  # the first line mostly tells, and a long text is not copied
    return widths.differ(content)


def lists(content: bytes, source: str, options: Options) -> Sheet:
    """Lines `user item item ...`, between blanks, or commas if there are no blanks.

    Args:
      content: without comments.
      source: for errors.
      options: with format auto no user may stand on two lines.

    Raises:
      DataError: a user on two lines, or the first number of every line is the number of those behind it.
    """
    if not re.search(rb"[ \t]", content):
        content = content.replace(b",", b" ")
    words_alone = content.translate(bytes.maketrans(b" \t\v\f", b"\n\n\n\n"))
    codes, words = columns(_blocks(_Grid(words_alone, source, _UNIT, csv.QUOTE_NONE), 0, [0]), 1, source)[0]
    lengths = np.array([len(line.split()) for line in io.BytesIO(content)])
    counts = lengths[lengths > 0]
    head = np.cumsum(counts) - counts
    users, items = codes[head], np.delete(codes, head)
    if counts.size > 2 and words[users].tolist() == [str(count - 1) for count in counts]:
        came = "lines that begin with their length, as CiteULike's users.dat"
        raise DataError(f"wanted `user item item ...`, got {came}: put the user there ({source}).")
    if not items.size:
        raise DataError(f"wanted `user item item ...`, got users without an item ({source}).")
    if options.format == "auto" and np.unique(users).size < users.size:
        came = "whole numbers in lines of differing length, and a user on several"
        remedy = "say --format adjacency for lists, or mend the lines of a table"
        raise DataError(f"wanted one line a user, got {came}: {remedy} ({source}).")
    pairs = np.stack([np.repeat(users, counts - 1), items], axis=1)

    def blocks(positions: list[int]) -> Iterator:
        import pandas as pd

        yield pd.DataFrame({position: words[pairs[:, position]] for position in positions})

    def where(row: int) -> str:
        return f"{source}, line {np.searchsorted(np.cumsum(np.maximum(lengths - 1, 0)), row, side='right') + 1}"

    empty_users = tuple(words[users[counts == 1]])
    sheet = sheet_of_lists(source, (counts.min(), counts.max()), words[pairs[:1]].tolist())
    return sheet._replace(blocks=blocks, where=where, empty_users=empty_users)


def sheet_of_lists(source: str, lengths: tuple[int, int], rows: list[list[str]]) -> Sheet:
    """The sheet of lists, without its blocks.

    Args:
      source: for errors.
      lengths: numbers on the shortest and on the longest line.
      rows: the first user and item.
    """
    reading = f"adjacency lists (line lengths from {lengths[0]} to {lengths[1]})"
    return Sheet(source, reading, ["user", "item"], rows, lambda positions: iter(()), lambda row: source, is_lists=True)


def table(content: bytes, source: str, options: Options, quoting: int = csv.QUOTE_MINIMAL) -> Sheet:
    """A table in columns, with or without a header.

    Args:
      content: without comments.
      source: for errors.
      options: format inter wants RecBole's header, and columns tell a header by its names.
      quoting: of the csv module; RecBole's tables have no quotes.

    Raises:
      DataError: no delimiter, a line of more or fewer fields than the others, no header where one must be.
    """
    is_typed = _TYPED.match(content) is not None
    quoting = csv.QUOTE_NONE if is_typed else quoting
    grids = [_Grid(content, source, mark, quoting) for mark in _DELIMITERS]
    samples = [list(itertools.islice(_records(grid), _SAMPLE)) for grid in grids]
    if not samples[-1]:
        raise DataError(f"wanted interactions, got blanks only ({source}).")
    grid, sample = max(zip(grids, samples, strict=True), key=lambda pair: _merit(*pair))
    rows, width = [[field.strip() for field in row] for _, _, row in sample], _width(sample)
    if width < 2:
        raise DataError(f"wanted columns between commas, tabs, semicolons, bars or blanks, got one ({source}).")
    if options.format == "inter" and not is_typed:
        raise DataError(
            f"wanted a RecBole header such as `user_id:token`, got {str(rows[0])[:200]} ({source}, line 1)."
        )
    header = rows[0] if is_typed else header_of(rows, options.columns)
    notes, quoted = _survey(grid, width)
    num_headers = int(header is not None)
    if not rows[num_headers:]:
        raise DataError(f"wanted interactions, got none below the header ({source}).")

    def where(row: int) -> str:
        return f"{source}, line {next(itertools.islice(_records(grid), row + num_headers, None))[0]}"

    blocks = functools.partial(_blocks, grid, sample[0][1] if header else 0)
    reading = "a RecBole .inter table" if is_typed else "a table"
    return Sheet(source, reading, header, rows[num_headers:], blocks, where, notes, quoted=quoted)


def _width(records: list[tuple[int, int, list[str]]]) -> int:
    """The usual number of fields."""
    widths = [len(row) for _, _, row in records]
    return max(set(widths), key=widths.count)


def _merit(grid: _Grid, records: list[tuple[int, int, list[str]]]) -> tuple:
    """Delimiters that split every row alike come first, blanks behind them, more fields before fewer."""
    width = _width(records)
    share = sum(len(row) == width for _, _, row in records) / len(records)
    return width > 1, share == 1, share == 1 and grid.mark != _BLANKS, width if share == 1 else share


def _records(grid: _Grid) -> Iterator[tuple[int, int, list[str]]]:
    """First line, last line and fields of every record that is not blank."""
    lines, last = io.TextIOWrapper(io.BytesIO(grid.content), "utf-8", newline="\n"), 0
    if grid.mark == _BLANKS:
        lines = (" ".join(line.split()) + "\n" for line in lines)
    elif grid.mark == "::":
        lines = (line.replace("::", _UNIT) for line in lines)
    mark = _UNIT if grid.mark == "::" else grid.mark
    reader = csv.reader(lines, delimiter=mark, quoting=grid.quoting, skipinitialspace=True)
    for row in reader:
        if len(row) > 1 or (row and row[0].strip()):
            yield last + 1, reader.line_num, row
        last = reader.line_num


def _survey(grid: _Grid, width: int) -> tuple[tuple[str, ...], list]:
    """Notes, and what looks like rows within quotes; every record must have as many fields as the first ones."""
    is_plain = grid.quoting == csv.QUOTE_NONE or b'"' not in grid.content
    if is_plain and widths.all_have(grid.content, grid.mark, width):
        return (), []
    count, first, quoted = 0, 0, []
    for line, last, row in _records(grid):
        if len(row) != width:
            came = f"wanted {width} fields as most of the first lines have, got {len(row)}"
            raise DataError(f"{came}: take out what is no row; lists want whole numbers ({grid.source}, line {line}).")
        if last > line:
            count, first = count + last - line, first or line
            inner = (text.split(grid.mark) for text in grid.mark.join(row).split("\n")[1:])
            quoted += [(line, fields) for fields in inner if len(fields) == width]
    return ((f"{count:,} line ends within quotes, the first in line {first}",) if count else ()), quoted


def _blocks(grid: _Grid, lines_above: int, positions: list[int]) -> Iterator:
    """Some columns as text, by pandas' C engine, a block of rows at a time."""
    import pandas as pd

    file = io.BytesIO(grid.content.replace(b"::", _UNIT.encode()) if grid.mark == "::" else grid.content)
    for _ in range(lines_above):
        file.readline()
    separator = {_BLANKS: r"\s+", "::": _UNIT}.get(grid.mark, grid.mark)
    options = {"header": None, "usecols": positions, "dtype": object, "na_filter": False, "skipinitialspace": True}
    options |= {"sep": separator, "quoting": grid.quoting, "index_col": False, "engine": "c", "low_memory": False}
    try:
        with pd.read_csv(file, chunksize=_ROWS_AT_ONCE, **options) as reader:
            yield from (block[positions] for block in reader)
    except ValueError as error:
        line = max((line for line, _, _ in _records(grid)), default=1)
        reason = str(error).strip().splitlines()[-1]
        raise DataError(f"wanted a table whose quotes close, got: {reason} ({grid.source}, line {line}).") from None
