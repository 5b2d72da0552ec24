"""Checkpoints: named arrays and a few facts, written to the side, read back, and only then renamed.

A checkpoint is a folder with `arrays/` (`array_files`) and `facts.json`, which holds a digest of both. It exists whole
or not at all, and what is loaded is what was saved.

Arrays are NumPy's; or JAX's, cut along their first axis over the devices of one process or of several, of which each
writes, reads back and digests its own part. They load under any other cut of whole pieces, or as NumPy.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lthjax.errors import CheckpointError
from lthjax.runtime import array_files, files, forks, processes

FORMAT_VERSION = 2  # with arrays that are cut; 1 without
PIECES = 256  # of equal length, that an array which is cut has at least: each has a digest of its own
HOST_MEMORY = "pinned_host"  # of the process that a device belongs to


def save(path: Path, arrays: Mapping[str, np.ndarray | jax.Array], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint; of several processes all must call it, with the same arrays and facts.

    Args:
      path: the folder to make; must not exist.
      arrays: name -> array of any shape and dtype. Those of `cut_arrays` are written by all processes, the others by
        the first.
      facts: anything that JSON holds.

    Raises:
      CheckpointError: it cannot be written, because the disk is full or for another reason, or not be read again.
    """
    partial = files.partial_of(path)
    cut = cut_arrays(arrays)
    arrays = {name: array if name in cut else np.asarray(array) for name, array in arrays.items()}
    facts = json.loads(json.dumps(dict(facts)))  # as they will be read
    check_free(path)

    def begin() -> None:
        files.remove(partial)  # of a killed process
        partial.mkdir(parents=True)
        _check_space(partial, sum(array.nbytes for array in arrays.values()))

    try:
        processes.by_first(begin)
        array_files.write(partial / "arrays", {name: array for name, array in arrays.items() if array.size})
        record = {
            "format": 2 if cut else 1,
            "digest": _digest(arrays, facts),
            "empty": {n: [a.dtype.str, a.shape] for n, a in arrays.items() if not a.size},  # Orbax refuses these
            **({"cut": sorted(cut)} if cut else {}),
            "facts": facts,
        }
        text = json.dumps(record, indent=1)
        processes.by_first(lambda: files.write_text(partial / "facts.json", text))
        sharding = next(iter(cut.values())).sharding.with_memory_kind(HOST_MEMORY) if cut else None
        load(partial, sharding)  # what cannot be read again does not count
        processes.by_first(lambda: os.rename(partial, path))
    except Exception as error:  # Orbax raises whatever its storage layer raised
        raise CheckpointError(f"cannot write {path}: {files.one_line(error)}.") from error
    finally:
        if processes.is_first():
            files.remove(partial)


def cut_arrays(arrays: Mapping[str, np.ndarray | jax.Array]) -> dict[str, jax.Array]:
    """Those that are cut along their first axis: JAX's with a sharding over a mesh, that names an axis of it."""
    return {
        name: array
        for name, array in arrays.items()
        if isinstance(array, jax.Array)
        and isinstance(array.sharding, jax.sharding.NamedSharding)
        and array.sharding.spec
        and array.sharding.spec[0] is not None
    }


def check_free(path: Path) -> None:
    """Raise CheckpointError where something is in the way of `save`: to look before long work that saves at its end."""
    try:
        files.check_kind(path)
        files.check_kind(files.partial_of(path), "a folder", "a file", "a link")  # these are removed
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {files.one_line(error)}.") from error


