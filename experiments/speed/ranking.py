r"""How long does ranking all items for all users take, beside PyTorch, and beside the matrix product alone?

    python -m experiments.speed.ranking --data gowalla
    python -m experiments.speed.ranking --data yelp2018 --dim 64 --block-size 256 --json evaluate.json

Ours is `evaluate.evaluate`, with Recall@20 and NDCG@20 of every user with test items, and training and validation items
left out. PyTorch does a block of users at a time: product, seen items to minus infinity in one scatter, topk, hits by
searchsorted; Recall@20 alone. Its blocks, with the places of their seen items, are made beforehand and for free, and
their size is the quickest of a few. Both give the same recall of every user, which is checked before the clock starts.

The floor is the matrix product by itself, in blocks likewise: no ranking of all items can be faster.

Cost on 2 CPU cores: the bundled MovieLens a few seconds, Gowalla at F = 32 about 4 minutes. A GPU is used by both
sides where JAX has one.

Letters: U users with test items, M users, N items, F dimensions, B users of a block.
"""

import dataclasses
import statistics
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import cli
from experiments.speed import timing as benchmarks
from lthjax.data import resolve
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import LthjaxError
from lthjax.evaluation.ranking import RankingTask, evaluate, ranking_task
from lthjax.settings import Settings

_K = 20
_BLOCK_SIZES = (128, 256, 1024)
_MOST_APART = 1e-4  # of the users; near ties at the last place fall either way, as float32 sums are ordered


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmarks.Common):
    """What is ranked, and how often."""

    data: str = "ml-latest-small"
    """Bundled or known name, or path, as for find_tickets; split 7:1:2."""
    dim: int = 32
    """Numbers per user and per item (F)."""
    block_size: int = 0
    """Users of a block of PyTorch's and of the products (B); 0 = the quickest of 128, 256 and 1024, for each."""

    def __post_init__(self):
        super().__post_init__()
        benchmarks.check_at_least(self, 0, "block_size")
        Settings(data=self.data, dim=self.dim, seed=self.seed)  # checks them


class Pairs(NamedTuple):
    """What is left out and what counts as a hit, as [., 2] int64 (user, item), sorted by user, then item."""

    seen: np.ndarray
    relevant: np.ndarray


def pairs_of(split: Split) -> Pairs:
    """Training and validation items are seen, test items are relevant."""
    seen = np.concatenate([split.train, split.valid])
    return Pairs(*(pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype(np.int64) for pairs in (seen, split.test)))


def embeddings_with_hits(relevant: np.ndarray, num_users: int, num_items: int, dim: int, seed: int) -> Embeddings:
    """N(0, 1) rows; items lean towards their test users, so that there are hits for the two sides to agree on.

    Args:
      relevant: [., 2] pairs (user, item).
      num_users: M.
      num_items: N.
      dim: F.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    user, item = (rng.standard_normal((rows, dim), dtype=np.float32) for rows in (num_users, num_items))
    degree = np.maximum(np.bincount(relevant[:, 1], minlength=num_items), 1)
    np.add.at(item, relevant[:, 1], user[relevant[:, 0]] / np.sqrt(degree[relevant[:, 1]], dtype=np.float32)[:, None])
    return Embeddings(jnp.asarray(user), jnp.asarray(item))


def blocks_of(users: np.ndarray, block_size: int) -> list[np.ndarray]:
    """Users in blocks; the last may be shorter."""
    return [users[first : first + block_size] for first in range(0, len(users), block_size)]


def torch_ranking(
    torch: ModuleType, final: Embeddings, pairs: Pairs, users: np.ndarray, block_size: int
) -> Callable[[], np.ndarray]:
    """A function that ranks all items for all users and returns Recall@20 of each, [U].

    Args:
      torch: the module.
      final: embeddings.
      pairs: what is left out and what is a hit.
      users: [U], ascending.
      block_size: B.
    """
    device = benchmarks.torch_device(torch)
    user_table, items = (torch.tensor(np.asarray(part), device=device) for part in final)
    num_items = len(items)
    relevant = torch.from_numpy(pairs.relevant @ np.array([num_items, 1])).to(device)  # sorted, one number a pair
    num_relevant = np.bincount(pairs.relevant[:, 0], minlength=len(user_table))
    blocks = []
    for block in blocks_of(users, block_size):
        first, last = np.searchsorted(pairs.seen[:, 0], [block[0], block[-1] + 1])
        seen = pairs.seen[first:last][np.isin(pairs.seen[first:last, 0], block)]
        seen_rows = np.searchsorted(block, seen[:, 0])
        arrays = (block, seen_rows, seen[:, 1], num_relevant[block])
        blocks.append([torch.from_numpy(np.ascontiguousarray(array, np.int64)).to(device) for array in arrays])
    k = min(_K, num_items)

    def run() -> np.ndarray:
        found = []
        for block, seen_rows, seen_items, size in blocks:
            scores = user_table[block] @ items.T
            scores[seen_rows, seen_items] = -torch.inf
            best, top = scores.topk(k)
            number = block[:, None] * num_items + top
            place = torch.searchsorted(relevant, number).clamp_(max=len(relevant) - 1)
            hits = (relevant[place] == number) & (best > -torch.inf)
            found.append(hits.sum(dim=1) / size)
        return torch.cat(found).cpu().numpy()  # waits for the GPU

    return run


def torch_products(torch: ModuleType, final: Embeddings, users: np.ndarray, block_size: int) -> Callable[[], None]:
    """PyTorch's matrix products alone, into one buffer."""
    device = benchmarks.torch_device(torch)
    user_table, items = (torch.tensor(np.asarray(part), device=device) for part in final)
    blocks = [torch.from_numpy(block.astype(np.int64)).to(device) for block in blocks_of(users, block_size)]
    buffer = torch.empty(min(block_size, len(users)), len(items), device=device)

    def run() -> None:
        for block in blocks:
            torch.mm(user_table[block], items.T, out=buffer[: len(block)])
        benchmarks.wait_for_torch(torch)

    return run


