"""A ticket as a safetensors file, for other libraries: named tensors, and text about them in its header.

    user, item                            [M, F], [N, F] tables, as they are ...
    user.indptr, user.indices, user.data  ... or where that is smaller in CSR parts, as SciPy names them; item likewise
    user_ids, item_ids                    int64 original ids; of text ids row n is the UTF-8 of user_ids.text from
    user_ids.text, user_ids.offsets       user_ids.offsets[n] to user_ids.offsets[n + 1]
    item_counts                           int64, training interactions of each item
    train.indptr, train.indices           CSR parts of training items of each user, and
    valid.indptr, valid.indices           of validation items; not where the file was written without seen items

The header says of each tensor what it is ("tensors", as JSON) and has the facts of the ticket, "sha256" of all tensors,
and "scores": what makes a score of them. Needs the package safetensors.

Letters: M users, N items, F dimensions.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from lthjax.data.id_lists import IdLists
from lthjax.errors import CheckpointError, DataError, SettingsError
from lthjax.runtime import files
from lthjax.runtime.environment import version
from lthjax.serving import optional
from lthjax.serving.file_format import Contents, check

_LAYOUTS, _VALUES = ("auto", "dense", "csr"), {"float32": np.float32, "float16": np.float16}
_FACTS = ("level", "best_epoch", "verdict", "store", "final_sparsity", "data")  # as text; absent ones are left out


def write(path: str | Path, contents: Contents, *, values: str = "float32", layout: str = "auto") -> None:
    """Write a file, whole or not at all, and read it back before it takes its place.

    Args:
      path: of the file; missing folders are made.
      contents: tables, ids, seen items, facts.
      values: "float32", or "float16", rounded.
      layout: of the tables: "dense", "csr", or for each the smaller ("auto").

    Raises:
      DataError: contents that do not go together, or values that are not finite or too large for float16.
      SettingsError: no such layout or values, or safetensors is not installed.
      CheckpointError: the file cannot be written, or what was read back is not what was written.
    """
    save_file = optional.package("safetensors.numpy", "safetensors").save_file
    tensors, told = tensors_of(contents, values, layout)
    metadata = _metadata(contents, values, tensors, told)
    with files.aside(path) as partial:
        save_file(tensors, partial, metadata)
        _compare(path, partial, tensors, metadata)


def tensors_of(
    contents: Contents, values: str = "float32", layout: str = "auto"
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The tensors by name, and what each is; arguments and errors as `write`."""
    for name, choice, known in (("values", values, tuple(_VALUES)), ("layout", layout, _LAYOUTS)):
        if choice not in known:
            raise SettingsError(f"{name}: wanted {' or '.join(known)} in safetensors; got {choice!r}.")
    check(contents)
    what = "layer-0" if contents.facts.get("propagate") else "final"
    tensors, told = {}, {}
    for side, table in contents.tables._asdict().items():
        parts = _table(side, np.asarray(table, np.float32), values, layout)
        tensors |= parts
        told |= {name: f"{what} {side} embeddings, {_PARTS[name.removeprefix(side)]}" for name in parts}
    for side in ("user", "item"):
        parts = _ids(f"{side}_ids", getattr(contents, f"{side}_ids"))
        tensors |= parts
        told |= {name: f"original {side} ids, {_PARTS[name.removeprefix(f'{side}_ids')]}" for name in parts}
    if contents.item_counts is not None:
        tensors["item_counts"] = contents.item_counts.astype(np.int64)
        told["item_counts"] = "training interactions of each item"
    for part in ("train", "valid"):
        if (rows := getattr(contents, part)) is not None:
            parts = _rows(part, rows)
            tensors |= parts
            told |= {name: f"{part} items of each user, {_PARTS[name.removeprefix(part)]}" for name in parts}
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, told


_PARTS = {
    "": "one row each",
    ".indptr": "CSR: where each row begins",
    ".indices": "CSR: columns",
    ".data": "CSR: values",
    ".text": "UTF-8 one after the other",
    ".offsets": "where each begins in the text",
}


