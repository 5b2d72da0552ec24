"""The file of a ticket: an .npz archive without pickle, which any NumPy opens. It contains:

    header                          JSON as UTF-8 bytes: format, shapes, and all facts of the ticket
    user/..., item/...              the two tables, see `packing.pack_table`
    user_ids/..., item_ids/...      original ids, see `packing.pack_ids`
    train/..., valid/...            seen items of each user, see `packing.pack_rows`; optional

Its last 64 bytes (the comment of the zip archive) are the SHA-256 of all bytes before them, in hexadecimal.

The tables are those whose inner products are the scores: for MF the trained tables, for LightGCN the propagated ones,
which are dense. Where the facts have "propagate", they are LightGCN's sparse layer-0 tables instead, to be propagated
over the training pairs when the file is loaded.

Letters: M users, N items, F dimensions.
"""

import dataclasses
import hashlib
import json
import os
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

FORMAT_VERSION = 1
_DIGEST_LENGTH = 64  # bytes


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
    # Anything that JSON holds: level, sparsity, metrics, settings, model, fingerprint, ...; with LightGCN's layer-0
    # tables also "propagate": {"layers": number of layers, "combine": "mean" or "sum"}.
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
    check_shapes(contents)
    parts = {side: packing.pack_table(table, layout, values) for side, table in contents.tables._asdict().items()}
    parts |= {"user_ids": packing.pack_ids(contents.user_ids), "item_ids": packing.pack_ids(contents.item_ids)}
    for name in ("train", "valid"):
        rows = getattr(contents, name)
        parts |= {} if rows is None else {name: packing.pack_rows(rows)}
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
      CheckpointError: there is none, it is damaged, truncated or altered, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: wanted the file of a compressed ticket; there is none.")
    try:
        with open(path, "rb") as file:
            digest, stored = _digests(file)
            if digest != stored:
                raise CheckpointError(
                    f"{path}: wanted a compressed ticket as it was written; this is none, or it was damaged, "
                    "cut short or altered (its checksum differs)."
                )
            with np.load(file, allow_pickle=False) as archive:
                header = json.loads(archive["header"].tobytes())
                if header["format"] > FORMAT_VERSION:
                    raise CheckpointError(
                        f"{path}: written by a newer lthjax (format {header['format']}); "
                        f"this one reads format {FORMAT_VERSION}."
                    )
                arrays = {name: archive[name] for name in archive.files}
        return _contents(header, arrays), _bytes_of(path, arrays)
    except CheckpointError:
        raise
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        first_line = "".join(str(error).splitlines()[:1])
        raise CheckpointError(f"{path}: cannot be read ({type(error).__name__}: {first_line}).") from error


def _contents(header: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> Contents:
    def part(name: str) -> dict[str, np.ndarray]:
        prefix = f"{name}/"
        return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}

    tables = (packing.unpack_table(part(side), tuple(header["shapes"][side])) for side in Tables._fields)
    seen = {name: packing.unpack_rows(part(name)) if part(name) else None for name in ("train", "valid")}
    return Contents(
        tables=Tables(*tables),
        user_ids=packing.unpack_ids(part("user_ids")),
        item_ids=packing.unpack_ids(part("item_ids")),
        **seen,
        facts=header["facts"] | {"values": header["values"], "lthjax": header["lthjax"]},
    )


def _bytes_of(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    sizes = dict.fromkeys(("header", "user", "item", "user_ids", "item_ids", "train", "valid"), 0)
    for name, array in arrays.items():
        sizes[name.partition("/")[0]] += array.nbytes
    return sizes | {"file": path.stat().st_size}


def _digests(file: Any) -> tuple[bytes, bytes]:
    """SHA-256 of all but the last bytes, and those last bytes, which should equal it."""
    remaining = file.seek(0, os.SEEK_END) - _DIGEST_LENGTH
    file.seek(0)
    digest = hashlib.sha256()
    while remaining > 0 and (chunk := file.read(min(remaining, 2**20))):
        digest.update(chunk)
        remaining -= len(chunk)
    stored = file.read()
    file.seek(0)
    return digest.hexdigest().encode(), stored


def check_shapes(contents: Contents) -> None:
    """Check that tables, ids and seen items go together.

    Raises:
      DataError: they do not.
    """
    (user, item), (num_users, num_items) = contents.tables, (len(contents.user_ids), len(contents.item_ids))
    if user.ndim != 2 or item.ndim != 2 or user.shape[1] != item.shape[1]:
        raise DataError(f"wanted two tables with as many dimensions; got {user.shape} and {item.shape}.")
    if (len(user), len(item)) != (num_users, num_items):
        raise DataError(
            f"wanted a row for each of {num_users:,} users and {num_items:,} items; "
            f"got {len(user):,} and {len(item):,}."
        )
    for what, ids in (("user", contents.user_ids), ("item", contents.item_ids)):
        if not (ids[:-1] < ids[1:]).all():
            raise DataError(f"{what} ids: wanted them ascending, each once; got another order.")
    for name in ("train", "valid"):
        rows = getattr(contents, name)
        if rows is not None and len(rows.starts) != num_users + 1:
            raise DataError(f"{name}: wanted {num_users:,} rows of items; got {len(rows.starts) - 1:,}.")
