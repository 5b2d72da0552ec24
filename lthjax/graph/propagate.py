"""The product with the normalized adjacency, layer by layer, and its gradient.

Letters: M users, N items, E training interactions, F dimensions, K layers, T tickets.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from lthjax.embeddings import Embeddings
from lthjax.graph.graph import Graph
from lthjax.graph.sharded import ShardedGraph

# Dimensions that a CPU, or several devices, propagate at a time: wider rows do not stay in a CPU's cache (1.4 times as
# fast at F = 128), and several devices hold rows of others.
SLAB = 32


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def propagate(graph: Graph, x: Embeddings, num_layers: int) -> Embeddings:
    """Sum of layers, x + A' x + ... + A'^K x (paper, equations 5 and 6 with every alpha = 1).

    A' is symmetric, and so is every polynomial of it: the pullback of g is the same sum applied to g. It is defined
    below, since JAX would transpose the matrix and keep every layer. The graph is a constant; it gets no gradient.
    Tickets under `vmap` share one pass over the graph.

    On a CPU the product is jaxlib's own CSR kernel, which uses all cores and makes no [nse, F] temporary; users and
    items are multiplied apart, which saves joining and cutting tables at every step. Elsewhere it is what XLA makes of
    the BCOO matrix. Of several devices each multiplies its own rows (`graph.sharded_product`).
    `experiments/LOG.md` has the measurements of the alternatives.

    Args:
      graph: with the adjacency A'.
      x: user [M, F] and item [N, F].
      num_layers: K.

    Raises:
      NotImplementedError: `vmap` over graphs.
    """
    return _layer_sum(num_layers)(graph, x)


def _propagate_forward(graph, x, num_layers):
    return propagate(graph, x, num_layers), graph


def _propagate_backward(num_layers, graph, gradient):
    return None, propagate(graph, gradient, num_layers)


propagate.defvjp(_propagate_forward, _propagate_backward)


@functools.cache
def _layer_sum(num_layers: int) -> Callable[[Graph, Embeddings], Embeddings]:
    """The sum of layers, as a function of graph and x with its own rule for `vmap`."""

    @jax.custom_batching.custom_vmap
    def layer_sum(graph, x):
        if isinstance(graph, ShardedGraph):
            return _slab_by_slab(graph.product, x, num_layers)
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
        xs = jax.tree.map(
            lambda x, is_mapped: x if is_mapped else jnp.broadcast_to(x, (num_tickets, *x.shape)), xs, is_batched[1]
        )
        if isinstance(graph, ShardedGraph):
            return one_by_one(graph, xs), Embeddings(True, True)
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
    def product(layer: Embeddings) -> Embeddings:
        return Embeddings(graph.items_of_users @ layer.item, graph.users_of_items @ layer.user)

    return _in_slabs(product, x, num_layers)


def _in_slabs(product: Callable[[Embeddings], Embeddings], x: Embeddings, num_layers: int) -> Embeddings:
    """The sum of layers, some columns at a time."""
    dim = x.user.shape[1]
    slabs = [jax.tree.map(lambda side, i=i: side[:, i : i + SLAB], x) for i in range(0, dim, SLAB)]
    totals = [_layers(product, slab, num_layers) for slab in slabs]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, axis=1), *totals)


def _slab_by_slab(product: Callable[[Embeddings], Embeddings], x: Embeddings, num_layers: int) -> Embeddings:
    """The same, in a loop: on several devices columns are gathered from all, and XLA would gather all slabs at once."""
    dim = x.user.shape[1]
    if dim <= SLAB:
        return _layers(product, x, num_layers)

    def cut(side: jax.Array) -> jax.Array:  # [., F] -> [slabs, ., SLAB]
        return jnp.pad(side, ((0, 0), (0, -dim % SLAB))).reshape(side.shape[0], -1, SLAB).swapaxes(0, 1)

    totals = jax.lax.map(lambda slab: _layers(product, slab, num_layers), jax.tree.map(cut, x))
    return jax.tree.map(lambda total: total.swapaxes(0, 1).reshape(total.shape[1], -1)[:, :dim], totals)


def _layers(product: Callable[[Embeddings], Embeddings], x: Embeddings, num_layers: int) -> Embeddings:
    layer = total = x
    for _ in range(num_layers):
        layer = product(layer)
        total = jax.tree.map(jnp.add, total, layer)
    return total
