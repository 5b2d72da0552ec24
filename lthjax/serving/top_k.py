"""The K best items of users, exactly, from dense or sparse tables. NumPy and SciPy only.

Of equal scores the item with more training interactions comes first, then the lower row.

Letters: M users, N items, R rows, F dimensions, B queries, K items per list, C candidate items, E seen items in all.
"""

import contextlib
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from scipy import sparse

from lthjax.data.id_lists import IdLists
from lthjax.errors import DataError, SettingsError

try:
    import threadpoolctl
except ImportError:
    threadpoolctl = None

Scoring = Literal["auto", "dense", "sparse"]
Table = Any  # [., F], a NumPy array or a SciPy sparse matrix

MOST_RESULTS = 2**26  # queries times K of one call: 768 MiB
# Share of the multiply-adds of dense scoring below which sparse scoring is faster: both tables 94% pruned. The 20 best
# of 40,981 items, F = 32, random masks, CPU time of 256 users on one core: dense takes 0.27 times as long as sparse
# at 90%, 0.95 times at 94%, 1.25 times at 95%, 2.2 times at 97%. For one user at a time the crossing is about the same.
_BREAK_EVEN = 0.0033
_ROWS_PER_BLOCK = 64  # their scores stay in a CPU's cache, up to some 100,000 items
_SCORES_PER_BLOCK = 2**24  # 64 MiB of float32
_PAIRS_PER_BLOCK = 2**20  # of a query and a candidate
_NUMBERS_PER_BLOCK = 2**22  # that pairs gather: 16 MiB of float32 for each side
_GROUP = 64  # items, at most, of which the best are compared first


class Best(NamedTuple):
    """The best rows of a table for each query, best first."""

    rows: np.ndarray  # [B, K] int64, -1 at the end where fewer than K are left
    scores: np.ndarray  # [B, K] float32 (float64 of float64 tables), -inf where rows are -1


class _Ranking(NamedTuple):
    """What is ranked, and for whom."""

    queries: Table  # [M, F]
    table: Table  # [R, F]
    places: np.ndarray  # [R] int64, different ones: of equal scores the lowest first
    excluded: Callable[[int], np.ndarray]  # row of the queries -> rows of the table that are left out


def recommend(
    users: Table,
    items: Table,
    rows: np.ndarray | Sequence[int] | None = None,
    k: int = 20,
    *,
    seen: Any = None,
    candidates: np.ndarray | Sequence[int] | IdLists | None = None,
    counts: np.ndarray | None = None,
    scoring: Scoring = "auto",
) -> Best:
    """The items with the highest scores <user, item>; equal scores by `counts`, the highest first, then by index.

    A user whose row is all zeros scores all items alike, and so gets those with the highest counts.

    Memory: the results, and the scores of a block of at most 64 users, at most 64 MiB, at a time. Dense scoring limits
    BLAS to one thread while calls run, in the whole process: those of many callers stand in one another's way. That
    takes the package threadpoolctl; without it, set OPENBLAS_NUM_THREADS=1 where many threads serve.

    Args:
      users: [M, F], finite.
      items: [N, F], finite. Sparse scoring converts it to CSC at every call; pass CSC where that matters.
      rows: [B] users to recommend to, all by default.
      k: list length; K is smaller where every user has fewer items left.
      seen: items to leave out, M rows: a SciPy sparse matrix [M, N] (each stored entry is seen, whatever its value), or
        `starts` and `ids` as in `lthjax.data.id_lists.IdLists`; None leaves nothing out.
      candidates: [C] the only items to rank, in any order; or B rows of such items, for each user its own; all by
        default.
      counts: [N] training interactions of each item, from 0 to below 2^31; all 0 by default.
      scoring: "dense" multiplies whole tables, "sparse" stored entries only; "auto" asks `choose`.

    Raises:
      DataError: tables of different dimensions or not finite, rows or candidates out of range, seen or counts of
        another shape.
      SettingsError: k below 1, another scoring, or more than 2^26 results.
    """
    num_users, num_items = users.shape[0], items.shape[0]
    rows = _indices(rows, num_users, "users")
    counts = np.zeros(num_items, np.int64) if counts is None else np.asarray(counts, np.int64)
    if counts.shape != (num_items,):
        raise DataError(f"counts: wanted one for each of {num_items:,} items; got shape {counts.shape}.")
    places = np.arange(num_items) - num_items * counts
    starts, ids = _seen_rows(seen, num_users, num_items)

    def seen_by(row: int) -> np.ndarray:
        return ids[starts[row] : starts[row + 1]]

    if isinstance(candidates, IdLists):
        return _rank_lists(_Ranking(users, items, places, seen_by), rows, candidates, k, scoring)
    if candidates is None:
        return _rank(_Ranking(users, items, places, seen_by), rows, k, scoring)
    candidates = np.unique(_indices(candidates, num_items, "candidates"))
    items = (sparse.csr_array(items) if sparse.issparse(items) else np.asarray(items))[candidates]
    ranking = _Ranking(users, items, places[candidates], lambda row: np.flatnonzero(np.isin(candidates, seen_by(row))))
    best = _rank(ranking, rows, k, scoring)
    return Best(np.where(best.rows < 0, -1, candidates[best.rows]), best.scores)


