"""Metrics of one ranked list, as expectations over the orders of items with equal scores.

Items that score alike have no order, and a ranking that breaks ties by number earns Recall from a file's numbering.
So each rank has the chance that its item is relevant, and metrics, which are sums over ranks, are their expected values
over all orders of the tied items, exactly (McSherry and Najork 2008, "Computing information retrieval performance
measures efficiently in the presence of tied scores"). Without ties the chances are 0 and 1. What depends on two ranks
or more at once (the first relevant item, average precision) needs their joint chances, which `ranks` has too.

Letters: K items in the list, n items of a group that scores alike, r relevant ones of them, R relevant items in all.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Ranks(NamedTuple):
    """What metrics need to know of each rank; all are expectations over the orders of items that score alike."""

    chance: jax.Array  # [K] that its item is relevant
    miss: jax.Array  # [K] chance that its item is not relevant, where none before it is
    pairs: jax.Array  # [K] relevant items before it, counted where its own is relevant: sum of P(both are)


def ranks(scores: jax.Array, hits: jax.Array, tied_size: jax.Array, tied_hits: jax.Array) -> Ranks:
    """What is known of each rank of a list; arguments as of `chances`.

    A group of n items that score alike, r of them relevant, is in any order with the same chance, whatever stands in
    other groups. At its place j (from 0) an item is relevant with chance r / n; it is not, where none of the j before
    it in the group is, with chance (n - r - j) / (n - j); it and the one at another place of the group both are with
    chance r (r - 1) / (n (n - 1)). Of earlier groups, which stand before it whole, all r are before it.
    """
    size, relevant = _groups(scores, hits, tied_size, tied_hits)
    is_item = scores > -jnp.inf
    chance = jnp.where(is_item, relevant / size, 0.0)
    rank = jnp.arange(len(scores))
    first = jnp.argmax(scores[:, None] == scores[None, :], axis=1)  # rank of the group's first
    place = rank - first
    miss = jnp.where(is_item, jnp.maximum(size - relevant - place, 0) / (size - place), 1.0)
    before = (jnp.cumsum(chance) - chance)[first]
    within = place * ((relevant - 1) / jnp.maximum(size - 1, 1))
    return Ranks(chance, miss, chance * (before + within))


def chances(scores: jax.Array, hits: jax.Array, tied_size: jax.Array, tied_hits: jax.Array) -> jax.Array:
    """[K] float32, the chance that the item at each rank is relevant: the relevant share of those that score alike.

    Args:
      scores: [K], descending; -inf where the list has ended.
      hits: [K] bool, is the item at this rank relevant?
      tied_size: [] items of the whole ranking that score as the last one of the list does, where some of them lie
        behind its end; else 0.
      tied_hits: [] how many of those are relevant.
    """
    return ranks(scores, hits, tied_size, tied_hits).chance


def _groups(
    scores: jax.Array, hits: jax.Array, tied_size: jax.Array, tied_hits: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """([K], [K]) n and r of the group at each rank; arguments as of `chances`."""
    alike = scores[:, None] == scores[None, :]  # [K, K]
    is_last = (scores == scores[-1]) & (tied_size > 0)
    size = jnp.where(is_last, tied_size, alike.sum(axis=1))
    return size, jnp.where(is_last, tied_hits, (alike & hits[None, :]).sum(axis=1))


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


def precision_at(k: int, chance: jax.Array) -> jax.Array:
    """Precision@k: expected hits among the first k, over k (Manning, Raghavan and Schuetze 2008, section 8.4).

    Args:
      k: ranks that count, and what is divided by, however short the list or few the relevant items are.
      chance: [K] from `chances`.
    """
    return jnp.minimum(chance[:k].sum() / k, 1.0)


def hit_at(k: int, miss: jax.Array) -> jax.Array:
    """Hit@k: the chance that at least one of the first k is relevant (trec_eval's Success; Deshpande and Karypis 2004).

    1 - product of `miss`; of a group that the end of the list cuts after m of its n items this is the hypergeometric
    1 - C(n - r, m) / C(n, m).

    Args:
      k: ranks that count.
      miss: [K] from `ranks`.
    """
    return 1.0 - jnp.prod(miss[:k])


def mrr_at(k: int, miss: jax.Array) -> jax.Array:
    """MRR@k: expected 1 / rank of the first relevant item, 0 where none is among the first k (Voorhees 1999).

    Sum over ranks i of P(none before i) P(i is relevant, where none before is) / i. The mean over users is MRR.

    Args:
      k: ranks that count.
      miss: [K] from `ranks`.
    """
    miss = miss[:k]
    none_before = jnp.concatenate([jnp.ones(1, miss.dtype), jnp.cumprod(miss)[:-1]])
    return (none_before * (1.0 - miss) / _numbered(miss)).sum()


def map_at(k: int, ranks: Ranks, num_relevant: jax.Array) -> jax.Array:
    """MAP@k: expected average precision of the first k, over min(k, R) (Buckley and Voorhees 2000). Its mean is MAP.

    AP = sum over ranks i <= k of [i is relevant] (relevant among the first i) / i, so that E[AP] is the sum of
    (P(i) + sum over l < i of P(l and i)) / i. Divided by min(k, R), so that the best list has 1, as RecBole and
    Kaggle do; trec_eval's map_cut divides by R, and is lower where more items are relevant than the list has places.

    Args:
      k: ranks that count.
      ranks: from `ranks`.
      num_relevant: R, at least 1.
    """
    total = ((ranks.chance + ranks.pairs)[:k] / _numbered(ranks.chance[:k])).sum()
    return jnp.minimum(total / jnp.minimum(k, num_relevant).astype(jnp.float32), 1.0)


def _numbered(values: jax.Array) -> jax.Array:
    """[K] ranks, from 1."""
    return jnp.arange(1, len(values) + 1, dtype=jnp.float32)


OF_USERS: dict[str, Callable[[int, Ranks, jax.Array], jax.Array]] = {  # by the names of --metrics
    "recall": lambda k, ranks, num_relevant: recall_at(k, ranks.chance, num_relevant),
    "ndcg": lambda k, ranks, num_relevant: ndcg_at(k, ranks.chance, num_relevant),
    "precision": lambda k, ranks, _: precision_at(k, ranks.chance),
    "hit": lambda k, ranks, _: hit_at(k, ranks.miss),
    "mrr": lambda k, ranks, _: mrr_at(k, ranks.miss),
    "map": map_at,
}
