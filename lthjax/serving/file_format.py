"""The file of a ticket: an .npz archive without pickle, which any NumPy opens. It contains:

    header                          JSON as UTF-8 bytes: format, shapes, and all facts of the ticket
    user/..., item/...              the two tables, see `packing.pack_table`
    user_ids/..., item_ids/...      original ids, see `packing.pack_ids`
    item_counts/...                 training interactions of each item, likewise; not in format 1
    train/..., valid/...            seen items of each user, see `packing.pack_rows`; optional

Its last 64 bytes (the comment of the zip archive) are the SHA-256 of all bytes before them, in hexadecimal. They guard
against damage, not against intent: `read` takes uncompressed arrays as `packing` writes them only, and checks them all.

The tables are those whose inner products are the scores: for MF the trained tables, for LightGCN the propagated ones,
which are dense. Where the facts have "propagate", they are LightGCN's sparse layer-0 tables instead, to be propagated
over the training pairs when the file is loaded. Among items of equal score, those with more training interactions come
first; where a file does not tell, their number is taken from its training items, and is 0 where it has none.

Letters: M users, N items, F dimensions.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lthjax.data.id_lists import IdLists
from lthjax.errors import CheckpointError, DataError
from lthjax.runtime import files
from lthjax.runtime.environment import version
from lthjax.serving import packing
from lthjax.serving.packing import Layout, Values

FORMAT_VERSION = 2  # 1 has no item_counts
MOST_DIMENSIONS = 4096  # of a file, so that no few bytes take hours to propagate
_DIGEST_LENGTH = 64  # bytes
_LONGEST_HEADER = 2**22  # bytes
_IDS, _SEEN = ("user_ids", "item_ids", "item_counts"), ("train", "valid")
_PARTS = ("header", *("user", "item"), *_IDS, *_SEEN)
_ARRAY = re.compile(  # a member of the archive, as NumPy has written plain arrays since 2007
    rb"\x93NUMPY\x01\0..\{'descr': '([<>|](?:f[24]|[iu][1248]))', 'fortran_order': False, "
    rb"'shape': \((\d{1,15}(?:,|, \d{1,15}))\), \} *\n",
    re.DOTALL,
)


class Tables(NamedTuple):
    """One row per user, one row per item."""

    user: np.ndarray  # [M, F] float32
    item: np.ndarray  # [N, F] float32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What a file holds, unpacked."""

    tables: Tables  # final embeddings, or layer-0 ones where the facts have "propagate"
    user_ids: np.ndarray  # [M] original ids, int64 or str, ascending, each once
    item_ids: np.ndarray  # [N] likewise
    train: IdLists | None  # M rows of training items
    valid: IdLists | None  # M rows of validation items
    item_counts: np.ndarray | None = None  # [N] int64, training interactions of each item; None where not known
    # Anything that JSON holds: level, sparsity, metrics, settings, model, fingerprint, ...; with LightGCN's layer-0
    # tables also "propagate": {"layers": from 0 to 16, "combine": "mean" or "sum"}
    facts: dict[str, Any]


