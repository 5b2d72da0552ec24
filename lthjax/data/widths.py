"""How many fields the lines of a text have, counted by NumPy: a hundred times as quick as to split them.

Letters: L lines.
"""

import io
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

_AT_ONCE = 1 << 23  # bytes of lines that are counted at once
_NEWLINE = ord("\n")
_BLANKS = np.isin(np.arange(256), list(b" \t\v\f\x1c\x1d\x1e\x1f"))  # what str.split() takes for blanks in ASCII


def all_have(content: bytes, mark: str, width: int) -> bool:
    """Whether every line of a text without quotes that is not empty has `width` fields; False also where it is unsure.

    Args:
      content: UTF-8 with newlines at line ends.
      mark: between fields; a blank stands for any run of blanks and tabs.
      width: 2 or more.
    """
    if mark == " " and not content.isascii():
        return False
    for piece in pieces(io.BytesIO(content)):
        counts = words(piece) if mark == " " else _marks(piece, mark.encode())
        counts = counts[_are_not_empty(piece)]
        if (counts != width).any():
            return False
    return True


def differ(content: bytes) -> bool:
    """Whether lines of an ASCII text that are not empty have differing numbers of words, between blanks or commas."""
    widths = set()
    for piece in pieces(io.BytesIO(content)):
        widths |= set(np.unique(words(piece.replace(b",", b" "))).tolist())
        if len(widths - {0}) > 1:
            return True
    return False


def pieces(file: BinaryIO, at_once: int = _AT_ONCE) -> Iterator[bytes]:
    """A text in pieces of whole lines, each of which ends with a newline.

    Args:
      file: UTF-8 with newlines at line ends.
      at_once: bytes of a piece, up to the end of a line.
    """
    while piece := file.read(at_once) + file.readline():
        yield piece if piece.endswith(b"\n") else piece + b"\n"


def _ends(piece: bytes) -> np.ndarray:
    """[L] where lines end."""
    return np.flatnonzero(np.frombuffer(piece, np.uint8) == _NEWLINE)


def _are_not_empty(piece: bytes) -> np.ndarray:
    """[L] bool."""
    return np.diff(_ends(piece), prepend=-1) > 1


def _marks(piece: bytes, mark: bytes) -> np.ndarray:
    """[L] fields between marks, and 1 where there is none."""
    if len(mark) > 1:
        piece, mark = piece.replace(mark, b"\x1f"), b"\x1f"
    octets = np.frombuffer(piece, np.uint8)
    return np.diff(np.searchsorted(np.flatnonzero(octets == mark[0]), _ends(piece)), prepend=0) + 1


def words(piece: bytes) -> np.ndarray:
    """[L] runs of bytes that are no blanks."""
    octets = np.frombuffer(piece, np.uint8)
    is_gap = _BLANKS[octets] | (octets == _NEWLINE)
    begins = np.flatnonzero(~is_gap & np.append(True, is_gap[:-1]))
    return np.diff(np.searchsorted(begins, _ends(piece)), prepend=0)
