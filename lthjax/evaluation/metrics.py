"""Recall and NDCG of one ranked list with binary relevance.

Letters: K items in the list.
"""

import jax
import jax.numpy as jnp


def recall_at(k: int, hits: jax.Array, num_relevant: jax.Array) -> jax.Array:
    """Recall@k: hits among the first k, over all relevant items.

    Args:
      k: ranks that count; a list shorter than k counts as it is.
      hits: [K] bool, is the item at this rank relevant?
      num_relevant: relevant items of the user, at least 1.
    """
    return hits[:k].sum() / num_relevant


def ndcg_at(k: int, hits: jax.Array, num_relevant: jax.Array) -> jax.Array:
    """NDCG@k: sum over hits of 1 / log2(rank + 1), over the same sum of the best list of min(k, num_relevant) hits.

    Jarvelin and Kekalainen 2002; the best list as in `wangyf6891/LTH-MRS:utils/metrics.py`.

    Args:
      k: ranks that count; a list shorter than k counts as it is.
      hits: [K] bool, is the item at this rank relevant?
      num_relevant: relevant items of the user, at least 1.
    """
    discount = 1.0 / jnp.log2(jnp.arange(k, dtype=jnp.float32) + 2.0)  # [k]
    gain = jnp.where(hits[:k], discount[: hits.shape[0]], 0.0).sum()
    ideal = jnp.where(jnp.arange(k) < num_relevant, discount, 0.0).sum()
    return gain / ideal
