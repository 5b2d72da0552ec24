"""A ticket as one small file that serves: recommendations and neighbours with NumPy and SciPy, without JAX.

The file is an .npz archive without pickle; any NumPy opens it. In it, with F dimensions:

    header                          JSON as UTF-8 bytes: format, shapes, and all facts of the ticket
    user/..., item/...              the two tables, see `packing.pack_table`
    user_ids/..., item_ids/...      original ids, see `packing.pack_ids`
    train/..., valid/...            seen items of each user, see `packing.pack_rows`; optional

Its last 64 bytes (the comment of the zip archive) are the SHA-256 of all before, in hexadecimal.

The tables are what scores are made of: of MF the trained tables, of LightGCN the propagated ones, which are dense.
Where the fact "propagate" stands, they are LightGCN's sparse layer-0 tables instead, and are propagated over the
training pairs when the file is loaded.

Letters: M users, N items, F dimensions, B ids asked for, K places.
"""

import dataclasses
import hashlib
import html
import importlib.metadata
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy import sparse

from lthjax import files, packing, propagation, recommend
from lthjax.errors import CheckpointError, DataError, SettingsError
from lthjax.packing import IdRows, Layout, Values
from lthjax.recommend import Ranked, Scoring

FORMAT_VERSION = 1
_DIGEST_LENGTH = 64


