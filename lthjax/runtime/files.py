"""Files that exist whole or not at all: written under another name, then renamed."""

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lthjax.errors import CheckpointError


@contextlib.contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write to; at the end of the block that file is on disk and renamed to `path`.

        with files.aside("table.csv") as partial:
            partial.write_text(...)

    A write that fails leaves the old file. Missing folders are made.

    Raises:
      CheckpointError: it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file as UTF-8; raises as `aside`."""
    with aside(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, one column per key of the first; floats with six digits; raises as `aside`."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(name, value) for name, value in row.items()} for row in rows)
    write_text(path, table.getvalue())


def _cell(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f"{value:.2f}" if name == "seconds" else f"{value:.6f}"
