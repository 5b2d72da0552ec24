"""Original ids and rows: of what is asked for and found, and of what new users and items have met.

Letters: B ids asked for, K places, R new rows, N known ids.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from lthjax.errors import DataError
from lthjax.serving.top_k import Best, pick

_NAMED = 5  # unknown ids that an error names


def interactions_of(interactions: Any, known_ids: np.ndarray, what: str) -> sparse.csr_array:
    """[R, N] float32, 1 where new row r has met the known n-th id; duplicates count once.

    Args:
      interactions: a SciPy sparse matrix [R, N] whose columns are numbered as the split numbers them (stored zeros are
        no interactions), or for each new row an iterable of original ids.
      known_ids: [N] original ids.
      what: "item" or "user", for errors.

    Raises:
      DataError: no rows, another number of columns, ids that the split does not have, or neither form.
    """
    if hasattr(interactions, "tocsr"):
        matrix = _from_matrix(interactions, len(known_ids), what)
    else:
        matrix = _from_lists(interactions, known_ids, what)
    if not matrix.shape[0]:
        raise DataError(f"wanted at least one new row of {what}s, got none.")
    matrix.sort_indices()
    return matrix


def _from_matrix(matrix: Any, num_known: int, what: str) -> sparse.csr_array:
    if len(matrix.shape) != 2 or matrix.shape[1] != num_known:
        raise DataError(f"wanted a matrix with a column for each of {num_known:,} {what}s, got shape {matrix.shape}.")
    entries = matrix.tocsr().tocoo()
    met = entries.data != 0
    return _binary_matrix(entries.row[met], entries.col[met], matrix.shape)


def _from_lists(lists: Any, known_ids: np.ndarray, what: str) -> sparse.csr_array:
    if isinstance(lists, str | np.ndarray) or not isinstance(lists, Iterable):
        raise DataError(
            f"wanted a SciPy sparse matrix, or a list of {what} ids for each new row, got {type(lists).__name__}."
        )
    place = {known: number for number, known in enumerate(known_ids.tolist())}
    rows, columns, unknown = [], [], {}
    num_rows = 0
    for number, ids in enumerate(lists):
        num_rows += 1
        if isinstance(ids, str) or not isinstance(ids, Iterable):
            raise DataError(f"wanted a list of {what} ids for each new row, got {ids!r} (row {number}).")
        for one in np.atleast_1d(ids).tolist() if isinstance(ids, np.ndarray) else ids:
            if not isinstance(one, int | float | str | np.generic) or isinstance(one, bool | np.bool):
                raise DataError(f"wanted {what} ids, got {one!r} (row {number}).")
            if one in place:
                rows.append(number)
                columns.append(place[one])
            else:
                unknown.setdefault(one, number)
    if unknown:
        named = ", ".join(f"{getattr(one, 'item', lambda o=one: o)()!r}" for one in list(unknown)[:_NAMED])
        more = f" and {len(unknown) - _NAMED:,} more" if len(unknown) > _NAMED else ""
        raise DataError(
            f"wanted {what} ids of the ticket's data, got {len(unknown):,} that it does not have: {named}{more} "
            f"(the first in row {next(iter(unknown.values()))})."
        )
    return _binary_matrix(np.asarray(rows, np.int64), np.asarray(columns, np.int64), (num_rows, len(known_ids)))


def _binary_matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    matrix = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)  # sums duplicates
    matrix.data[:] = 1.0
    return matrix


def without_columns(matrix: sparse.csr_array, left_out: np.ndarray) -> sparse.csr_array:
    """The matrix without the entries of some columns, of the same shape; `left_out` [N] bool."""
    stays = ~left_out[matrix.indices]
    starts = np.concatenate([[0], np.cumsum(stays)])[matrix.indptr]
    return sparse.csr_array((matrix.data[stays], matrix.indices[stays], starts), shape=matrix.shape)


class Ranked(NamedTuple):
    """The same with original ids."""

    asked: np.ndarray  # [B] ids asked for
    found: np.ndarray  # [B, K] ids, best first; -1, or "" of ids that are text, where a row has fewer than K
    scores: np.ndarray  # [B, K], -inf there


def rows_of(ids: Any, known: np.ndarray, what: str) -> np.ndarray:
    """[B] int64, the rows of original ids; one id by itself counts as [1].

    Args:
      ids: [B] integers or text, as `known`.
      known: ids of all rows, ascending, each once, as `lthjax.Split` has them.
      what: what they are of, "user" or "item".

    Raises:
      DataError: ids that are not known, or of another kind; names some and says how many.
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
    if asked.dtype.kind == "O" and all(_is_id(value, is_text) for value in asked):
        asked = asked.astype(str if is_text else np.int64)  # a column of a DataFrame
    if asked.dtype.kind not in ("U" if is_text else "iu"):
        wanted = "text" if is_text else "integers"
        raise DataError(f"{what} ids: wanted {wanted}, as in the training data; got {asked.dtype}, {asked[:1]!r}.")
    asked = asked if is_text else asked.astype(np.int64)  # beside uint64, int64 would be compared as floats
    rows = np.minimum(np.searchsorted(known, asked), max(len(known) - 1, 0))
    unknown = known[rows] != asked if len(known) else np.ones(len(asked), bool)
    if unknown.any():
        missing = np.unique(asked[unknown])
        some = ", ".join(repr(value) for value in missing[:5].tolist()) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"wanted {what}s of the training data ({len(known):,} are known); "
            f"got {len(missing):,} unknown {what} id{'s' if len(missing) > 1 else ''}: {some}."
        )
    return rows


def _is_id(value: Any, is_text: bool) -> bool:
    if is_text:
        return isinstance(value, str)
    return isinstance(value, int | np.integer) and -(2**63) <= value < 2**63


def named(best: Best, asked: np.ndarray, known: np.ndarray) -> Ranked:
    """Rows as original ids.

    Args:
      best: of `recommend` or `similar`.
      asked: [B] ids that were asked for.
      known: ids of all rows of the table that was ranked.
    """
    return Ranked(asked, pick(known, best.rows, "" if known.dtype.kind == "U" else -1), best.scores)
