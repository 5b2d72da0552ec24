"""Negatives, drawn on the device: uniformly or by popularity, a user's explicit dislikes first where there are any.

Letters: B batch, n negatives of each user.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lthjax.graph import id_sets, popularity
from lthjax.graph.graph import Graph

DISLIKED = 0.5  # chance that a negative is one of the user's dislikes; our choice


class Negatives(NamedTuple):
    """Items that their users have not in training."""

    items: jax.Array  # [B]; [B, n] with several
    exist: jax.Array  # [B] bool, is there any for the user?
    log_q: jax.Array | None  # like items, of `Triples`


def draw(key: jax.Array, users: jax.Array, graph: Graph, number: int) -> Negatives:
    """Negatives of [B] users, each drawn by itself, so that one may come twice; never a training positive.

    Uniform among the items that the user does not have; or, where the graph has a popularity, in proportion to it. A
    user with dislikes gets one of these, uniformly, with chance 1/2, else as above, which may be a dislike too. They
    come more often on purpose: what is drawn as a dislike has log_q 0.

    Args:
      key: of the draw.
      users: [B] int32.
      graph: with positives, and what says how to draw.
      number: n; with 1 the items are [B].
    """
    row = users if number == 1 else jnp.broadcast_to(users[:, None], (users.shape[0], number))
    drawn = _from_the_rest(key, row, graph) if graph.dislikes is None else _dislikes_first(key, row, graph)
    return drawn if number == 1 else drawn._replace(exist=drawn.exist[:, 0])


def _dislikes_first(key: jax.Array, row: jax.Array, graph: Graph) -> Negatives:
    coin_key, place_key, key = jax.random.split(key, 3)
    start, stop = graph.dislikes.starts[row], graph.dislikes.starts[row + 1]
    place = jax.random.randint(place_key, row.shape, start, jnp.maximum(stop, start + 1))
    disliked = graph.dislikes.ids.at[place].get(mode="clip")
    rest = _from_the_rest(key, row, graph)
    # By popularity the rest may weigh nothing: then a dislike is all there is.
    take = (stop > start) & (jax.random.bernoulli(coin_key, DISLIKED, row.shape) | ~rest.exist)
    log_q = None if rest.log_q is None else jnp.where(take, 0.0, rest.log_q)
    return Negatives(jnp.where(take, disliked, rest.items), rest.exist | (stop > start), log_q)


def _from_the_rest(key: jax.Array, row: jax.Array, graph: Graph) -> Negatives:
    """Negatives by the rule for all items that the users do not have."""
    num_absent = graph.num_items - (graph.positives.starts[row + 1] - graph.positives.starts[row])
    if graph.popularity is not None:
        items = popularity.draw(key, graph.popularity, graph.positives, row)
        log_q = popularity.log_q(graph.popularity, row, items, num_absent)
        return Negatives(items, graph.popularity.absent[row] > 0, log_q)
    place = jax.random.randint(key, row.shape, 0, jnp.maximum(num_absent, 1))
    items = id_sets.nth_absent(graph.positives, row, place)
    return Negatives(jnp.minimum(items, graph.num_items - 1), num_absent > 0, None)