def load(
    path: Path, sharding: jax.sharding.Sharding | None = None
) -> tuple[dict[str, np.ndarray | jax.Array], dict[str, Any]]:
    """Read a checkpoint: (arrays, facts); of several processes all must call it.

    Args:
      path: its folder.
      sharding: of the arrays that were cut, if there are any; None for NumPy arrays.

    Raises:
      CheckpointError: there is none, it is of a newer format, or it was truncated or altered.
      ForkError: JAX would hang in this process.
    """
    forks.check()
    if not path.is_dir():
        raise CheckpointError(f"{path}: wanted the folder of a checkpoint; there is none.")
    record = files.read_json(path / "facts.json")
    version = record.get("format")
    if type(version) is int and version > FORMAT_VERSION:
        raise CheckpointError(f"{path}: written by a newer lthjax; this one reads formats up to {FORMAT_VERSION}.")
    try:
        if type(version) is not int or version < 1:
            raise ValueError(f"wanted format 1 to {FORMAT_VERSION}; got {version!r:.20}")
        digest, facts = record["digest"], dict(record["facts"])
        empty = {name: _empty(dtype, shape) for name, (dtype, shape) in record["empty"].items()}
        cut = [str(name) for name in record.get("cut", [])]
    except Exception as error:  # JSON has many shapes
        raise CheckpointError(f"{path / 'facts.json'} is missing or damaged ({files.one_line(error)}).") from error
    try:
        arrays = array_files.read(path / "arrays", cut, sharding) | empty
        is_same = _digest(arrays, facts, cut) == digest
    except Exception as error:  # whatever the storage layer raises on damaged files
        raise CheckpointError(f"{path}: the arrays are damaged ({files.one_line(error)}).") from error
    if not is_same:
        raise CheckpointError(f"{path}: what is there is not what was written (its digest differs).")
    return arrays, facts


def named_leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves of a pytree under readable names, such as "train/params/user": as NumPy, but for those of other kinds."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {_name(prefix, path): _as_numpy(leaf) for path, leaf in paths}


def _as_numpy(leaf: Any) -> Any:
    if _is_key(leaf):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf) if isinstance(leaf, jax.Array | np.generic) else leaf


def restore_leaves(template: Any, arrays: Mapping[str, Any], prefix: str = "") -> Any:
    """The pytree with the structure of `template` and leaves from `named_leaves`.

    Args:
      template: with leaves of the wanted shapes and dtypes; JAX's become JAX's, others stay as they were saved.
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
            leaves.append(jax.numpy.asarray(saved) if isinstance(wanted, jax.Array) else saved)
    return structure.unflatten(leaves)


def _is_key(leaf: Any) -> bool:
    """Typed random keys (some optimizers hold one) are saved as integers."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _name(prefix: str, path: tuple) -> str:
    return prefix + jax.tree_util.keystr(path, simple=True, separator="/")


def _digest(
    arrays: Mapping[str, np.ndarray | jax.Array], facts: Mapping[str, Any], cut: Collection[str] | None = None
) -> str:
    """Of names, shapes, contents and facts; of an array that is cut by pieces, as no process need have it whole.

    Args:
      arrays: all of them.
      facts: likewise.
      cut: which were cut when they were saved; by default those that are.
    """
    cut = cut_arrays(arrays) if cut is None else cut
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name] if name in cut else np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        if name in cut:
            digest.update(_of_pieces(array))
        else:
            digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def _of_pieces(array: np.ndarray | jax.Array) -> bytes:
    """The digests of all pieces; those of an array that is cut are found where they lie, and exchanged."""
    digests, length = np.zeros((PIECES, 32), np.uint8), len(array) // PIECES
    if isinstance(array, np.ndarray):
        parts = [(0, array)]
    else:
        parts = [(shard.index[0].start or 0, shard.data) for shard in array.addressable_shards]
    for first, part in parts:
        for number, piece in enumerate(np.ascontiguousarray(part).reshape(-1, length, *array.shape[1:])):
            digests[first // length + number] = np.frombuffer(hashlib.sha256(piece.data).digest(), np.uint8)
    if isinstance(array, jax.Array):
        digests = np.asarray(processes.most(digests.ravel()), np.uint8)
    return digests.tobytes()


def _empty(dtype: str, shape: list[int]) -> np.ndarray:
    if 0 not in shape:
        raise ValueError(f"wanted the shape of an empty array; got {shape!r:.40}")
    return np.zeros(shape, dtype)


def _check_space(folder: Path, num_bytes: int) -> None:
    """Before writing: on a full disk Orbax fails in several threads, each with a traceback of its own."""
    free = shutil.disk_usage(folder).free
    if free < num_bytes + 2**20:
        wanted = f"wanted {num_bytes / 2**20:.1f} MiB and 1 to spare; {free / 2**20:.1f} MiB are free"
        raise OSError(errno.ENOSPC, f"No space left on device: {wanted}")
