"""The all-ranking evaluator: every item ranked for every user, seen items left out, in blocks of users.

Letters: U users with held-out items, M users, N items, F dimensions, K places, B users of a block.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lthjax import metrics, rows
from lthjax.embeddings import Embeddings
from lthjax.rows import Rows

_SCORES_PER_BLOCK = 2**24  # float32: 64 MiB, whatever M and N
_USERS_PER_BLOCK = 256  # more do not go faster on a CPU
_SEEN_PER_CHUNK = 64  # seen items are struck out so many at a time


@struct.dataclass
class RankingTask:
    """Whom to rank for, what to leave out, what counts as a hit."""

    users: np.ndarray  # [U] int32, users with at least one held-out item (others are left out, not counted as 0), by
    # number of seen items: users of a block have about as many, and none waits for one with many more
    seen: Rows  # M rows: items that are not ranked
    relevant: Rows  # M rows: held-out items


class RankingMetrics(NamedTuple):
    """Values per user, kept for statistics; the mean over users is the published number."""

    users: np.ndarray  # [U] int32
    recall: dict[int, np.ndarray]  # K -> [U] float32
    ndcg: dict[int, np.ndarray]  # K -> [U] float32

    def means(self) -> dict[str, float]:
        """{"recall@20": ..., "ndcg@20": ...} for every K, averaged in float64."""
        return {
            f"{name}@{k}": float(np.mean(values[k], dtype=np.float64))
            for k in self.recall
            for name, values in (("recall", self.recall), ("ndcg", self.ndcg))
        }


def ranking_task(seen: np.ndarray, held_out: np.ndarray, num_users: int) -> RankingTask:
    """Task from [., 2] pairs (user, item), each without duplicates, in any order."""
    seen, held_out = (pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))] for pairs in (seen, held_out))
    users = np.unique(held_out[:, 0]).astype(np.int32)
    num_seen = np.bincount(seen[:, 0], minlength=num_users)
    return RankingTask(
        users=users[np.argsort(num_seen[users], kind="stable")],
        seen=rows.from_pairs(seen, num_users),
        relevant=rows.from_pairs(held_out, num_users),
    )


def rank_one_user(
    user: jax.Array, user_row: jax.Array, items: jax.Array, task: RankingTask, num_chunks: jax.Array, k: int
) -> jax.Array:
    """[min(k, N)] bool, is the item at this rank a held-out one?

    Args:
      user: [] int32.
      user_row: [F], final embedding of the user.
      items: [N, F], final embeddings of all items.
      task: what is left out and what is a hit.
      num_chunks: [] int32, chunks that hold the seen items of every user of the block. One number for all, so that
        under `vmap` it bounds one loop over the block's scores.
      k: places.
    """
    num_items = items.shape[0]
    scores = jnp.dot(items, user_row, precision="highest")  # TF32 or bf16 would reorder near ties
    scores = jnp.where(scores == 0, 0.0, scores)  # top_k ranks -0 below +0, and pruned rows score both

    def strike_out(number, scores):
        seen = rows.chunk(task.seen, user, number, _SEEN_PER_CHUNK, fill=num_items)
        return scores.at[seen].set(-jnp.inf, mode="drop")  # the filling is out of range: dropped

    scores = jax.lax.fori_loop(0, num_chunks, strike_out, scores)
    best, top = jax.lax.top_k(scores, min(k, num_items))  # equal scores: lower id first
    hits = rows.contains(task.relevant, jnp.broadcast_to(user, top.shape), top.astype(jnp.int32))
    return hits & (best > -jnp.inf)  # with fewer unseen items than places, seen ones fill the list


@functools.partial(jax.jit, static_argnames="ks")
def _rank_block(users: jax.Array, final: Embeddings, task: RankingTask, num_chunks: jax.Array, ks: tuple[int, ...]):
    """(recall [B, len(ks)], ndcg [B, len(ks)]) of one block of users."""

    def one(user):
        hits = rank_one_user(user, final.user[user], final.item, task, num_chunks, max(ks))
        num_relevant = task.relevant.starts[user + 1] - task.relevant.starts[user]
        return (
            jnp.stack([metrics.recall_at(k, hits, num_relevant) for k in ks]),
            jnp.stack([metrics.ndcg_at(k, hits, num_relevant) for k in ks]),
        )

    return jax.vmap(one)(users)


def evaluate(
    final: Embeddings,
    task: RankingTask,
    ks: tuple[int, ...] = (20,),
    block_size: int | None = None,
    between_blocks: Callable[[], None] = lambda: None,
) -> RankingMetrics:
    """Recall@K and NDCG@K of every user of the task, for several K at once.

    Memory: one block of scores, B x N, at a time, at most 64 MiB unless `block_size` (users a block) says otherwise.
    `between_blocks` is called before each, so that an interrupt need not wait for the whole ranking.
    """
    num_users = len(task.users)
    if block_size is None:
        block_size = max(1, min(_USERS_PER_BLOCK, _SCORES_PER_BLOCK // final.item.shape[0]))
    block_size = min(block_size, num_users)
    num_seen = np.diff(np.asarray(task.seen.starts))[task.users]
    blocks = []
    for first in range(0, num_users, block_size):
        between_blocks()
        # The last block is full too and overlaps the one before: one shape, one program.
        begin = min(first, num_users - block_size)
        members = slice(begin, begin + block_size)
        num_chunks = np.int32(-(-num_seen[members].max() // _SEEN_PER_CHUNK))
        block = _rank_block(task.users[members], final, task, num_chunks, ks)
        blocks.append([np.asarray(values)[first - begin :] for values in block])
    order = np.argsort(task.users)
    recall, ndcg = (np.concatenate(parts)[order] for parts in zip(*blocks, strict=True))
    return RankingMetrics(
        users=np.asarray(task.users)[order],
        recall={k: recall[:, place] for place, k in enumerate(ks)},
        ndcg={k: ndcg[:, place] for place, k in enumerate(ks)},
    )