def similar(
    table: Table, rows: np.ndarray | Sequence[int] | None = None, k: int = 20, *, scoring: Scoring = "auto"
) -> Best:
    """The other rows with the highest cosine to each query, equal ones by index; a row of zeros has 0 to all.

    Args:
      table: [R, F], finite; its rows are normalized at every call.
      rows: [B] queries, all by default.
      k: list length.
      scoring: as in `recommend`.

    Raises:
      DataError, SettingsError: as `recommend`.
    """
    table = unit_rows(table)
    rows = _indices(rows, table.shape[0], "rows")
    return _rank(_Ranking(table, table, np.arange(table.shape[0]), lambda row: np.array([row])), rows, k, scoring)


def unit_rows(table: Table) -> Table:
    """The table with rows of length 1, rows of zeros as they are; sparse tables stay sparse."""
    table = _floats(table)
    squares = table.multiply(table).sum(axis=1) if sparse.issparse(table) else np.square(table).sum(axis=1)
    lengths = np.sqrt(np.asarray(squares).ravel())
    inverse = np.divide(1, lengths, where=lengths > 0, out=np.zeros_like(lengths))
    if sparse.issparse(table):
        return sparse.csr_array(sparse.diags_array(inverse).astype(table.dtype) @ table)
    return table * inverse[:, None]


def choose(users: Table, items: Table) -> Literal["dense", "sparse"]:
    """The faster scoring: sparse where the share of multiply-adds without a factor of 0 is small enough.

    For independent masks that share is the product of the tables' densities.
    """
    stored = (table.nnz if sparse.issparse(table) else np.count_nonzero(table) for table in (users, items))
    return "sparse" if math.prod(stored) < _BREAK_EVEN * math.prod(users.shape + items.shape) else "dense"


class _OneBlasThread:
    """Within `with`, in any number of threads at once, BLAS has one thread, where threadpoolctl is installed.

    NumPy's BLAS has one number for the whole process: the first call to come sets it, the last one to go sets it back.
    """

    def __init__(self):
        self._lock, self._num_calls, self._libraries, self._before = threading.Lock(), 0, None, []

    def __enter__(self):
        with self._lock:
            if self._libraries is None:  # looking for them takes milliseconds
                found = threadpoolctl and threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers
                # Under OpenMP each thread has a number of its own.
                self._libraries = [lib for lib in found or () if getattr(lib, "threading_layer", "") != "openmp"]
            if not self._num_calls:
                self._before = [(library, library.num_threads) for library in self._libraries]
                self._set((library, 1) for library in self._libraries)
            self._num_calls += 1

    def __exit__(self, *exception):
        with self._lock:
            self._num_calls -= 1
            if not self._num_calls:
                self._set((library, number) for library, number in self._before if library.num_threads == 1)

    @staticmethod
    def _set(numbers):
        for library, number in numbers:
            library.set_num_threads(number)
            if hasattr(library, "clear_controlling_thread"):  # since 3.8, which else heeds only the thread that set it
                library.clear_controlling_thread()


