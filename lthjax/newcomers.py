"""The interactions of users or items that training never saw, as a matrix over those it did.

Letters: R new rows, N known ids of the other side.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import sparse

from lthjax.errors import DataError

_NAMED = 5  # unknown ids that an error names


def read(interactions: Any, known_ids: np.ndarray, what: str) -> sparse.csr_array:
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
    return _matrix(entries.row[met], entries.col[met], matrix.shape)


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
    return _matrix(np.asarray(rows, np.int64), np.asarray(columns, np.int64), (num_rows, len(known_ids)))


def _matrix(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    matrix = sparse.csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=shape)  # sums duplicates
    matrix.data[:] = 1.0
    return matrix


def without_columns(matrix: sparse.csr_array, left_out: np.ndarray) -> sparse.csr_array:
    """The matrix without the entries of some columns, of the same shape; `left_out` [N] bool."""
    stays = ~left_out[matrix.indices]
    starts = np.concatenate([[0], np.cumsum(stays)])[matrix.indptr]
    return sparse.csr_array((matrix.data[stays], matrix.indices[stays], starts), shape=matrix.shape)