class Tables(NamedTuple):
    """One row a user, one row an item."""

    user: np.ndarray  # [M, F] float32
    item: np.ndarray  # [N, F] float32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Contents:
    """What a file holds, unpacked.

    Attributes:
      tables: final embeddings, or layer-0 ones where the facts have "propagate".
      user_ids: [M] original ids, int64 or str, ascending.
      item_ids: [N] likewise.
      train: M rows of training items, or None.
      valid: M rows of validation items, or None.
      facts: anything that JSON holds: level, sparsity, metrics, settings, model, fingerprint, ...; "propagate":
        {"layers": K, "combine": "mean" or "sum"} for LightGCN's layer-0 tables.
    """

    tables: Tables
    user_ids: np.ndarray
    item_ids: np.ndarray
    train: IdRows | None
    valid: IdRows | None
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CompressedTicket:
    """A ticket that serves. From `load_compressed`, or in memory from `serve`.

    Attributes:
      facts: level, sparsity, metrics, settings, model, fingerprint, ...; all of the ticket as it was trained, in
        float32, whatever the file's values are.
      user: [M, F] final embeddings, a NumPy array, or CSR where scoring is sparse.
      item: [N, F], a NumPy array, or CSC where scoring is sparse.
      user_ids: [M] original ids, int64 or str.
      item_ids: [N] likewise.
      seen: M rows of training and validation items, or None where the file has none.
      scoring: how scores are made.
      file_bytes: bytes of the file and of its parts; empty of a ticket that comes from none.
    """

    facts: dict[str, Any]
    user: Any
    item: Any
    user_ids: np.ndarray
    item_ids: np.ndarray
    seen: IdRows | None
    scoring: Literal["dense", "sparse"]
    file_bytes: dict[str, int] = dataclasses.field(default_factory=dict)

    def embeddings(self) -> Tables:
        """Final embeddings as dense float32 arrays."""
        return Tables(*(x.toarray() if sparse.issparse(x) else x for x in (self.user, self.item)))

    def recommend(self, user_ids: Any, k: int = 20, exclude_seen: bool = True, items: Any = None) -> Ranked:
        """The best items for some users.

        Args:
          user_ids: [B] original ids, or one.
          k: places.
          exclude_seen: leave out what the user has in the training and validation part.
          items: original ids of the only items to rank; None ranks all.

        Returns:
          Users, their items and scores; of equal scores the item with the lower row comes first.

        Raises:
          DataError: ids that are not known, or seen items wanted from a file without them.
        """
        if exclude_seen and self.seen is None:
            raise DataError("exclude_seen: wanted seen items; this ticket was exported without. False ranks all.")
        rows = recommend.rows_of(user_ids, self.user_ids, "user")
        best = recommend.recommend(
            self.user,
            self.item,
            rows,
            k,
            seen=self.seen if exclude_seen else None,
            candidates=None if items is None else recommend.rows_of(items, self.item_ids, "item"),
            scoring=self.scoring,
        )
        return recommend.named(best, self.user_ids[rows], self.item_ids)

    def similar_items(self, item_ids: Any, k: int = 20) -> Ranked:
        """The items with the highest cosine to some items ([B] original ids, or one), themselves left out.

        Raises:
          DataError: ids that are not known.
        """
        return self._similar(self.item, item_ids, self.item_ids, k, "item")

    def similar_users(self, user_ids: Any, k: int = 20) -> Ranked:
        """The users with the highest cosine to some users ([B] original ids, or one), themselves left out.

        Raises:
          DataError: ids that are not known.
        """
        return self._similar(self.user, user_ids, self.user_ids, k, "user")

    def _similar(self, table: Any, ids: Any, known: np.ndarray, k: int, what: str) -> Ranked:
        rows = recommend.rows_of(ids, known, what)
        return recommend.named(recommend.similar(table, rows, k, scoring=self.scoring), known[rows], known)

    def sizes(self) -> dict[str, float]:
        """Bytes: "dense" of both tables as dense float32, "memory" of all arrays held here. Of a file also "file", the
        whole; "tables", "ids", "seen", "header", its parts; "per_user" and "per_item", of a row of each table on
        average; "of_dense", tables / dense.
        """
        num_users, num_items, dim = len(self.user_ids), len(self.item_ids), self.user.shape[1]
        held = [*_arrays_of(self.user), *_arrays_of(self.item), self.user_ids, self.item_ids, *(self.seen or ())]
        found: dict[str, float] = {
            "dense": (num_users + num_items) * dim * 4,
            "memory": sum(array.nbytes for array in held),
        }
        if self.file_bytes:
            parts = self.file_bytes
            found |= {
                "file": parts["file"],
                "tables": parts["user"] + parts["item"],
                "ids": parts["user_ids"] + parts["item_ids"],
                "seen": parts["train"] + parts["valid"],
                "header": parts["header"],
                "per_user": parts["user"] / num_users,
                "per_item": parts["item"] / num_items,
                "of_dense": (parts["user"] + parts["item"]) / ((num_users + num_items) * dim * 4),
            }
        return found

    def __repr__(self) -> str:
        """One line that says what it is."""
        return f"CompressedTicket({'; '.join(f'{name} {value}' for name, value in self._summary().items())})"

    def _repr_html_(self) -> str:
        """The same as a table, for notebooks."""
        lines = (
            f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
            for name, value in self._summary().items()
        )
        return f"<table><caption>CompressedTicket</caption>{''.join(lines)}</table>"

    def _summary(self) -> dict[str, str]:
        facts, sizes = self.facts, self.sizes()
        found = {}
        if "level" in facts:
            found["level"] = f"{facts['level']}, {facts['sparsity']:.1%} pruned"
        for name in ("recall@20", "ndcg@20"):
            if name in facts.get("metrics", {}):
                found[name] = f"{facts['metrics'][name]:.4f}"
        found["shape"] = f"{len(self.user_ids):,} users, {len(self.item_ids):,} items, {self.user.shape[1]} dimensions"
        if "file" in sizes:
            found["tables"] = f"{_in_words(sizes['tables'])}, {sizes['of_dense']:.0%} of dense float32"
            found["file"] = _in_words(sizes["file"])
        found["scoring"] = self.scoring
        return found


def serve(
    contents: Contents, *, scoring: Scoring = "auto", file_bytes: Mapping[str, int] | None = None
) -> CompressedTicket:
    """A ticket that serves what a file holds, or would hold.

    Args:
      contents: tables, ids, seen items, facts.
      scoring: "sparse" keeps sparse tables in memory and multiplies what they store; "dense" is quicker but for very
        sparse ones; "auto" takes the quicker (`recommend.choose`).
      file_bytes: of the parts of the file that it comes from.

    Raises:
      DataError: tables, ids and seen items that do not go together, or a graph is wanted and there is none.
    """
    tables, facts = contents.tables, contents.facts
    _check_shapes(contents)
    if spread := facts.get("propagate"):
        if contents.train is None:
            raise DataError("propagate: wanted the training items; there are none.")
        tables = Tables(*propagation.lightgcn(*tables, contents.train.pairs(), spread["layers"], spread["combine"]))
    if scoring not in get_args(Scoring):
        raise SettingsError(f"scoring: wanted {', '.join(get_args(Scoring))}; got {scoring!r}.")
    if scoring == "auto":
        scoring = recommend.choose(*tables)
    if scoring == "sparse":
        tables = Tables(sparse.csr_array(tables.user), sparse.csc_array(tables.item))
    there = [rows.pairs() for rows in (contents.train, contents.valid) if rows is not None]
    return CompressedTicket(
        facts=facts,
        user=tables.user,
        item=tables.item,
        user_ids=contents.user_ids,
        item_ids=contents.item_ids,
        seen=packing.rows_from_pairs(np.concatenate(there), len(contents.user_ids)) if there else None,
        scoring=scoring,
        file_bytes=dict(file_bytes or {}),
    )


