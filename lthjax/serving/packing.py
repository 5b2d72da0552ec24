"""Tables, id sets and ids as a few small arrays, and back: the parts of the file of a ticket. NumPy only.

Unpacking takes any arrays: those that packing does not give are a ValueError. What is unpacked has at most 1,024 times
their bytes, or 256 MiB.

Letters: R rows, F dimensions, S entries that are not +0, E ids in all rows together.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np

from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists
from lthjax.errors import DataError, SettingsError

Layout = Literal["auto", "dense", "bitmap", "csr"]
Values = Literal["float32", "float16", "int8"]
Arrays = dict[str, np.ndarray]

_BYTES_PER_BYTE, _BYTES_AT_LEAST = 2**10, 2**28  # that unpacking may need, of each byte and in all
_LARGEST_SCALE = np.float32(2.67e36)  # 127 times as much is finite


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
    for what, choice, wanted in (("layout", layout, get_args(Layout)), ("values", values, get_args(Values))):
        if choice not in wanted:
            raise SettingsError(f"{what}: wanted {', '.join(wanted[:-1])} or {wanted[-1]}; got {choice!r}.")
    table = np.ascontiguousarray(table, np.float32)
    if not np.isfinite(table).all():
        raise DataError("wanted a table of finite values; got some that are not.")
    kept = table.view(np.uint32) != 0  # -0 is kept: what comes back has the same bits
    coded, scales = _encode(table, values)
    layouts = ("dense", "bitmap", "csr") if layout == "auto" else (layout,)
    packed = min((_lay_out(coded, kept, name) for name in layouts), key=num_bytes) | scales
    _check_size(table.nbytes, packed)
    return packed


def unpack_table(arrays: Mapping[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """[R, F] float32, the inverse of `pack_table`."""
    num_rows, num_dimensions = shape
    layout = arrays.keys() - {"values", "scales"}
    _check("values" in arrays and 0 <= num_rows < 2**40 and 0 <= num_dimensions < 2**40, "a shape, and values")
    values, scales = arrays["values"], arrays.get("scales")
    _check(values.dtype in ((np.float32, np.float16) if scales is None else (np.int8,)), "values of a table")
    _check_size(4 * num_rows * num_dimensions, arrays)
    if layout == {"bits"}:
        bits = arrays["bits"]
        _check(bits.dtype == np.uint8 and bits.shape == (num_rows, -(-num_dimensions // 8)), "a bit per entry")
        positions = np.flatnonzero(np.unpackbits(bits, axis=1, count=num_dimensions))
    elif layout == {"columns", "lengths"}:
        lengths, columns = _sets(arrays["lengths"], arrays["columns"], num_dimensions)
        _check(len(lengths) == num_rows, "a length per row")
        positions = np.repeat(np.arange(num_rows), lengths) * num_dimensions + columns
    else:
        _check(not layout and values.shape == shape, "all values of a table")
        positions, values = slice(None), values.ravel()
    _check(not layout or values.shape == positions.shape, "a value per entry")
    table = np.zeros(num_rows * num_dimensions, np.float32)
    table[positions] = values
    table = table.reshape(shape)
    if scales is not None:
        _check(scales.dtype == np.float32 and scales.shape == (num_rows,), "a scale per row")
        with np.errstate(over="ignore", invalid="ignore"):
            table *= scales[:, None]
    _check(np.isfinite(table).all(), "finite values")
    return table


def pack_rows(rows: IdLists) -> Arrays:
    """The arrays of id sets: lengths and ids in the smallest integers that hold them."""
    return {"lengths": _smallest(np.diff(rows.starts)), "ids": _smallest(rows.ids)}


def unpack_rows(arrays: Mapping[str, np.ndarray], num_ids: int) -> IdLists:
    """The inverse of `pack_rows`, of ids below `num_ids`."""
    _check(arrays.keys() == {"lengths", "ids"}, "lengths and ids")
    return id_lists.from_lengths(*_sets(arrays["lengths"], arrays["ids"], num_ids))


def pack_ids(ids: np.ndarray) -> Arrays:
    """The arrays of original ids: integers in the smallest dtype that holds them, text as UTF-8 with its lengths."""
    if ids.dtype.kind != "U":
        return {"numbers": _smallest(ids)}
    words = [word.encode() for word in ids.tolist()]
    lengths = np.array([len(word) for word in words], np.int64)
    packed = {"text": np.frombuffer(b"".join(words), np.uint8), "lengths": _smallest(lengths)}
    _check_size(4 * len(words) * int(lengths.max(initial=0)), packed)
    return packed


def unpack_ids(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The inverse of `pack_ids`: int64 or str."""
    if arrays.keys() == {"numbers"}:
        return _integers(arrays["numbers"])
    _check(arrays.keys() == {"text", "lengths"} and arrays["text"].dtype == np.uint8, "numbers, or text and lengths")
    text, lengths = arrays["text"].tobytes(), _lengths(arrays["lengths"], arrays["text"].size)
    _check_size(4 * len(lengths) * int(lengths.max(initial=0)), arrays)
    stops = np.cumsum(lengths).tolist()
    return np.array([text[a:b].decode() for a, b in zip([0, *stops], stops, strict=False)], str)


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
    scales = np.minimum(np.abs(table).max(axis=1, initial=0) / np.float32(127), _LARGEST_SCALE)
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


def _integers(array: np.ndarray) -> np.ndarray:
    """[R] int64, the inverse of `_smallest`; negative numbers may come wider, as early versions wrote them."""
    _check(array.ndim == 1 and array.dtype.kind in "iu", "integers")
    numbers = array.astype(np.int64)
    is_wide = array.dtype.kind == "i" and numbers.min(initial=0) < 0
    _check(is_wide or array.dtype == _smallest(numbers).dtype, "integers in the smallest dtype that holds them")
    return numbers


def _lengths(array: np.ndarray, total: int) -> np.ndarray:
    """[R] int64, from 0, which add up to `total`."""
    lengths = _integers(array)
    is_bounded = lengths.min(initial=0) >= 0 and lengths.max(initial=0) <= total  # so that the sum cannot overflow
    _check(is_bounded and lengths.sum() == total, "lengths that add up")
    return lengths


def _sets(lengths: np.ndarray, ids: np.ndarray, num_ids: int) -> tuple[np.ndarray, np.ndarray]:
    """([R] lengths, [E] ids) int64 of rows of ascending ids, from 0 to below `num_ids`."""
    lengths, ids = _lengths(lengths, ids.size), _integers(ids)
    _check(ids.min(initial=0) >= 0 and ids.max(initial=-1) < num_ids, f"numbers from 0 to below {num_ids}")
    is_new_row = np.diff(np.repeat(np.arange(len(lengths)), lengths)) > 0
    _check((is_new_row | (np.diff(ids) > 0)).all(), "numbers that ascend within a row")
    return lengths, ids


def _check_size(unpacked: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise where a file's few bytes would fill the memory."""
    most = max(_BYTES_AT_LEAST, _BYTES_PER_BYTE * num_bytes(arrays))
    _check(unpacked <= most, f"at most {_BYTES_PER_BYTE:,} bytes of each byte of a file")


def _check(condition: bool, wanted: str) -> None:
    if not condition:
        raise DataError(f"wanted {wanted}, as lthjax packs them; got others.")
