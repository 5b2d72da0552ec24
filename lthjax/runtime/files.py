"""Files that are there whole or not at all: written to the side, then renamed."""

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lthjax.errors import CheckpointError


@contextlib.contextmanager
def aside(place: str | Path) -> Iterator[Path]:
    """A path beside `place` to write to; at the end it takes its name, and is on disk by then.

        with files.aside("table.csv") as partial:
            partial.write_text(...)

    A write that fails leaves what was there before. Folders above are made.

    Raises:
      CheckpointError: it cannot be written.
    """
    place = Path(place)
    partial = place.with_name(f".{place.name}.partial")
    try:
        if not place.parent.is_dir():
            place.parent.mkdir(parents=True)
        yield partial
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, place)
    except OSError as error:
        raise CheckpointError(f"cannot write {place}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(place: str | Path, text: str) -> None:
    """Write a text file, as UTF-8; raises as `aside`."""
    with aside(place) as partial:
        partial.write_text(text, encoding="utf-8")


def write_table(place: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as CSV, one column a key of the first; floats with six digits, so that equal runs are equal files."""
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(name, value) for name, value in row.items()} for row in rows)
    write_text(place, table.getvalue())


def _cell(name: str, value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return f"{value:.2f}" if name == "seconds" else f"{value:.6f}"
