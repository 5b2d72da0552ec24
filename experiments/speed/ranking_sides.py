"""What `ranking` times: ranking all items for all users, ours and PyTorch's, and the matrix products alone.

Letters: U users with test items, M users, N items, F dimensions, B users of a block.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed import pytorch, timing
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import LthjaxError
from lthjax.evaluation.ranking import RankingTask, evaluate, ranking_task

K = 20
_BLOCK_SIZES = (128, 256, 1024)
_MOST_APART = 1e-4  # of the users; near ties at the last place fall either way, as float32 sums are ordered


class Pairs(NamedTuple):
    """What is left out and what counts as a hit, as [., 2] int64 (user, item), sorted by user, then item."""

    seen: np.ndarray
    relevant: np.ndarray


class Work(NamedTuple):
    """What both sides rank."""

    final: Embeddings
    pairs: Pairs
    task: RankingTask  # the same pairs as lthjax wants them
    users: np.ndarray  # [U], ascending


def work_of(split: Split, dim: int, seed: int) -> Work:
    """Training and validation items are seen, test items are relevant; the embeddings are drawn.

    Args:
      split: the data.
      dim: F.
      seed: of the draws.

    Raises:
      LthjaxError: the test part is empty.
    """
    if len(split.test) == 0:
        raise LthjaxError(f"{split.name}: wanted interactions in the test part; it is empty.")
    parts = np.concatenate([split.train, split.valid]), split.test
    pairs = Pairs(*(part[np.lexsort((part[:, 1], part[:, 0]))].astype(np.int64) for part in parts))
    final = embeddings_with_hits(pairs.relevant, (split.num_users, split.num_items, dim), seed)
    task = ranking_task(pairs.seen, pairs.relevant, split.num_users)
    return Work(final, pairs, task, np.sort(task.users))


def embeddings_with_hits(relevant: np.ndarray, shape: tuple[int, int, int], seed: int) -> Embeddings:
    """N(0, 1) rows; items lean towards their test users, so that there are hits for the two sides to agree on.

    Args:
      relevant: [., 2] pairs (user, item).
      shape: (M, N, F).
      seed: of the draws.
    """
    num_users, num_items, dim = shape
    rng = np.random.default_rng(seed)
    user, item = (rng.standard_normal((rows, dim), dtype=np.float32) for rows in (num_users, num_items))
    degree = np.maximum(np.bincount(relevant[:, 1], minlength=num_items), 1)
    np.add.at(item, relevant[:, 1], user[relevant[:, 0]] / np.sqrt(degree[relevant[:, 1]], dtype=np.float32)[:, None])
    return Embeddings(jnp.asarray(user), jnp.asarray(item))


def sides_of(
    work: Work, torch: ModuleType | None, block_size: int
) -> tuple[dict[str, Callable[[], Any]], dict[str, int]]:
    """Name -> what is timed, and name -> B of those that have one.

    Args:
      work: what is ranked.
      torch: PyTorch, where it is here.
      block_size: B; 0 for the quickest of a few, for each side.
    """
    sides, sizes = {"lthjax": lambda: evaluate(work.final, work.task, (K,))}, {}
    in_blocks = {"lthjax, product alone": lambda users, size: our_products(work.final, users, size)}
    if torch is not None:
        in_blocks["PyTorch"] = lambda users, size: torch_ranking(torch, work, users, size)
        in_blocks["PyTorch, product alone"] = lambda users, size: torch_products(torch, work.final, users, size)
    for name, side_of in in_blocks.items():
        sizes[name] = block_size or _quickest_block_size(side_of, work.users[:4096])  # enough to choose with
        sides[name] = side_of(work.users, sizes[name])
    return sides, sizes


def _quickest_block_size(side_of: Callable[[np.ndarray, int], Callable[[], Any]], users: np.ndarray) -> int:
    """The quickest of a few block sizes for these users."""
    sizes = sorted({min(size, len(users)) for size in _BLOCK_SIZES})
    return timing.fastest({size: side_of(users, size) for size in sizes}, repeats=2)


def blocks_of(users: np.ndarray, block_size: int) -> list[np.ndarray]:
    """Users in blocks; the last may be shorter."""
    return [users[first : first + block_size] for first in range(0, len(users), block_size)]


def torch_ranking(torch: ModuleType, work: Work, users: np.ndarray, block_size: int) -> Callable[[], np.ndarray]:
    """A function that ranks all items for some users and returns Recall@20 of each, [U].

    Args:
      torch: the module.
      work: what is ranked.
      users: [U], ascending.
      block_size: B.
    """
    device, pairs = pytorch.device_of_jax(), work.pairs
    user_table, items = (torch.tensor(np.asarray(part), device=device) for part in work.final)
    num_items = len(items)
    relevant = torch.from_numpy(pairs.relevant @ np.array([num_items, 1])).to(device)  # sorted, one number per pair
    num_relevant = np.bincount(pairs.relevant[:, 0], minlength=len(user_table))
    blocks = []
    for block in blocks_of(users, block_size):
        first, last = np.searchsorted(pairs.seen[:, 0], [block[0], block[-1] + 1])
        seen = pairs.seen[first:last][np.isin(pairs.seen[first:last, 0], block)]
        seen_rows = np.searchsorted(block, seen[:, 0])
        arrays = (block, seen_rows, seen[:, 1], num_relevant[block])
        blocks.append([torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(device) for array in arrays])
    k = min(K, num_items)

    def run() -> np.ndarray:
        recall = []
        for block, seen_rows, seen_items, size in blocks:
            scores = user_table[block] @ items.T
            scores[seen_rows, seen_items] = -torch.inf
            best, top = scores.topk(k)
            pair = block[:, None] * num_items + top
            position = torch.searchsorted(relevant, pair).clamp_(max=len(relevant) - 1)
            hits = (relevant[position] == pair) & (best > -torch.inf)
            recall.append(hits.sum(dim=1) / size)
        return torch.cat(recall).cpu().numpy()  # waits for the GPU

    return run


def torch_products(torch: ModuleType, final: Embeddings, users: np.ndarray, block_size: int) -> Callable[[], None]:
    """PyTorch's matrix products alone, into one buffer.

    Args:
      torch: the module.
      final: embeddings.
      users: [U].
      block_size: B.
    """
    device = pytorch.device_of_jax()
    user_table, items = (torch.tensor(np.asarray(part), device=device) for part in final)
    blocks = [torch.from_numpy(block.astype(np.int64)).to(device) for block in blocks_of(users, block_size)]
    buffer = torch.empty(min(block_size, len(users)), len(items), device=device)

    def run() -> None:
        for block in blocks:
            torch.mm(user_table[block], items.T, out=buffer[: len(block)])
        pytorch.wait(torch)

    return run


def our_products(final: Embeddings, users: np.ndarray, block_size: int) -> Callable[[], None]:
    """JAX's matrix products alone; one score of each block is kept.

    Args:
      final: embeddings.
      users: [U].
      block_size: B.
    """
    blocks = [jnp.asarray(block) for block in blocks_of(users, block_size)]

    def run() -> None:
        jax.block_until_ready([_product(block, final) for block in blocks])

    return run


@jax.jit
def _product(block: jax.Array, final: Embeddings) -> jax.Array:
    scores = jnp.dot(final.user[block], final.item.T, precision="highest")
    # Behind the barrier, so that the one score that is kept does not become the only one that is computed.
    return jax.lax.optimization_barrier(scores)[0, 0]


def check_same_recall(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Both means, and the users whose recall differs, of two [U].

    Raises:
      LthjaxError: more users differ than near ties explain.
    """
    num_apart = int(np.count_nonzero(np.abs(ours - theirs) > 1e-6))
    means = [float(np.mean(recall, dtype=np.float64)) for recall in (ours, theirs)]
    if num_apart > _MOST_APART * len(ours):
        raise LthjaxError(
            f"wanted the same Recall@{K} from both sides, got {means[0]:.6f} and {means[1]:.6f}; "
            f"{num_apart:,} of {len(ours):,} users differ."
        )
    return {"lthjax": means[0], "PyTorch": means[1], "users_apart": num_apart}
