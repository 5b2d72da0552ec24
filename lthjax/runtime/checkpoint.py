"""All of Orbax: named NumPy arrays and a few facts, saved to the side and renamed, checked by a digest when loaded.

A checkpoint is a folder with `arrays/` (an Orbax PyTree checkpoint of a flat dict) and `facts.json`. It exists whole or
not at all: it is written under another name first. Arrays are saved as NumPy, so that a checkpoint made on a GPU loads
on a CPU without shardings.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lthjax.errors import CheckpointError

FORMAT_VERSION = 1


def save(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint.

    Args:
      path: the folder to make; must not exist.
      arrays: name -> array of any shape and dtype.
      facts: anything that JSON holds.

    Raises:
      CheckpointError: it cannot be written, because the disk is full or for another reason.
    """
    from orbax.checkpoint import v1 as ocp

    path = path.absolute()  # Orbax refuses relative paths
    partial = path.with_name(f".{path.name}.partial")
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    facts = json.loads(json.dumps(dict(facts)))  # as they will be read
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _check_space(partial, sum(array.nbytes for array in arrays.values()))
        ocp.save(partial / "arrays", {name: array for name, array in arrays.items() if array.size})
        record = {
            "format": FORMAT_VERSION,
            "digest": _digest(arrays, facts),
            "empty": {n: [a.dtype.str, a.shape] for n, a in arrays.items() if not a.size},  # Orbax refuses these
            "facts": facts,
        }
        with open(partial / "facts.json", "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.rename(partial, path)
    except Exception as error:  # Orbax raises whatever its storage layer raised
        shutil.rmtree(partial, ignore_errors=True)
        raise CheckpointError(f"cannot write {path}: {_first_line(error)}.") from error


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a checkpoint: (arrays, facts).

    Raises:
      CheckpointError: there is none, it is of a newer format, or it was truncated or altered.
    """
    from orbax.checkpoint import v1 as ocp

    path = path.absolute()
    if not path.is_dir():
        raise CheckpointError(f"{path}: wanted the folder of a checkpoint; there is none.")
    try:
        record = json.loads((path / "facts.json").read_text(encoding="utf-8"))
        version, digest, facts = record["format"], record["digest"], record["facts"]
        empty = {name: np.zeros(shape, dtype) for name, (dtype, shape) in record["empty"].items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: facts.json is missing or damaged ({_first_line(error)}).") from error
    if version > FORMAT_VERSION:
        raise CheckpointError(f"{path}: written by a newer lthjax (format {version}); this one reads {FORMAT_VERSION}.")
    try:
        arrays = {name: np.asarray(array) for name, array in ocp.load(path / "arrays").items()}
    except Exception as error:  # whatever the storage layer raises on damaged files
        raise CheckpointError(f"{path}: the arrays are damaged ({_first_line(error)}).") from error
    arrays |= empty
    if _digest(arrays, facts) != digest:
        raise CheckpointError(f"{path}: what is there is not what was written (its digest differs).")
    return arrays, facts


def named_leaves(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """Leaves of a pytree under readable names, such as "train/params/user"."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {_name(prefix, path): np.asarray(jax.random.key_data(x) if _is_key(x) else x) for path, x in paths}


def restore_leaves(template: Any, arrays: Mapping[str, np.ndarray], prefix: str = "") -> Any:
    """The pytree with the structure of `template` and leaves from `named_leaves`.

    Args:
      template: with leaves of the wanted shapes and dtypes; NumPy leaves stay NumPy.
      arrays: name -> leaf.
      prefix: of the names, as in `named_leaves`.

    Raises:
      CheckpointError: a leaf is missing or has another shape or dtype than the template's.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(template)
    leaves = []
    for path, like in paths:
        name = _name(prefix, path)
        wanted, saved = jax.random.key_data(like) if _is_key(like) else like, arrays.get(name)
        if saved is None or saved.shape != wanted.shape or saved.dtype != wanted.dtype:
            shape = "nothing" if saved is None else f"{saved.dtype}{list(saved.shape)}"
            raise CheckpointError(f"saved {name}: wanted {wanted.dtype}{list(wanted.shape)}; got {shape}.")
        if _is_key(like):
            leaves.append(jax.random.wrap_key_data(saved, impl=jax.random.key_impl(like)))
        else:
            leaves.append(saved if isinstance(wanted, np.ndarray) else jax.numpy.asarray(saved))
    return structure.unflatten(leaves)


def _is_key(leaf: Any) -> bool:
    """Typed random keys (some optimizers hold one) are saved as integers."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _name(prefix: str, path: tuple) -> str:
    return prefix + jax.tree_util.keystr(path, simple=True, separator="/")


def _digest(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def _check_space(folder: Path, num_bytes: int) -> None:
    """Before writing: on a full disk Orbax fails in several threads, each with a traceback of its own."""
    free = shutil.disk_usage(folder).free
    if free < num_bytes + 2**20:
        wanted = f"wanted {num_bytes / 2**20:.1f} MiB and 1 to spare; {free / 2**20:.1f} MiB are free"
        raise OSError(errno.ENOSPC, f"No space left on device: {wanted}")


def _first_line(error: BaseException) -> str:
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).strip()
    return text.splitlines()[0][:300].rstrip(".") if text else type(error).__name__
