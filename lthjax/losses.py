"""The BPR loss with L2 on the batch's layer-0 rows.

Letters: B batch, F dimensions.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lthjax.embeddings import Embeddings


class Triples(NamedTuple):
    """A batch: each user prefers the positive item to the negative one."""

    user: jax.Array  # [B] int32
    positive: jax.Array  # [B] int32
    negative: jax.Array  # [B] int32
    weight: jax.Array  # [B] float32, 1, or 0 for a row that does not count (padding; no negative exists)


def bpr(final: Embeddings, layer0: Embeddings, batch: Triples, l2: float) -> jax.Array:
    """Mean over the batch of softplus(y_uj - y_ui) + l2 / 2 (|x_u|^2 + |x_i|^2 + |x_j|^2).

    y are inner products of the final embeddings, x the layer-0 rows (paper, equations 4 and 7; the halved square over
    the batch size as in `wangyf6891/LTH-MRS` and `gusye1234/LightGCN-PyTorch`). L2 on propagated or on unsquared rows
    is another loss and costs 5 to 10% of Recall.
    """
    user = final.user[batch.user]  # [B, F]
    positive, negative = final.item[batch.positive], final.item[batch.negative]
    preference = jnp.sum(user * (positive - negative), axis=-1)  # [B]
    norms = sum(
        jnp.sum(rows * rows, axis=-1)
        for rows in (layer0.user[batch.user], layer0.item[batch.positive], layer0.item[batch.negative])
    )
    each = jax.nn.softplus(-preference) + 0.5 * l2 * norms
    return jnp.sum(batch.weight * each) / jnp.maximum(batch.weight.sum(), 1.0)
