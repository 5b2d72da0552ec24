"""Bytes of a text file -> tokens with their lines -> ids and numbers; NumPy only, no loop over tokens.

Letters: B bytes, T tokens, L lines.
"""

import bisect
import csv
import io
import re
from typing import NamedTuple

import numpy as np

from lthjax.errors import DataError

LONGEST_ID = 255  # bytes; ids are held in arrays of one width, so a runaway token would cost its width times T

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


class Tokens(NamedTuple):
    """Where each token lies in a text, and on which of its lines."""

    text: np.ndarray  # [B] uint8
    start: np.ndarray  # [T] int64, first byte of each token
    stop: np.ndarray  # [T] int64, one past the last byte
    line: np.ndarray  # [T] int64, counted from 1

    def at(self, index) -> "Tokens":
        """The tokens at an index array, mask or slice."""
        return Tokens(self.text, self.start[index], self.stop[index], self.line[index])

    def word(self, index: int) -> str:
        """One token as a string."""
        return self.text[self.start[index] : self.stop[index]].tobytes().decode()

    def lines(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of the first token of each line that has any [L], and the number of tokens there [L]."""
        head = np.flatnonzero(np.diff(self.line, prepend=0))
        return head, np.diff(head, append=self.line.size)


def clean(data: bytes, source: str) -> bytes:
    """UTF-8 text without byte order mark; lines end in a newline, with or without a carriage return.

    Raises:
      DataError: binary content, with the first line where it shows.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        data.decode()
        bad = match.start() if (match := _CONTROL.search(data)) else None
    except UnicodeDecodeError as error:
        bad = error.start
    if bad is not None:
        line = data.count(b"\n", 0, bad) + 1
        raise DataError(f"wanted UTF-8 text, got byte 0x{data[bad]:02x} ({source}, line {line}).")
    return data if b"\n" in data else data.replace(b"\r", b"\n")


def split_tokens(data: bytes, separators: bytes = b" \t") -> Tokens:
    """Tokens between separators and line ends; runs of separators count as one."""
    text = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    separates = np.zeros(256, bool)
    separates[list(separators + b"\r\n\v\f")] = True
    gap = separates[text]
    edges = np.flatnonzero(gap[1:] != gap[:-1]) + 1  # the text begins and ends with a gap: start, stop, start, ...
    start, stop = edges[::2], edges[1::2]
    return Tokens(text, start, stop, np.searchsorted(np.flatnonzero(text == ord("\n")), start))


def split_columns(data: bytes, delimiter: bytes, wanted: list[int], source: str, quotes: bool = True) -> list[Tokens]:
    """The wanted columns of a delimited table, one token (maybe empty) per line, header line included.

    Raises:
      DataError: a line with more or fewer fields than the first, or broken quotes.
    """
    if quotes and b'"' in data:
        if not _quotes_are_idle(data, delimiter):
            return _split_quoted(data, delimiter, wanted, source)
        data = data.replace(b'"', b"")
    text = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    newline = np.flatnonzero(text == ord("\n"))
    start, stop = newline[:-1] + 1, newline[1:]
    stop = stop - ((stop > start) & (text[stop - 1] == ord("\r")))
    cuts = np.flatnonzero(text == ord(delimiter))
    first = np.searchsorted(cuts, start)
    count = np.searchsorted(cuts, stop) - first
    blank = count == 0  # among these only: the others have a delimiter at least
    blank[blank] = [not text[a:b].tobytes().strip() for a, b in zip(start[blank], stop[blank], strict=True)]
    start, stop, first, count, line = (x[~blank] for x in (start, stop, first, count, np.arange(1, start.size + 1)))
    for odd in np.flatnonzero(count != count[:1])[:1]:
        _raise_ragged(count[0] + 1, count[odd] + 1, source, line[odd])
    columns = []
    for column in wanted:
        begin = start if column == 0 else cuts[first + column - 1] + 1
        end = stop if column == count[0] else cuts[first + column]
        columns.append(_trimmed(Tokens(text, begin, end, line)))
    return columns


def tokens_of(words: list[str], line: np.ndarray) -> Tokens:
    """Tokens of strings that are at hand already (line ends within them become spaces)."""
    encoded = [word.replace("\n", " ").encode() for word in words]
    stop = np.cumsum([len(word) + 1 for word in encoded], dtype=np.int64) - 1
    start = np.concatenate(([0], stop[:-1] + 1)) if words else stop
    return Tokens(np.frombuffer(b"\n".join(encoded) + b"\n", np.uint8), start, stop, np.asarray(line, np.int64))


def to_ids(tokens: Tokens, source: str, side: str) -> np.ndarray:
    """[T] int64 where every token is an integer in canonical form (no leading zero or plus), else [T] bytes.

    Raises:
      DataError: an empty id or one longer than LONGEST_ID bytes.
    """
    length = tokens.stop - tokens.start
    for bad in np.flatnonzero((length == 0) | (length > LONGEST_ID))[:1]:
        raise DataError(
            f"wanted a {side} id of 1 to {LONGEST_ID} bytes, got {length[bad]} ({source}, line {tokens.line[bad]})."
        )
    integers = _integers(tokens)
    return _words(tokens) if integers is None else integers


def to_numbers(tokens: Tokens, source: str, what: str) -> np.ndarray:
    """[T] float64.

    Raises:
      DataError: a token that is no finite number, with its line.
    """
    values = numbers_or_none(tokens)
    if values is None:
        prefixes = range(tokens.line.size + 1)
        bad = bisect.bisect_left(prefixes, True, key=lambda n: numbers_or_none(tokens.at(slice(n))) is None) - 1
        raise DataError(f"wanted a number as {what}, got {tokens.word(bad)!r} ({source}, line {tokens.line[bad]}).")
    return values


def numbers_or_none(tokens: Tokens) -> np.ndarray | None:
    """[T] float64, or None where a token is no finite number."""
    length = tokens.stop - tokens.start
    if length.size and (length.min() == 0 or length.max() > 64):
        return None
    try:
        values = _words(tokens).astype(np.float64)
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def join_ids(columns: list[np.ndarray]) -> np.ndarray:
    """One column of several: integers if all are, else bytes (canonical integers give their text back)."""
    if all(column.dtype.kind == "i" for column in columns):
        return np.concatenate(columns)
    return np.concatenate([column.astype(np.bytes_) for column in columns])


def _integers(tokens: Tokens) -> np.ndarray | None:
    negative = tokens.text[tokens.start] == ord("-")
    start = tokens.start + negative
    length = tokens.stop - start
    if not length.size:
        return np.zeros(0, np.int64)
    if length.min() == 0 or length.max() > 19:  # 19 digits always fit uint64
        return None
    if np.any((tokens.text[start] == ord("0")) & ((length > 1) | negative)):
        return None
    value = np.zeros(length.size, np.uint64)
    for place in range(length.max()):
        here = np.flatnonzero(length > place)
        digit = tokens.text[start[here] + place] - np.uint8(ord("0"))  # wraps below "0": above 9 either way
        if digit.max() > 9:
            return None
        value[here] = value[here] * np.uint64(10) + digit
    if value.max() > np.iinfo(np.int64).max:
        return None
    signed = value.astype(np.int64)
    return np.where(negative, -signed, signed)


def _words(tokens: Tokens) -> np.ndarray:
    length = tokens.stop - tokens.start
    width = max(int(length.max(initial=1)), 1)
    letters = np.zeros((length.size, width), np.uint8)
    for place in range(width):
        here = np.flatnonzero(length > place)
        letters[here, place] = tokens.text[tokens.start[here] + place]
    return letters.view(f"S{width}")[:, 0]


def _trimmed(tokens: Tokens) -> Tokens:
    start, stop = tokens.start, tokens.stop
    while (space := (start < stop) & (tokens.text[start] == ord(" "))).any():
        start = start + space
    while (space := (start < stop) & (tokens.text[stop - 1] == ord(" "))).any():
        stop = stop - space
    return tokens._replace(start=start, stop=stop)


def _quotes_are_idle(data: bytes, delimiter: bytes) -> bool:
    """Whether every quote encloses a whole field without delimiter, line end or quote: then quotes say nothing."""
    text = np.frombuffer(b"\n" + data + b"\n", np.uint8)
    quote = np.flatnonzero(text == ord('"'))
    if quote.size % 2:
        return False
    first, last = quote[::2], quote[1::2]
    edges = np.flatnonzero(np.isin(text, list(delimiter + b"\r\n")))
    inside = np.searchsorted(edges, first) != np.searchsorted(edges, last)
    whole = np.isin(text[first - 1], list(delimiter + b"\n")) & np.isin(text[last + 1], list(delimiter + b"\r\n"))
    return bool((whole & ~inside & (last > first + 1)).all())


def _split_quoted(data: bytes, delimiter: bytes, wanted: list[int], source: str) -> list[Tokens]:
    rows, line = [], []
    text = io.StringIO(data.decode(), newline="")
    reader = csv.reader(text, delimiter=delimiter.decode(), strict=True, skipinitialspace=True)
    try:
        for row in reader:
            if len(row) > 1 or any(field.strip() for field in row):
                rows.append([field.strip() for field in row])
                line.append(reader.line_num)
                if len(row) != len(rows[0]):
                    _raise_ragged(len(rows[0]), len(row), source, reader.line_num)
    except csv.Error as error:
        raise DataError(f"wanted a table, got broken quotes: {error} ({source}, line {reader.line_num}).") from None
    return [tokens_of([row[column] for row in rows], np.array(line)) for column in wanted]


def _raise_ragged(wanted: int, came: int, source: str, line: int):
    raise DataError(f"wanted {wanted} fields as in the first line, got {came} ({source}, line {line}).")
