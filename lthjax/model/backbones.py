"""Backbones: layer-0 embeddings and the graph -> final embeddings. Pure functions, no state.

Letters: M users, N items, F dimensions, K layers.
"""

import functools
from collections.abc import Callable
from typing import Literal

import jax

from lthjax.embeddings import Embeddings
from lthjax.graph.graph import Graph
from lthjax.graph.propagate import propagate

Backbone = Callable[[Embeddings, Graph], Embeddings]  # (layer-0 embeddings, graph) -> final embeddings


def mf(layer0: Embeddings, graph: Graph) -> Embeddings:
    """Matrix factorization: the table itself (paper, section 3.2.1)."""
    del graph
    return layer0


def lightgcn(
    layer0: Embeddings, graph: Graph, *, num_layers: int, combine: Literal["mean", "sum"] = "mean"
) -> Embeddings:
    """LightGCN: X + A'X + ... + A'^K X, divided by K + 1 for "mean" (paper, equations 5 and 6; He et al. 2020, 3.1).

    Mean and sum rank alike, but the scores, and so the gradients, differ by (K + 1)^2.

    Args:
      layer0: X, [M, F] and [N, F].
      graph: with the normalized adjacency A'.
      num_layers: K; with 0 this is `mf`.
      combine: "mean" or "sum" of the layers.
    """
    total = propagate(graph, layer0, num_layers)
    return jax.tree.map(lambda x: x / (num_layers + 1), total) if combine == "mean" else total


@functools.cache  # one function for one choice, so that it is compiled once
def named(model: Literal["mf", "lightgcn"], num_layers: int, combine: Literal["mean", "sum"]) -> Backbone:
    """The backbone of a name.

    Args:
      model: "mf" or "lightgcn".
      num_layers: K of LightGCN.
      combine: of LightGCN's layers.
    """
    return mf if model == "mf" else functools.partial(lightgcn, num_layers=num_layers, combine=combine)