_one_blas_thread = _OneBlasThread()


def _rank(ranking: _Ranking, rows: np.ndarray, k: int, scoring: Scoring) -> Best:
    """The best rows of the table for some rows of the queries."""
    queries, table, places, excluded = ranking
    check_scoring(scoring)
    num_rows = table.shape[0]
    k = check_results(len(rows), k, num_rows)
    _check_dimensions(queries, table)
    if scoring == "auto":
        scoring = choose(queries, table)
    queries, table = _floats(queries), _floats(table)
    if scoring == "sparse":
        rank_block, queries, table = _best_sparse, sparse.csr_array(queries), sparse.csc_array(table).T
    else:
        rank_block, table = _best_dense, _dense(table).T
    size = max(1, min(_ROWS_PER_BLOCK, _SCORES_PER_BLOCK // max(num_rows, 1)))
    found = np.full((len(rows), k), -1, np.int64)
    scores = np.full((len(rows), k), -np.inf, np.result_type(queries.dtype, table.dtype))
    longest = 0
    with _one_blas_thread if scoring == "dense" else contextlib.nullcontext():
        for first in range(0, len(rows) if k else 0, size):
            block = rows[first : first + size]
            left_out = [excluded(row) for row in block]
            _check_items(np.concatenate(left_out), num_rows)
            for number, (ids, values) in enumerate(rank_block(queries[block], table, left_out, places, k), first):
                found[number, : len(ids)], scores[number, : len(ids)] = ids, values
                longest = max(longest, len(ids))
    return Best(found[:, :longest], scores[:, :longest])


def check_results(num_queries: int, k: int, longest: int) -> int:
    """K, no longer than the longest list.

    Raises:
      SettingsError: it is no whole number from 1, or the results would be more than `MOST_RESULTS`.
    """
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise SettingsError(f"k: wanted a whole number from 1; got {k!r}.")
    k = min(int(k), longest)
    if num_queries * k > MOST_RESULTS:
        raise SettingsError(
            f"k: wanted at most {MOST_RESULTS:,} results in one call; got {num_queries:,} lists of {k:,}. "
            f"Ask in portions of at most {MOST_RESULTS // k:,}."
        )
    return k


def _rank_lists(ranking: _Ranking, rows: np.ndarray, lists: IdLists, k: int, scoring: Scoring) -> Best:
    """The best of each query's own list of rows of the table; pairs are scored one by one, in blocks."""
    check_scoring(scoring)
    starts, ids = np.asarray(lists.starts), np.asarray(lists.ids)
    num_rows = ranking.table.shape[0]
    if lists.num_rows != len(rows):
        raise DataError(f"candidates: wanted a list for each of {len(rows):,} users; got {lists.num_rows:,}.")
    k = check_results(len(rows), k, int(np.diff(starts).max(initial=0)))
    _check_dimensions(ranking.queries, ranking.table)
    _indices(ids, num_rows, "candidates")
    queries, table = _by_rows(ranking.queries), _by_rows(ranking.table)
    found = np.full((len(rows), k), -1, np.int64)
    scores = np.full((len(rows), k), -np.inf, np.result_type(queries.dtype, table.dtype))
    first = 0
    while first < len(rows):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + _PAIRS_PER_BLOCK, "right")) - 1)
        lengths = np.diff(starts[first : last + 1])
        owners, listed = np.repeat(np.arange(last - first), lengths), ids[starts[first] : starts[last]].astype(np.int64)
        left_out = [ranking.excluded(row) for row in rows[first:last]]
        _check_items(np.concatenate(left_out), num_rows)
        seen = np.repeat(np.arange(last - first), [len(some) for some in left_out]) * num_rows + np.concatenate(
            left_out
        )
        is_new = ~np.isin(owners * num_rows + listed, seen)
        owners, listed = owners[is_new], listed[is_new]
        values = _scores_of_pairs(queries, table, rows[first:last][owners], listed)
        order = np.lexsort((ranking.places[listed], -values, owners))
        owners, listed, values = owners[order], listed[order], values[order]
        place = np.arange(len(owners)) - np.searchsorted(owners, owners)
        is_first = place < k
        into = first + owners[is_first], place[is_first]
        found[into], scores[into] = listed[is_first], values[is_first]
        first = last
    longest = int((found >= 0).sum(axis=1).max(initial=0))
    return Best(found[:, :longest], scores[:, :longest])


