r"""Which way of multiplying with the adjacency is the fastest here?

    python -m experiments.speed.propagation --data gowalla
    python -m experiments.speed.propagation --data yelp2018 --dim 64 --json propagate.json       (on a GPU)

`lthjax.graph.propagate` takes the one that was fastest on its kind of device; this is where the others are kept to be
measured again. Timed is A' x + ... + A'^K x, of all of them:

* propagate: what lthjax does;
* BCOO: the matrix as XLA lowers it, and, as "BCOO, cuSPARSE", by the vendor's library (NVIDIA only);
* segment-sum: messages gathered, weighted and summed by row; an [nse, F] array unless XLA fuses it;
* buckets: rows by degree, padded to powers of two, gathered and summed without a scatter;
* the latter two with bfloat16 messages, summed in float32.

Each is compared with `propagate` first: float32 to rounding, bfloat16 to a percent of the largest entry.

Cost on 2 CPU cores: Gowalla at F = 32 half a minute with three repeats.

Letters: M users, N items, F dimensions, K layers, R rows of a bucket, D their padded degree.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

from experiments import cli
from experiments.speed import timing as benchmarks
from lthjax.data import resolve
from lthjax.embeddings import Embeddings
from lthjax.errors import LthjaxError
from lthjax.graph.graph import Graph, from_pairs
from lthjax.graph.propagate import propagate
from lthjax.settings import Settings

_AGREE = {jnp.float32: 1e-5, jnp.bfloat16: 2e-2}  # of the largest entry

Product = Callable[[Any, jax.Array], jax.Array]  # (matrix, x [M + N, F]) -> A' x


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmarks.Common):
    """The graph, and how wide the table is."""

    data: str = "ml-latest-small"
    """Bundled or known name, or path, as for find_tickets; the training part of the split 7:1:2 is the graph."""
    dim: int = 32
    """Numbers per user and per item (F)."""
    layers: int = 3
    """Propagation layers (K)."""

    def __post_init__(self):
        super().__post_init__()
        _settings(self)  # checks the others


def _settings(config: Config) -> Settings:
    names = ("data", "dim", "layers", "seed")
    return Settings(model="lightgcn", levels=0, **{name: getattr(config, name) for name in names})


class Edges(NamedTuple):
    """The stored entries one by one, sorted by row."""

    rows: jax.Array  # [nse] int32
    columns: jax.Array  # [nse] int32
    values: jax.Array  # [nse]


class Bucket(NamedTuple):
    """Rows of similar degree; columns beyond a row's own are 0, with value 0."""

    rows: jax.Array  # [R] int32
    columns: jax.Array  # [R, D] int32
    values: jax.Array  # [R, D]


def edges_of(graph: Graph) -> Edges:
    """The adjacency's entries."""
    indices = graph.adjacency.indices
    return Edges(indices[:, 0], indices[:, 1], graph.adjacency.data)


