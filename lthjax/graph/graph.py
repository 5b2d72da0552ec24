"""The training interactions as a graph: normalized adjacency, and the positives of each user.

Letters: M users, N items, E training interactions. Users are nodes 0..M-1, items M..M+N-1.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import struct
from jax.experimental import sparse

from lthjax.data.id_lists import IdLists
from lthjax.graph import id_sets
from lthjax.graph.popularity import Popularity
from lthjax.graph.weights import edge_weights

# (interactions, [B] places, key) -> ([B] users, a pytree of [B, ...] arrays). Of the interactions it may read what
# `Graph` calls positives, pair_users, active_users, weights, popularity, dislikes and num_items.
Reader = Callable[[Any, jax.Array, jax.Array], tuple[jax.Array, Any]]


@struct.dataclass
class Graph:
    """All that the model may know of the training interactions; always an argument of a jitted function."""

    adjacency: sparse.BCOO  # [M + N, M + N] float32, D^-1/2 A D^-1/2, sorted int32 indices, 2 E stored
    items_of_users: sparse.BCSR  # [M, N], its upper right block, in the format of the CPU's kernel
    users_of_items: sparse.BCSR  # [N, M], its lower left block
    positives: IdLists  # M rows of training items
    pair_users: jax.Array  # [E] int32, the user of each entry of positives.ids
    active_users: jax.Array  # [M'] int32, users with at least one training item
    weights: jax.Array | None = None  # [E] float32, importance of each interaction, mean 1; None: all alike
    popularity: Popularity | None = None  # how negatives are drawn by degree; None: uniformly
    dislikes: IdLists | None = None  # M rows of items that are negatives first; None: nobody has any

    @property
    def num_users(self) -> int:
        """M."""
        return self.positives.num_rows

    @property
    def num_items(self) -> int:
        """N."""
        return self.adjacency.shape[0] - self.num_users

    @property
    def num_interactions(self) -> int:
        """E."""
        return self.pair_users.shape[0]

    @property
    def num_active(self) -> int:
        """M', users with at least one training item."""
        return self.active_users.shape[0]

    def at_interactions(self, read: Reader, index: jax.Array, key: jax.Array) -> Any:
        """What is read at [B] interactions by their numbers, which go by user, then item.

        Args:
          read: what is wanted of them.
          index: [B] int32.
          key: for what is drawn.
        """
        return read(self, index, key)

    def at_active_users(self, read: Reader, place: jax.Array, key: jax.Array) -> Any:
        """The same at [B] places among the users with training items."""
        return read(self, place, key)

    def table_rows(self, side: str, ids: jax.Array) -> jax.Array:
        """Where users or items stand in their table: at their own numbers."""
        del side
        return ids


def from_pairs(pairs: np.ndarray, num_users: int, num_items: int) -> Graph:
    """A'[u, i] = A'[i, u] = 1 / sqrt(degree(u) degree(i)), no self-loops (paper, equations 3 and 5).

    A node without interactions has an empty row.

    Args:
      pairs: [E, 2] training pairs (user, item), sorted by user, then item, without duplicates.
      num_users: M.
      num_items: N.
    """
    num_nodes = num_users + num_items
    users, items = pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32)
    value = edge_weights(users, items, num_users, num_items)
    by_item = np.lexsort((users, items))
    # Row-major order: the user rows first, which are sorted already, then the item rows.
    nodes = np.stack([users, items + num_users], axis=1, dtype=np.int32)
    indices = np.concatenate([nodes, nodes[by_item][:, ::-1]])
    item_starts = np.concatenate([[0], np.cumsum(np.bincount(items, minlength=num_items))]).astype(np.int32)
    positives = id_sets.from_pairs(pairs, num_users)
    adjacency = np.concatenate([value, value[by_item]]), indices
    users_of_items = value[by_item], users[by_item], item_starts
    # jnp.asarray would compile a program for each shape.
    adjacency, users_of_items, value, pair_users, active_users = jax.device_put(
        (adjacency, users_of_items, value, users, np.unique(users))
    )
    ordered = {"indices_sorted": True, "unique_indices": True}
    return Graph(
        adjacency=sparse.BCOO(adjacency, shape=(num_nodes, num_nodes), **ordered),
        items_of_users=sparse.BCSR((value, positives.ids, positives.starts), shape=(num_users, num_items), **ordered),
        users_of_items=sparse.BCSR(users_of_items, shape=(num_items, num_users), **ordered),
        positives=positives,
        pair_users=pair_users,
        active_users=active_users,
    )
