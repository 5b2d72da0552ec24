"""What `propagation` times: the ways of multiplying with the adjacency.

Letters: M users, N items, F dimensions, K layers, R rows of a bucket, D their padded degree.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

from lthjax.embeddings import Embeddings
from lthjax.errors import LthjaxError
from lthjax.graph.graph import Graph
from lthjax.graph.propagate import propagate

_AGREE = {jnp.float32: 1e-5, jnp.bfloat16: 2e-2}  # of the largest entry

Product = Callable[[Any, jax.Array], jax.Array]  # (matrix, x [M + N, F]) -> A' x


class Side(NamedTuple):
    """A way of multiplying, K layers of it."""

    run: Callable[[jax.Array], jax.Array]  # x [M + N, F] -> sum of layers
    messages: Any = jnp.float32  # type of what is gathered


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
    buckets = []
    for width in 2 ** np.arange(int(degree.max()).bit_length() + 1):
        members = np.flatnonzero((degree > width // 2) & (degree <= width))
        if len(members) == 0:
            continue
        inside = np.arange(width) < degree[members, None]
        entry = np.where(inside, starts[members, None] + np.arange(width), 0)
        arrays = (members.astype(np.int32), np.where(inside, columns[entry], 0), np.where(inside, values[entry], 0))
        buckets.append(Bucket(*map(jnp.asarray, arrays)))
    return buckets


def by_bcoo(matrix: sparse.BCOO, x: jax.Array) -> jax.Array:
    """As XLA lowers it, or as cuSPARSE does where that is switched on."""
    return matrix @ x


def by_segments(edges: Edges, x: jax.Array, messages: Any = jnp.float32) -> jax.Array:
    """Gathered, weighted, summed by row.

    Args:
      edges: of A'.
      x: [M + N, F].
      messages: type of what is gathered; sums are float32.
    """
    gathered = x.astype(messages)[edges.columns].astype(jnp.float32) * edges.values[:, None]
    return jax.ops.segment_sum(gathered, edges.rows, x.shape[0], indices_are_sorted=True)


def by_buckets(buckets: list[Bucket], x: jax.Array, messages: Any = jnp.float32) -> jax.Array:
    """Each bucket gathered and summed over its padded degree.

    Args:
      buckets: of A'.
      x: [M + N, F].
      messages: type of what is gathered; sums are float32.
    """
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


def sides_of(graph: Graph, num_layers: int) -> dict[str, Side]:
    """All ways by name, `propagate` first."""

    def side(product: Product, matrix: Any) -> Side:
        return Side(functools.partial(layer_sum(product, num_layers), matrix))

    def in_bfloat16(product: Product, matrix: Any) -> Side:
        return side(functools.partial(product, messages=jnp.bfloat16), matrix)._replace(messages=jnp.bfloat16)

    edges, buckets = edges_of(graph), buckets_of(graph)
    own = jax.jit(functools.partial(_propagate, num_layers=num_layers))
    sides = {
        "propagate": Side(functools.partial(own, graph)),
        "BCOO": side(by_bcoo, graph.adjacency),
        "segment-sum": side(by_segments, edges),
        "buckets": side(by_buckets, buckets),
        "segment-sum, bfloat16": in_bfloat16(by_segments, edges),
        "buckets, bfloat16": in_bfloat16(by_buckets, buckets),
    }
    if jax.default_backend() == "gpu":
        sides["BCOO, cuSPARSE"] = Side(_with_cusparse(side(by_bcoo, graph.adjacency).run))
    return sides


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


def check_equal(sides: dict[str, Side], x: jax.Array) -> dict[str, float]:
    """Largest difference of each from `propagate`, over the largest entry.

    Raises:
      LthjaxError: one differs by more than its messages' rounding.
    """
    wanted = np.asarray(sides["propagate"].run(x))
    differences = {}
    for name, (run, messages) in sides.items():
        differences[name] = float(np.abs(np.asarray(run(x)) - wanted).max() / np.abs(wanted).max())
        if not differences[name] < _AGREE[messages]:
            raise LthjaxError(f"wanted {name} equal to propagate; got a difference of {differences[name]:.1e}.")
    return differences
