r"""All of Orbax: named arrays in a folder, as NumPy, so that those of a GPU load on a CPU; or cut over devices.

An array that is cut is written by all processes, each its own part, and is read under any other cut, or as NumPy.

Orbax has four habits that callers are spared: it reads `[`, `]`, `*`, `?` and `\` of a path as patterns, and then
loses arrays silently; its threads print what they raise, many times over; of several processes none may read or
write by itself; and it refuses empty arrays, which callers must keep otherwise.
"""

import contextlib
import functools
import logging
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import jax
import numpy as np

from lthjax.runtime import processes, streams


def write(folder: Path, arrays: Mapping[str, np.ndarray | jax.Array]) -> None:
    """Write arrays into a folder that is made for them; raises whatever the storage layer raises.

    Of several processes all must call it, with the same NumPy arrays, which the first writes.

    Args:
      folder: its parent exists.
      arrays: name -> array of any dtype and any shape but an empty one; JAX's are cut over devices.
    """
    with _plain(folder.parent) as parent, _quiet():
        _orbax().save(parent / folder.name, dict(arrays))


def read(
    folder: Path, cut: Collection[str] = (), sharding: jax.sharding.Sharding | None = None
) -> dict[str, np.ndarray | jax.Array]:
    """The arrays that were written into a folder; raises whatever the storage layer raises on damaged files.

    Of several processes all must call it, and each reads them.

    Args:
      folder: that they are in.
      cut: which of them were written as JAX's.
      sharding: where these lie from now on; None for NumPy arrays.
    """
    with _plain(folder.parent) as parent, _quiet():
        path = parent / folder.name
        if not cut:
            return {name: np.asarray(array) for name, array in _orbax().load(path).items()}
        wanted = {
            name: jax.ShapeDtypeStruct(saved.shape, saved.dtype, sharding=sharding)
            if sharding is not None and name in cut
            else np.broadcast_to(np.zeros((), saved.dtype), saved.shape)  # of this kind, and of no size
            for name, saved in _orbax().metadata(path).metadata.items()
        }
        return dict(_orbax().load(path, wanted))


@contextlib.contextmanager
def _plain(folder: Path) -> Iterator[Path]:
    """An absolute path to a folder that Orbax takes as it is: of letters, digits and a few signs."""
    folder = folder.absolute()
    if re.fullmatch(r"[\w/.+@=, -]*", str(folder), re.ASCII):
        yield folder
        return
    if processes.is_several():
        raise OSError(f"several processes want a path of letters, digits and . + @ = , - alone; got {folder}")
    home = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(dir=home if re.fullmatch(r"[\w/.-]*", home, re.ASCII) else "/tmp") as temporary:
        link = Path(temporary, "folder")
        link.symlink_to(folder)
        yield link


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No log of Orbax within this block: each of its threads logs what is raised in the end anyway."""
    logger = logging.getLogger("absl")
    logger.addFilter(_nothing)
    try:
        yield
    finally:
        logger.removeFilter(_nothing)


@functools.cache
def _orbax() -> ModuleType:
    """Orbax, imported when it is first needed, since that takes a second.

    When one of its threads fails, others go on until they find that nobody waits for them. Python tells of those when
    the error has long been raised, so what is plainly theirs is dropped for good, not only while `_quiet`.
    """
    from orbax.checkpoint import v1

    streams.hide_unraisable(lambda unraisable: str(unraisable.exc_value) == "Event loop is closed")
    logging.getLogger("asyncio").addFilter(lambda record: "tensorstore" not in record.getMessage())
    return v1


def _nothing(record: logging.LogRecord) -> bool:
    del record
    return False