def buckets_of(graph: Graph) -> list[Bucket]:
    """The adjacency's rows by degree: 1, 2, 3 to 4, 5 to 8, and so on."""
    rows, columns, values = (np.asarray(part) for part in edges_of(graph))
    degree = np.bincount(rows, minlength=graph.adjacency.shape[0])
    starts = np.concatenate([[0], np.cumsum(degree)])
    found = []
    for width in 2 ** np.arange(int(degree.max()).bit_length() + 1):
        members = np.flatnonzero((degree > width // 2) & (degree <= width))
        if len(members):
            place = starts[members, None] + np.arange(width)
            inside = np.arange(width) < degree[members, None]
            place = np.where(inside, place, 0)
            arrays = (members.astype(np.int32), np.where(inside, columns[place], 0), np.where(inside, values[place], 0))
            found.append(Bucket(*map(jnp.asarray, arrays)))
    return found


def by_bcoo(matrix: sparse.BCOO, x: jax.Array) -> jax.Array:
    """As XLA lowers it, or as cuSPARSE does where that is switched on."""
    return matrix @ x


def by_segments(edges: Edges, x: jax.Array, messages: Any = jnp.float32) -> jax.Array:
    """Gathered, weighted, summed by row."""
    gathered = x.astype(messages)[edges.columns].astype(jnp.float32) * edges.values[:, None]
    return jax.ops.segment_sum(gathered, edges.rows, x.shape[0], indices_are_sorted=True)


def by_buckets(buckets: list[Bucket], x: jax.Array, messages: Any = jnp.float32) -> jax.Array:
    """Each bucket gathered and summed over its padded degree."""
    short, total = x.astype(messages), jnp.zeros(x.shape, jnp.float32)
    for rows, columns, values in buckets:
        product = jnp.einsum("rd,rdf->rf", values, short[columns].astype(jnp.float32), precision="highest")
        total = total.at[rows].set(product, unique_indices=True)
    return total


def layer_sum(product: Product, num_layers: int) -> Product:
    """X + A' x + ... + A'^K x of one product, compiled."""

    @jax.jit
    def run(matrix, x):
        layer = total = x
        for _ in range(num_layers):
            layer = product(matrix, layer)
            total = total + layer
        return total

    return run


def candidates(graph: Graph, num_layers: int) -> dict[str, tuple[Callable[[jax.Array], jax.Array], Any]]:
    """Name -> (function of x [M + N, F], type of its messages), `propagate` first."""
    edges, buckets = edges_of(graph), buckets_of(graph)
    own = jax.jit(functools.partial(_propagate, num_layers=num_layers))
    found = {"propagate": (functools.partial(own, graph), jnp.float32)}
    for name, product, matrix in (
        ("BCOO", by_bcoo, graph.adjacency),
        ("segment-sum", by_segments, edges),
        ("buckets", by_buckets, buckets),
    ):
        found[name] = (functools.partial(layer_sum(product, num_layers), matrix), jnp.float32)
    for name, product, matrix in (("segment-sum", by_segments, edges), ("buckets", by_buckets, buckets)):
        short = functools.partial(product, messages=jnp.bfloat16)
        found[f"{name}, bfloat16"] = (functools.partial(layer_sum(short, num_layers), matrix), jnp.bfloat16)
    if jax.default_backend() == "gpu":
        by_vendor = functools.partial(layer_sum(by_bcoo, num_layers), graph.adjacency)
        found["BCOO, cuSPARSE"] = (_with_cusparse(by_vendor), jnp.float32)
    return found


def _propagate(graph: Graph, x: jax.Array, num_layers: int) -> jax.Array:
    both = Embeddings(x[: graph.num_users], x[graph.num_users :])
    return jnp.concatenate(propagate(graph, both, num_layers))


def _with_cusparse(run: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """With the flag set while it is compiled, at its first call, and at no other time."""

    def call(x):
        before = jax.config.jax_bcoo_cusparse_lowering
        jax.config.update("jax_bcoo_cusparse_lowering", True)
        try:
            return run(x)
        finally:
            jax.config.update("jax_bcoo_cusparse_lowering", before)

    return call


def check_equal(found: dict[str, tuple[Callable[[jax.Array], jax.Array], Any]], x: jax.Array) -> dict[str, float]:
    """Largest difference of each from `propagate`, over the largest entry.

    Raises:
      LthjaxError: one differs by more than its messages' rounding.
    """
    wanted = np.asarray(found["propagate"][0](x))
    differences = {}
    for name, (run, messages) in found.items():
        differences[name] = float(np.abs(np.asarray(run(x)) - wanted).max() / np.abs(wanted).max())
        if not differences[name] < _AGREE[messages]:
            raise LthjaxError(f"wanted {name} equal to propagate; got a difference of {differences[name]:.1e}.")
    return differences


def main(config: Config) -> dict[str, Any]:
    """Time each, print a line for each; returns what the JSON holds."""
    machine = benchmarks.machine(benchmarks.load())
    print(benchmarks.machine_in_words(machine))
    split = resolve.load_split(None, _settings(config))
    graph = from_pairs(split.train, split.num_users, split.num_items)
    print(f"{split.name}: {graph.adjacency.nse:,} stored entries, F = {config.dim}, K = {config.layers}")
    x = jax.random.normal(jax.random.key(config.seed), (graph.adjacency.shape[0], config.dim))
    found = candidates(graph, config.layers)
    differences = check_equal(found, x)
    sides = {name: lambda run=run: jax.block_until_ready(run(x)) for name, (run, _) in found.items()}
    seconds = benchmarks.in_turns(sides, config.repeats)
    for name, repeats in seconds.items():
        print(f"{name}: {benchmarks.in_words(repeats)}, differs by {differences[name]:.1e}")
    others = {name: benchmarks.ratio(repeats, seconds["propagate"]) for name, repeats in seconds.items()}
    best = min((name for name in seconds if name != "propagate"), key=lambda name: statistics.median(seconds[name]))
    print(f"propagate is {others[best]['of_medians']:.1f}x as fast as the best of the others, {best}")
    content = benchmarks.record(
        "speed.propagation",
        config,
        machine,
        None,
        differences=differences,
        seconds={name: benchmarks.summary(repeats) for name, repeats in seconds.items()},
        times_of_propagate=others,
        peak_bytes=benchmarks.peak_bytes(None),
    )
    benchmarks.write_json(config.json, content)
    return content


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