def _scores_of_pairs(queries: Table, table: Table, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """[P] products of rows[p] of the queries with ids[p] of the table."""
    scores = np.empty(len(rows), np.result_type(queries.dtype, table.dtype))
    size = max(1, _NUMBERS_PER_BLOCK // max(table.shape[1], 1))
    for first in range(0, len(rows), size):
        pairs = queries[rows[first : first + size]], table[ids[first : first + size]]
        if any(sparse.issparse(side) for side in pairs):
            one, other = sorted(pairs, key=sparse.issparse, reverse=True)
            scores[first : first + size] = one.multiply(other).sum(axis=1)
        else:
            scores[first : first + size] = np.einsum("pf,pf->p", *pairs)
    _check_numbers(scores)
    return scores


def _best_dense(
    queries: Table, columns: np.ndarray, excluded: list[np.ndarray], places: np.ndarray, k: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows, scores) of the best k for each of [B, F] queries; `columns` is [F, N], k at most N."""
    scores = _dense(queries) @ columns
    for row, left_out in zip(scores, excluded, strict=True):
        row[left_out] = -np.inf
    # At least k entries reach the k-th highest maximum of a group: entries below that bound need no sorting.
    num_items = scores.shape[1]
    starts = np.arange(0, num_items, max(1, min(_GROUP, num_items // (4 * k))))
    maxima = np.maximum.reduceat(scores, starts, axis=1)
    _check_numbers(maxima)  # np.maximum propagates NaN
    bounds = np.partition(maxima, -k, axis=1)[:, -k] if k <= len(starts) else np.full(len(scores), -np.inf)
    return [_first(row, np.flatnonzero(row >= bound), places, k) for row, bound in zip(scores, bounds, strict=True)]


def _best_sparse(
    queries: Table, columns: Table, excluded: list[np.ndarray], places: np.ndarray, k: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """As `_best_dense`, `queries` and `columns` as CSR.

    Entries that the product does not store score 0, after all positive scores; negative ones come last.
    """
    product = queries @ columns
    _check_numbers(product.data)
    scores = np.zeros(columns.shape[1], product.dtype)  # of one query at a time
    lists = []
    for left_out, start, stop in zip(excluded, product.indptr[:-1], product.indptr[1:], strict=True):
        stored = product.indices[start:stop]
        scores[stored] = product.data[start:stop]
        scores[left_out] = -np.inf
        ids = stored[scores[stored] > 0]
        if len(ids) < k:
            ids = np.concatenate([ids, _foremost(np.flatnonzero(scores == 0), places, k - len(ids))])
        if len(ids) < k:
            ids = np.concatenate([ids, np.flatnonzero(scores < 0)])
        lists.append(_first(scores, ids, places, k))
        scores[stored] = scores[left_out] = 0
    return lists


def _first(scores: np.ndarray, ids: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids, scores) of the k highest of scores[ids], equal scores by their places; those of -inf left out."""
    values = scores[ids]
    if len(ids) > 16 * k:  # many ties: sort only those that can be among the first k
        least = np.partition(values, -k)[-k]
        ids = np.concatenate([ids[values > least], _foremost(ids[values == least], places, k)])
        values = scores[ids]
    order = np.lexsort((places[ids], -values))[:k]
    order = order[values[order] > -np.inf]
    return ids[order], values[order]


def _foremost(ids: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """Those of some ids that have the lowest places, in any order."""
    return ids if len(ids) <= count else ids[np.argpartition(places[ids], count - 1)[:count]]


def check_scoring(scoring: str) -> None:
    """Raise SettingsError where it is none."""
    if scoring not in get_args(Scoring):
        raise SettingsError(f"scoring: wanted auto, dense or sparse; got {scoring!r}.")


def checked_seen(seen: Any, exclude_seen: bool) -> Any:
    """What is left out; DataError where it is not known."""
    if exclude_seen and seen is None:
        raise DataError("exclude_seen: wanted seen items; this ticket was exported without. False ranks all.")
    return seen if exclude_seen else None


def _check_dimensions(queries: Table, table: Table) -> None:
    if queries.ndim != 2 or table.ndim != 2 or queries.shape[1] != table.shape[1]:
        raise DataError(f"wanted two tables with as many dimensions; got {queries.shape} and {table.shape}.")


def _check_items(excluded: np.ndarray, num_rows: int) -> None:
    """Checks one block, not all rows at once: a request for one user must not wait for everyone's items."""
    if len(excluded) and not 0 <= excluded.min() <= excluded.max() < num_rows:
        raise DataError(f"seen items: wanted 0 to {num_rows - 1}; got {excluded.min()} to {excluded.max()}.")


def _check_numbers(scores: np.ndarray) -> None:
    if np.isnan(scores).any():
        raise DataError("wanted tables of finite numbers; got scores that are no number.")


def _seen_rows(seen: Any, num_users: int, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """(starts [M + 1], ids [E]) of seen items."""
    if seen is None:
        return np.zeros(num_users + 1, np.int64), np.zeros(0, np.int64)
    if sparse.issparse(seen):
        seen = sparse.csr_array(seen)
        starts, ids, shape = seen.indptr, seen.indices, seen.shape
    else:
        starts = np.asarray(seen.starts)
        ids = np.asarray(seen.ids)[: starts[-1]]
        shape = (len(starts) - 1, num_items)
    if shape != (num_users, num_items):
        raise DataError(f"seen items: wanted a matrix of shape {(num_users, num_items)}; got {shape}.")
    return starts, ids


def _indices(rows: Any, num_rows: int, what: str) -> np.ndarray:
    """[B] int64, checked; all rows for None."""
    if rows is None:
        return np.arange(num_rows)
    rows = np.atleast_1d(np.asarray(rows))
    if rows.size == 0:
        return np.zeros(0, np.int64)
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise DataError(f"{what}: wanted a list of row numbers; got {rows.dtype} of shape {rows.shape}.")
    if not 0 <= rows.min() <= rows.max() < num_rows:
        raise DataError(f"{what}: wanted rows from 0 to {num_rows - 1}; got {rows.min()} to {rows.max()}.")
    return rows.astype(np.int64)


def _dense(table: Table) -> np.ndarray:
    return table.toarray() if sparse.issparse(table) else table


def _floats(table: Table) -> Table:
    """The table in float32; float64 tables as they are."""
    table = table if sparse.issparse(table) else np.asarray(table)
    return table if table.dtype in (np.float32, np.float64) else table.astype(np.float32)


def _by_rows(table: Table) -> Table:
    """The table as `_floats`, one whose rows are quickly taken."""
    table = _floats(table)
    return sparse.csr_array(table) if sparse.issparse(table) else table