def write(path: str | Path, contents: Contents, *, values: Values = "float32", layout: Layout = "auto") -> None:
    """Write a file, to the side first, then renamed.

    Args:
      path: of the file; folders above it are made.
      contents: tables, ids, seen items, facts.
      values: how values are written, see `packing.pack_table`.
      layout: where the zeros are; "auto" takes for each table what is smallest.

    Raises:
      DataError: contents that do not go together, or values that are not finite.
      CheckpointError: the file cannot be written.
    """
    path = Path(path)
    _check_shapes(contents)
    parts = {side: packing.pack_table(table, layout, values) for side, table in contents.tables._asdict().items()}
    parts |= {"user_ids": packing.pack_ids(contents.user_ids), "item_ids": packing.pack_ids(contents.item_ids)}
    for name in ("train", "valid"):
        rows = getattr(contents, name)
        parts |= {} if rows is None else {name: packing.pack_rows(rows)}
    header = {
        "format": FORMAT_VERSION,
        "lthjax": _version(),
        "shapes": {side: table.shape for side, table in contents.tables._asdict().items()},
        "values": values,
        "facts": contents.facts,
    }
    arrays = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    arrays |= {f"{part}/{name}": array for part, those in parts.items() for name, array in those.items()}
    with files.aside(path) as partial:
        with open(partial, "wb") as file:
            np.savez(file, **arrays)
        with zipfile.ZipFile(partial, "a") as archive:
            archive.comment = b"0" * _DIGEST_LENGTH  # its place; the length stands before it, and so is in the digest
        with open(partial, "r+b") as file:
            digest, _ = _digests(file)
            file.seek(-_DIGEST_LENGTH, os.SEEK_END)
            file.write(digest)


def read(path: str | Path) -> tuple[Contents, dict[str, int]]:
    """What a file holds, and the bytes of the whole and of its parts, as `serve` takes them.

    Raises:
      CheckpointError: there is none, it is damaged, cut short or altered, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: wanted the file of a compressed ticket; there is none.")
    try:
        with open(path, "rb") as file:
            wanted, came = _digests(file)
            if wanted != came:
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
        said = str(error).splitlines()[:1]
        raise CheckpointError(f"{path}: cannot be read ({type(error).__name__}: {''.join(said)}).") from error


def load_compressed(path: str | Path, *, scoring: Scoring = "auto") -> CompressedTicket:
    """The ticket of a file, ready to serve; needs NumPy and SciPy, and no JAX.

    Args:
      path: of a file that `export` wrote.
      scoring: as in `serve`.

    Raises:
      CheckpointError: there is none, it is damaged, cut short or altered, or of a newer format.
    """
    contents, file_bytes = read(path)
    return serve(contents, scoring=scoring, file_bytes=file_bytes)


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
    found = {name: 0 for name in ("header", "user", "item", "user_ids", "item_ids", "train", "valid")}
    for name, array in arrays.items():
        found[name.partition("/")[0]] += array.nbytes
    return found | {"file": path.stat().st_size}


def _digests(file: Any) -> tuple[bytes, bytes]:
    """SHA-256 of all but the last bytes, and what stands in those."""
    left = file.seek(0, os.SEEK_END) - _DIGEST_LENGTH
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0 and (chunk := file.read(min(left, 2**20))):
        digest.update(chunk)
        left -= len(chunk)
    written = file.read()
    file.seek(0)
    return digest.hexdigest().encode(), written


def _check_shapes(contents: Contents) -> None:
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


def _arrays_of(table: Any) -> tuple[np.ndarray, ...]:
    return (table.data, table.indices, table.indptr) if sparse.issparse(table) else (table,)


def _in_words(num_bytes: float) -> str:
    return f"{num_bytes / 2**20:.2f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:.1f} KiB"


def _version() -> str | None:
    try:
        return importlib.metadata.version("lthjax")
    except importlib.metadata.PackageNotFoundError:
        return None
