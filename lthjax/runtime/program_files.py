"""The files of kept programs: how much room they take, and whether each is still what was written.

JAX runs whatever it finds, and a damaged program can end the process at every start. So the digest of each program is
kept beside them, in `digests`, a line each, to which processes only append. A program without one is removed before JAX
looks, and compiled anew.
"""

import contextlib
import hashlib
import os
from pathlib import Path

_DIGESTS = "digests"
_UNSEEN = getattr(os, "O_NOATIME", 0)  # to check a program is not to use it
_known: set[str] = set()  # programs whose digests this process has found right or written


def names(folder: Path) -> set[str]:
    """File names of the programs in a folder."""
    return {entry.name for entry in os.scandir(folder) if entry.name.endswith("-cache") and not entry.is_dir()}


def remove_changed(folder: Path) -> None:
    """Remove the programs that have no digest; one that another process is writing just now may go with them."""
    _known.clear()
    programs, digests = names(folder), set()
    with contextlib.suppress(FileNotFoundError):
        digests.update((folder / _DIGESTS).read_text(encoding="ascii", errors="replace").split())
    for name in programs:
        try:
            is_whole = os.path.isfile(folder / name) and _digest(folder / name) in digests
        except OSError:
            is_whole = False
        if is_whole:
            _known.add(name)
        else:
            (folder / name).unlink(missing_ok=True)


def add_digests(folder: Path) -> None:
    """Write digests of the programs that are new. Where that fails, they are compiled anew at the next start."""
    with contextlib.suppress(OSError):
        if new := names(folder) - _known:
            lines = [_digest(folder / name) + "\n" for name in new]
            with open(folder / _DIGESTS, "a", encoding="ascii") as file:
                file.write("".join(lines))
            _known.update(new)


def remove(folder: Path, function: str) -> None:
    """Remove the programs of a function, whose name JAX puts before its key."""
    with contextlib.suppress(OSError):
        for name in names(folder):
            if name.startswith(f"{function}-"):
                _known.discard(name)
                (folder / name).unlink(missing_ok=True)


def make_room(root: Path, max_bytes: int) -> None:
    """Remove the least recently used files until the rest fits; other processes may do the same at the same time.

    JAX's own bound (`jax_compilation_cache_max_size`) needs the filelock package, takes a lock at every read and lists
    all entries at every write.
    """
    entries = []
    for folder, _, files in os.walk(root):
        for name in set(files) - {_DIGESTS}:
            path = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                entries.append((max(status.st_atime, status.st_mtime), status.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= max_bytes:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        total -= size


def _digest(path: Path) -> str:
    """Of name and content: a program in another's place is damage too."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | _UNSEEN)) as file:
        return hashlib.sha256(path.name.encode() + b"\n" + file.read()).hexdigest()
