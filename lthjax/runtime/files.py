"""Files that exist whole or not at all: written under another name, then renamed; and JSON that may be damaged."""

import contextlib
import csv
import io
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lthjax.errors import CheckpointError

_KINDS = {stat.S_IFREG: "a file", stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a pipe"}
_MOST_NESTED = 40  # of JSON; what lthjax writes stays below 10


@contextlib.contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; at the end of the block that file is on disk and renamed to `path`.

        with files.aside("table.csv") as partial:
            partial.write_text(...)

    A write that fails leaves the old file. Missing folders are made.

    Raises:
      CheckpointError: it cannot be written, or what is there is no regular file (a device, a folder, a link, a pipe).
    """
    path = Path(path)
    with _named(path):
        partial = _checked_partial(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # a new one: no link is followed
        try:
            yield partial
            with open(partial, "rb") as file:
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Raise CheckpointError where `aside` would refuse to write: to look before long work that writes at its end."""
    with _named(Path(path)):
        _checked_partial(Path(path))


def open_lock(path: str | Path) -> BinaryIO:
    """Open a file to lock, made where there is none; what is in it stays, and a link is not followed.

    Raises:
      CheckpointError: it cannot be opened for writing, or is no regular file.
    """
    with _named(path):
        check_kind(Path(path), "a file")
        flags = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
        return os.fdopen(os.open(path, flags, 0o666), "r+b")


def read_json(path: str | Path, most_bytes: int = 2**20) -> dict[str, Any]:
    """Names and values from a JSON file that anything may have happened to.

    Raises:
      CheckpointError: it is missing, longer than `most_bytes`, nested too deep, no JSON, or no JSON object; one line.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
            raise ValueError("wanted a file")
        with open(path, "rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise ValueError(f"wanted at most {most_bytes:,} bytes")
        value = json.loads(content.decode("utf-8"))
        if not isinstance(value, dict) or not _is_shallow(value, _MOST_NESTED):
            raise ValueError("wanted names and values, not nested deep")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is missing or damaged ({one_line(error)}).") from error
    return value


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8; raises as `aside`.

    Bytes of a file name that the locale could not decode are written as they were.
    """
    with aside(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, one column per key of the first; floats with six digits; raises as `aside`."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(name, value) for name, value in row.items()} for row in rows)
    write_text(path, table.getvalue())


def partial_of(path: Path) -> Path:
    """Where a file or folder is written before it is whole."""
    return path.with_name(f".{path.name}.partial")


def check_kind(path: Path, *allowed: str) -> None:
    """Raise CheckpointError where something else is at a path than is allowed; nothing always is. Follows no links."""
    with contextlib.suppress(FileNotFoundError):
        kind = _KINDS.get(stat.S_IFMT(os.lstat(path).st_mode), "a device")
        if kind not in allowed:
            raise CheckpointError(f"{path.name} is {kind}; wanted {' or '.join([*allowed, 'nothing'])}.")


def remove(path: Path) -> None:
    """Remove a file, a link (not what it leads to) or a folder and all in it, where there is one."""
    with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def one_line(error: BaseException) -> str:
    """The first line of an error, without a full stop."""
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)).strip()
    return text.splitlines()[0][:300].rstrip(".") if text else type(error).__name__


@contextlib.contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Say which file it was that could not be written."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {one_line(error)}.") from error


def _checked_partial(path: Path) -> Path:
    """Where to write before `path` is replaced, if both may be."""
    check_kind(path, "a file")
    check_kind(partial_of(path), "a file", "a link")
    return partial_of(path)


def _is_shallow(value: Any, levels: int) -> bool:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_shallow(child, levels - 1) for child in children)


def _cell(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f"{value:.2f}" if name == "seconds" else f"{value:.6f}"
