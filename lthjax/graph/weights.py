"""The weights of the graph's edges, on the host. NumPy only.

Letters: M users, N items, E training interactions.
"""

import numpy as np


def edge_weights(users: np.ndarray, items: np.ndarray, num_users: int, num_items: int) -> np.ndarray:
    """[E] float32, 1 / sqrt(degree(u) degree(i)) of each training pair (paper, equation 5).

    Args:
      users: [E] user of each pair.
      items: [E] its item.
      num_users: M.
      num_items: N.
    """
    user_degree, item_degree = np.bincount(users, minlength=num_users), np.bincount(items, minlength=num_items)
    return of_degrees(user_degree[users], item_degree[items])


def of_degrees(user_degree: np.ndarray, item_degree: np.ndarray) -> np.ndarray:
    """[E] float32, the same of the degrees [E] of each pair's user and item."""
    return (1.0 / np.sqrt(user_degree.astype(np.float64) * item_degree)).astype(np.float32)
