"""Between original ids and rows: of queries and results, and of the interactions of new users and items.

Letters: B queries, K results per query, R new rows, N known ids.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from lthjax.data import id_lists
from lthjax.data.id_lists import IdLists
from lthjax.errors import DataError
from lthjax.serving.top_k import Best

_NUM_NAMED = 5  # unknown ids that an error names


def interactions_of(interactions: Any, known_ids: np.ndarray, what: str) -> sparse.csr_array:
    """[R, N] float32, 1 where a new row has an interaction with the n-th known id; duplicates count once.

    Args:
      interactions: a SciPy sparse matrix [R, N] with the columns of the split (stored zeros are no interactions), or an
        iterable of original ids for each new row.
      known_ids: [N] original ids.
      what: "item" or "user", for errors.

    Raises:
      DataError: no rows, another number of columns, unknown ids, or neither form.
    """
    if hasattr(interactions, "tocsr"):
        shape = interactions.shape
        if len(shape) != 2 or shape[1] != len(known_ids):
            raise DataError(f"wanted a matrix with a column for each of {len(known_ids):,} {what}s, got shape {shape}.")
        entries = interactions.tocsr().tocoo()
        rows, columns = entries.row[entries.data != 0], entries.col[entries.data != 0]
    else:
        rows, columns, num_rows = _from_lists(interactions, known_ids, what)
        shape = num_rows, len(known_ids)
    if not shape[0]:
        raise DataError(f"wanted at least one new row of {what}s, got none.")
    matrix = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)  # sums duplicates
    matrix.data[:] = 1.0
    matrix.sort_indices()
    return matrix


def _from_lists(lists: Any, known_ids: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Row and column of each interaction, and the number of rows."""
    if isinstance(lists, str | np.ndarray) or not isinstance(lists, Iterable):
        raise DataError(
            f"wanted a SciPy sparse matrix, or a list of {what} ids for each new row, got {type(lists).__name__}."
        )
    lists = list(lists)
    column_of = {known: column for column, known in enumerate(known_ids.tolist())}
    pairs, unknown = [], {}  # unknown id -> the first row that has it
    for row, ids in enumerate(lists):
        for value in _ids_of_row(ids, row, what):
            if value in column_of:
                pairs.append((row, column_of[value]))
            else:
                unknown.setdefault(value, row)
    if unknown:
        raise DataError(
            f"wanted {what} ids of the ticket's data, got {len(unknown):,} that it does not have: "
            f"{_some(list(unknown))} (the first in row {next(iter(unknown.values()))})."
        )
    return *np.array(pairs, np.int64).reshape(-1, 2).T, len(lists)


def _ids_of_row(ids: Any, row: int, what: str) -> Iterator[Any]:
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise DataError(f"wanted a list of {what} ids for each new row, got {ids!r} (row {row}).")
    for value in np.atleast_1d(ids).tolist() if isinstance(ids, np.ndarray) else ids:
        if not isinstance(value, int | float | str | np.generic) or isinstance(value, bool | np.bool):
            raise DataError(f"wanted {what} ids, got {value!r} (row {row}).")
        yield value


def _some(ids: Sequence[Any]) -> str:
    """The first few, and how many more there are."""
    named = ", ".join(repr(value.item() if isinstance(value, np.generic) else value) for value in ids[:_NUM_NAMED])
    return named + (f" and {len(ids) - _NUM_NAMED:,} more" if len(ids) > _NUM_NAMED else "")


def without_columns(matrix: sparse.csr_array, left_out: np.ndarray) -> sparse.csr_array:
    """The matrix, of the same shape, without the entries of some columns; `left_out` [N] bool."""
    kept = ~left_out[matrix.indices]
    starts = np.concatenate([[0], np.cumsum(kept)])[matrix.indptr]
    return sparse.csr_array((matrix.data[kept], matrix.indices[kept], starts), shape=matrix.shape)


