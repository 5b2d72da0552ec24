"""A file within an archive (zip, tar, tar.gz), which `formats` reads as any other; nothing is unpacked to the disk."""

import contextlib
import itertools
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from lthjax.errors import DataError

_MOST_UNPACKED = 200  # times the size of the archive; logs pack to a fiftieth at most
_ALWAYS_UNPACKED = 1 << 26  # bytes


class Member(NamedTuple):
    """A file of an archive, with what of pathlib.Path is needed to read it."""

    archive: Path
    inner: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.inner}"

    def __fspath__(self) -> str:
        return str(self)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return _name(self.inner)

    def exists(self) -> bool:
        """It was found in the archive."""
        return True

    is_file = exists

    @contextlib.contextmanager
    def open(self, mode: str = "rb") -> Iterator[IO[bytes]]:
        """The file, unpacked as it is read.

        Raises:
          DataError: it says that it is far larger than the archive.
        """
        del mode  # read, as bytes
        most = max(_ALWAYS_UNPACKED, _MOST_UNPACKED * self.archive.stat().st_size)
        is_zip = zipfile.is_zipfile(self.archive)
        with zipfile.ZipFile(self.archive) if is_zip else tarfile.open(self.archive) as archive:
            entry = archive.getinfo(self.inner) if is_zip else next(e for e in archive if e.name == self.inner)
            size = entry.file_size if is_zip else entry.size
            if size > most:
                raise DataError(f"wanted at most {most:,} bytes unpacked, got {size:,}: unpack it ({self}).")
            with archive.open(entry) if is_zip else archive.extractfile(entry) as file:
                yield file


def find(archive: Path, names: tuple[str, ...]) -> Member | None:
    """The first of some file names within an archive, in whatever folder of it.

    Raises:
      DataError: no archive that can be read.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                inside = [entry.filename for entry in opened.infolist() if not entry.is_dir()]
        else:
            with tarfile.open(archive) as opened:  # up to the first that fits: what is behind takes long to unpack
                fits = (entry.name for entry in opened if entry.isfile() and _name(entry.name) in names)
                inside = list(itertools.islice(fits, 1))
    except (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise DataError(f"wanted a whole archive, got a damaged one: {reason} ({archive}).") from None
    inside = [path for path in inside if "__MACOSX" not in path]
    return next((Member(archive, path) for name in names for path in inside if _name(path) == name), None)


def _name(path: str) -> str:
    return path.rpartition("/")[2]
