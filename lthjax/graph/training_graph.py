"""The graph of a run: the training part, and what its settings say of weights and negatives.

Letters: M users, N items, E training interactions, D dislikes.
"""

import jax
import numpy as np

from lthjax.data import id_lists
from lthjax.data.share import Share
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError
from lthjax.graph import graph as graphs
from lthjax.graph import id_sets, popularity, sharded
from lthjax.graph.graph import Graph
from lthjax.graph.sharded import ShardedGraph
from lthjax.settings import Settings
from lthjax.sharding.layout import Layout


def training_graph(split: Split, settings: Settings) -> Graph:
    """The training interactions, with their weights, popularity and dislikes where the settings want them.

    Raises:
      DataError: values are wanted that are no weights.
    """
    graph = graphs.from_pairs(split.train, split.num_users, split.num_items)
    if settings.weights != "none":
        weights = importance(split.train_values, settings.weights, split.name)
        graph = graph.replace(weights=jax.device_put(weights))
    if settings.negative_sampling == "popularity":
        graph = graph.replace(popularity=popularity.by_degree(split.degrees.item, graph.positives))
    if settings.dislikes:
        pairs = without(split.dislikes, split.train, split.num_items)
        graph = graph.replace(dislikes=id_sets.from_pairs(pairs, split.num_users))
    return graph


def sharded_graph(split: Split | Share, settings: Settings, layout: Layout, multiplies: bool) -> ShardedGraph:
    """The same on several devices; nothing of it is ever whole but what the split holds.

    Args:
      split: whole, or a share with all that this process's devices need.
      settings: likewise.
      layout: of the tables.
      multiplies: whether the backbone takes products.

    Raises:
      DataError: values are wanted that are no weights.
    """
    weights = dislikes = None
    if settings.weights != "none":
        weights = importance(split.train_values, settings.weights, split.name)
    if settings.dislikes:
        pairs = without(split.dislikes, split.train, split.num_items)
        dislikes = id_lists.from_pairs(pairs, split.num_users)
    by_popularity = settings.negative_sampling == "popularity"
    training = sharded.Training(split.held_train, Embeddings(*split.degrees), weights, dislikes, by_popularity)
    return sharded.shard(training, layout, multiplies)


def importance(values: np.ndarray, rule: str, name: str = "data") -> np.ndarray:
    """[E] float32, the weight of each interaction, with mean 1.

    Args:
      values: [E] ratings, counts or watch ratios, 0 or more.
      rule: "linear", in proportion to the value; "log", to 1 + log(1 + value), as confidence in Hu, Koren and Volinsky
        2008, "Collaborative Filtering for Implicit Feedback Datasets", section 4, with their alpha and epsilon 1.
      name: of the data, for the error.

    Raises:
      DataError: a value is negative or no number, or all are 0.
    """
    values = np.asarray(values, np.float64)
    if (bad := ~((values >= 0) & (values < np.inf))).any():
        raise DataError(
            f"--weights {rule}: wanted values of 0 or more; got {values[bad][0]:g}, one of {bad.sum():,} ({name})."
        )
    weights = values if rule == "linear" else 1 + np.log1p(values)
    if not weights.any():
        raise DataError(f"--weights {rule}: wanted a value above 0; got {len(values):,} times 0 ({name}).")
    return (weights / weights.mean()).astype(np.float32)


def without(pairs: np.ndarray, others: np.ndarray, num_items: int) -> np.ndarray:
    """The [D, 2] pairs that are not among the others: what a user has in training is no negative.

    Args:
      pairs: users and items.
      others: likewise.
      num_items: N.
    """
    keys, taken = (part[:, 0].astype(np.int64) * num_items + part[:, 1] for part in (pairs, others))
    return pairs[~np.isin(keys, taken)]
