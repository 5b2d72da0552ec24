"""The graph's weights, and LightGCN's layers with SciPy: for files that hold a layer-0 table and the training pairs.

Letters: M users, N items, E training interactions, F dimensions, K layers.
"""

import numpy as np
from scipy import sparse


def edge_weights(users: np.ndarray, items: np.ndarray, num_users: int, num_items: int) -> np.ndarray:
    """[E] float32, 1 / sqrt(degree(u) degree(i)) of each training pair (paper, equation 5).

    Args:
      users: [E] user of each pair.
      items: [E] its item.
      num_users: M.
      num_items: N.
    """
    user_degree, item_degree = np.bincount(users, minlength=num_users), np.bincount(items, minlength=num_items)
    return (1.0 / np.sqrt(user_degree[users].astype(np.float64) * item_degree[items])).astype(np.float32)


def lightgcn(
    user: np.ndarray, item: np.ndarray, pairs: np.ndarray, num_layers: int, combine: str = "mean"
) -> tuple[np.ndarray, np.ndarray]:
    """Final user and item embeddings, `lthjax.backbones.lightgcn` to float32 rounding.

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
