"""The all-ranking evaluator: every item ranked for every user, seen items left out, in blocks of users.

The M x N scores never exist at once: each block of users is scored into the same memory, and a top-K that does not sort
reads them once, on a CPU mostly while they are in the cache.

Letters: U users with held-out items, M users, N items, F dimensions, K items per list, B users per block, G blocks.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lthjax import metric_names
from lthjax.data.id_lists import IdLists
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.evaluation import breakdown
from lthjax.evaluation import metrics as definitions
from lthjax.graph import id_sets
from lthjax.runtime import forks

_USERS_PER_BLOCK = 64  # on a CPU at most: their scores stay in its cache, up to some 100,000 items
_SCORES_PER_BLOCK = {"cpu": 2**24, "other": 2**26}  # float32: 64 and 256 MiB, and about as much again for the top-K
_SCORES_PER_DISPATCH = 2**28  # about half a second on two cores; between dispatches the host can be interrupted
GROUP = 64  # items of which the top-K first compares the best
_IDS_PER_CHUNK = 64  # seen or relevant items that are looked up at a time


@struct.dataclass
class RankingTask:
    """The users to rank for, the items to leave out, and the items that count as hits."""

    # [U] int32, users with at least one held-out item (others are left out, not counted as 0), by number of seen items,
    # so that no user of a block waits for one with many more
    users: np.ndarray
    seen: IdLists  # M rows: items that are not ranked
    relevant: IdLists  # M rows: held-out items
    # [N] training interactions of each item, where lists matter and not only what they are worth: then items stand in
    # `seen` and `relevant` by their place in `_places`, so that of equal scores the more popular item comes first.
    popularity: np.ndarray | None = None
    num_seen: np.ndarray | None = None  # [M] items left out, where `seen` has those of some items alone; None: all


class RankingMetrics(NamedTuple):
    """Values per user, kept for statistics; the mean over users is the published number."""

    users: np.ndarray  # [U] int32
    per_user: dict[str, np.ndarray]  # "recall@20" -> [U] float32
    tied: dict[int, np.ndarray]  # K -> [U] bool, do two of the best K + 1 items score alike?
    of_catalog: dict[str, float]  # "coverage@20" -> one number for the lists of all users together

    def means(self) -> dict[str, float]:
        """{"recall@20": ..., "ndcg@20": ...} for every K, averaged in float64; then metrics of the catalog."""
        means = {name: float(np.mean(values, dtype=np.float64)) for name, values in self.per_user.items()}
        return means | self.of_catalog

    def of(self, metric: str) -> dict[int, np.ndarray]:
        """K -> [U] float32, of a metric by its name.

        Raises:
          SettingsError: it was not measured.
        """
        named = {name: values for name, values in self.per_user.items() if name.split("@")[0] == metric}
        if not named:
            raise SettingsError(f"metrics: wanted one of {', '.join(self.per_user)}; got {metric!r}.")
        return {int(name.split("@")[1]): values for name, values in named.items()}

    recall = property(lambda self: self.of("recall"), doc="K -> [U] float32.")
    ndcg = property(lambda self: self.of("ndcg"), doc="K -> [U] float32.")


class TopItems(NamedTuple):
    """What is recommended: the best unseen items of every user of a task."""

    users: np.ndarray  # [U] int32, ascending
    items: np.ndarray  # [U, min(K, N)] int32, best first; -1 at the end where a user has fewer unseen items


def ranking_task(
    seen: np.ndarray,
    held_out: np.ndarray,
    num_users: int,
    popularity: np.ndarray | None = None,
    num_seen: np.ndarray | None = None,
) -> RankingTask:
    """Task from pairs (user, item) in any order, without duplicates.

    Args:
      seen: [., 2] pairs that are not ranked.
      held_out: [., 2] pairs that count as hits.
      num_users: M.
      popularity: [N] training interactions of each item, where the lists themselves are wanted, as `recommend` serves
        them: of equal scores the more popular item first. Metrics of users are the same with it and without.
      num_seen: [M] pairs that are not ranked, where `seen` has those of some items alone, which a process of several
        needs; None where it has all.
    """
    if popularity is not None:
        place = np.argsort(items_by_place(popularity)).astype(np.int32)  # of each item
        seen, held_out = (np.stack([pairs[:, 0], place[pairs[:, 1]]], axis=1) for pairs in (seen, held_out))
    seen, held_out = (pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))] for pairs in (seen, held_out))
    users = np.unique(held_out[:, 0]).astype(np.int32)
    lengths = np.bincount(seen[:, 0], minlength=num_users) if num_seen is None else num_seen
    return RankingTask(
        users=users[np.argsort(lengths[users], kind="stable")],
        seen=id_sets.from_pairs(seen, num_users),
        relevant=id_sets.from_pairs(held_out, num_users),
        popularity=popularity,
        num_seen=num_seen,
    )


def sample_of(task: RankingTask, num_users: int, seed: int) -> RankingTask:
    """The task for a fixed random sample of its users; the same one wherever the users and the seed are the same.

    Args:
      task: of U users.
      num_users: of the sample; from U on, all are in it.
      seed: of the sample.
    """
    if num_users >= len(task.users):
        return task
    draw = np.random.default_rng((seed, 1))  # not the numbers that the split was drawn with
    chosen = draw.choice(np.sort(task.users), num_users, replace=False)
    return task.replace(users=task.users[np.isin(task.users, chosen)])


def on_host(task: RankingTask) -> RankingTask:
    """The same task with its lists as NumPy arrays, of which parts are handed to devices."""
    seen, relevant = (
        IdLists(np.asarray(lists.starts), np.asarray(lists.ids), lists.max_length)
        for lists in (task.seen, task.relevant)
    )
    return task.replace(seen=seen, relevant=relevant)


def items_by_place(popularity: np.ndarray) -> np.ndarray:
    """[N] int32, the items from the most popular one on, of equals the lower number first."""
    return np.argsort(-popularity, kind="stable").astype(np.int32)


def _unseen_scores(user: jax.Array, num_chunks: jax.Array, final: Embeddings, task: RankingTask) -> jax.Array:
    """[N, filled up to whole groups] scores of all items for a user, -inf for seen ones and the filling."""
    num_items = final.item.shape[0]
    items = jnp.pad(final.item, ((0, -num_items % GROUP), (0, 0)))
    scores = jnp.dot(items, final.user[user], precision="highest")  # TF32 or bf16 would reorder near ties
    return _without_seen(user, num_chunks, scores.at[num_items:].set(-jnp.inf), task)


def _without_seen(user: jax.Array, num_chunks: jax.Array, scores: jax.Array, task: RankingTask) -> jax.Array:
    """Scores of a user with -inf for the items that the user has seen.

    The seen items of every user of the block are in `num_chunks` chunks: one number for all, so that under `vmap` it
    bounds one loop over the block's scores.
    """

    def mask_seen(number, scores):
        seen = id_sets.chunk(task.seen, user, number, _IDS_PER_CHUNK, fill=scores.shape[0])
        return scores.at[seen].set(-jnp.inf, mode="drop")  # the fill value is out of range: dropped

    return jax.lax.fori_loop(0, num_chunks, mask_seen, scores)


def top_of(scores: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """(values, positions) of the k highest scores, equal ones by ascending position; scores are in whole groups.

    An entry among the k highest lies in a group whose best is among the k highest, and at most k groups have such a
    best: ranked by their best, the first k groups hold the answer. Groups are contiguous, so that of two with equal
    best the first also has the lower positions, and ties are broken as without groups.
    """
    groups = scores.reshape(-1, GROUP)
    _, chosen = jax.lax.top_k(_without_minus_zero(groups.max(axis=1)), min(k, len(groups)))
    chosen = jnp.sort(chosen)
    # Without the barrier XLA makes a full sort of a top-K of which only some values are used: 10 times as slow.
    best, position = map(jax.lax.optimization_barrier, jax.lax.top_k(_without_minus_zero(groups[chosen]).ravel(), k))
    return best, chosen[position // GROUP] * GROUP + position % GROUP


def _without_minus_zero(scores: jax.Array) -> jax.Array:
    """Scores with 0 for -0: top_k ranks -0 below 0, and pruned rows give both."""
    return jnp.where(scores == 0, 0.0, scores)


def _tied_with(user: jax.Array, scores: jax.Array, bound: jax.Array, task: RankingTask) -> tuple[jax.Array, jax.Array]:
    """([], []) int32, how many items of a user score exactly `bound`, and how many of them are relevant."""

    def count(number, total):
        relevant = id_sets.chunk(task.relevant, user, number, _IDS_PER_CHUNK, fill=scores.shape[0])
        return total + (scores.at[relevant].get(mode="fill", fill_value=-jnp.inf) == bound).sum(dtype=jnp.int32)

    num_chunks = -(-task.relevant.max_length // _IDS_PER_CHUNK)
    return (scores == bound).sum(dtype=jnp.int32), jax.lax.fori_loop(0, num_chunks, count, jnp.int32(0))


class Asked(NamedTuple):
    """What a compiled evaluator gives for each user."""

    ks: tuple[int, ...]
    of_users: tuple[str, ...] = metric_names.DEFAULT  # metrics
    of_catalog: tuple[str, ...] = ()  # metrics, for which the lists are wanted too


def _measure(users: jax.Array, scores: jax.Array, num_items: int, task: RankingTask, asked: Asked):
    """Each metric, then `tied`, [B, len(ks)] of a block of users, from their scores without seen items; then lists.

    Args:
      users: [B].
      scores: [B, N, filled up to whole groups], -inf for seen items and the filling.
      num_items: N.
      task: with the held-out items.
      asked: list lengths and metrics; with those of the catalog, the lists [B, K] are given too.
    """
    k = max(asked.ks)
    best, top = jax.vmap(functools.partial(top_of, k=min(k + 1, num_items)))(scores)
    last = best[:, min(k, num_items) - 1]
    goes_on = (best[:, -1] == last) & (last > -jnp.inf) if num_items > k else jnp.zeros(users.shape, bool)
    nothing = jnp.zeros(users.shape, jnp.int32)
    # Few blocks have a list that ends among equals: only they are read once more.
    size, hits = jax.lax.cond(
        goes_on.any(),
        lambda: jax.vmap(_tied_with, in_axes=(0, 0, 0, None))(users, scores, last, task),
        lambda: (nothing, nothing),
    )
    relevant = id_sets.contains(task.relevant, jnp.broadcast_to(users[:, None], top.shape), top)
    num_relevant = task.relevant.starts[users + 1] - task.relevant.starts[users]
    lists = Lists(best, top, relevant, jnp.where(goes_on, size, 0), hits, num_relevant)
    return measure_lists(lists, asked)


class Lists(NamedTuple):
    """The best items of a block of users, and what is known of them."""

    scores: jax.Array  # [B, K + 1] descending, of the best items and the next one, where there is one; -inf: none left
    items: jax.Array  # [B, K + 1]
    relevant: jax.Array  # [B, K + 1] bool
    tied_size: jax.Array  # [B] int32, items that score as the K-th does, where it ends among equals; else 0
    tied_hits: jax.Array  # [B] int32, relevant ones of them
    num_relevant: jax.Array  # [B] int32


def measure_lists(lists: Lists, asked: Asked) -> tuple[jax.Array, ...]:
    """Each metric, then `tied`, [B, len(ks)]; then the lists [B, K], where a metric of the catalog needs them.

    Args:
      lists: of a block of users.
      asked: list lengths and metrics.
    """
    ks, k = asked.ks, max(asked.ks)

    def measure(best, top, relevant, tied_size, tied_hits, num_relevant):
        ranks = definitions.ranks(best[:k], relevant[:k], tied_size, tied_hits)
        is_tied = (best[1:] == best[:-1]) & (best[1:] > -jnp.inf)
        of_metrics = [[definitions.OF_USERS[name](k, ranks, num_relevant) for k in ks] for name in asked.of_users]
        listed = [jnp.where(best[:k] > -jnp.inf, top[:k], -1)] if asked.of_catalog else []
        return (*map(jnp.stack, of_metrics), jnp.stack([is_tied[:k].any() for k in ks]), *listed)

    # The barrier makes this a program of its own: sums have one order, whatever the lists were made by.
    return jax.vmap(measure)(*jax.lax.optimization_barrier(lists))


@functools.partial(jax.jit, static_argnames="asked")
def _rank_blocks(users: jax.Array, final: Embeddings, task: RankingTask, num_chunks: jax.Array, asked: Asked):
    """Of [G, B] users, one block after the other, what `_measure` gives of a block."""

    def rank(block):
        users, num_chunks = block
        scores = jax.vmap(_unseen_scores, in_axes=(0, None, None, None))(users, num_chunks, final, task)
        return _measure(users, scores, final.item.shape[0], task, asked)

    return jax.lax.map(rank, (users, num_chunks))


@functools.partial(jax.jit, static_argnames="asked")
def _rank_scores(users: jax.Array, scores: jax.Array, task: RankingTask, num_chunks: jax.Array, asked: Asked):
    """The same of one block, [1, B] users with [B, N] scores that were made elsewhere."""
    num_items = scores.shape[1]
    scores = jnp.pad(scores, ((0, 0), (0, -num_items % GROUP)), constant_values=-jnp.inf)
    scores = jax.vmap(_without_seen, in_axes=(0, None, 0, None))(users[0], num_chunks[0], scores, task)
    return jax.tree.map(lambda values: values[None], _measure(users[0], scores, num_items, task, asked))


@functools.partial(jax.jit, static_argnames="k")
def _top_blocks(users: jax.Array, final: Embeddings, task: RankingTask, num_chunks: jax.Array, k: int):
    """([G, B, min(k, N)],) best items of [G, B] users; -1 where a user has fewer unseen ones."""

    def recommend(user, num_chunks):
        best, top = top_of(_unseen_scores(user, num_chunks, final, task), min(k, final.item.shape[0]))
        return jnp.where(best > -jnp.inf, top, -1)

    return (jax.lax.map(lambda block: jax.vmap(recommend, in_axes=(0, None))(*block), (users, num_chunks)),)


def _users_per_block(num_items: int, backend: str) -> int:
    padded = -(-num_items // GROUP) * GROUP
    if backend == "cpu":
        return max(1, min(_USERS_PER_BLOCK, _SCORES_PER_BLOCK["cpu"] // padded))
    return max(1, _SCORES_PER_BLOCK["other"] // padded)


def evaluate(
    final: Embeddings,
    task: RankingTask,
    ks: tuple[int, ...] = (20,),
    block_size: int | None = None,
    between_dispatches: Callable[[], None] = lambda: None,
    metrics: tuple[str, ...] = metric_names.DEFAULT,
) -> RankingMetrics:
    """Metrics of every user of the task, for several K at once; expected values where scores tie.

    Args:
      final: final embeddings.
      task: users, seen and held-out items; with popularity where a metric of the catalog is asked for.
      ks: list lengths K.
      block_size: B, which bounds the memory to B x N float32 scores; by default as suits the device.
      between_dispatches: called about every half second, so that an interrupt need not wait for the whole ranking.
      metrics: names of `metric_names`.
    """
    asked = asked_of(ks, metrics, task)
    plain, places = as_served(task)
    final = final if places is None else final._replace(item=final.item[places])

    def rank(users, num_chunks):
        return _rank_blocks(users, final, plain, num_chunks, asked)

    num_items = final.item.shape[0]
    found = in_blocks(rank, num_items, plain, block_size, between_dispatches=between_dispatches)
    return by_name(asked, found, task, places)


def evaluate_scores(
    score_block: Callable[[np.ndarray], np.ndarray],
    task: RankingTask,
    num_items: int,
    ks: tuple[int, ...] = (20,),
    block_size: int | None = None,
    metrics: tuple[str, ...] = metric_names.DEFAULT,
) -> RankingMetrics:
    """As `evaluate`, of any model: its scores are made on the host, for one block of users at a time.

    Args:
      score_block: [B] users -> [B, N] scores; some users come twice.
      task: users, seen and held-out items; with popularity where a metric of the catalog is asked for.
      num_items: N.
      ks: list lengths K.
      block_size: B; by default as suits the device.
      metrics: names of `metric_names`.
    """
    asked = asked_of(ks, metrics, task)
    plain, places = as_served(task)

    def rank(users, num_chunks):
        scores = np.asarray(score_block(users[0]), np.float32)
        if scores.shape != (users.size, num_items):
            raise ValueError(f"score_block: wanted scores of shape {(users.size, num_items)}; got {scores.shape}.")
        if places is not None:
            scores = scores[:, places]
        return _rank_scores(users, scores, plain, num_chunks, asked)

    return by_name(asked, in_blocks(rank, num_items, plain, block_size, most_per_dispatch=1), task, places)


def asked_of(ks: tuple[int, ...], metrics: tuple[str, ...], task: RankingTask) -> Asked:
    """What is asked for; refuses a metric of the catalog with a task that knows no popularity."""
    of_users, of_catalog = (
        tuple(name for name in metrics if name in known) for known in (definitions.OF_USERS, breakdown.OF_CATALOG)
    )
    if len(of_users) + len(of_catalog) < len(metrics):
        raise ValueError(f"metrics: wanted names of `metric_names`; got {metrics}.")
    if of_catalog and task.popularity is None:
        raise ValueError(f"wanted a task with popularity for {', '.join(of_catalog)}; got one without.")
    return Asked(ks, of_users, of_catalog)


def as_served(task: RankingTask) -> tuple[RankingTask, np.ndarray | None]:
    """The task without popularity, and the items in the order of the numbers that it gives them; None: their own."""
    if task.popularity is None:
        return task, None
    return task.replace(popularity=None), items_by_place(task.popularity)


def by_name(asked: Asked, found: list[np.ndarray], task: RankingTask, places: np.ndarray | None) -> RankingMetrics:
    """What `in_blocks` found, by name.

    Args:
      asked: of the evaluator.
      found: [U] users, [U, len(ks)] values of each metric, `tied`, and the lists where a metric of the catalog needs
        them.
      task: with the popularity.
      places: item at each place, where lists hold places.
    """
    users, *values = found
    of_catalog: dict[str, float] = {}
    if asked.of_catalog:
        lists = values.pop()
        of_catalog = breakdown.of_lists(
            np.where(lists >= 0, places[lists], -1), task.popularity, asked.ks, asked.of_catalog
        )
    *values, tied = values
    return RankingMetrics(
        users=users,
        per_user={
            f"{name}@{k}": of_metric[:, column]
            for column, k in enumerate(asked.ks)
            for name, of_metric in zip(asked.of_users, values, strict=True)
        },
        tied={k: tied[:, column] for column, k in enumerate(asked.ks)},
        of_catalog=of_catalog,
    )


def top_items(final: Embeddings, task: RankingTask, k: int = 20, block_size: int | None = None) -> TopItems:
    """The lists that `evaluate` measures: the best unseen items of every user of the task.

    Of equal scores the lower number comes first; with the popularity in the task the more popular item does.

    Args:
      final: final embeddings.
      task: users and seen items.
      k: list length.
      block_size: as in `evaluate`.
    """
    plain, places = as_served(task)
    final = final if places is None else final._replace(item=final.item[places])

    def recommend(users, num_chunks):
        return _top_blocks(users, final, plain, num_chunks, k)

    users, items = in_blocks(recommend, final.item.shape[0], plain, block_size)
    return TopItems(users, items if places is None else np.where(items >= 0, places[items], -1))


def in_blocks(
    rank: Callable[[np.ndarray, np.ndarray], tuple[jax.Array, ...]],
    num_items: int,
    task: RankingTask,
    block_size: int | None,
    most_per_dispatch: int | None = None,
    between_dispatches: Callable[[], None] = lambda: None,
) -> list[np.ndarray]:
    """[U] users, ascending, and the [U, ...] values that `rank` computes for them, some blocks per dispatch.

    Args:
      rank: [G, B] users, [G] numbers of chunks of their seen items -> [G, B, ...] values.
      num_items: N.
      task: users and seen items.
      block_size: B, or None.
      most_per_dispatch: G at most; by default as many as make about half a second.
      between_dispatches: called before each.

    Raises:
      ForkError: JAX would hang in this process.
    """
    forks.check()
    num_users = len(task.users)
    block_size = min(block_size or _users_per_block(num_items, jax.default_backend()), num_users)
    num_blocks = -(-num_users // block_size)
    most_per_dispatch = most_per_dispatch or _SCORES_PER_DISPATCH // (block_size * num_items)
    num_per_dispatch = max(1, min(num_blocks, most_per_dispatch))
    users = np.resize(task.users, (num_blocks, block_size))  # the last block is filled up from the front
    num_seen = np.diff(np.asarray(task.seen.starts))[users]  # [G, B]
    num_chunks = -(-num_seen.max(axis=1) // _IDS_PER_CHUNK).astype(np.int32)
    parts = []
    for first in range(0, num_blocks, num_per_dispatch):
        between_dispatches()
        # The last dispatch is full too and overlaps the one before: one shape, one program.
        begin = min(first, num_blocks - num_per_dispatch)
        blocks = slice(begin, begin + num_per_dispatch)
        part = rank(users[blocks], num_chunks[blocks])
        parts.append([np.asarray(values)[first - begin :].reshape(-1, values.shape[-1]) for values in part])
    order = np.argsort(task.users)
    values = [np.concatenate(pieces)[:num_users][order] for pieces in zip(*parts, strict=True)]
    return [np.asarray(task.users)[order], *values]
