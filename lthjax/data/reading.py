"""File formats of interactions: bytes of one file -> Table of ids; several files of one folder agree on a format.

adjacency   `user item item ...` (LightGCN)         pairs   `user item [weight]` as text or .npy
inter       RecBole, `user_id:token` header         csv     any delimited table, with or without a header

Letters: E rows, each one interaction. All are read as .gz too.
"""

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lthjax.data import columns as cols
from lthjax.data import formats
from lthjax.data import tokens as tk
from lthjax.data.formats import NPY
from lthjax.errors import DataError


class Table(NamedTuple):
    """Rows of one source, before ids are numbered."""

    source: str
    users: np.ndarray  # [E] int64, or bytes where an id is no integer
    items: np.ndarray  # [E] likewise
    ratings: np.ndarray | None  # [E] float64 where they were asked for
    lines: np.ndarray  # [E] int64, for errors
    empty_users: np.ndarray  # ids of users listed without an item
    note: str
    unit: str = "line"

    def where(self, row: int) -> str:
        """The place of a row, for an error."""
        return f"{self.source}, {self.unit} {self.lines[row]}"


def read_files(paths: Sequence, *, format: str = "auto", columns=None, rated: bool = False) -> list[Table]:
    """One Table per file, all read in the same format.

    Args:
      paths: files (pathlib.Path or a resource of importlib).
      format: one of FORMATS; auto decides from the name, else from every line of every file.
      columns: names or positions of user, item[, rating] in csv and inter: "a,b,c" or a sequence.
      rated: whether ratings are needed.

    Raises:
      DataError: a file that cannot be read, does not fit the format, or fits two formats that differ.
    """
    sources = [str(path) for path in paths]
    contents = [formats.read_bytes(path) for path in paths]
    if format == "auto":
        format = formats.agree(
            sources, [formats.fitting(*pair, columns) for pair in zip(sources, contents, strict=True)]
        )
    if columns is not None and format in ("adjacency", "pairs"):
        raise DataError(f"columns are for csv and inter files, got columns={columns!r} with {format} ({sources[0]}).")
    return [read(source, content, format, columns, rated) for source, content in zip(sources, contents, strict=True)]


def read(source: str, content: bytes, format: str, columns=None, rated: bool = False) -> Table:
    """The Table of one file's content, see `read_files`."""
    if format == "adjacency":
        table = _read_adjacency(source, content, rated)
    elif format == "pairs":
        table = (_read_npy if content.startswith(NPY) else _read_pairs)(source, content, rated)
    else:
        table = _read_table(source, content, columns, rated, typed=format == "inter")
    if not table.users.size:
        raise DataError(f"wanted interactions, got none: {table.note} ({source}).")
    return table


def _read_adjacency(source: str, content: bytes, rated: bool) -> Table:
    if rated:
        raise DataError(f"min_rating needs ratings, got adjacency lists, which have none ({source}).")
    if content.startswith(NPY):
        raise DataError(f"wanted adjacency lists as text, got a .npy array ({source}).")
    words = tk.split_tokens(content)
    head, count = words.lines()
    users = tk.to_ids(words.at(head), source, "user")
    is_item = np.ones(words.line.size, bool)
    is_item[head] = False
    items = words.at(is_item)
    note = f"read as adjacency lists (line lengths from {count.min()} to {count.max()})"
    ids = tk.to_ids(items, source, "item")
    return Table(source, np.repeat(users, count - 1), ids, None, items.line, users[count == 1], note)


