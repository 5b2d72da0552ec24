"""Tables, id sets and ids as a few small arrays, and back: the parts of the file of a ticket. NumPy only.

Letters: R rows, F dimensions, S entries that are not +0.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists
from lthjax.errors import DataError, SettingsError

Layout = Literal["auto", "dense", "bitmap", "csr"]
Values = Literal["float32", "float16", "int8"]
Arrays = dict[str, np.ndarray]


def pack_table(table: np.ndarray, layout: Layout = "auto", values: Values = "float32") -> Arrays:
    """The arrays of a table.

    Layouts, besides the values of the S entries: "bitmap" has R ceil(F / 8) bytes, one bit per entry; "csr" a column
    per value and a length per row, one byte each up to 255 dimensions; "dense" has all R F values. "auto" takes the
    smallest. Values of "float32" come back to the bit, "float16" rounded; "int8" are multiples of the largest absolute
    value of their row / 127, which is stored once per row, and so off by at most half of that.

    Args:
      table: [R, F] float32, finite.
      layout: how the positions of the zeros are stored.
      values: how the other entries are stored.

    Raises:
      DataError: a value is not finite, or too large for float16.
      SettingsError: no such layout or values.
    """
    if layout not in ("auto", "dense", "bitmap", "csr"):
        raise SettingsError(f"layout: wanted auto, dense, bitmap or csr; got {layout!r}.")
    if values not in ("float32", "float16", "int8"):
        raise SettingsError(f"values: wanted float32, float16 or int8; got {values!r}.")
    table = np.ascontiguousarray(table, np.float32)
    if not np.isfinite(table).all():
        raise DataError("wanted a table of finite values; got some that are not.")
    kept = table.view(np.uint32) != 0  # -0 is kept: what comes back has the same bits
    coded, scales = _encode(table, values)
    layouts = ("dense", "bitmap", "csr") if layout == "auto" else (layout,)
    return min((_lay_out(coded, kept, name) for name in layouts), key=num_bytes) | scales


def unpack_table(arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """[R, F] float32, the inverse of `pack_table`."""
    values = arrays["values"]
    if "bits" in arrays:
        positions = np.flatnonzero(np.unpackbits(arrays["bits"], axis=1, count=shape[1]))
    elif "columns" in arrays:
        rows = np.repeat(np.arange(shape[0]), arrays["lengths"])
        positions = rows * shape[1] + arrays["columns"]
    else:
        positions = slice(None)
    table = np.zeros(shape[0] * shape[1], np.float32)
    table[positions] = values.ravel()
    table = table.reshape(shape)
    return table * arrays["scales"][:, None] if "scales" in arrays else table


def pack_rows(rows: IdLists) -> Arrays:
    """The arrays of id sets: lengths and ids in the smallest integers that hold them."""
    return {"lengths": _smallest(np.diff(rows.starts)), "ids": _smallest(rows.ids)}


def unpack_rows(arrays: Mapping[str, np.ndarray]) -> IdLists:
    """The inverse of `pack_rows`."""
    return id_lists.from_lengths(arrays["lengths"], arrays["ids"])


def pack_ids(ids: np.ndarray) -> Arrays:
    """The arrays of original ids: integers in the smallest dtype that holds them, text as UTF-8 with its lengths."""
    if ids.dtype.kind != "U":
        return {"numbers": _smallest(ids)}
    words = [word.encode() for word in ids.tolist()]
    text = np.frombuffer(b"".join(words), np.uint8)
    return {"text": text, "lengths": _smallest(np.array([len(word) for word in words], np.int64))}


def unpack_ids(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The inverse of `pack_ids`: int64 or str."""
    if "numbers" in arrays:
        return arrays["numbers"].astype(np.int64)
    text, stops = arrays["text"].tobytes(), np.cumsum(arrays["lengths"], dtype=np.int64).tolist()
    starts = [0, *stops[:-1]]
    return np.array([text[a:b].decode() for a, b in zip(starts, stops, strict=True)], str)


def num_bytes(arrays: Mapping[str, np.ndarray]) -> int:
    """Bytes of all arrays together."""
    return sum(array.nbytes for array in arrays.values())


def _encode(table: np.ndarray, values: Values) -> tuple[np.ndarray, Arrays]:
    """The table in the dtype of its values, and the scales of "int8"."""
    if values == "float32":
        return table, {}
    if values == "float16":
        if np.abs(table).max(initial=0) > np.finfo(np.float16).max:
            raise DataError(f"values float16: wanted none above 65,504; got {np.abs(table).max():,.0f}. Take float32.")
        return table.astype(np.float16), {}
    scales = np.abs(table).max(axis=1, initial=0) / np.float32(127)
    safe = np.where(scales > 0, scales, 1)[:, None]  # a scale is 0 for rows of zeros or of denormal numbers
    return np.clip(np.rint(table / safe), -127, 127).astype(np.int8), {"scales": scales}


def _lay_out(coded: np.ndarray, kept: np.ndarray, layout: Layout) -> Arrays:
    if layout == "dense":
        return {"values": coded}
    if layout == "bitmap":
        return {"bits": np.packbits(kept, axis=1), "values": coded[kept]}
    rows, columns = np.nonzero(kept)
    lengths = np.bincount(rows, minlength=len(kept))
    return {"lengths": _smallest(lengths), "columns": _smallest(columns), "values": coded[kept]}


def _smallest(numbers: np.ndarray) -> np.ndarray:
    """Integers in the smallest dtype that holds them all."""
    if not numbers.size:
        return numbers.astype(np.uint8)
    least, most = int(numbers.min()), int(numbers.max())
    if least >= 0:
        return numbers.astype(np.min_scalar_type(most))
    return numbers.astype(np.min_scalar_type(min(least, -most - 1)))  # signed, wide enough for both
