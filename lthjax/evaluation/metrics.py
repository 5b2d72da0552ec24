"""Recall and NDCG of one ranked list, as expectations over the orders of items with equal scores.

Items that score alike have no order, and a ranking that breaks ties by number earns Recall from a file's numbering.
So each rank has the chance that its item is relevant, and metrics, which are sums over ranks, are their expected values
over all orders of the tied items, exactly (McSherry and Najork 2008, "Computing information retrieval performance
measures efficiently in the presence of tied scores"). Without ties the chances are 0 and 1.

Letters: K items in the list.
"""

import jax
import jax.numpy as jnp


def chances(scores: jax.Array, hits: jax.Array, tied_size: jax.Array, tied_hits: jax.Array) -> jax.Array:
    """[K] float32, the chance that the item at each rank is relevant: the relevant share of those that score alike.

    Args:
      scores: [K], descending; -inf where the list has ended.
      hits: [K] bool, is the item at this rank relevant?
      tied_size: [] items of the whole ranking that score as the last one of the list does, where some of them lie
        behind its end; else 0.
      tied_hits: [] how many of those are relevant.
    """
    alike = scores[:, None] == scores[None, :]  # [K, K]
    is_last = (scores == scores[-1]) & (tied_size > 0)
    size = jnp.where(is_last, tied_size, alike.sum(axis=1))
    relevant = jnp.where(is_last, tied_hits, (alike & hits[None, :]).sum(axis=1))
    return jnp.where(scores > -jnp.inf, relevant / size, 0.0)


def recall_at(k: int, chance: jax.Array, num_relevant: jax.Array) -> jax.Array:
    """Recall@k: expected hits among the first k, over all relevant items.

    Args:
      k: ranks that count; a list shorter than k counts as it is.
      chance: [K] from `chances`.
      num_relevant: relevant items of the user, at least 1.
    """
    return jnp.minimum(chance[:k].sum() / jnp.asarray(num_relevant, jnp.float32), 1.0)  # sums of shares are rounded


def ndcg_at(k: int, chance: jax.Array, num_relevant: jax.Array) -> jax.Array:
    """NDCG@k: sum of chance / log2(rank + 1), over the same sum of the best list of min(k, num_relevant) hits.

    Jarvelin and Kekalainen 2002; the best list as in `wangyf6891/LTH-MRS:utils/metrics.py`.

    Args:
      k: ranks that count; a list shorter than k counts as it is.
      chance: [K] from `chances`.
      num_relevant: relevant items of the user, at least 1.
    """
    discount = 1.0 / jnp.log2(jnp.arange(k, dtype=jnp.float32) + 2.0)  # [k]
    gain = (chance[:k] * discount[: chance.shape[0]]).sum()
    ideal = jnp.where(jnp.arange(k) < num_relevant, discount, 0.0).sum()
    return gain / ideal
