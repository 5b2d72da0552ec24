"""The BPR loss with L2 on the rows of the batch.

Letters: B batch, F dimensions; u a user, i its positive and j its negative item.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from lthjax.embeddings import Embeddings


class Triples(NamedTuple):
    """A batch: each user prefers the positive item to the negative one."""

    user: jax.Array  # [B] int32
    positive: jax.Array  # [B] int32
    negative: jax.Array  # [B] int32
    weight: jax.Array  # [B] float32, 1, or 0 for a row that does not count (padding; no negative exists)


# (final embeddings, layer-0 embeddings, batch) -> loss
Loss = Callable[[Embeddings, Embeddings, Triples], jax.Array]


def bpr(
    final: Embeddings,
    layer0: Embeddings,
    batch: Triples,
    l2: float,
    l2_form: Literal["squared", "norm"] = "squared",
    l2_on: Literal["layer0", "propagated"] = "layer0",
) -> jax.Array:
    """Mean over the batch of softplus(y_uj - y_ui), plus L2 over the batch size (paper, equations 4 and 7).

    y are inner products of final embeddings. Implementations differ in the L2 term, which alone changes Recall by 5 to
    10%, so each form can be chosen:

    * "squared" on "layer0": l2 / 2 (|x_u|^2 + |x_i|^2 + |x_j|^2) / B, summed over the batch, x the layer-0 rows
      (`wangyf6891/LTH-MRS`, `gusye1234/LightGCN-PyTorch`, `kuandeng/LightGCN`);
    * "squared" on "propagated": the same on the final rows (Cornac);
    * "norm": l2 (|X_u| + |X_i| + |X_j|) / B, X all rows of the batch as one matrix (RecBole's EmbLoss with
      `require_pow: False`).

    Args:
      final: final embeddings.
      layer0: layer-0 embeddings.
      batch: triples; those of weight 0 are ignored.
      l2: weight of the L2 term.
      l2_form: "squared" or "norm".
      l2_on: "layer0" or "propagated".
    """
    user, positive, negative = _rows(final, batch)  # [B, F]
    preference = jnp.sum(user * (positive - negative), axis=-1)  # [B]
    squares = [jnp.sum(x * x, axis=-1) for x in _rows(layer0 if l2_on == "layer0" else final, batch)]  # three of [B]
    if l2_form == "squared":
        penalty = 0.5 * jnp.sum(batch.weight * sum(squares))
    else:
        penalty = sum(_safe_sqrt(jnp.sum(batch.weight * square)) for square in squares)
    ranking = jnp.sum(batch.weight * jax.nn.softplus(-preference))
    return (ranking + l2 * penalty) / jnp.maximum(batch.weight.sum(), 1.0)


def _rows(embeddings: Embeddings, batch: Triples) -> tuple[jax.Array, jax.Array, jax.Array]:
    return embeddings.user[batch.user], embeddings.item[batch.positive], embeddings.item[batch.negative]


def _safe_sqrt(x: jax.Array) -> jax.Array:
    """Square root whose gradient at 0 is 0, not infinite: all entries of a row can be pruned."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0)
