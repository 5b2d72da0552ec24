"""Data sets known by name, as they were published: where their file lies, how it is read, whether it is whole."""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lthjax.data import archives, formats, frames, text
from lthjax.data.archives import Member
from lthjax.data.columns import Options, Sheet
from lthjax.data.published import PUBLISHED, in_words, is_near
from lthjax.errors import DataError

_PACKED = ("", ".gz", ".bz2", ".xz", ".zip")


def find(name: str, roots: Sequence[Path]) -> Path | Member | None:
    """The file of a data set, unpacked, packed by itself, or in the archive that was published; None where it is not.

    Args:
      name: of `PUBLISHED`.
      roots: folders to look in, and in those in them that are named as the data set or as its archive's folder.

    Raises:
      DataError: an archive that is damaged, or does not hold it.
    """
    known = PUBLISHED[name]
    folders = [root / folder for root in roots for folder in (name, known.folder, f"{name}/{known.folder}")]
    folders += [] if known.archive else roots  # what is downloaded by itself
    for folder in folders:
        for file in (folder / (name + end) for name in known.files for end in _PACKED):
            if file.is_file():
                return file
    for folder in [*folders, *roots] if known.archive else []:
        archive = folder / known.archive
        if archive.is_file():
            if found := archives.find(archive, known.files):
                return found
            raise DataError(
                f"wanted {' or '.join(known.files)} in the archive, got none: get {known.page} ({archive})."
            )
    return None


def absent(name: str, roots: Sequence[Path]) -> DataError:
    """The error that says what to get, and where to put it."""
    known = PUBLISHED[name]
    file = " or ".join(known.files)
    wanted = f"{known.archive}, which holds {file}" if known.archive else file
    return DataError(
        f"wanted {name}, got no {file} in $LTHJAX_DATA ({os.environ.get('LTHJAX_DATA') or 'not set'}) or ./data, nor "
        f"in a folder {name} there ({', '.join(map(str, roots))}): get {wanted}, from {known.page}, and put it there "
        "as it is."
    )


class Reader:
    """Reads the file of a data set as it was published, and counts its rows."""

    def __init__(self, name: str, file: Path | Member, options: Options):
        self.name, self.known, self.file, self.num_rows = name, PUBLISHED[name], file, 0
        if options.format != "auto":
            raise DataError(f"--format is known of {name}: leave it out, got {options.format} ({file}).")
        columns, encoding = options.columns or self.known.columns, options.encoding or self.known.encoding
        self.options = options._replace(columns=columns, encoding=encoding)

    def open(self) -> Sheet:
        """The sheet, with the names of columns where the file has none.

        Raises:
          DataError: the file is another one.
        """
        self.num_rows, source, header = 0, str(self.file), self.known.header
        kind, data = formats.read(self.file, self.options.encoding)
        if kind == "text":
            quoting = csv.QUOTE_MINIMAL if self.known.has_quotes else csv.QUOTE_NONE
            options = self.options if header is None else self.options._replace(columns=None)
            sheet = text.table(data, source, options, quoting)
        else:
            sheet = frames.read(kind, data, source, self.options)
        if header is not None:
            width = len(sheet.rows[0])
            if sheet.header is not None or width != len(header):
                came = f"a header {sheet.header}" if sheet.header else f"{width} columns"
                raise DataError(
                    f"wanted {len(header)} columns without names, as {self.name} has them, got {came[:200]} ({source})."
                )
            sheet = sheet._replace(header=list(header))

        def blocks(positions: list[int]) -> Iterator:
            for block in sheet.blocks(positions):
                self.num_rows += len(block)
                yield block

        return sheet._replace(blocks=blocks)

    def remarks(self, table: Any) -> list[str]:
        """What to know of the data set, and whether its counts are those published.

        Args:
          table: of `reading.read`, all rows of the file.

        Raises:
          DataError: the file is cut off.
        """
        told, came = self.known.counts, (self.num_rows, table.users.words.size, table.items.words.size)
        not_counted = {*self.known.not_counted, *self._fewer()}
        if isinstance(told.interactions, int) and self.num_rows < told.interactions and _is_cut(self.file):
            wanted = f"wanted the {told.interactions:,} rows of {self.name}"
            remedy = f"get it again, {self.known.page}"
            raise DataError(
                f"{wanted}, got {self.num_rows:,} and a last line that does not end: {remedy} ({self.file})."
            )
        rows = [
            _Count(what, count, number)
            for what, count, number in zip(told._fields, told, came, strict=True)
            if count is not None and what not in not_counted
        ]
        differ = [row for row in rows if not is_near(row.came, row.told)]
        where = f"{self.name} ({self.known.page})"
        words = "; ".join(filter(None, [where, self.known.says]))
        if differ:
            counts = ", ".join(f"{row.came:,} {row.what} for {in_words(row.told)}" for row in differ)
            return [words, f"NOTE: not the counts that were published of {self.name}: {counts}"]
        return [words, "as published: " + ", ".join(f"{row.came:,} {row.what}" for row in rows)]

    def _fewer(self) -> list[str]:
        """What the file has less of than was counted."""
        name = next(self.file.name.removesuffix(end) for end in reversed(_PACKED) if self.file.name.endswith(end))
        return ["interactions"] if self.known.fewer_in and name.endswith(self.known.fewer_in) else []


class _Count(NamedTuple):
    what: str
    told: int | str
    came: int


def _is_cut(file: Path | Member) -> bool:
    """Whether a plain text has a last line without an end; what is packed has a check sum of its own."""
    if not isinstance(file, Path) or file.name.endswith(_PACKED[1:]):
        return False
    with file.open("rb") as opened:
        opened.seek(-1, os.SEEK_END)
        return opened.read(1) != b"\n"
