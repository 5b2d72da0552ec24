"""Words of a column -> original ids in ascending order, and the number of each row's id.

Letters: E rows, W different words of a column, M ids.
"""

import itertools
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from lthjax.errors import DataError

LONGEST = 255  # bytes; ids are held in arrays of one width
MISSING = frozenset(("", "NA", "N/A", "NULL", "null", "None", "nan", "NaN", "<NA>", r"\N"))
_INTEGER = re.compile(r"0|-?[1-9]\d{0,18}")  # in the one form that gives its text back
_WHOLE_FLOAT = re.compile(r"(-?\d{1,15})\.0+")
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d+)?|inf)")


class Column(NamedTuple):
    """Which of its words, or ids, stands in each row."""

    codes: np.ndarray  # [E] int32, -1 where there is none
    words: np.ndarray  # [W] str, as objects; ids are [M] int64 or str, ascending

    def at(self, keep: np.ndarray) -> "Column":
        """The rows at a mask [E], and their words alone."""
        codes = self.codes[keep]
        occurs = np.bincount(codes, minlength=self.words.size) > 0
        return Column((np.cumsum(occurs, dtype=np.int32) - 1)[codes], self.words[occurs])

    def map(self, value: Callable) -> np.ndarray:
        """[E] the value of each row's word; of the empty one where there is none."""
        return np.array([value(word) for word in self.words] + [value("")])[self.codes]


def columns(blocks: Iterable, number: int, source: str) -> list[Column]:
    """The columns of pandas DataFrames, one below the other: every word is kept once.

    Args:
      blocks: the frames.
      number: of their columns.
      source: for errors.

    Raises:
      DataError: a cell that holds a list.
    """
    import pandas as pd

    codes, words = [[] for _ in range(number)], [{} for _ in range(number)]
    for block in blocks:
        for position, seen in enumerate(words):
            try:
                block_codes, uniques = pd.factorize(block.iloc[:, position])
            except (TypeError, NotImplementedError):  # pandas' and Arrow's
                raise DataError(f"wanted one id in a cell, got a list: write a row for each ({source}).") from None
            known = [seen.setdefault(str(word), len(seen)) for word in uniques]
            codes[position].append(np.array([*known, -1], np.int32)[block_codes])
    return [Column(np.concatenate(part), np.array(list(seen), object)) for part, seen in zip(codes, words, strict=True)]


def is_missing(word: str) -> bool:
    """Whether a word stands for no id."""
    return word.strip(" \t-") in MISSING


def to_float(word: str) -> float:
    """A number, NaN if it is none; a decimal comma is a point."""
    try:
        return float(word.replace(",", ".") if word.count(",") == 1 and "." not in word else word)
    except ValueError:
        return np.nan


def canonical(word: str) -> str:
    """A word without the blanks around it; `1.0` is `1`, up to what a float holds exactly."""
    word = word.strip()
    match = _WHOLE_FLOAT.fullmatch(word) if "." in word else None
    return match[1] if match else word


def join(tables, side: str) -> Column:
    """The ids of all tables together: int64 if all are integers, else str.

    Raises:
      DataError: an id that is a fraction, a list, of several lines, or longer than LONGEST.
    """
    parts = [getattr(table, side) for table in tables]
    words = [canonical(word) for part in parts for word in part.words]
    for wanted, bad in _faults(words, side[:-1]):
        raise DataError(f"wanted {wanted}, got {bad[:60]!r} ({_where(tables, side, bad)}).")
    whole = all(_INTEGER.fullmatch(word) and -(2**63) <= int(word) < 2**63 for word in words)
    keys = [int(word) for word in words] if whole else words
    order = sorted(range(len(keys)), key=keys.__getitem__)  # of text, in half the time and memory of NumPy's
    ids = np.array([keys[index] for index in order], np.int64 if whole else np.str_)
    is_new = np.append(True, ids[1:] != ids[:-1])
    numbers = np.empty(len(keys), np.int32)
    numbers[order] = np.cumsum(is_new) - 1
    starts = itertools.accumulate((part.words.size for part in parts), initial=0)
    codes = np.concatenate([part.codes + start for part, start in zip(parts, starts, strict=False)])
    return Column(numbers[codes], ids if is_new.all() else ids[is_new])


def _faults(words: list[str], side: str) -> Iterable[tuple[str, str]]:
    """What was wanted, and the word that came."""
    for word in words:
        if len(word) > LONGEST // 4 and len(word.encode()) > LONGEST:
            yield f"{side} ids of at most {LONGEST} bytes", word
        if "\n" in word:
            yield f"{side} ids on one line, no line end within quotes", word
    lists = [word for word in words if not word.isalnum() and _is_list(word)]
    if len(lists) > 0.1 * len(words):  # now and then a title is two numbers
        yield f"one {side} id in a cell, no list: write a row for each interaction", lists[0]
    if all(map(_NUMBER.fullmatch, words)):
        yield from ((f"whole numbers as {side} ids", word) for word in words if re.search(r"[.eEi]", word))


def _is_list(word: str) -> bool:
    pieces = re.split(r"[\s,;|]+", word)
    return word[:1] + word[-1:] == "[]" or (len(pieces) > 1 and all(re.search(r"\d", piece) for piece in pieces))


def _where(tables, side: str, word: str) -> str:
    for table in tables:
        is_it = getattr(table, side).map(lambda other: canonical(other) == word)
        for row in np.flatnonzero(is_it)[:1]:
            return table.where(row)
    return tables[0].source
