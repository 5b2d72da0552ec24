"""What a dense model has to beat: popularity, PureSVD, EASE and item-kNN, all without training or random numbers.

    for result in simple.results(problem, dense):
        print(result.row())

Letters: M users, N items, F dimensions, B users per block. X is the [M, N] matrix of training interactions, 0 or 1.
"""

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import linalg

from lthjax.evaluation.ranking import RankingMetrics, RankingTask, evaluate_scores
from lthjax.search.measuring import measure_ranking
from lthjax.search.problem import Problem
from lthjax.tickets.result import Result, in_words
from lthjax.tickets.ticket import Ticket
from lthjax.training.fit import Plan

DIMS = (16, 32, 64, 128)  # F of PureSVD, beside the dense model's
L2 = (30.0, 100.0, 300.0, 1000.0)  # of EASE
SHRINKAGE = (0.0, 10.0, 100.0, 1000.0)  # of item-kNN
MOST_ITEMS_FOR_EASE = 10_000  # three [N, N] float64 matrices of 0.8 GB; half a minute on two cores to invert one
_ITEMS_PER_BLOCK = 1024  # that item-kNN compares with all others at a time


class Model(NamedTuple):
    """How a method scores, and what it stores. Sums are in float64, so that equal scores are equal in float32."""

    scores: Callable[[np.ndarray], np.ndarray]  # [B] users -> [B, N]
    num_stored: int  # numbers, without their indices


def results(problem: Problem, dense: Ticket | Result) -> Iterator[Result]:
    """Each method, ranked and judged as tickets are. Epochs are 0, and seconds those of making the model.

    `num_kept` is how many numbers a method stores, `sparsity` what it saves of the dense table's size, below 0 where it
    stores more. PureSVD comes with the dense model's F and the best on the selection part, EASE up to its bound.

    Args:
      problem: of the dense model.
      dense: level 0 of the same problem, or its result.
    """
    settings, split = problem.settings, problem.split
    for name, make, note in _methods(problem):
        clock, model = time.monotonic(), make()
        seconds = time.monotonic() - clock
        measured = measure_ranking(problem, _ranked_by(model, split.num_items), 0, dense)
        yield Result(
            level=None,
            sparsity=1 - model.num_stored / ((split.num_users + split.num_items) * settings.dim),
            num_kept=model.num_stored,
            metrics=measured.metrics,
            per_user=measured.per_user,
            best_epoch=0,
            epochs=0,
            seconds=seconds,
            verdict=measured.verdict,
            tied_users=measured.tied_users,
            method=name,
            note=note,
            **in_words(settings),
        )


def _ranked_by(model: Model, num_items: int) -> Callable[[RankingTask, Plan], RankingMetrics]:
    """How good a model ranks, as `measure_ranking` asks for it."""
    return lambda task, plan: evaluate_scores(model.scores, task, num_items, plan.ks, metrics=plan.metrics)


def _methods(problem: Problem) -> Iterator[tuple[str, Callable[[], Model], str]]:
    """Name, maker and note of each method."""
    split, dim, of = problem.split, problem.settings.dim, functools.partial
    pairs = sparse.csr_array(split.matrix(), dtype=np.float64)
    yield "popularity", of(popularity, pairs), ""
    svds = {f"F = {size}": of(pure_svd, pairs, size) for size in sorted({*DIMS, dim})}
    best, note = _best(problem, svds)
    for name in dict.fromkeys([f"F = {dim}", best]):
        yield f"PureSVD, {name}", svds[name], note if name == best else ""
    if split.num_items <= MOST_ITEMS_FOR_EASE:
        best, note = _best(problem, eases := {f"L2 = {l2:g}": of(ease, pairs, l2) for l2 in L2})
        yield "EASE", eases[best], note
    best, note = _best(problem, knns := {f"shrinkage = {value:g}": of(item_knn, pairs, value) for value in SHRINKAGE})
    yield "item-kNN", knns[best], note


