"""What a file is, by its first bytes, and what it holds: unpacked, and text as UTF-8 with newlines at line ends."""

import bz2
import contextlib
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lthjax.errors import DataError

FORMATS = ("auto", "adjacency", "pairs", "inter", "csv")
_DAMAGE = (OSError, EOFError, ValueError, LookupError, RuntimeError, MemoryError, zlib.error, lzma.LZMAError)
_DAMAGE += (zipfile.BadZipFile,)

_PACKED = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\0", lzma.open))
_MOST_UNPACKED, _ALWAYS_UNPACKED = 200, 1 << 26  # times the packed size, bytes: logs pack to a fiftieth at most
_BLOCK = 1 << 20  # bytes that are decoded at once
_BYTE_ORDER = ((b"\xff\xfe\0\0", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_BINARY = ("npy", "npz", "parquet")
_KINDS = (  # first bytes, name, what to do where it is not read
    (rb"\x93NUMPY", "npy", None),
    (rb"PK\x03\x04", "npz", None),
    (rb"PAR1", "parquet", None),
    (rb"%%?MatrixMarket", "mtx", None),
    (rb"\s*\[\s*\{", "json", None),
    (rb"\s*\{\s*u?'", "literals", None),
    (rb"\s*\{", "jsonl", None),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file", "fetch it with git lfs pull"),
    (rb"\s*<(?i:!doctype|html|\?xml|head)\b", "a web page (HTML or XML)", "download the file itself"),
    (rb"(?:\s*%[^\n]*\n)*\s*(?i:@relation)\b", "an ARFF file", "save what follows @DATA as csv, below a header"),
    (rb"\x80[\x02-\x05]", "a pickle, which could run any code", "save it as csv, .npy or .npz"),
    (rb"\x89HDF|MATLAB 5", "an HDF5 or MATLAB file", "save it as csv, .npy or .npz"),
    (rb"ARROW1|FEA1|SQLite format", "an Arrow file or a database", "save it as csv or parquet"),
    (rb"%PDF|\xd0\xcf\x11\xe0", "a PDF or Office document", "save its table as csv"),
    (rb"(?s:\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!|.{257}ustar)", "an archive (zstd, 7z, rar or tar)", "unpack it"),
    (rb"\x1f\x8b|BZh\d1AY|\xfd7zXZ", "a file packed twice", "unpack it"),
    (rb"\(\d+,\s*\d+\)\s", "NCF's list of negatives", "pass its .train.rating"),
    (rb"\d+:\s*\n\d+,", "blocks below `movie:` as Netflix has them", "write each line as user,item,rating"),
)


def read(path, encoding: str | None = None) -> tuple[str, bytes]:
    """What a file is (npy, npz, parquet, mtx, json, jsonl, literals of Python or text), and what it holds.

    Args:
      path: pathlib.Path or a resource of importlib.
      encoding: of text; None for UTF-8, or for UTF-16 where a byte order mark says so.

    Raises:
      DataError: no regular file; unreadable, damaged or empty; too large when unpacked; of a kind that is not read.
    """
    data = _unpacked(path)
    if not data or data.isspace():
        raise DataError(f"wanted interactions, got an empty file ({path}).")
    kind = _kind(data, path)
    if kind in _BINARY:
        return kind, data
    data = _as_text(data, encoding, path)
    return _kind(data, path) or "text", data


@contextlib.contextmanager
def stream(path: Path) -> Iterator[BinaryIO]:
    """A file to read from its begin on, unpacked on the way where it is packed by itself; an archive as it is.

    Raises:
      DataError: it is damaged.
    """
    try:
        with path.open("rb") as file:
            opener = _opener(file.read(8))
            file.seek(0)
            yield file if opener is None else opener(file)
    except _DAMAGE as error:
        raise _damaged(error, path) from None


def most_unpacked(size: int) -> int:
    """Bytes that a packed file of a size is let unpack to."""
    return max(_ALWAYS_UNPACKED, _MOST_UNPACKED * size)


def _kind(data: bytes, path) -> str | None:
    for first_bytes, name, remedy in _KINDS:
        if re.match(first_bytes, data):
            if remedy is not None:
                raise DataError(f"wanted interactions, got {name}: {remedy} ({path}).")
            return name
    return None


def _unpacked(path) -> bytes:
    if not path.is_file():
        came = "a folder, a pipe or a device" if path.exists() else "a path where there is none"
        raise DataError(f"wanted a file, got {came} ({path}).")
    try:
        with path.open("rb") as file:
            start = file.read(8)
            opener = _opener(start)
            is_zip = start.startswith(b"PK\x03\x04")
            size = file.seek(0, io.SEEK_END) if is_zip or opener else 0
            file.seek(0)
            if is_zip:
                return _unzipped(file, size, path)
            return file.read() if opener is None else _bounded(opener(file), size, path)
    except DataError:
        raise
    except _DAMAGE as error:
        raise _damaged(error, path) from None


def _opener(start: bytes) -> Callable[..., Any] | None:
    return next((opener for magic, opener in _PACKED if start.startswith(magic)), None)


def _damaged(error: Exception, path) -> DataError:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
    return DataError(f"wanted a whole and readable file, got a damaged or closed one: {reason} ({path}).")


def _unzipped(file, size: int, path) -> bytes:
    """The only file of an archive; the archive itself where it is .npz."""
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() and "__MACOSX" not in member.filename]
        names = [member.filename for member in members]
        if names and all(name.endswith(".npy") for name in names):
            if sum(member.file_size for member in members) > most_unpacked(size):
                raise _too_large(size, path)
            file.seek(0)
            return file.read()
        if len(members) != 1:
            came = f"{len(names)}, {str(names[:4])[:200]}"
            raise DataError(f"wanted an archive of one file, got {came}: unpack it and pass one ({path}).")
        with archive.open(members[0]) as stream:
            return _bounded(stream, size, path)


def _bounded(stream, size: int, path) -> bytes:
    data = io.BytesIO()
    while block := stream.read(_BLOCK):
        if data.tell() + len(block) > most_unpacked(size):
            raise _too_large(size, path)
        data.write(block)
    return data.getvalue()


def _too_large(size: int, path) -> DataError:
    return DataError(
        f"wanted at most {most_unpacked(size):,} bytes unpacked from {size:,}, got more: unpack it ({path})."
    )


def _as_text(data: bytes, encoding: str | None, path) -> bytes:
    """UTF-8 without byte order mark, lines ending in a newline; decoded piece by piece, for memory's sake."""
    if encoding is None and data.isascii() and b"\0" not in data and b"\r" not in data:
        return data  # nearly all files, and without a copy
    if encoding is None:
        encoding = next((name for mark, name in _BYTE_ORDER if data.startswith(mark)), "utf-8")
    try:
        source, text = io.TextIOWrapper(io.BytesIO(data), encoding), io.BytesIO()
        for piece in iter(lambda: source.read(_BLOCK), ""):
            text.write(piece.encode())
    except UnicodeDecodeError as error:
        place = f"{path}, line {_line_of_bad_byte(data, encoding)}"
        came = f"byte 0x{error.object[error.start]:02x}"
        raise DataError(f"wanted {encoding} text, got {came}: pass --encoding, such as latin-1 ({place}).") from None
    except (LookupError, TypeError):
        raise DataError(f"wanted an encoding such as latin-1 or cp1252, got {encoding!r} ({path}).") from None
    text = text.getvalue()
    if b"\0" in text:
        remedy = "is it UTF-16 without its mark (--encoding utf-16-le), or no text?"
        line = text.count(b"\n", 0, text.index(b"\0")) + 1
        raise DataError(f"wanted {encoding} text, got byte 0x00: {remedy} ({path}, line {line}).")
    return text.removeprefix(b"\xef\xbb\xbf")


def _line_of_bad_byte(data: bytes, encoding: str) -> int:
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1
    return 0
