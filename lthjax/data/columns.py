"""Which column of a table is what: delimiters, header lines, names of users, items and ratings."""

import re
from csv import QUOTE_MINIMAL, QUOTE_NONE
from csv import reader as csv_reader

import numpy as np

from lthjax.errors import DataError

USUAL = {  # header names in order of preference, compared in lower case without punctuation
    "user": ("user", "userid", "uid", "users", "reviewerid", "customerid", "visitorid"),
    "item": (
        "item",
        "itemid",
        "iid",
        "items",
        "movieid",
        "movie",
        "productid",
        "asin",
        "businessid",
        "videoid",
        "bookid",
        "songid",
        "trackid",
        "artistid",
        "newsid",
        "isbn",
    ),
    "rating": ("rating", "ratings", "score", "stars"),
}
_DELIMITERS = (b"\t", b"::", b";", b"|", b",", b" ")  # of two with as many fields, the first
_NUMBER = re.compile(r"[-+.\d]+(e[-+]?\d+)?", re.IGNORECASE)


def choose(header: list[str] | None, width: int, columns, rated: bool, source: str) -> list[int]:
    """Positions of user, item and, where known, rating.

    Raises:
      DataError: names that are not in the header, positions beyond the width, no rating where one is needed.
    """
    if columns is not None:
        names = _asked(columns)
        if len(names) not in (2, 3) or len(set(names)) != len(names):
            raise DataError(f"wanted columns as user,item[,rating], all different, got {columns!r} ({source}).")
        chosen = [_position(name, header, width, source) for name in names]
    elif header is None:
        chosen = [_position(str(j), None, width, source) for j in (0, 1)]
    else:
        found = {side: _find(header, side) for side in USUAL}
        for side in ("user", "item"):
            if found[side] is None:
                raise DataError(f"wanted a column of {side}s, got {header}: name them with columns ({source}, line 1).")
        chosen = [position for position in found.values() if position is not None]
    if rated and len(chosen) < 3:
        raise DataError(
            f"min_rating needs a rating column: pass columns as user,item,rating, got {columns} ({source})."
        )
    return chosen


def has_usual_names(header: list[str]) -> bool:
    """Whether a header names users and items in a usual way."""
    return _find(header, "user") is not None and _find(header, "item") is not None


def _asked(columns) -> list[str]:
    return [str(name).strip() for name in (columns.split(",") if isinstance(columns, str) else columns)]


def _position(name: str, header: list[str] | None, width: int, source: str) -> int:
    if header is not None and name in header:
        return header.index(name)
    if name.isdecimal() and int(name) < width:
        return int(name)
    raise DataError(f"wanted column {name!r}, got {header or f'{width} columns, counted from 0'} ({source}, line 1).")


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def is_usual(name: str, side: str) -> bool:
    """Whether a header's name is a usual one of the side user, item or rating."""
    return _plain(name) in USUAL[side]


def _find(header: list[str], side: str) -> int | None:
    plain = [_plain(name) for name in header]
    return next((plain.index(usual) for usual in USUAL[side] if usual in plain), None)


def header_of(rows: list[list[str]], columns=None) -> list[str] | None:
    """The first row if it is a header: it has a usual or an asked name, or text above numbers."""
    first = rows[0]
    if any(name in first and not name.isdecimal() for name in ([] if columns is None else _asked(columns))):
        return first
    if any(is_usual(name, side) for name in first for side in USUAL):
        return first
    numeric = np.array([[bool(_NUMBER.fullmatch(field)) for field in row] for row in rows if len(row) == len(first)])
    return first if len(numeric) > 1 and not numeric[0].any() and numeric[1:].all(axis=0).any() else None


def first_rows(content: bytes, delimiter: bytes, typed: bool = False) -> list[list[str]]:
    """The first rows that are not blank, at most 20."""
    lines = [line for line in content[:65536].decode(errors="ignore").split("\n") if line.strip()][:20]
    mark = delimiter.decode()
    if mark == " ":
        return [line.split() for line in lines]
    lines = [line.replace(mark, "\x1f") for line in lines]
    quoting = QUOTE_NONE if typed else QUOTE_MINIMAL
    return [
        [field.strip() for field in row]
        for row in csv_reader(lines, delimiter="\x1f", quoting=quoting, skipinitialspace=True)
    ]


def sniff(content: bytes) -> bytes | None:
    """The delimiter that splits the first lines into most fields, equally many in each."""
    lines = content[:65536].split(b"\n")[:20]
    lines = lines[:-1] if len(content) > 65536 and 1 < len(lines) < 20 else lines  # the last one may be cut
    lines = [re.sub(rb'"[^"]*"', b"", line).strip(b" \r") for line in lines]
    lines = [re.sub(rb" +", b" ", line) for line in lines if line]
    counts = {mark: {line.count(mark) for line in lines} for mark in _DELIMITERS}
    steady = [mark for mark in _DELIMITERS if len(counts[mark]) == 1 and 0 not in counts[mark]]
    return max(steady, key=lambda mark: max(counts[mark]), default=None)
