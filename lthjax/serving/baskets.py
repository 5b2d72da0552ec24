"""A row for somebody who is only a basket of items, from the items of a ticket. NumPy and SciPy only.

Letters: B baskets, N items, F dimensions, K layers.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse

from lthjax.data.id_lists import IdLists
from lthjax.serving import scipy_lightgcn
from lthjax.serving.top_k import Table

_NUMBERS_PER_BLOCK = 2**22  # of F x F matrices that are solved at once


class Sums(NamedTuple):
    """What all items say together; see `ridge`."""

    items: np.ndarray  # [F] sum of all rows
    products: np.ndarray  # [F, F] sum of y y^T


def sums_of(items: Table) -> Sums:
    """Of [N, F] final embeddings, in float64."""
    products = items.T @ items
    products = products.toarray() if sparse.issparse(products) else products
    return Sums(np.asarray(items.sum(axis=0), np.float64).ravel(), np.asarray(products, np.float64))


def ridge(items: Table, baskets: IdLists, sums: Sums) -> np.ndarray:
    """[B, F] float32: the rows that rank the basket before all other items, by least squares.

    With S the basket, y the items' embeddings, and H the mean of (y_i - y_j)(y_i - y_j)^T over i in S, j not in S,

        x = argmin  mean over i in S, j not in S of (<x, y_i - y_j> - 1)^2  +  (tr H / F) |x|^2,
        (H + (tr H / F) I) x = mean over S of y_i - mean over the others of y_j.

    The first term is the users' step of RankALS (Takács and Tikk 2012) for one user; but for the length of x it is also
    the second-order Taylor expansion, at x = 0, of BPR's loss, which the items were trained with. The weight of the
    second, the mean eigenvalue of H, makes the ranking independent of the tables' scale. MovieLens, users given by
    their training items alone, test Recall@20: MF .195 (their trained rows .196, the mean of the items .183), LightGCN
    .207 (trained .208, propagated .203); given by five of them .162 and .183 (propagated .177).

    An empty basket, and one of all items, gives zeros.

    Args:
      items: [N, F], a NumPy array or CSR.
      baskets: B rows of items.
      sums: of the items.
    """
    num_items, dim = items.shape
    rows = np.zeros((baskets.num_rows, dim), np.float32)
    starts, ids = np.asarray(baskets.starts), np.asarray(baskets.ids)
    size = max(1, _NUMBERS_PER_BLOCK // dim**2)
    for first in range(0, len(rows), size):
        last = min(first + size, len(rows))
        matrices, sides = np.zeros((last - first, dim, dim)), np.zeros((last - first, dim))
        for number in range(first, last):
            basket = items[ids[starts[number] : starts[number + 1]]]
            basket = np.asarray(basket.toarray() if sparse.issparse(basket) else basket, np.float64)
            if not 0 < len(basket) < num_items:
                continue
            inside, products = basket.mean(axis=0), basket.T @ basket
            num_others = num_items - len(basket)
            outside = (sums.items - basket.sum(axis=0)) / num_others
            crossed = np.outer(inside, outside)
            others = (sums.products - products) / num_others
            matrices[number - first] = products / len(basket) + others - crossed - crossed.T
            sides[number - first] = inside - outside
        weights = np.trace(matrices, axis1=1, axis2=2) / dim
        matrices += np.where(weights > 0, weights, 1)[:, None, None] * np.eye(dim)
        rows[first:last] = np.linalg.solve(matrices, sides[..., None])[..., 0]
    return rows


def propagate(item_layers: np.ndarray, baskets: IdLists, item_counts: np.ndarray) -> np.ndarray:
    """[B, F] float32: what LightGCN gives new users whose own layer 0 is 0, as `lthjax.fold_in` has it.

        x_S = w sum over k = 0 .. K-1, i in S of x_i^(k) / sqrt(|S| d_i)

    Args:
      item_layers: [N, F], w (x^(0) + ... + x^(K-1)), from `scipy_lightgcn.lightgcn`.
      baskets: B rows of items, each with a training interaction.
      item_counts: [N], d.
    """
    starts, ids = np.asarray(baskets.starts), np.asarray(baskets.ids)
    met = sparse.csr_array((np.ones(len(ids), np.float32), ids, starts), shape=(len(starts) - 1, len(item_layers)))
    return np.asarray(scipy_lightgcn.new_rows(met, item_layers, item_counts), np.float32)
