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

from lthjax.data import resolve
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import breakdown
from lthjax.graph import id_sets
from lthjax.graph.propagate import propagate
from lthjax.search.problem import prepare
from lthjax.serving import ids, new_rows, scipy_lightgcn
from lthjax.serving.new_rows import Side
from lthjax.settings import flag
from lthjax.tickets import ticket as ticketing
from lthjax.tickets.ticket import Ticket
from lthjax.training.keys import Purpose, key_of

Keep = Literal["mean", "degree", "dense"]

_STEPS = 300  # of MF
_AS_FOLDED = {"loss": "bpr", "negative_sampling": "uniform", "weights": "none", "dislikes": False}
_PEERS = 50  # rows of about as many interactions, that say how much a new row keeps


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
    its users preferring it to items they have not, and users who have it not preferring theirs to it. Each has one
    negative: several, as the ticket's `negatives` may say, have the same mean. The loss is convex in the row, so no
    first value is drawn: it starts at 0. For its mask the row is trained whole; its largest entries stay, and it is
    trained again from 0. How many stay:

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
      SettingsError: a choice out of its range; or steps are to be made, and the ticket was trained with another loss
        than BPR, with negatives by popularity or dislikes, or with weights, which say nothing of new rows.
    """
    ticket = ticketing.whole(ticket)
    settings, split = resolve.settle(split, ticket.settings, {})
    num_layers = settings.layers if settings.model == "lightgcn" else 0
    steps = (0 if num_layers else _STEPS) if steps is None else steps
    _check(side, keep, learning_rate, {"steps": (steps, 0 if num_layers else 1), "seed": (seed, 0)})
    _check_ticket(ticket, split, steps)
    other, known_ids = ("item", split.item_ids) if side == "user" else ("user", split.user_ids)
    degrees = breakdown.degrees(split.train, split.num_users, split.num_items)
    others_degree, own_degree = getattr(degrees, other), getattr(degrees, side)
    met = ids.without_columns(ids.interactions_of(interactions, known_ids, other), others_degree == 0)
    met_degree = np.diff(met.indptr)  # [R]

    problem = prepare(split, settings)
    known = problem.program.embed(ticket.trained, problem.graph)
    weight = 1 / (num_layers + 1) if settings.combine == "mean" else 1.0
    final = np.zeros((met.shape[0], settings.dim), np.float32)
    if num_layers:
        layers = getattr(_sum_of_layers(problem.graph, ticket.trained, num_layers - 1), other)
        final += weight * scipy_lightgcn.new_rows(met, np.asarray(layers), others_degree)
    layer0 = masks = None
    if steps:
        pairs = np.stack([np.repeat(np.arange(len(met_degree)), met_degree), met.indices], axis=1)
        new = new_rows.NewRows(
            base=jnp.asarray(final),
            weight=jnp.float32(weight),
            met=id_sets.from_pairs(pairs, len(met_degree)),
            known=known,
            graph=problem.graph,
            key=key_of(seed, Purpose.NEW_ROWS),
            learning_rate=jnp.float32(learning_rate),
            l2=jnp.float32(settings.l2),
        )
        fixed = {"side": side, "steps": steps, "l2_form": settings.l2_form, "l2_on": settings.l2_on}
        train = functools.partial(new_rows.train, new, **fixed)
        masks = np.repeat(met_degree[:, None] > 0, settings.dim, axis=1)
        if keep != "dense":
            of_side = np.asarray(getattr(ticket.masks, side))
            num_kept = entries_to_keep(of_side, own_degree, met_degree, keep)
            masks &= largest(np.asarray(train(masks)), num_kept)
        layer0 = np.asarray(train(masks))
        final += weight * layer0
    final[met_degree == 0] = np.asarray(getattr(known, side))[own_degree > 0].mean(axis=0)
    return Folded(final, layer0, masks, known)


def _check_ticket(ticket: Ticket, split: Split, steps: int) -> None:
    """Raise where the data are not the ticket's, or it was trained in a way that new rows cannot be."""
    if ticket.fingerprint != split.fingerprint:
        raise DataError(
            f"{split.name}: wanted the data that the ticket was found on; got others (fingerprints differ)."
        )
    wanted = "fold_in: wanted a ticket of MF or LightGCN, trained with BPR"
    for kind in ("backbone", "loss") if steps else ("backbone",):
        if kind in ticket.given:
            raise SettingsError(f"{wanted}; got one with a {kind} given in code.")
    for name, value in _AS_FOLDED.items() if steps else ():
        if (came := getattr(ticket.settings, name)) != value:
            raise SettingsError(f"{wanted} on uniform negatives without weights; got one with {flag(name)} {came}.")


def _check(side: str, keep: str, learning_rate: float, whole: dict[str, tuple[int, int]]) -> None:
    """Raise SettingsError for the first choice that is out of its range; `whole` has numbers and the least of each."""
    for name, choice, wanted in (("side", side, get_args(Side)), ("keep", keep, get_args(Keep))):
        if choice not in wanted:
            raise SettingsError(f"{name}: wanted one of {', '.join(wanted)}; got {choice!r}.")
    for name, (number, least) in whole.items():
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or not least <= number < 2**31:
            raise SettingsError(f"{name}: wanted a whole number from {least} to below 2^31; got {number!r}.")
    if not 0 < learning_rate < math.inf:
        raise SettingsError(f"learning_rate: wanted a positive number; got {learning_rate!r}.")


_sum_of_layers = jax.jit(propagate, static_argnums=2)


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
    # Rows of one degree count all or none: which of them stand inside the window is chance.
    low = np.searchsorted(ranked, ranked[low], "left")
    high = np.searchsorted(ranked, ranked[high - 1], "right")
    return np.maximum(1, np.rint((sums[high] - sums[low]) / (high - low)).astype(int))


def largest(values: np.ndarray, count: np.ndarray) -> np.ndarray:
    """[R, F] bool, the `count` [R] entries of each row with the largest |w|; of equals the later, as `prune` has it."""
    order = np.argsort(np.abs(values), axis=1, kind="stable")
    place = np.argsort(order, axis=1)  # 0 for the smallest of its row
    return place >= values.shape[1] - count[:, None]
