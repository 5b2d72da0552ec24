"""A ticket as one .npz that SciPy opens: users and items stacked in one sparse matrix, and the ids beside it.

    matrix = scipy.sparse.load_npz("ticket.npz")   # CSR [M + N, F]: the first M rows are users, then come items
    with np.load("ticket.npz") as file:            # without pickle
        user_ids, item_ids = file["user_ids"], file["item_ids"]
    user, item = matrix[: len(user_ids)], matrix[len(user_ids) :]
    scores = user[[0]] @ item.T

More arrays lie in the same archive, where `load_npz` leaves them alone: `item_counts` [N], training interactions;
`train_indptr`, `train_indices`, and so for `valid`, CSR parts of seen items [M, N]; `about`, the facts as
JSON in bytes.

Letters: M users, N items, F dimensions.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from lthjax.errors import CheckpointError, DataError, SettingsError
from lthjax.runtime import files
from lthjax.runtime.environment import version
from lthjax.serving.file_format import Contents, check


def write(path: str | Path, contents: Contents, *, values: str = "float32", layout: str = "auto") -> None:
    """Write a file, whole or not at all, and read it back before it takes its place.

    Args:
      path: of the file; missing folders are made.
      contents: tables, ids, seen items, facts.
      values: "float32": SciPy does not compute with other ones.
      layout: "csr", or "auto", which is the same.

    Raises:
      DataError: contents that do not go together, or values that are not finite.
      SettingsError: other values or another layout.
      CheckpointError: the file cannot be written, or what was read back is not what was written.
    """
    if values != "float32":
        raise SettingsError(f"values: wanted float32 in SciPy's file; got {values!r}.")
    if layout not in ("auto", "csr"):
        raise SettingsError(f"layout: wanted auto or csr in SciPy's file; got {layout!r}.")
    check(contents)
    table = np.concatenate(contents.tables, dtype=np.float32)
    if not np.isfinite(table).all():
        raise DataError("wanted tables of finite values; got some that are not.")
    matrix, beside = sparse.csr_array(table), _beside(contents)
    with files.aside(path) as partial:
        with open(partial, "wb") as file:
            sparse.save_npz(file, matrix)
        with zipfile.ZipFile(partial, "a", zipfile.ZIP_DEFLATED) as archive:
            for name, array in beside.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
        _compare(path, partial, matrix, beside)


def _beside(contents: Contents) -> dict[str, np.ndarray]:
    """What is no matrix, by name."""
    about = contents.facts | {"lthjax": version("lthjax")}
    arrays = {"user_ids": contents.user_ids, "item_ids": contents.item_ids}
    if contents.item_counts is not None:
        arrays["item_counts"] = contents.item_counts
    for part in ("train", "valid"):
        if (rows := getattr(contents, part)) is not None:
            arrays |= {f"{part}_indptr": rows.starts, f"{part}_indices": rows.ids}
    return arrays | {"about": np.frombuffer(json.dumps(about).encode(), np.uint8)}


def _compare(path: Any, partial: Path, matrix: sparse.csr_array, beside: Mapping[str, np.ndarray]) -> None:
    """Raise where the file does not hold what was to be written, to the bit."""
    with open(partial, "rb") as file:
        back = sparse.load_npz(file)
    is_same = back.format == "csr" and back.shape == matrix.shape
    pairs = [(getattr(back, name), getattr(matrix, name)) for name in ("data", "indices", "indptr")]
    with np.load(partial, allow_pickle=False) as archive:
        pairs += [(archive[name], array) for name, array in beside.items()]
    for read, wanted in pairs:
        is_same &= read.dtype == wanted.dtype and read.shape == wanted.shape and read.tobytes() == wanted.tobytes()
    if not is_same:
        raise CheckpointError(f"{path}: wanted the file to hold what was written; read back something else.")
