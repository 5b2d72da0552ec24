r"""Which way of multiplying with the adjacency is the fastest here?

    python -m experiments.speed.propagation --data gowalla
    python -m experiments.speed.propagation --data yelp2018 --dim 64 --json propagation.json       (on a GPU)

`lthjax.graph.propagate` takes the one that was fastest on its kind of device; this is where the others are kept to be
measured again. Timed is A' x + ... + A'^K x, of all of them:

* propagate: what lthjax does;
* BCOO: the matrix as XLA lowers it, and, as "BCOO, cuSPARSE", by the vendor's library (NVIDIA only);
* segment-sum: messages gathered, weighted and summed by row; an [nse, F] array unless XLA fuses it;
* buckets: rows by degree, padded to powers of two, gathered and summed without a scatter;
* the latter two with bfloat16 messages, summed in float32.

Each is compared with `propagate` first: float32 to rounding, bfloat16 to a percent of the largest entry.

Cost on 2 CPU cores: Gowalla at F = 32 half a minute with three repeats.

Letters: F dimensions, K layers.
"""

import dataclasses
import statistics
from typing import Any

from experiments import cli
from experiments.speed import benchmark, timing
from lthjax.data import resolve


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.DataFlags):
    """The graph, and how wide the table is."""

    dim: int = 32
    """Numbers per user and per item (F)."""
    layers: int = 3
    """Propagation layers (K)."""


def main(config: Config) -> dict[str, Any]:
    """Time each, print a line for each; returns what the JSON holds."""
    import jax

    from experiments.speed import propagation_sides
    from lthjax.graph.graph import from_pairs

    machine = benchmark.announce_machine()
    split = resolve.load_split(None, config.settings())
    graph = from_pairs(split.train, split.num_users, split.num_items)
    print(f"{split.name}: {graph.adjacency.nse:,} stored entries, F = {config.dim}, K = {config.layers}")
    x = jax.random.normal(jax.random.key(config.seed), (graph.adjacency.shape[0], config.dim))
    sides = propagation_sides.sides_of(graph, config.layers)
    differences = propagation_sides.check_equal(sides, x)
    runs = {name: lambda side=side: jax.block_until_ready(side.run(x)) for name, side in sides.items()}
    seconds = timing.in_turns(runs, config.repeats)
    for name, repeats in seconds.items():
        print(f"{name}: {timing.in_words(repeats)}, differs by {differences[name]:.1e}")
    ratios = {name: timing.ratio(repeats, seconds["propagate"]) for name, repeats in seconds.items()}
    best = min((name for name in seconds if name != "propagate"), key=lambda name: statistics.median(seconds[name]))
    print(f"propagate is {ratios[best]['of_medians']:.1f}x as fast as the best of the others, {best}")
    return benchmark.leave(
        "propagation",
        config,
        machine,
        differences=differences,
        seconds=timing.summaries(seconds),
        times_of_propagate=ratios,
        peak_bytes=benchmark.peak_bytes(),
    )


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
