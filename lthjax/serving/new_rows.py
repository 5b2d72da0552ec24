"""Training rows of new users and items inside a ticket that stays as it is.

Letters: R new rows, M users, N items, F dimensions, D triples of a row in a step.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lthjax.data.id_lists import IdLists
from lthjax.embeddings import Embeddings
from lthjax.graph import id_sets
from lthjax.graph.graph import Graph
from lthjax.model import losses
from lthjax.model.losses import Triples
from lthjax.training.optimizer import masked

Side = Literal["user", "item"]

_TRIPLES = 64  # D
_NUMBERS_PER_BLOCK = 2**22  # D x F of the rows that are trained side by side; what they gather takes twice as many


class NewRows(NamedTuple):
    """What the new rows are trained on."""

    base: jax.Array  # [R, F], what a final row is without its layer 0
    weight: jax.Array  # [] of layer 0 in the final row
    met: IdLists  # R rows of known ids
    known: Embeddings  # final embeddings, frozen
    graph: Graph
    key: jax.Array
    learning_rate: jax.Array
    l2: jax.Array


@functools.partial(jax.jit, static_argnames=("side", "steps", "l2_form", "l2_on"))
def train(new: NewRows, masks: jax.Array, *, side: Side, steps: int, l2_form: str, l2_on: str) -> jax.Array:
    """[R, F] layer-0 rows under masks [R, F], each from 0; they do not know of one another."""
    schedule = optax.cosine_decay_schedule(new.learning_rate, steps)
    optimizer = masked(optax.adam(schedule))
    batch_of = _user_batch if side == "user" else _item_batch

    def train_one(one):
        row, base, mask = one
        row_key = jax.random.fold_in(new.key, row)

        def loss_of(layer0, key):
            final, table, batch = batch_of(base + new.weight * layer0, layer0, row, new, key)
            return losses.bpr(final, table, batch, new.l2, l2_form, l2_on)

        def step(number, carry):
            layer0, state = carry
            gradient = jax.grad(loss_of)(layer0, jax.random.fold_in(row_key, number))
            updates, state = optimizer.update(gradient, state, layer0, masks=mask)
            return optax.apply_updates(layer0, updates), state

        layer0 = jnp.zeros_like(base)
        return jax.lax.fori_loop(0, steps, step, (layer0, optimizer.init(layer0)))[0]

    num_rows, dim = new.base.shape
    block = max(1, min(num_rows, _NUMBERS_PER_BLOCK // (_TRIPLES * dim)))
    return jax.lax.map(train_one, (jnp.arange(num_rows), new.base, masks), batch_size=block)


def _user_batch(
    final: jax.Array, layer0: jax.Array, row: jax.Array, new: NewRows, key: jax.Array
) -> tuple[Embeddings, Embeddings, Triples]:
    """Tables of the rows in D triples of a new user, and the triples.

    Known rows stand in for their layer-0 rows: all they add to the L2 term is a constant.
    """
    num_items = new.known.item.shape[0]
    positive_key, negative_key = jax.random.split(key)
    positive, exists = _met(positive_key, row, new.met, _TRIPLES)
    num_absent = num_items - (new.met.starts[row + 1] - new.met.starts[row])
    draw = jax.random.randint(negative_key, (_TRIPLES,), 0, jnp.maximum(num_absent, 1))
    negative = jnp.minimum(id_sets.nth_absent(new.met, jnp.broadcast_to(row, draw.shape), draw), num_items - 1)
    items = new.known.item[jnp.concatenate([positive, negative])]  # [2 D, F]
    place = jnp.arange(_TRIPLES)
    weight = jnp.broadcast_to(exists & (num_absent > 0), place.shape).astype(jnp.float32)
    batch = Triples(jnp.zeros_like(place), place, _TRIPLES + place, weight)
    return Embeddings(final[None], items), Embeddings(layer0[None], items), batch


def _item_batch(
    final: jax.Array, layer0: jax.Array, row: jax.Array, new: NewRows, key: jax.Array
) -> tuple[Embeddings, Embeddings, Triples]:
    """Tables of the rows in D triples of a new item, half of them with it as the positive, and the triples.

    In an epoch over all interactions it would be the positive n times, n its users, and the negative of user u's
    interactions 1 / (N + 1 - d_u) times each: so the halves are weighted.
    """
    half, positives = _TRIPLES // 2, new.graph.positives
    num_items = new.known.item.shape[0]
    user_key, absent_key, pair_key = jax.random.split(key, 3)
    fans, exists = _met(user_key, row, new.met, half)
    num_absent = num_items - (positives.starts[fans + 1] - positives.starts[fans])
    absent = id_sets.nth_absent(positives, fans, jax.random.randint(absent_key, (half,), 0, jnp.maximum(num_absent, 1)))
    num_fans = new.met.starts[row + 1] - new.met.starts[row]
    as_positive = jnp.where(exists & (num_absent > 0), num_fans / half, 0.0)

    pair = jax.random.randint(pair_key, (half,), 0, new.graph.num_interactions)
    others, theirs = new.graph.pair_users[pair], positives.ids[pair]
    room = num_items + 1 - (positives.starts[others + 1] - positives.starts[others])
    is_fan = id_sets.contains(new.met, jnp.broadcast_to(row, others.shape), others)
    as_negative = jnp.where(is_fan, 0.0, new.graph.num_interactions / half / room.astype(jnp.float32))

    users = new.known.user[jnp.concatenate([fans, others])]  # [D, F]
    items = new.known.item[jnp.concatenate([jnp.minimum(absent, num_items - 1), theirs])]
    rows, new_item = jnp.arange(_TRIPLES), jnp.full(_TRIPLES, _TRIPLES)  # the new item comes after the others
    is_positive = rows < half
    weight = jnp.concatenate([as_positive, as_negative]).astype(jnp.float32)
    batch = Triples(rows, jnp.where(is_positive, new_item, rows), jnp.where(is_positive, rows, new_item), weight)
    return (
        Embeddings(users, jnp.concatenate([items, final[None]])),
        Embeddings(users, jnp.concatenate([items, layer0[None]])),
        batch,
    )


def _met(key: jax.Array, row: jax.Array, met: IdLists, count: int) -> tuple[jax.Array, jax.Array]:
    """[count] known ids that a new row has met, drawn uniformly; [] bool, has it met any?"""
    start, stop = met.starts[row], met.starts[row + 1]
    place = jax.random.randint(key, (count,), start, jnp.maximum(stop, start + 1))
    return met.ids.at[place].get(mode="clip"), stop > start
