"""The pytree that parameters, gradients, masks and optimizer moments share, users and items apart.

Letters: M users, N items, F dimensions.
"""

from typing import NamedTuple

import jax


class Embeddings(NamedTuple):
    """One row a user, one row an item."""

    user: jax.Array  # [M, F]
    item: jax.Array  # [N, F]
