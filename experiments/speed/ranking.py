r"""How long does ranking all items for all users take, beside PyTorch, and beside the matrix product alone?

    python -m experiments.speed.ranking --data gowalla
    python -m experiments.speed.ranking --data yelp2018 --dim 64 --block-size 256 --json ranking.json

Ours is `lthjax.evaluation.ranking.evaluate`, with Recall@20 and NDCG@20 of every user with test items, and training and
validation items left out. PyTorch does a block of users at a time: product, seen items to minus infinity in one
scatter, topk, hits by searchsorted; Recall@20 alone. Its blocks, with the places of their seen items, are made
beforehand and for free, and their size is the quickest of a few. Both give the same recall of every user, which is
checked before the clock starts.

The floor is the matrix product by itself, in blocks likewise: no ranking of all items can be faster.

Cost on 2 CPU cores: the bundled MovieLens a few seconds, Gowalla at F = 32 about 4 minutes. A GPU is used by both
sides where JAX has one.

Letters: F dimensions, B users of a block.
"""

import dataclasses
import statistics
from typing import Any

from experiments import cli
from experiments.speed import benchmark, pytorch, timing
from lthjax.data import resolve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.DataFlags):
    """What is ranked, and how often."""

    dim: int = 32
    """Numbers per user and per item (F)."""
    block_size: int = 0
    """Users of a block of PyTorch's and of the products (B); 0 = the quickest of 128, 256 and 1024, for each."""

    def __post_init__(self):
        super().__post_init__()
        self.check_at_least(0, "block_size")


def main(config: Config) -> dict[str, Any]:
    """Time both sides, print the table, write the JSON; returns what it holds."""
    from experiments.speed import ranking_sides

    machine, torch = benchmark.announce_machine(), pytorch.find()
    split = resolve.load_split(None, config.settings())
    work = ranking_sides.work_of(split, config.dim, config.seed)
    num_users = len(work.users)
    print(f"{split.name}: {num_users:,} users to rank {split.num_items:,} items for, F = {config.dim}", flush=True)
    sides, block_sizes = ranking_sides.sides_of(work, torch, config.block_size)
    recall = {}
    if torch is not None:
        ours, theirs = sides["lthjax"]().recall[ranking_sides.K], sides["PyTorch"]()
        recall = ranking_sides.check_same_recall(ours, theirs)
        print(
            f"Recall@{ranking_sides.K}: lthjax {recall['lthjax']:.7f}, PyTorch {recall['PyTorch']:.7f}, "
            f"{recall['users_apart']} users differ",
            flush=True,
        )

    seconds = timing.in_turns(sides, config.repeats)
    for name, repeats in seconds.items():
        block = f", {block_sizes[name]:,} users per block" if name in block_sizes else ""
        per_user = statistics.median(repeats) / num_users
        print(f"{name}{block}: {timing.in_words(repeats)}, {per_user * 1e6:.0f} us per user")
    ratios = {name: timing.ratio(seconds[name], seconds["lthjax"]) for name in sides if name != "lthjax"}
    peaks = benchmark.peak_bytes(torch)
    for line in benchmark.peaks_in_words(peaks):
        print(line)
    print(f"lthjax takes {1 / ratios['lthjax, product alone']['of_medians']:.2f}x its product alone")
    print(pytorch.comparison({name: ratio for name, ratio in ratios.items() if name == "PyTorch"}))
    return benchmark.leave(
        "ranking",
        config,
        machine,
        torch,
        recall=recall,
        block_sizes=block_sizes,
        seconds=timing.summaries(seconds),
        peak_bytes=peaks,
        ratios=ratios,
    )


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
