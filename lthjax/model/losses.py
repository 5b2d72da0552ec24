"""Losses of a batch: BPR, BPR on cosines, sampled softmax; each with L2 on the rows of the batch.

Letters: B batch, n negatives of each positive, F dimensions; u a user, i its positive and j a negative item.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.embeddings import Embeddings
from lthjax.settings import LOSSES_ON_COSINES


class Triples(NamedTuple):
    """A batch: each user prefers the positive item to the negative ones."""

    user: jax.Array  # [B] int32
    positive: jax.Array  # [B] int32
    negative: jax.Array  # [B] int32; [B, n] with several negatives a positive
    weight: jax.Array  # [B] float32, importance, on average 1; 0 for a row that does not count (padding; no negative)
    log_q: jax.Array | None = None  # like negative, log of how much likelier than uniformly it was drawn; None: log 1


# (final embeddings, layer-0 embeddings, batch) -> loss
Loss = Callable[[Embeddings, Embeddings, Triples], jax.Array]

Form = Literal["squared", "norm"]
Rows = Literal["layer0", "propagated"]


def bpr(
    final: Embeddings, layer0: Embeddings, batch: Triples, l2: float, l2_form: Form = "squared", l2_on: Rows = "layer0"
) -> jax.Array:
    """Mean over the batch of softplus(y_uj - y_ui), plus L2 over the batch size (paper, equations 4 and 7).

    y are inner products of final embeddings. With n negatives, it is the mean of the n losses with one each, L2 of the
    form "squared" included (BARS' MF-BPR takes the mean too). Implementations differ in the L2 term, which alone
    changes Recall by 5 to 10%, so each form can be chosen:

    * "squared" on "layer0": l2 / 2 (|x_u|^2 + |x_i|^2 + |x_j|^2) / B, summed over the batch, x the layer-0 rows
      (`wangyf6891/LTH-MRS`, `gusye1234/LightGCN-PyTorch`, `kuandeng/LightGCN`);
    * "squared" on "propagated": the same on the final rows (Cornac);
    * "norm": l2 (|X_u| + |X_i| + |X_j|) / B, X all rows of the batch as one matrix (RecBole's EmbLoss with
      `require_pow: False`); of n negatives |X_j|^2 is a mean too.

    Negatives count alike, however they were drawn. The batch's mean is weighted by importance.

    Args:
      final: final embeddings.
      layer0: layer-0 embeddings.
      batch: triples; those of weight 0 are ignored.
      l2: weight of the L2 term.
      l2_form: "squared" or "norm".
      l2_on: "layer0" or "propagated".
    """
    user, positive, negative = _rows(final, batch)  # [B, F], the last [B, n, F] with several negatives
    if negative.ndim == user.ndim:
        each = jax.nn.softplus(-jnp.sum(user * (positive - negative), axis=-1))
    else:
        difference = _products(user, negative) - jnp.sum(user * positive, axis=-1)[:, None]  # [B, n]
        each = jnp.mean(jax.nn.softplus(difference), axis=-1)
    return _mean(each, layer0 if l2_on == "layer0" else final, batch, l2, l2_form)


def cosine_bpr(
    final: Embeddings,
    layer0: Embeddings,
    batch: Triples,
    l2: float,
    l2_form: Form = "squared",
    l2_on: Rows = "layer0",
    temperature: float = 1.0,
) -> jax.Array:
    """`bpr` with y = cos(u, i) / temperature in place of inner products.

    It says nothing of how long a row is, and ranking is by inner products: see `sampled_softmax`.

    Args:
      final: final embeddings.
      layer0: layer-0 embeddings.
      batch: triples; those of weight 0 are ignored.
      l2: weight of the L2 term, as in `bpr`.
      l2_form: likewise.
      l2_on: likewise.
      temperature: of the similarities.
    """
    positive, negative = _similarities(final, batch, temperature)  # [B], [B, n]
    each = jnp.mean(jax.nn.softplus(negative - positive[:, None]), axis=-1)
    return _mean(each, layer0 if l2_on == "layer0" else final, batch, l2, l2_form)


def sampled_softmax(
    final: Embeddings,
    layer0: Embeddings,
    batch: Triples,
    l2: float,
    l2_form: Form = "squared",
    l2_on: Rows = "layer0",
    temperature: float = 1.0,
) -> jax.Array:
    """Mean over the batch of -log(exp y_ui / (exp y_ui + sum over j of exp y_uj)), y = cos(u, i) / temperature.

    SSM of Wu et al. 2022, "On the Effectiveness of Sampled Softmax Loss for Item Recommendation" (arXiv 2201.02327),
    with the L2 term of `bpr`. Where negatives were not drawn uniformly, the log of their probability, as a multiple of
    the uniform one, is subtracted from y_uj (Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling for Large Corpus
    Item Recommendations"): the sum over j then has the expectation that it has with uniform negatives. y_ui stays: the
    positive is always there, and was not drawn.

    Cosines do not say how long a row is, though ranking is by inner products. In LightGCN propagation gives rows a
    length by their degree; MF's are what first values, L2 and optimizer leave: this loss suits it less (Wu et al.).

    Args:
      final: final embeddings.
      layer0: layer-0 embeddings.
      batch: triples; those of weight 0 are ignored.
      l2: weight of the L2 term, as in `bpr`.
      l2_form: likewise.
      l2_on: likewise.
      temperature: of the similarities.
    """
    positive, negative = _similarities(final, batch, temperature)  # [B], [B, n]
    if batch.log_q is not None:
        negative = negative - batch.log_q.reshape(negative.shape)
    logits = jnp.concatenate([positive[:, None], negative], axis=-1)
    each = jax.nn.logsumexp(logits, axis=-1) - positive
    return _mean(each, layer0 if l2_on == "layer0" else final, batch, l2, l2_form)


LOSSES = {"bpr": bpr, "sampled-softmax": sampled_softmax, "cosine-bpr": cosine_bpr}  # by the names of --loss


def named(name: str, temperature: float, **of_l2) -> Loss:
    """The loss of a name.

    Args:
      name: of `LOSSES`.
      temperature: of losses on cosines.
      **of_l2: l2, l2_form and l2_on.
    """
    return functools.partial(
        LOSSES[name], **of_l2, **({"temperature": temperature} if name in LOSSES_ON_COSINES else {})
    )


def is_named(loss: Loss) -> bool:
    """Whether a loss is of `LOSSES`, which read no rows but those of their batch."""
    return getattr(loss, "func", loss) in LOSSES.values()


def _mean(each: jax.Array, rows: Embeddings, batch: Triples, l2: float, l2_form: Form) -> jax.Array:
    """Weighted mean of the [B] losses of the batch, plus L2 on its `rows` over the batch size."""
    squares = [jnp.sum(x * x, axis=-1) for x in _rows(rows, batch)]  # three of [B]
    if squares[-1].ndim > 1:
        squares[-1] = jnp.mean(squares[-1], axis=-1)
    if l2_form == "squared":
        penalty = 0.5 * jnp.sum(batch.weight * sum(squares))
    else:
        penalty = sum(_safe_sqrt(jnp.sum(batch.weight * square)) for square in squares)
    ranking = jnp.sum(batch.weight * each)
    return (ranking + l2 * penalty) / jnp.maximum(batch.weight.sum(), 1.0)


def _rows(embeddings: Embeddings, batch: Triples) -> tuple[jax.Array, jax.Array, jax.Array]:
    return embeddings.user[batch.user], embeddings.item[batch.positive], embeddings.item[batch.negative]


def _products(user: jax.Array, items: jax.Array) -> jax.Array:
    """[B, n] inner products of [B, F] users with [B, n, F] items."""
    return jnp.sum(user[:, None] * items, axis=-1)  # a matrix product would take float32 for less on GPUs


def _similarities(final: Embeddings, batch: Triples, temperature: float) -> tuple[jax.Array, jax.Array]:
    """[B] and [B, n] cosines of the users with their positive and negative items, over the temperature."""
    user, positive, negative = _rows(final, batch._replace(negative=batch.negative.reshape(len(batch.user), -1)))
    user, positive, negative = (_directions(x) for x in (user, positive, negative))
    return jnp.sum(user * positive, axis=-1) / temperature, _products(user, negative) / temperature


def _directions(x: jax.Array) -> jax.Array:
    """Rows over their lengths; a row of zeros stays, and has gradient 0: all its entries can be pruned."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.where(square > 0, x * jax.lax.rsqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _safe_sqrt(x: jax.Array) -> jax.Array:
    """Square root whose gradient at 0 is 0, not infinite: all entries of a row can be pruned."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)
