"""The K best items of users, exactly, from dense or sparse tables: NumPy and SciPy only, for where tickets serve.

The rules are those of `evaluation.ranking`: seen items are left out, and of equal scores the lower index comes first.

Letters: M users, N items, F dimensions, B rows asked for, K places, C candidate items, E seen items in all rows.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import sparse

from lthjax.errors import DataError, SettingsError

Scoring = Literal["auto", "dense", "sparse"]
Table = Any  # [., F], a NumPy array or a SciPy sparse matrix

# Share of the multiply-adds of dense scoring below which sparse scoring is quicker: both tables 94% pruned. The 20 best
# of 40,981 items, F = 32, masks at random, CPU time of 256 users on one core: dense takes 0.27 times as long as sparse
# at 90%, 0.95 times at 94%, 1.25 times at 95%, 2.2 times at 97%. One user at a time, they meet at about the same.
_BREAK_EVEN = 0.0033
_ROWS_PER_BLOCK = 64  # their scores stay in a CPU's cache, up to some 100,000 items
_SCORES_PER_BLOCK = 2**24  # 64 MiB of float32
_GROUP = 64  # items at most whose best is looked at first


class Best(NamedTuple):
    """The best rows of a table for each row asked for, best first; scores of -inf where a row has fewer than K."""

    rows: np.ndarray  # [B, K] int64, -1 where there are no more
    scores: np.ndarray  # [B, K] float32 (float64 of float64 tables)


def recommend(
    users: Table,
    items: Table,
    rows: np.ndarray | Sequence[int] | None = None,
    k: int = 20,
    *,
    seen: Any = None,
    candidates: np.ndarray | Sequence[int] | None = None,
    scoring: Scoring = "auto",
) -> Best:
    """The items with the highest scores <user, item>, of equal ones the lower index first.

    Memory: the scores of a block of 64 users or fewer, at most 64 MiB, at a time.

    Args:
      users: [M, F], finite.
      items: [N, F], finite. Sparse scoring wants CSC and makes it of anything else, so hand that in where it matters.
      rows: [B] users to serve, all by default.
      k: places; with fewer items left for everyone, K is as many as the one with the most has.
      seen: items to leave out, M rows: a SciPy sparse matrix [M, N] (what it stores is seen, whatever the value), or
        `starts` and `ids` as in `lthjax.graph.graph.id_sets.Rows`; None leaves nothing out.
      candidates: [C] the only items to rank, in any order; all by default.
      scoring: "dense" multiplies whole tables; "sparse" stored entries only; "auto" takes what `choose` says.

    Raises:
      DataError: tables that do not go together or are not finite, rows or candidates that are not in them.
      SettingsError: k or scoring that is none.
    """
    num_users, num_items = users.shape[0], items.shape[0]
    rows = _indices(rows, num_users, "users")
    if candidates is not None:
        candidates = np.unique(_indices(candidates, num_items, "candidates"))
    starts, ids = _seen_rows(seen, num_users, num_items)

    def struck_out(row: int) -> np.ndarray:
        here = ids[starts[row] : starts[row + 1]]
        return here if candidates is None else _places(here, candidates)

    best = _rank(users, items if candidates is None else _take(items, candidates), rows, k, struck_out, scoring)
    return best if candidates is None else Best(pick(candidates, best.rows, -1), best.scores)


def similar(
    table: Table, rows: np.ndarray | Sequence[int] | None = None, k: int = 20, *, scoring: Scoring = "auto"
) -> Best:
    """The rows with the highest cosine to each row asked for, itself left out; a row of zeros has a cosine of 0 to all.

    Args:
      table: [R, F], finite; `unit_rows` of it is made at every call: hand in what that gives where it matters.
      rows: [B] rows to find others for, all by default.
      k: places.
      scoring: as in `recommend`.

    Raises:
      DataError, SettingsError: as `recommend`.
    """
    table = unit_rows(table)
    rows = _indices(rows, table.shape[0], "rows")
    return _rank(table, table, rows, k, lambda row: np.array([row]), scoring)


def unit_rows(table: Table) -> Table:
    """The table with rows of length 1, or 0 where a row is all zeros; sparse tables stay sparse."""
    table = _floats(table)
    squares = table.multiply(table).sum(axis=1) if sparse.issparse(table) else np.square(table).sum(axis=1)
    lengths = np.sqrt(np.asarray(squares).ravel())
    inverse = np.divide(1, lengths, where=lengths > 0, out=np.zeros_like(lengths))
    if sparse.issparse(table):
        return sparse.csr_array(sparse.diags_array(inverse).astype(table.dtype) @ table)
    return table * inverse[:, None]


def choose(users: Table, items: Table) -> Literal["dense", "sparse"]:
    """How to score: sparse where few enough multiply-adds of the dense product have no factor of 0.

    With masks that do not depend on each other that share is the product of the tables' densities.
    """
    return "sparse" if _density(users) * _density(items) < _BREAK_EVEN else "dense"


def _rank(
    queries: Table, table: Table, rows: np.ndarray, k: int, struck_out: Callable[[int], np.ndarray], scoring: Scoring
) -> Best:
    """The best rows of `table` for some rows of `queries`, those of `struck_out(row)` left out."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise SettingsError(f"k: wanted a whole number from 1; got {k!r}.")
    if scoring not in ("auto", "dense", "sparse"):
        raise SettingsError(f"scoring: wanted auto, dense or sparse; got {scoring!r}.")
    if queries.ndim != 2 or table.ndim != 2 or queries.shape[1] != table.shape[1]:
        raise DataError(f"wanted two tables with as many dimensions; got {queries.shape} and {table.shape}.")
    num_rows = table.shape[0]
    k = min(k, num_rows)
    if scoring == "auto":
        scoring = choose(queries, table)
    queries, table = _floats(queries), _floats(table)
    if scoring == "sparse":
        block_of, queries, table = _best_sparse, sparse.csr_array(queries), sparse.csc_array(table).T
    else:
        block_of, table = _best_dense, _dense(table).T
    size = max(1, min(_ROWS_PER_BLOCK, _SCORES_PER_BLOCK // max(num_rows, 1)))
    found: list[tuple[np.ndarray, np.ndarray]] = []
    for first in range(0, len(rows) if k else 0, size):
        block = rows[first : first + size]
        struck = [struck_out(row) for row in block]
        _check_items(np.concatenate(struck), num_rows)
        found += block_of(queries[block], table, struck, k)
    longest = max((len(best) for best, _ in found), default=0)
    best = Best(
        np.full((len(rows), longest), -1, np.int64),
        np.full((len(rows), longest), -np.inf, np.result_type(queries.dtype, table.dtype)),
    )
    for place, (ids, scores) in enumerate(found):
        best.rows[place, : len(ids)], best.scores[place, : len(ids)] = ids, scores
    return best


def _best_dense(
    queries: Table, columns: np.ndarray, struck: list[np.ndarray], k: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(rows, scores) of the best k for each query.

    Args:
      queries: [B, F].
      columns: [F, N], the other table transposed.
      struck: for each query, what is left out.
      k: places, from 1 to N.
    """
    scores = _dense(queries) @ columns
    for row, here in zip(scores, struck, strict=True):
        row[here] = -np.inf
    # At least k entries reach the k-th best of all groups' bests: what lies below it need not be sorted.
    num_items = scores.shape[1]
    starts = np.arange(0, num_items, max(1, min(_GROUP, num_items // (4 * k))))
    bests = np.maximum.reduceat(scores, starts, axis=1)
    _check_numbers(bests)  # np.maximum hands NaN on
    bounds = np.partition(bests, -k, axis=1)[:, -k] if k <= len(starts) else np.full(len(scores), -np.inf)
    return [_first(row, np.flatnonzero(row >= bound), k) for row, bound in zip(scores, bounds, strict=True)]


def _best_sparse(
    queries: Table, columns: Table, struck: list[np.ndarray], k: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The same, `queries` and `columns` as CSR. What the product does not store scores 0: it comes after all positive
    scores, and negative ones are looked at only where both together are too few.
    """
    product = queries @ columns
    _check_numbers(product.data)
    scores = np.zeros(columns.shape[1], product.dtype)  # of one query at a time
    found = []
    for here, start, stop in zip(struck, product.indptr[:-1], product.indptr[1:], strict=True):
        stored = product.indices[start:stop]
        scores[stored] = product.data[start:stop]
        scores[here] = -np.inf
        among = np.sort(stored[scores[stored] > 0])
        if len(among) < k:
            among = np.concatenate([among, np.flatnonzero(scores == 0)[: k - len(among)]])
        if len(among) < k:
            among = np.concatenate([among, np.flatnonzero(scores < 0)])
        found.append(_first(scores, among, k))
        scores[stored] = scores[here] = 0
    return found


def _first(scores: np.ndarray, among: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(places, scores) of the k highest scores at some places, of equal ones the earlier in `among`; -inf left out."""
    values = scores[among]
    if len(among) > 16 * k:  # many ties: sort none but those that can be among the first
        least = np.partition(values, -k)[-k]
        among = np.concatenate([among[values > least], among[values == least][:k]])
        values = scores[among]
    order = np.argsort(-values, kind="stable")[:k]
    order = order[values[order] > -np.inf]
    return among[order], values[order]


def _check_items(struck: np.ndarray, num_rows: int) -> None:
    """Of a block, not of all rows at once: one user must not wait for a look at everyone's items."""
    if len(struck) and not 0 <= struck.min() <= struck.max() < num_rows:
        raise DataError(f"seen items: wanted 0 to {num_rows - 1}; got {struck.min()} to {struck.max()}.")


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


def _places(ids: np.ndarray, ascending: np.ndarray) -> np.ndarray:
    """Places in `ascending` of those ids that are there."""
    if not len(ascending):
        return np.zeros(0, np.int64)
    place = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    return place[ascending[place] == ids]


def pick(values: np.ndarray, places: np.ndarray, filling: Any) -> np.ndarray:
    """`values[places]`, the filling where a place is -1."""
    if not len(values):
        return np.full(places.shape, filling, values.dtype)
    return np.where(places < 0, np.asarray(filling, values.dtype), values[places])


def _take(table: Table, rows: np.ndarray) -> Table:
    return sparse.csr_array(table)[rows] if sparse.issparse(table) else np.asarray(table)[rows]


def _density(table: Table) -> float:
    stored = table.nnz if sparse.issparse(table) else np.count_nonzero(table)
    return stored / max(1, table.shape[0] * table.shape[1])


def _dense(table: Table) -> np.ndarray:
    return table.toarray() if sparse.issparse(table) else table


def _floats(table: Table) -> Table:
    """The table in float32, or in float64 where it is."""
    table = table if sparse.issparse(table) else np.asarray(table)
    return table if table.dtype in (np.float32, np.float64) else table.astype(np.float32)
