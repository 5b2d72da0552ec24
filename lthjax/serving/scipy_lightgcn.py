"""LightGCN with SciPy: for files that hold layer-0 tables and the training pairs. NumPy and SciPy only.

Letters: M users, N items, R new rows, E training interactions, F dimensions, K layers.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from lthjax.graph.weights import edge_weights


class Propagated(NamedTuple):
    """What propagation gives."""

    user: np.ndarray  # [M, F] final embeddings
    item: np.ndarray  # [N, F]
    item_layers: np.ndarray  # [N, F], w (x^(0) + ... + x^(K-1)) of the items: what a new user gets from, see `new_rows`


def lightgcn(
    user: np.ndarray, item: np.ndarray, pairs: np.ndarray, num_layers: int, combine: str = "mean"
) -> Propagated:
    """Final user and item embeddings as of `lthjax.model.backbones.lightgcn`, to float32 rounding.

    Args:
      user: [M, F] layer-0 values.
      item: [N, F].
      pairs: [E, 2] training pairs (user, item).
      num_layers: K; with 0 the tables stay as they are.
      combine: "mean" divides the sum of layers by K + 1, "sum" does not; w is 1 / (K + 1), or 1.
    """
    shape = len(user), len(item)
    weights = edge_weights(pairs[:, 0], pairs[:, 1], *shape)
    items_of_users = sparse.csr_array((weights, (pairs[:, 0], pairs[:, 1])), shape=shape)
    users_of_items = items_of_users.T.tocsr()
    total = layer = user, item
    before = np.zeros_like(item)
    for _ in range(num_layers):
        before = total[1]
        layer = items_of_users @ layer[1], users_of_items @ layer[0]
        total = total[0] + layer[0], total[1] + layer[1]
    divisor = np.float32(num_layers + 1 if combine == "mean" else 1)
    return Propagated(total[0] / divisor, total[1] / divisor, before / divisor)


def new_rows(met: sparse.csr_array, layers: np.ndarray, degree: np.ndarray) -> np.ndarray:
    """[R, F], layers 1 to K of new rows, summed: one product, since propagation is linear.

    Args:
      met: [R, N], 1 where they have met.
      layers: [N, F], layers 0 to K - 1 of the known rows, summed.
      degree: [N], of the known rows, in training; positive wherever `met` is.
    """
    met_degree = np.diff(met.indptr)
    values = 1 / np.sqrt(np.repeat(met_degree, met_degree).astype(np.float64) * degree[met.indices])
    return sparse.csr_array((values.astype(np.float32), met.indices, met.indptr), shape=met.shape) @ layers
