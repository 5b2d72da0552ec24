"""The training interactions as a graph: normalized adjacency, positives per user, and the product A @ x.

Letters: M users, N items, E training interactions, F dimensions. Users are nodes 0..M-1, items M..M+N-1.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import sparse

from lthjax import rows
from lthjax.embeddings import Embeddings
from lthjax.propagation import edge_weights
from lthjax.rows import Rows

# Dimensions that a CPU propagates at a time: wider rows fall out of its cache (1.4 times as fast at F = 128).
_SLAB = 32


@struct.dataclass
class Graph:
    """Everything the model may know of the training interactions; always an argument of a jitted function."""

    adjacency: sparse.BCOO  # [M + N, M + N] float32, D^-1/2 A D^-1/2, sorted int32 indices, 2 E stored
    items_of_users: sparse.BCSR  # [M, N], its upper right corner, as the CPU's kernel wants it
    users_of_items: sparse.BCSR  # [N, M], its lower left corner
    positives: Rows  # M rows of training items
    pair_users: jax.Array  # [E] int32, the user of each entry of positives.ids
    active_users: jax.Array  # [M'] int32, users with at least one training item

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


def from_pairs(pairs: np.ndarray, num_users: int, num_items: int) -> Graph:
    """Graph of [E, 2] training pairs (user, item), sorted by user, then item, without duplicates.

    A'[u, i] = A'[i, u] = 1 / sqrt(degree(u) degree(i)), no self-loops (paper, equations 3 and 5); a node without
    interactions has an empty row.
    """
    num_nodes = num_users + num_items
    users, items = pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32)
    value = edge_weights(users, items, num_users, num_items)
    by_item = np.lexsort((users, items))
    # The user rows come first and are sorted already; the item rows follow: the whole is in row-major order.
    ends = np.stack([users, items + num_users], axis=1, dtype=np.int32)  # as nodes
    indices = np.concatenate([ends, ends[by_item][:, ::-1]])
    item_starts = np.concatenate([[0], np.cumsum(np.bincount(items, minlength=num_items))]).astype(np.int32)
    positives = rows.from_pairs(pairs, num_users)
    # jnp.asarray would compile a program for each shape.
    adjacency, users_of_items, value, pair_users, active_users = jax.device_put(
        (
            (np.concatenate([value, value[by_item]]), indices),
            (value[by_item], users[by_item], item_starts),
            value,
            users,
            np.unique(users),
        )
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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def propagate(graph: Graph, x: Embeddings, num_layers: int) -> Embeddings:
    """X + A' x + ... + A'^K x, user and item rows apart; tickets under `vmap` share one pass over the graph.

    A' is symmetric, and so is every polynomial of it: the pullback of g is the same sum applied to g. That is written
    down here, since JAX would transpose the matrix and keep every layer. The graph is a constant; it gets no gradient.

    On a CPU the product is jaxlib's own CSR kernel, which uses all cores and makes no [nse, F] temporary; users and
    items are multiplied apart, which saves joining and cutting tables at every step. Elsewhere it is what XLA makes of
    the BCOO matrix. `experiments/LOG.md` tells what else was measured.

    Args:
      graph: with the adjacency A'.
      x: user [M, F] and item [N, F].
      num_layers: K.
    """
    return _layer_sum(num_layers)(graph, x)


def _propagate_forward(graph, x, num_layers):
    return propagate(graph, x, num_layers), graph


def _propagate_backward(num_layers, graph, gradient):
    return None, propagate(graph, gradient, num_layers)


propagate.defvjp(_propagate_forward, _propagate_backward)


@functools.cache
def _layer_sum(num_layers: int) -> Callable[[Graph, Embeddings], Embeddings]:
    """The sum of layers, as a function of graph and x that knows how to be batched."""

    @jax.custom_batching.custom_vmap
    def layer_sum(graph, x):
        by_halves, whole = (functools.partial(f, num_layers=num_layers) for f in (_by_halves, _whole))
        return jax.lax.platform_dependent(graph, x, cpu=by_halves, default=whole)

    def one_by_one(graph, xs):
        return jax.lax.map(functools.partial(layer_sum, graph), xs)

    def side_by_side(graph, xs):
        wide = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(x.shape[1], -1), xs)  # [M, T F] and [N, T F]
        total = layer_sum(graph, wide)
        return jax.tree.map(lambda x, t: t.reshape(x.shape[1], x.shape[0], -1).swapaxes(0, 1), xs, total)

    @layer_sum.def_vmap
    def _(num_tickets, is_batched, graph, xs):
        if any(jax.tree.leaves(is_batched[0])):
            raise NotImplementedError("propagate: wanted one graph for all tickets; got vmap over graphs.")
        xs = jax.tree.map(lambda x, has: x if has else jnp.broadcast_to(x, (num_tickets, *x.shape)), xs, is_batched[1])
        # A GPU wants wide products; a CPU would cut them into slabs again.
        total = jax.lax.platform_dependent(graph, xs, cpu=one_by_one, default=side_by_side)
        return total, Embeddings(True, True)

    return layer_sum


def _whole(graph: Graph, x: Embeddings, num_layers: int) -> Embeddings:
    layer = total = jnp.concatenate(x)
    for _ in range(num_layers):  # K is 1 to 4: unrolled on purpose
        layer = graph.adjacency @ layer
        total = total + layer
    return Embeddings(total[: graph.num_users], total[graph.num_users :])


def _by_halves(graph: Graph, x: Embeddings, num_layers: int) -> Embeddings:
    def layer_sum(x):
        layer = total = x
        for _ in range(num_layers):
            layer = Embeddings(graph.items_of_users @ layer.item, graph.users_of_items @ layer.user)
            total = jax.tree.map(jnp.add, total, layer)
        return total

    dim = x.user.shape[1]
    slabs = [jax.tree.map(lambda side, i=i: side[:, i : i + _SLAB], x) for i in range(0, dim, _SLAB)]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *map(layer_sum, slabs))
