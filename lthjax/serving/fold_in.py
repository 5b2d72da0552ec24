"""New users and items: rows inside a ticket that is not trained again (the paper's open question, section 5, (3)).

All that the ticket holds stays as it is. The new rows are found each by itself, from its interactions.

Letters: R new rows, M users, N items, F dimensions, K layers, D triples of a row in a step, E training interactions.
"""

import functools
import math
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import sparse

from lthjax.data import resolve
from lthjax.data.id_lists import IdLists
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import breakdown as diagnostics
from lthjax.graph import id_sets as rows
from lthjax.graph.graph import Graph
from lthjax.graph.propagate import propagate
from lthjax.model import losses
from lthjax.model.losses import Triples
from lthjax.search import problem as jobs
from lthjax.serving import ids
from lthjax.tickets import ticket as tickets
from lthjax.tickets.ticket import Ticket
from lthjax.training import optimizer as optim

Side = Literal["user", "item"]
Keep = Literal["mean", "degree", "dense"]

_STEPS = 300  # of MF
_PEERS = 50  # rows of about as many interactions, that say how much a new row keeps
_TRIPLES = 64  # D
_NUMBERS_PER_BLOCK = 2**22  # D x F of the rows that are trained side by side; what they gather takes twice as many


class Folded(NamedTuple):
    """New rows, and what they are ranked against."""

    final: np.ndarray  # [R, F] final embeddings
    layer0: np.ndarray | None  # [R, F] layer-0 embeddings, exactly 0 where masked; None where no step was made
    masks: np.ndarray | None  # [R, F] bool, True where kept; likewise
    known: Embeddings  # final embeddings of the ticket's users [M, F] and items [N, F]


def fold_in(
    ticket: Ticket,
    split: Any,
    interactions: Any,
    side: Side = "user",
    *,
    keep: Keep = "mean",
    steps: int | None = None,
    learning_rate: float = 0.1,
    seed: int = 0,
) -> Folded:
    """Give new users, or new items, an embedding inside the ticket, without training the ticket again.

    With S_u the known items that new user u has met, d_u = |S_u|, and x_i^(k), d_i the ticket's own layers and degrees,

        x_u = w (x_u^(0) + x_u^(1) + ... + x_u^(K)),    x_u^(k+1) = sum over i in S_u of x_i^(k) / sqrt(d_u d_i),

    where w is 1 / (K + 1), or 1 where layers are summed (He et al. 2020, 3.1); for items, change sides. LightGCN's
    x_u^(0) is 0, unless `steps` are asked for: the new row is what it gets from its neighbours. MF is K = 0: all of
    the row is x_u^(0).

    x_u^(0) is found by Adam, on the loss that the ticket was trained with as a function of this row alone. Triples of a
    new user are an item of S_u and any other item. Those of a new item are, in the proportion that training would have,
    its users preferring it to items they have not, and users who have it not preferring theirs to it. The loss is
    convex in the row, so no first value is drawn: it starts at 0. For its mask the row is trained whole; its largest
    entries stay, and it is trained again from 0. How many stay:

    * "mean": as many as the ticket's rows of that side keep on average, so that new rows are as sparse as old ones;
    * "degree": as many as rows with about as many interactions keep on average;
    * "dense": all.

    Known users and items without training interactions say nothing of a new row, and are left out of S. A new row with
    an empty S gets the average final row of its side (a new user is then shown what most would like), and empty masks.

    Args:
      ticket: of `find_tickets` or `load_ticket`; level 0 is the dense model.
      split: the Split that it was found on, or what `find_tickets` made it of; None takes what its settings name.
      interactions: for each new row the original ids that it has met; or a SciPy sparse matrix [R, N] ([R, M] for
        items) whose columns are numbered as in the split.
      side: what is new.
      keep: the rule of the masks.
      steps: of Adam; by default 300 for MF, and none for LightGCN.
      learning_rate: of the first step; it falls to 0 along a cosine.
      seed: of the triples.

    Raises:
      DataError: ids that the split does not have, or not the data of the ticket.
      SettingsError: a choice out of its range.
    """
    ticket = tickets.whole(ticket)
    settings, split = resolve.settle(split, tickets.settings_of(ticket), {})
    num_layers = settings.layers if settings.model == "lightgcn" else 0
    steps = (0 if num_layers else _STEPS) if steps is None else steps
    _check(side, keep, steps, learning_rate, seed, num_layers)
    if ticket.fingerprint != split.fingerprint:
        raise DataError(
            f"{split.name}: wanted the data that the ticket was found on; got others (fingerprints differ)."
        )
    other, known_ids = ("item", split.item_ids) if side == "user" else ("user", split.user_ids)
    degrees = diagnostics.degrees(split.train, split.num_users, split.num_items)
    others_degree, own_degree = getattr(degrees, other), getattr(degrees, side)
    met = ids.without_columns(ids.interactions_of(interactions, known_ids, other), others_degree == 0)
    met_degree = np.diff(met.indptr)  # [R]

    job = jobs.prepare(split, settings)
    known = job.program.embed(ticket.trained, job.graph)
    weight = 1 / (num_layers + 1) if settings.combine == "mean" else 1.0
    final = np.zeros((met.shape[0], settings.dim), np.float32)
    if num_layers:
        layers = getattr(_sum_of_layers(job.graph, ticket.trained, num_layers - 1), other)
        final += weight * propagated(met, np.asarray(layers), others_degree)
    layer0 = masks = None
    if steps:
        pairs = np.stack([np.repeat(np.arange(len(met_degree)), met_degree), met.indices], axis=1)
        problem = _Problem(
            base=jnp.asarray(final),
            weight=jnp.float32(weight),
            met=rows.from_pairs(pairs, len(met_degree)),
            known=known,
            graph=job.graph,
            key=jax.random.key(seed),
            learning_rate=jnp.float32(learning_rate),
            l2=jnp.float32(settings.l2),
        )
        train = functools.partial(
            _train, problem, side=side, steps=steps, l2_form=settings.l2_form, l2_on=settings.l2_on
        )
        masks = np.repeat(met_degree[:, None] > 0, settings.dim, axis=1)
        if keep != "dense":
            of_side = np.asarray(getattr(ticket.masks, side))
            num_kept = entries_to_keep(of_side, own_degree, met_degree, keep)
            masks &= largest(np.asarray(train(masks)), num_kept)
        layer0 = np.asarray(train(masks))
        final += weight * layer0
    final[met_degree == 0] = np.asarray(getattr(known, side))[own_degree > 0].mean(axis=0)
    return Folded(final, layer0, masks, known)