@jax.jit
def _product(block: jax.Array, final: Embeddings) -> jax.Array:
    scores = jnp.dot(final.user[block], final.item.T, precision="highest")
    # Behind the barrier, so that the one score that is kept does not become the only one that is computed.
    return jax.lax.optimization_barrier(scores)[0, 0]


def our_products(final: Embeddings, users: np.ndarray, block_size: int) -> Callable[[], None]:
    """JAX's matrix products alone; one score of each block is kept."""
    blocks = [jnp.asarray(block) for block in blocks_of(users, block_size)]

    def run() -> None:
        jax.block_until_ready([_product(block, final) for block in blocks])

    return run


def check_same_recall(ours: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Both means, and the users whose recall differs, of two [U].

    Raises:
      LthjaxError: more users differ than near ties explain.
    """
    num_apart = int(np.count_nonzero(np.abs(ours - theirs) > 1e-6))
    means = [float(np.mean(recall, dtype=np.float64)) for recall in (ours, theirs)]
    if num_apart > _MOST_APART * len(ours):
        raise LthjaxError(
            f"wanted the same Recall@{_K} from both sides, got {means[0]:.6f} and {means[1]:.6f}; "
            f"{num_apart:,} of {len(ours):,} users differ."
        )
    return {"lthjax": means[0], "PyTorch": means[1], "users_apart": num_apart}


def quickest_block(run_of: Callable[[int], Callable[[], Any]], block_size: int, num_users: int) -> int:
    """The block size asked for, or the quickest of a few for 4,096 of the users."""
    sizes = (block_size,) if block_size else sorted({min(size, num_users) for size in _BLOCK_SIZES})
    return benchmarks.fastest({size: run_of(size) for size in sizes}, repeats=2)


def main(config: Config) -> dict[str, Any]:
    """Time both sides, print the table, write the JSON; returns what it holds."""
    found, torch = benchmarks.machine(benchmarks.load()), benchmarks.find_torch()
    split = resolve.load_split(None, Settings(data=config.data))
    pairs = pairs_of(split)
    if len(pairs.relevant) == 0:
        raise LthjaxError(f"{split.name}: wanted interactions in the test part; it is empty.")
    final = embeddings_with_hits(pairs.relevant, split.num_users, split.num_items, config.dim, config.seed)
    task: RankingTask = ranking_task(pairs.seen, pairs.relevant, split.num_users)
    users = np.sort(task.users)
    print(benchmarks.machine_in_words(found))
    print(f"{split.name}: {len(users):,} users to rank {split.num_items:,} items for, F = {config.dim}", flush=True)

    some = users[:4096]  # enough to choose block sizes with
    sides = {"lthjax": lambda: evaluate(final, task, (_K,))}
    blocks = {"lthjax, product alone": lambda size, users: our_products(final, users, size)}
    if torch is not None:
        blocks["PyTorch"] = lambda size, users: torch_ranking(torch, final, pairs, users, size)
        blocks["PyTorch, product alone"] = lambda size, users: torch_products(torch, final, users, size)
    sizes = {}
    for name, run_of in blocks.items():
        sizes[name] = quickest_block(lambda size, run_of=run_of: run_of(size, some), config.block_size, len(some))
        sides[name] = run_of(sizes[name], users)
    recall = {}
    if torch is not None:
        recall = check_same_recall(sides["lthjax"]().recall[_K], sides["PyTorch"]())
        print(
            f"Recall@{_K}: lthjax {recall['lthjax']:.7f}, PyTorch {recall['PyTorch']:.7f}, "
            f"{recall['users_apart']} users differ",
            flush=True,
        )

    seconds = benchmarks.in_turns(sides, config.repeats)
    medians = {name: statistics.median(repeats) for name, repeats in seconds.items()}
    for name, repeats in seconds.items():
        size = f", {sizes[name]:,} users a block" if name in sizes else ""
        print(f"{name}{size}: {benchmarks.in_words(repeats)}, {medians[name] / len(users) * 1e6:.0f} us a user")
    ratios = {name: benchmarks.ratio(seconds[name], seconds["lthjax"]) for name in sides if name != "lthjax"}
    peak = benchmarks.peak_bytes(torch)
    for name, size in peak.items():
        print(f"most GPU memory so far, {name}: {size / 2**20:,.0f} MiB")
    print(f"lthjax takes {1 / ratios['lthjax, product alone']['of_medians']:.2f}x its product alone")
    print(_last_line(ratios))
    content = benchmarks.record(
        "speed.ranking",
        config,
        found,
        torch,
        recall=recall,
        block_sizes=sizes,
        seconds={name: benchmarks.summary(repeats) for name, repeats in seconds.items()},
        peak_bytes=peak,
        ratios=ratios,
    )
    benchmarks.write_json(config.json, content)
    return content


def _last_line(ratios: dict[str, dict[str, float]]) -> str:
    if "PyTorch" not in ratios:
        return benchmarks.NO_TORCH
    ratio = ratios["PyTorch"]
    return f"lthjax is {ratio['of_medians']:.1f}x ({ratio['least']:.1f} to {ratio['most']:.1f}) as fast as PyTorch"


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