def _best(problem: Problem, makers: Mapping[str, Callable[[], Model]]) -> tuple[str, str]:
    """The name with the best main metric on the selection part, of equals the first; and a note that says so."""
    clock, plan = time.monotonic(), problem.plan

    def value(name):
        rank = _ranked_by(makers[name](), problem.split.num_items)
        return rank(problem.selection, plan).means()[plan.main_metric]

    best, part = max(makers, key=value), problem.settings.selection
    tried = ", ".join(name.split()[-1] for name in makers)
    return best, f"{best} is best of {tried} on the {part} part; choosing took {time.monotonic() - clock:.1f} s"


def popularity(pairs: sparse.csr_array) -> Model:
    """The score of an item is the number of its training interactions, for every user."""
    counts = pairs.sum(axis=0)
    return Model(lambda users: np.broadcast_to(counts, (len(users), len(counts))), len(counts))


def pure_svd(pairs: sparse.csr_array, dim: int) -> Model:
    """X V V^T, with the first F right singular vectors V of X, fewer where X is smaller (Cremonesi et al. 2010).

    Rows without interactions are exactly 0, so that their scores are equal.
    """
    start = np.random.default_rng(0).random(min(pairs.shape))  # always the same: so is the result
    _, _, transposed = linalg.svds(pairs, min(dim, len(start) - 1), v0=start)
    items = np.where(pairs.sum(axis=0)[:, None] > 0, transposed.T, 0.0)  # [N, F]
    users = pairs @ items  # [M, F]
    return Model(lambda block: users[block] @ items.T, users.size + items.size)


def ease(pairs: sparse.csr_array, l2: float) -> Model:
    """X B, with the B of diagonal 0 that minimizes ||X - X B||^2 + l2 ||B||^2 (Steck 2019).

    B = I - P / diag(P), P = (X^T X + l2 I)^-1; with few users by P = (I - X^T (X X^T + l2 I)^-1 X) / l2 (Woodbury).
    """
    num_users, num_items = pairs.shape
    if num_users < num_items:
        small = np.linalg.inv((pairs @ pairs.T).toarray() + l2 * np.eye(num_users))
        inverse = (np.eye(num_items) - pairs.T @ (small @ pairs)) / l2
    else:
        inverse = np.linalg.inv((pairs.T @ pairs).toarray() + l2 * np.eye(num_items))
    inverse /= -inverse.diagonal()
    np.fill_diagonal(inverse, 0)  # now it is B
    return Model(lambda users: pairs[users] @ inverse, num_items**2)


def item_knn(pairs: sparse.csr_array, shrinkage: float, num_neighbours: int = 100) -> Model:
    """The similarities of an item's neighbours that are among the user's items, summed (Sarwar et al. 2001).

    With U_i the users of item i: |U_i and U_j| / (sqrt(|U_i| |U_j|) + shrinkage), the cosine, less where few users are
    shared. Neighbours are the most similar items, and all that tie with the last of them.

    Args:
      pairs: X.
      shrinkage: 0 for the cosine itself.
      num_neighbours: of each item.
    """
    degree, blocks = pairs.sum(axis=0), []
    for first in range(0, pairs.shape[1], _ITEMS_PER_BLOCK):
        shared = (pairs[:, first : first + _ITEMS_PER_BLOCK].T @ pairs).tocsr()
        counts = np.diff(shared.indptr)
        item, other = first + np.repeat(np.arange(len(counts)), counts), shared.indices
        similarity = (item != other) * shared.data / (np.sqrt(degree[item] * degree[other]) + shrinkage)
        order = np.lexsort((-similarity, item))
        last = order[np.repeat(np.minimum(shared.indptr[:-1] + num_neighbours, shared.indptr[1:]) - 1, counts)]
        shared.data = np.where(similarity >= similarity[last], similarity, 0)
        shared.eliminate_zeros()
        blocks.append(shared)
    neighbours = sparse.vstack(blocks).T.tocsr()  # column: an item; rows: its neighbours
    return Model(lambda users: (pairs[users] @ neighbours).astype(np.float32).toarray(), neighbours.nnz)
