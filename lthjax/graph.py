"""The training interactions as a graph: normalized adjacency, positives per user, and the product A @ x.

Letters: M users, N items, E training interactions, F dimensions. Users are nodes 0..M-1, items M..M+N-1.
"""

import concurrent.futures
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.experimental import sparse

from lthjax import rows
from lthjax.rows import Rows


@struct.dataclass
class Graph:
    """Everything the model may know of the training interactions; always an argument of a jitted function."""

    adjacency: sparse.BCOO  # [M + N, M + N] float32, D^-1/2 A D^-1/2, sorted int32 indices, 2 E stored
    row_starts: jax.Array  # [M + N + 1] int32, the adjacency's rows as in CSR
    columns: jax.Array  # [2 E] int32, the adjacency's columns by themselves, as the CPU kernel reads them
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
    users, items = pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32) + np.int32(num_users)
    degree = np.bincount(np.concatenate([users, items]), minlength=num_nodes)
    value = (1.0 / np.sqrt(degree[users].astype(np.float64) * degree[items])).astype(np.float32)
    by_item = np.lexsort((users, items))
    # The user rows come first and are sorted already; the item rows follow: the whole is in row-major order.
    indices = np.stack(
        [np.concatenate([users, items[by_item]]), np.concatenate([items, users[by_item]])], axis=1, dtype=np.int32
    )
    adjacency = sparse.BCOO(
        (jnp.asarray(np.concatenate([value, value[by_item]])), jnp.asarray(indices)),
        shape=(num_nodes, num_nodes),
        indices_sorted=True,
        unique_indices=True,
    )
    return Graph(
        adjacency=adjacency,
        row_starts=jnp.asarray(np.concatenate([[0], np.cumsum(degree)]).astype(np.int32)),
        columns=jnp.asarray(indices[:, 1].copy()),
        positives=rows.from_pairs(pairs, num_users),
        pair_users=jnp.asarray(users),
        active_users=jnp.asarray(np.unique(users)),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def propagate(graph: Graph, x: jax.Array, num_layers: int) -> jax.Array:
    """X + A' x + ... + A'^K x, [M + N, F] -> [M + N, F]; on a CPU by SciPy's CSR kernel, elsewhere as XLA lowers BCOO.

    A' is symmetric, and so is every polynomial of it: the pullback of g is the same sum applied to g. That is written
    down here, since XLA would transpose the matrix and keep every layer; and the whole sum, not one product, is what
    crosses to the host on a CPU. The graph is a constant; it gets no gradient.

    Args:
      graph: with the adjacency A'.
      x: [M + N, F].
      num_layers: K.
    """
    return jax.lax.platform_dependent(
        graph,
        x,
        cpu=functools.partial(_layer_sum_on_cpu, num_layers=num_layers),
        default=functools.partial(_layer_sum, num_layers=num_layers),
    )


def _propagate_forward(graph, x, num_layers):
    return propagate(graph, x, num_layers), graph


def _propagate_backward(num_layers, graph, gradient):
    return None, propagate(graph, gradient, num_layers)


propagate.defvjp(_propagate_forward, _propagate_backward)


def _layer_sum(graph: Graph, x: jax.Array, num_layers: int) -> jax.Array:
    layer = total = x
    for _ in range(num_layers):  # K is 1 to 4: unrolled on purpose
        layer = graph.adjacency @ layer
        total = total + layer
    return total


def _layer_sum_on_cpu(graph: Graph, x: jax.Array, num_layers: int) -> jax.Array:
    return jax.pure_callback(
        functools.partial(_csr_layer_sum, num_layers),
        jax.ShapeDtypeStruct(x.shape, x.dtype),
        graph.row_starts,
        graph.columns,
        graph.adjacency.data,
        x,
        vmap_method="sequential",
    )


@functools.cache
def _pool(num_threads: int) -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(num_threads, thread_name_prefix="propagate")


def _csr_layer_sum(num_layers: int, *arrays) -> np.ndarray:
    """[R, F] sum of layers with a square CSR matrix (row starts, columns, values), rows shared among the cores."""
    # SciPy's kernel itself: `csr_array @ x` would check, slice and copy the matrix at every call, which takes as long.
    from scipy.sparse._sparsetools import csr_matvecs

    # NumPy at once: work on jax Arrays inside a callback can wait for the thread that runs the callback.
    row_starts, columns, values, x = (np.asarray(array) for array in arrays)
    num_rows, width = x.shape
    num_threads = os.cpu_count() or 1
    shares = np.linspace(0, len(values), num_threads + 1)[1:-1]  # of the stored entries, not of the rows
    bounds = [0, *np.searchsorted(row_starts, shares).tolist(), num_rows]
    layer, total = np.ascontiguousarray(x), x.copy()

    def multiply(first: int, last: int) -> None:
        starts, to = row_starts[first : last + 1], product[first:last]
        csr_matvecs(last - first, num_rows, width, starts, columns, values, layer.ravel(), to.ravel())
        total[first:last] += to

    for _ in range(num_layers):
        product = np.zeros_like(total)
        for _ in _pool(num_threads).map(multiply, bounds[:-1], bounds[1:]):
            pass  # waits, and raises what a thread raised
        layer = product
    return total
