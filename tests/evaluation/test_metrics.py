"""Recall and NDCG by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.evaluation.metrics import chances, ndcg_at, recall_at

LOG3 = np.log2(3)


@pytest.mark.parametrize(
    ("k", "hits", "num_relevant", "recall", "ndcg"),
    [
        (3, [1, 0, 1], 2, 1, 1.5 / (1 + 1 / LOG3)),
        (3, [0, 0, 0], 2, 0, 0),
        (3, [1, 1, 1], 3, 1, 1),
        (3, [1, 1, 1], 5, 3 / 5, 1),  # more relevant items than ranks: the best list is all hits
        (3, [0, 0, 1], 1, 1, 0.5),  # fewer relevant items than ranks: the best list has one hit
        (3, [0, 1, 0], 4, 1 / 4, (1 / LOG3) / (1 + 1 / LOG3 + 0.5)),
        (1, [0, 1, 1], 2, 0, 0),  # hits after rank k do not count
        (2, [0, 1, 1, 1], 3, 1 / 3, (1 / LOG3) / (1 + 1 / LOG3)),
        (5, [1, 0], 1, 1, 1),  # fewer items than k
        (5, [0, 1], 2, 1 / 2, (1 / LOG3) / (1 + 1 / LOG3)),
        (1, [1], 1, 1, 1),
    ],
)
def test_by_hand(k, hits, num_relevant, recall, ndcg):
    hits = jnp.array(hits, bool)
    np.testing.assert_allclose(recall_at(k, hits, jnp.int32(num_relevant)), recall, rtol=1e-6)
    np.testing.assert_allclose(ndcg_at(k, hits, jnp.int32(num_relevant)), ndcg, rtol=1e-6)


def test_an_earlier_hit_is_worth_more():
    values = [float(ndcg_at(20, jnp.arange(20) == rank, jnp.int32(3))) for rank in range(20)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) == 20


INF = float("inf")


@pytest.mark.parametrize(
    ("scores", "hits", "tied_size", "tied_hits", "wanted"),
    [
        ([4, 3, 2, 1], [1, 0, 0, 1], 0, 0, [1, 0, 0, 1]),  # no ties: hit or not
        ([3, 2, 2, 1], [0, 0, 1, 1], 0, 0, [0, 0.5, 0.5, 1]),  # inside
        ([3, 2, 2, 2], [0, 0, 1, 1], 0, 0, [0, 2 / 3, 2 / 3, 2 / 3]),  # at the end, and no more behind
        ([3, 2, 2, 2], [0, 0, 1, 1], 6, 2, [0, 1 / 3, 1 / 3, 1 / 3]),  # and three more behind, none relevant
        ([3, 3, 1, 1], [1, 0, 0, 0], 4, 3, [0.5, 0.5, 0.75, 0.75]),  # relevant ones behind the end
        ([5, 5, 5, 5], [0, 0, 0, 0], 10, 1, [0.1, 0.1, 0.1, 0.1]),
        ([2, 1, -INF, -INF], [1, 1, 1, 1], 0, 0, [1, 1, 0, 0]),  # ended lists have no hits
    ],
)
def test_chances_by_hand(scores, hits, tied_size, tied_hits, wanted):
    got = chances(jnp.array(scores, jnp.float32), jnp.array(hits, bool), jnp.int32(tied_size), jnp.int32(tied_hits))
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
