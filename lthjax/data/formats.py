"""What a file is: its bytes, unpacked, and the format that they fit.

Formats: adjacency, pairs, inter, csv; what each looks like is said in `reading`.
"""

import gzip
import re
import zlib

import numpy as np

from lthjax.data import columns as cols
from lthjax.data import tokens as tk
from lthjax.errors import DataError

FORMATS = ("auto", "adjacency", "pairs", "inter", "csv")


NPY = b"\x93NUMPY"


def read_bytes(path) -> bytes:
    """The content of a file, unpacked if it is gzip, checked to be UTF-8 text unless it is .npy.

    Raises:
      DataError: missing, unreadable, truncated, empty or binary.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"wanted a readable file, got {error.strerror or error} ({path}).") from None
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"wanted a whole gzip file, got a truncated or damaged one: {error} ({path}).") from None
    if not content.strip():
        raise DataError(f"wanted interactions, got an empty file ({path}).")
    is_npy = content.startswith(NPY)
    if not is_npy and _extension(str(path)) == "npy":
        raise DataError(f"wanted a NumPy array, got no .npy header ({path}).")
    return content if is_npy else tk.clean(content, str(path))


def fitting(source: str, content: bytes, columns=None) -> tuple[str, ...]:
    """The formats that a file fits, best first; more than one only where they cannot be told apart.

    A file of two tokens a line is the same set as adjacency lists and as pairs.
    """
    extension = _extension(source)
    if extension == "npy" or content.startswith(NPY):
        return ("pairs",)
    first_line = content.lstrip().split(b"\n", 1)[0]
    if extension == "inter" or re.search(rb":(token|float)(_seq)?\b", first_line):
        return ("inter",)
    if extension in ("csv", "tsv") or columns is not None:
        return ("csv",)
    delimiter = cols.sniff(content)
    if delimiter not in (None, b"\t", b" "):
        rows = cols.first_rows(content, delimiter)
        if any(" " in field.strip() for field in rows[0][:2]):
            return ("csv", "adjacency", "pairs")
        return ("pairs",) if delimiter == b"," and len(rows[0]) <= 3 and not cols.header_of(rows) else ("csv",)
    if delimiter is not None:
        rows = cols.first_rows(content, delimiter)
        if cols.has_usual_names(rows[0]) or (delimiter == b"\t" and len(rows[0]) > 2 and b" " in content[:65536]):
            return ("csv",)
    words = tk.split_tokens(content)
    head, count = words.lines()
    users = tk.to_ids(words.at(head), source, "user")
    repeats = 1 - np.unique(users).size / users.size
    return _fitting_shape(words, head, count, repeats, tabbed=delimiter == b"\t")


def agree(sources: list[str], fits: list[tuple[str, ...]]) -> str:
    """The one format that all files fit.

    Raises:
      DataError: no format fits all, or two do and differ.
    """
    common = [format for format in fits[0] if all(format in other for other in fits[1:])]
    if not common:
        listed = "; ".join(f"{source}: {' or '.join(fit)}" for source, fit in zip(sources, fits, strict=True))
        raise DataError(f"wanted one format for all parts, got {listed}; pass --format to choose.")
    if len(common) > 1 and any(len(fit) > 1 and fit != _SAME for fit in fits):
        flags = " or ".join(f"--format {format}" for format in common)
        raise DataError(
            f"wanted one reading, got a file that fits {' and '.join(common)}: pass {flags} ({sources[0]})."
        )
    return common[0]


_SAME = ("pairs", "adjacency")  # in this order: either gives the same interactions


_EITHER = ("adjacency", "pairs")  # in this order: they differ


def _fitting_shape(words: tk.Tokens, head, count, repeats: float, tabbed: bool) -> tuple[str, ...]:
    """Formats by the shape of a whitespace file; `repeats` is the share of lines whose first token came before."""
    low, high = count.min(), count.max()
    if low == high == 2:
        return _SAME
    if low == high > 3 and repeats > 0.5:  # lists have mostly distinct users, logs like MovieLens' u.data do not
        return ("csv",) if tabbed else ("adjacency", "csv")
    if low == 1 or high > 3:
        return ("adjacency",)
    third = words.at(head[count == 3] + 2)
    if tk.numbers_or_none(third) is None:
        return ("adjacency",)
    if tk.to_ids(third, "", "item").dtype.kind != "i":  # 3.5 or 1e-3: a weight
        return ("pairs",)
    return ("pairs",) if low == high and repeats > 0 else _EITHER


def _extension(source: str) -> str:
    return source.removesuffix(".gz").rpartition(".")[2].lower()