def _check(side: str, keep: str, steps: int, learning_rate: float, seed: int, num_layers: int) -> None:
    """Raise SettingsError for the first choice that is out of its range."""
    for name, choice, wanted in (("side", side, get_args(Side)), ("keep", keep, get_args(Keep))):
        if choice not in wanted:
            raise SettingsError(f"{name}: wanted one of {', '.join(wanted)}; got {choice!r}.")
    for name, number, least in (("steps", steps, 0 if num_layers else 1), ("seed", seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or not least <= number < 2**31:
            raise SettingsError(f"{name}: wanted a whole number from {least} to below 2^31; got {number!r}.")
    if not 0 < learning_rate < math.inf:
        raise SettingsError(f"learning_rate: wanted a positive number; got {learning_rate!r}.")


_sum_of_layers = jax.jit(propagate, static_argnums=2)


def propagated(met: sparse.csr_array, layers: np.ndarray, degree: np.ndarray) -> np.ndarray:
    """[R, F], layers 1 to K of new rows, summed: one product, since propagation is linear.

    Args:
      met: [R, N], 1 where they have met.
      layers: [N, F], layers 0 to K - 1 of the known rows, summed.
      degree: [N], of the known rows, in training; positive wherever `met` is.
    """
    met_degree = np.diff(met.indptr)
    values = 1 / np.sqrt(np.repeat(met_degree, met_degree).astype(np.float64) * degree[met.indices])
    return sparse.csr_array((values.astype(np.float32), met.indices, met.indptr), shape=met.shape) @ layers


def entries_to_keep(masks: np.ndarray, degree: np.ndarray, new_degree: np.ndarray, keep: Keep) -> np.ndarray:
    """[R] entries that each new row keeps, at least 1.

    Args:
      masks: [M, F] bool, of the known rows of that side.
      degree: [M], their training interactions; those without any do not count.
      new_degree: [R].
      keep: "mean" is the average over all rows; "degree" over the 50 whose degree is nearest, by rank, and all that
        have the degree of one of these ends.
    """
    kept = np.count_nonzero(masks, axis=1)[degree > 0]
    if keep == "mean":
        return np.full(len(new_degree), max(1, round(kept.mean())))
    degree = degree[degree > 0]
    order = np.argsort(degree, kind="stable")
    ranked, sums = degree[order], np.concatenate([[0], np.cumsum(kept[order])])
    first, last = (np.searchsorted(ranked, new_degree, end) for end in ("left", "right"))
    middle = (first + last) // 2
    low = np.clip(middle - _PEERS // 2, 0, max(len(ranked) - _PEERS, 0))
    high = np.minimum(low + _PEERS, len(ranked))
    # IdLists of one degree count all or none: which of them stand inside the window is chance.
    low = np.searchsorted(ranked, ranked[low], "left")
    high = np.searchsorted(ranked, ranked[high - 1], "right")
    return np.maximum(1, np.rint((sums[high] - sums[low]) / (high - low)).astype(int))


def largest(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """[R, F] bool, the `count` [R] entries of each row with the largest |w|; of equals the later, as `prune` has it."""
    order = np.argsort(np.abs(values), axis=1, kind="stable")
    place = np.argsort(order, axis=1)  # 0 for the smallest of its row
    return place >= values.shape[1] - count[:, None]


class _Problem(NamedTuple):
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
def _train(problem: _Problem, masks: jax.Array, *, side: Side, steps: int, l2_form: str, l2_on: str) -> jax.Array:
    """[R, F] layer-0 rows under masks [R, F], each from 0; they do not know of one another."""
    schedule = optax.cosine_decay_schedule(problem.learning_rate, steps)
    optimizer = optim.masked(optax.adam(schedule))
    batch_of = _user_batch if side == "user" else _item_batch

    def train_one(one):
        row, base, mask = one
        row_key = jax.random.fold_in(problem.key, row)

        def loss_of(layer0, key):
            final, table, batch = batch_of(base + problem.weight * layer0, layer0, row, problem, key)
            return losses.bpr(final, table, batch, problem.l2, l2_form, l2_on)

        def step(number, carry):
            layer0, state = carry
            gradient = jax.grad(loss_of)(layer0, jax.random.fold_in(row_key, number))
            updates, state = optimizer.update(gradient, state, layer0, masks=mask)
            return optax.apply_updates(layer0, updates), state

        layer0 = jnp.zeros_like(base)
        return jax.lax.fori_loop(0, steps, step, (layer0, optimizer.init(layer0)))[0]

    num_rows, dim = problem.base.shape
    block = max(1, min(num_rows, _NUMBERS_PER_BLOCK // (_TRIPLES * dim)))
    return jax.lax.map(train_one, (jnp.arange(num_rows), problem.base, masks), batch_size=block)


def _user_batch(
    final: jax.Array, layer0: jax.Array, row: jax.Array, problem: _Problem, key: jax.Array
) -> tuple[Embeddings, Embeddings, Triples]:
    """Tables of the rows in D triples of a new user, and the triples.

    Known rows stand in for their layer-0 rows: all they add to the L2 term is a constant.
    """
    num_items = problem.known.item.shape[0]
    positive_key, negative_key = jax.random.split(key)
    positive, exists = _met(positive_key, row, problem.met, _TRIPLES)
    num_absent = num_items - (problem.met.starts[row + 1] - problem.met.starts[row])
    draw = jax.random.randint(negative_key, (_TRIPLES,), 0, jnp.maximum(num_absent, 1))
    negative = jnp.minimum(rows.nth_absent(problem.met, jnp.broadcast_to(row, draw.shape), draw), num_items - 1)
    items = problem.known.item[jnp.concatenate([positive, negative])]  # [2 D, F]
    place = jnp.arange(_TRIPLES)
    weight = jnp.broadcast_to(exists & (num_absent > 0), place.shape).astype(jnp.float32)
    batch = Triples(jnp.zeros_like(place), place, _TRIPLES + place, weight)
    return Embeddings(final[None], items), Embeddings(layer0[None], items), batch


def _item_batch(
    final: jax.Array, layer0: jax.Array, row: jax.Array, problem: _Problem, key: jax.Array
) -> tuple[Embeddings, Embeddings, Triples]:
    """Tables of the rows in D triples of a new item, half of them with it as the positive, and the triples.

    In an epoch over all interactions it would be the positive n times, n its users, and the negative of user u's
    interactions 1 / (N + 1 - d_u) times each: so the halves are weighted.
    """
    half, positives = _TRIPLES // 2, problem.graph.positives
    num_items = problem.known.item.shape[0]
    user_key, absent_key, pair_key = jax.random.split(key, 3)
    fans, exists = _met(user_key, row, problem.met, half)
    num_absent = num_items - (positives.starts[fans + 1] - positives.starts[fans])
    absent = rows.nth_absent(positives, fans, jax.random.randint(absent_key, (half,), 0, jnp.maximum(num_absent, 1)))
    num_fans = problem.met.starts[row + 1] - problem.met.starts[row]
    as_positive = (exists & (num_absent > 0)) * (num_fans / half)

    pair = jax.random.randint(pair_key, (half,), 0, problem.graph.num_interactions)
    others, theirs = problem.graph.pair_users[pair], positives.ids[pair]
    room = num_items + 1 - (positives.starts[others + 1] - positives.starts[others])
    is_fan = rows.contains(problem.met, jnp.broadcast_to(row, others.shape), others)
    as_negative = jnp.where(is_fan, 0.0, problem.graph.num_interactions / half / room)

    users = problem.known.user[jnp.concatenate([fans, others])]  # [D, F]
    items = problem.known.item[jnp.concatenate([jnp.minimum(absent, num_items - 1), theirs])]
    place, new = jnp.arange(_TRIPLES), jnp.full(_TRIPLES, _TRIPLES)  # the new item stands behind the others
    is_positive = place < half
    weight = jnp.concatenate([as_positive, as_negative]).astype(jnp.float32)
    batch = Triples(place, jnp.where(is_positive, new, place), jnp.where(is_positive, place, new), weight)
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
