"""LightGCN with SciPy: for files that hold layer-0 tables and the training pairs. NumPy and SciPy only.

Letters: M users, N items, E training interactions, F dimensions, K layers.
"""

import numpy as np
from scipy import sparse

from lthjax.graph.weights import edge_weights


def lightgcn(
    user: np.ndarray, item: np.ndarray, pairs: np.ndarray, num_layers: int, combine: str = "mean"
) -> tuple[np.ndarray, np.ndarray]:
    """Final user and item embeddings as of `lthjax.model.backbones.lightgcn`, to float32 rounding.

    Args:
      user: [M, F] layer-0 values.
      item: [N, F].
      pairs: [E, 2] training pairs (user, item).
      num_layers: K; with 0 the tables stay as they are.
      combine: "mean" divides the sum of layers by K + 1, "sum" does not.
    """
    shape = len(user), len(item)
    weights = edge_weights(pairs[:, 0], pairs[:, 1], *shape)
    items_of_users = sparse.csr_array((weights, (pairs[:, 0], pairs[:, 1])), shape=shape)
    users_of_items = items_of_users.T.tocsr()
    total = layer = user, item
    for _ in range(num_layers):
        layer = items_of_users @ layer[1], users_of_items @ layer[0]
        total = total[0] + layer[0], total[1] + layer[1]
    if combine == "mean":
        total = total[0] / np.float32(num_layers + 1), total[1] / np.float32(num_layers + 1)
    return total