def write(path: str | Path, contents: Contents, *, values: Values = "float32", layout: Layout = "auto") -> None:
    """Write a file, whole or not at all.

    Args:
      path: of the file; missing folders are made.
      contents: tables, ids, seen items, facts.
      values: see `packing.pack_table`.
      layout: see `packing.pack_table`; "auto" takes the smallest for each table.

    Raises:
      DataError: contents that do not go together, or values that are not finite or too large for float16.
      SettingsError: no such layout or values.
      CheckpointError: the file cannot be written.
    """
    path = Path(path)
    check(contents)
    parts = {side: packing.pack_table(table, layout, values) for side, table in contents.tables._asdict().items()}
    parts |= {name: packing.pack_ids(ids) for name in _IDS if (ids := getattr(contents, name)) is not None}
    parts |= {name: packing.pack_rows(rows) for name in _SEEN if (rows := getattr(contents, name)) is not None}
    header = {
        "format": FORMAT_VERSION,
        "lthjax": version("lthjax"),
        "shapes": {side: table.shape for side, table in contents.tables._asdict().items()},
        "values": values,
        "facts": contents.facts,
    }
    arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    arrays |= {f"{part}/{name}": array for part, packed in parts.items() for name, array in packed.items()}
    with files.aside(path) as partial:
        with open(partial, "wb") as file:
            np.savez(file, **arrays)
        with zipfile.ZipFile(partial, "a") as archive:
            archive.comment = b"0" * _DIGEST_LENGTH  # a placeholder: the digest covers its length, which is before it
        with open(partial, "r+b") as file:
            digest, _ = _digests(file)
            file.seek(-_DIGEST_LENGTH, os.SEEK_END)
            file.write(digest)


def read(path: str | Path) -> tuple[Contents, dict[str, int]]:
    """What a file holds, and the bytes of the file and of its parts, as `serve` takes them.

    Raises:
      CheckpointError: there is none, it is damaged, cut short, altered, of a newer format, or not of lthjax.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: wanted the file of a compressed ticket; there is none.")
    try:
        with open(path, "rb") as file:
            digest, stored = _digests(file)
            if digest != stored:
                raise DataError("wanted a compressed ticket as written; this is none, or damaged (checksum differs).")
            header, parts = _parts(file)
        sizes = {part: packing.num_bytes(arrays) for part, arrays in parts.items()}
        return _contents(header, parts), sizes | {"file": path.stat().st_size}
    except DataError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:  # of some ten kinds, from zipfile and json, which do not document them
        first_line = "".join(str(error).splitlines()[:1])
        raise CheckpointError(f"{path}: cannot be read ({type(error).__name__}: {first_line}).") from error


def _parts(file: Any) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """The header, and part -> name -> array; all together are no larger than the file."""
    file_size = file.seek(0, os.SEEK_END)
    parts: dict[str, dict[str, np.ndarray]] = {part: {} for part in _PARTS}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        is_plain = all(m.compress_type == zipfile.ZIP_STORED and not m.flag_bits & 1 for m in members)  # 1: encrypted
        if not is_plain or sum(member.file_size for member in members) > file_size:
            raise DataError("wanted parts stored as they are; got some compressed, encrypted or larger than the file.")
        header = _header(_array(archive.read("header.npy")).tobytes())
        for member in members:
            part, _, name = member.filename.removesuffix(".npy").partition("/")
            if part not in parts:
                raise DataError(f"wanted the parts {', '.join(parts)}; got {part!r:.60}.")
            parts[part][name] = _array(archive.read(member))
    return header, parts


def _array(member: bytes) -> np.ndarray:
    """The array of a member. NumPy's own reader makes room for any shape that is claimed."""
    match = _ARRAY.match(member)
    if match is None:
        raise DataError("wanted plain arrays of one or two dimensions; got something else.")
    dtype = np.dtype(match[1].decode())
    shape = tuple(int(length) for length in match[2].split(b",") if length)
    if math.prod(shape) * dtype.itemsize != len(member) - match.end():
        raise DataError(f"wanted arrays as long as they say; got another length than {shape}.")
    array = np.frombuffer(member, dtype, offset=match.end()).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(text: bytes) -> dict[str, Any]:
    """The header, with what `_contents` takes from it."""
    header = json.loads(text) if len(text) <= _LONGEST_HEADER else None
    match header:
        case {"format": int(number)} if number > FORMAT_VERSION:
            raise DataError(f"written by a newer lthjax (format {number}); this one reads up to {FORMAT_VERSION}.")
        case {
            "format": int(number),
            "lthjax": str() | None,
            "shapes": {"user": [int(), int()], "item": [int(), int()]},
            "values": str(),
            "facts": dict(),
        } if number >= 1 and number is not True:
            return header
    raise DataError("wanted a header with format, lthjax, shapes, values and facts; got another.")