def _table(side: str, table: np.ndarray, values: str, layout: str) -> dict[str, np.ndarray]:
    if not np.isfinite(table).all():
        raise DataError(f"{side} embeddings: wanted finite values; got some that are not.")
    if values == "float16" and np.abs(table).max(initial=0) > np.finfo(np.float16).max:
        raise DataError(f"values float16: wanted none above 65,504; got {np.abs(table).max():,.0f}. Take float32.")
    stored = sparse.csr_array(table)
    # Two integers of one dtype, as torch.sparse_csr_tensor wants them.
    index = np.int32 if max(stored.nnz, *table.shape) < 2**31 else np.int64
    dense = {side: table.astype(_VALUES[values])}
    csr = {
        f"{side}.indptr": stored.indptr.astype(index),
        f"{side}.indices": stored.indices.astype(index),
        f"{side}.data": stored.data.astype(_VALUES[values]),
    }
    if layout != "auto":
        return dense if layout == "dense" else csr
    return min(dense, csr, key=lambda parts: sum(part.nbytes for part in parts.values()))


def _ids(name: str, ids: np.ndarray) -> dict[str, np.ndarray]:
    if ids.dtype.kind != "U":
        return {name: ids.astype(np.int64)}
    words = [word.encode() for word in ids.tolist()]
    offsets = np.cumsum([0, *(len(word) for word in words)], dtype=np.int64)
    return {f"{name}.text": np.frombuffer(b"".join(words), np.uint8), f"{name}.offsets": offsets}


def _rows(name: str, rows: IdLists) -> dict[str, np.ndarray]:
    index = np.int32 if len(rows.ids) < 2**31 else np.int64
    return {f"{name}.indptr": np.asarray(rows.starts, index), f"{name}.indices": np.asarray(rows.ids, index)}


def _metadata(
    contents: Contents, values: str, tensors: Mapping[str, np.ndarray], told: Mapping[str, str]
) -> dict[str, str]:
    """Text by name, as the format has it."""
    facts, propagate = contents.facts, contents.facts.get("propagate")
    settings = facts.get("settings", {})
    about = {name: str(facts[name]) for name in _FACTS if facts.get(name) is not None}
    about |= {name: str(settings[name]) for name in ("layers", "combine") if facts.get("model") == "lightgcn"}
    scores = "inner products <user, item>"
    if propagate:
        scores += f" of tables after LightGCN's propagation over train: {json.dumps(propagate)}"
    return about | {
        "lthjax": str(version("lthjax")),
        "model": str(facts.get("model")),
        "num_users": str(len(contents.user_ids)),
        "num_items": str(len(contents.item_ids)),
        "dim": str(contents.tables.user.shape[1]),
        "sparsity": str(facts.get("sparsity")),
        "values": values,
        "data_fingerprint": str(facts.get("fingerprint")),
        "metrics": json.dumps(facts.get("metrics", {})),
        "settings": json.dumps(settings),
        "scores": scores,
        "tensors": json.dumps(told),
        "sha256": digest(tensors),
    }


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256, in hexadecimal, of the bytes of all tensors in the order of their names."""
    sha256 = hashlib.sha256()
    for name in sorted(tensors):
        sha256.update(np.ascontiguousarray(tensors[name]).tobytes())
    return sha256.hexdigest()


def _compare(path: Any, partial: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Raise where the file does not hold what was to be written, to the bit."""
    safe_open = optional.package("safetensors", "safetensors").safe_open
    with safe_open(partial, framework="numpy") as file:
        is_same = file.metadata() == metadata and set(file.keys()) == set(tensors)
        for name, tensor in tensors.items() if is_same else ():
            back = file.get_tensor(name)
            is_same &= (back.dtype, back.shape, back.tobytes()) == (tensor.dtype, tensor.shape, tensor.tobytes())
    if not is_same:
        raise CheckpointError(f"{path}: wanted the file to hold what was written; read back something else.")