def _read_pairs(source: str, content: bytes, rated: bool) -> Table:
    words = tk.split_tokens(content, b" \t,")
    head, count = words.lines()
    note = "read as pairs"
    if head.size and count[0] >= 2 and cols.is_usual(words.word(0), "user") and cols.is_usual(words.word(1), "item"):
        head, count, note = head[1:], count[1:], "read as pairs below a header line"
    for bad in np.flatnonzero((count < 2) | (count > 3))[:1]:
        line = words.line[head[bad]]
        raise DataError(f"wanted `user item [weight]`, got {count[bad]} fields ({source}, line {line}).")
    weights = tk.to_numbers(words.at(head[count == 3] + 2), source, "weight")
    if rated:
        for bad in np.flatnonzero(count == 2)[:1]:
            raise DataError(f"min_rating needs ratings, got no third field ({source}, line {words.line[head[bad]]}).")
    elif weights.size:
        note += ", third field taken as a weight and not used"
    user, item = words.at(head), words.at(head + 1)
    ids = tk.to_ids(user, source, "user"), tk.to_ids(item, source, "item")
    return Table(source, *ids, weights if rated else None, user.line, ids[0][:0], note)


def _read_npy(source: str, content: bytes, rated: bool) -> Table:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"wanted an array of numbers, [E, 2] or [E, 3], got: {reason} ({source}).") from None
    if array.ndim != 2 or array.shape[1] not in (2, 3) or array.dtype.kind not in "iuf":
        raise DataError(f"wanted integers, [E, 2] or [E, 3], got {array.dtype} {list(array.shape)} ({source}).")
    rows = np.arange(len(array))
    users, items = (whole_ids(array[:, side], source, "row") for side in (0, 1))
    if rated and array.shape[1] == 2:
        raise DataError(f"min_rating needs ratings, got an array of two columns ({source}).")
    note = f"read as pairs from an array {list(array.shape)}"
    ratings = array[:, 2].astype(np.float64) if rated else None
    return Table(source, users, items, ratings, rows, users[:0], note, unit="row")


def whole_ids(values: np.ndarray, source: str, unit: str) -> np.ndarray:
    """[E] int64 from an array of numbers; bytes where they are beyond int64.

    Raises:
      DataError: a fraction, NaN or infinity.
    """
    if values.dtype.kind == "f":
        for bad in np.flatnonzero(~(np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2**53)))[:1]:
            raise DataError(f"wanted whole numbers as ids, got {values[bad]} ({source}, {unit} {bad}).")
    if values.dtype.kind == "u" and values.max(initial=0) > np.iinfo(np.int64).max:
        return values.astype(np.bytes_)
    return values.astype(np.int64)


def _read_table(source: str, content: bytes, columns, rated: bool, typed: bool) -> Table:
    if content.startswith(NPY):
        raise DataError(f"wanted a table as text, got a .npy array ({source}).")
    delimiter = b"\t" if typed else cols.sniff(content) or cols.sniff(content.lstrip().split(b"\n", 1)[0])
    if delimiter is None:
        raise DataError(f"wanted a table split by comma, tab, semicolon or bar, got one field a line ({source}).")
    rows = cols.first_rows(content, delimiter, typed)
    header = [name.split(":")[0] for name in rows[0]] if typed else cols.header_of(rows, columns)
    if typed and not any(":" in name for name in rows[0]):
        raise DataError(f"wanted a RecBole header such as `user_id:token`, got {rows[0]!r} ({source}, line 1).")
    wanted = cols.choose(header, len(rows[0]), columns, rated, source)
    if delimiter == b"::":
        content, delimiter = content.replace(b"::", b"\x1f"), b"\x1f"
    elif delimiter == b" ":
        content = b"\n".join(b" ".join(line.split()) for line in content.split(b"\n"))
    fields = tk.split_columns(content, delimiter, wanted, source, quotes=not typed)
    fields = [field.at(slice(1 if header else 0, None)) for field in fields]
    users, items = (tk.to_ids(field, source, side) for field, side in zip(fields, ("user", "item"), strict=False))
    ratings = tk.to_numbers(fields[2], source, "rating") if rated else None
    named = [header[j] if header else f"column {j}" for j in wanted]
    note = f"read as {'a RecBole .inter table' if typed else 'a table'}: user {named[0]!r}, item {named[1]!r}"
    if len(named) > 2:
        note += f", rating {named[2]!r}" + ("" if rated else " not used (every row is a positive)")
    return Table(source, users, items, ratings, fields[0].line, users[:0], note)