class Ranked(NamedTuple):
    """The results of queries, in original ids."""

    asked: np.ndarray  # [B] ids of the queries
    found: np.ndarray  # [B, K] ids, best first; -1, or "" for ids that are text, at the end where fewer than K are left
    scores: np.ndarray  # [B, K], -inf where there is no id
    is_popularity: np.ndarray  # [B] bool, the user's row has no entry: its list is by popularity, all scores are 0


def rows_of(ids: Any, known: np.ndarray, what: str) -> np.ndarray:
    """[B] int64, the rows of original ids; a single id is taken as [1].

    Args:
      ids: [B] integers or text, as `known`.
      known: [N] ids of all rows, ascending, each once, as in `lthjax.Split`.
      what: "item" or "user", for errors.

    Raises:
      DataError: unknown ids, or ids of another kind; it names some and their number.
    """
    try:
        asked = np.atleast_1d(np.asarray(ids))
    except ValueError as error:  # lists of different lengths
        raise DataError(f"{what} ids: wanted one id or a list of them; got {ids!r:.60}.") from error
    if asked.ndim != 1:
        raise DataError(f"{what} ids: wanted one id or a list of them; got an array of shape {asked.shape}.")
    if asked.size == 0:
        return np.zeros(0, np.int64)
    is_text = known.dtype.kind == "U"
    kinds = str if is_text else (int, np.integer)
    if asked.dtype.kind == "O" and all(isinstance(v, kinds) and (is_text or -(2**63) <= v < 2**63) for v in asked):
        asked = asked.astype(str if is_text else np.int64)  # a column of a DataFrame
    if asked.dtype.kind not in ("U" if is_text else "iu"):
        wanted = "text" if is_text else "integers"
        raise DataError(f"{what} ids: wanted {wanted}, as in the training data; got {asked.dtype}, {asked[:1]!r}.")
    if asked.dtype == np.uint64:  # NumPy would look for it among floats
        asked = asked.astype(np.int64 if asked.max() < 2**63 else object)
    rows = np.minimum(np.searchsorted(known, asked), max(len(known) - 1, 0))
    unknown = np.asarray(known[rows] != asked, bool) if len(known) else np.ones(len(asked), bool)
    if unknown.any():
        missing = np.unique(asked[unknown])
        raise DataError(
            f"wanted {what}s of the training data ({len(known):,} are known); "
            f"got {len(missing):,} unknown {what} id{'s' if len(missing) > 1 else ''}: {_some(missing)}."
        )
    return rows


def lists_of(lists: Any, known: np.ndarray, what: str) -> IdLists:
    """Lists of original ids as lists of rows; an id that comes twice in a list counts once.

    Args:
      lists: of lists, arrays or columns of ids.
      known: as in `rows_of`.
      what: likewise.

    Raises:
      DataError: no lists of ids, or unknown ids.
    """
    wanted = f"wanted a list of lists of {what} ids"
    if isinstance(lists, str | Mapping) or not isinstance(lists, Iterable):
        raise DataError(f"{wanted}; got {type(lists).__name__}.")
    each = []
    for number, ids in enumerate(lists):
        if isinstance(ids, str | Mapping) or not isinstance(ids, Iterable) or getattr(ids, "ndim", 1) != 1:
            raise DataError(f"{wanted}; got {ids!r:.60} as number {number}.")
        each.append(ids.tolist() if isinstance(ids, np.ndarray) else list(ids))
    rows = rows_of([value for ids in each for value in ids], known, what)
    return id_lists.from_pairs(
        np.stack([np.repeat(np.arange(len(each)), [len(ids) for ids in each]), rows], 1), len(each)
    )


def named(best: Best, asked: np.ndarray, known: np.ndarray, is_popularity: np.ndarray | None = None) -> Ranked:
    """Rows as original ids.

    Args:
      best: of `top_k.recommend` or `top_k.similar`.
      asked: [B] ids of the queries.
      known: [N] ids of all rows of the ranked table.
      is_popularity: [B] bool, all False by default.
    """
    found = known[best.rows]
    found[best.rows < 0] = "" if known.dtype.kind == "U" else -1
    return Ranked(asked, found, best.scores, np.zeros(len(asked), bool) if is_popularity is None else is_popularity)