def _contents(header: dict[str, Any], parts: Mapping[str, dict[str, np.ndarray]]) -> Contents:
    """What `write` was given, checked."""
    tables = Tables(*(packing.unpack_table(parts[side], tuple(header["shapes"][side])) for side in Tables._fields))
    ids = {name: packing.unpack_ids(parts[name]) for name in _IDS if parts[name] or name != "item_counts"}
    num_items = len(ids["item_ids"])
    seen = {name: packing.unpack_rows(parts[name], num_items) if parts[name] else None for name in _SEEN}
    facts = header["facts"] | {"values": header["values"], "lthjax": header["lthjax"]}
    contents = Contents(tables=tables, **ids, **seen, facts=facts)
    check(contents)
    return contents


def _digests(file: Any) -> tuple[bytes, bytes]:
    """SHA-256 of all but the last bytes, and those last bytes, which should equal it."""
    remaining = file.seek(0, os.SEEK_END) - _DIGEST_LENGTH
    file.seek(0)
    digest = hashlib.sha256()
    while remaining > 0 and (chunk := file.read(min(remaining, 2**20))):
        digest.update(chunk)
        remaining -= len(chunk)
    stored = file.read()
    return digest.hexdigest().encode(), stored


def check(contents: Contents) -> None:
    """Check that tables, ids, seen items and facts go together.

    Raises:
      DataError: they do not.
    """
    user, item = contents.tables
    num_users, num_items = len(contents.user_ids), len(contents.item_ids)
    if user.ndim != 2 or user.shape[1:] != item.shape[1:] or not 1 <= user.shape[1] <= MOST_DIMENSIONS:
        raise DataError(f"wanted two tables of 1 to {MOST_DIMENSIONS:,} dimensions; got {user.shape} and {item.shape}.")
    if (len(user), len(item)) != (num_users, num_items):
        raise DataError(f"wanted {num_users:,} users and {num_items:,} items; got {len(user):,} and {len(item):,}.")
    for what, ids in (("user", contents.user_ids), ("item", contents.item_ids)):
        if not (ids[:-1] < ids[1:]).all():
            raise DataError(f"{what} ids: wanted them ascending, each once; got another order.")
    for name in _SEEN:
        seen = getattr(contents, name)
        if seen is not None and seen.num_rows != num_users:
            raise DataError(f"{name}: wanted {num_users:,} rows of items; got {seen.num_rows:,}.")
    counts = np.zeros(num_items, np.int64) if contents.item_counts is None else contents.item_counts
    if counts.shape != (num_items,) or counts.dtype.kind != "i" or not ((counts >= 0) & (counts < 2**31)).all():
        raise DataError(f"item_counts: wanted a number from 0 for each of {num_items:,} items; got others.")
    _check_facts(contents.facts, contents.train is not None)


def _check_facts(facts: dict[str, Any], has_train: bool) -> None:
    """Raise for facts that serving believes and that cannot be."""
    propagate, metrics = facts.get("propagate"), facts.get("metrics", {})
    if propagate is not None:
        choices = [{"layers": layers, "combine": combine} for layers in range(17) for combine in ("mean", "sum")]
        if propagate not in choices or type(propagate["layers"]) is not int:
            raise DataError(f"propagate: wanted layers from 0 to 16 and combine mean or sum; got {propagate!r:.60}.")
        if not has_train:
            raise DataError("propagate: wanted the training items; there are none.")
    numbers = [facts.get("level", 0), facts.get("sparsity", 0)]
    numbers += metrics.values() if isinstance(metrics, dict) else [None]
    if not all(isinstance(number, float) or (type(number) is int and abs(number) < 2**63) for number in numbers):
        raise DataError("wanted level, sparsity and metrics that are numbers; got others.")
