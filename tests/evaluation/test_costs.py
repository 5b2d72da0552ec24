"""Bytes against arrays that are really made, multiply-adds against loops."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from lthjax.embeddings import Embeddings
from lthjax.evaluation import breakdown, costs


@pytest.fixture(scope="module")
def masks():
    draws = np.random.default_rng(0)
    user, item = (draws.random((rows, 5)) < 0.3 for rows in (7, 11))
    user[2] = False
    item[:, 4] = False
    return Embeddings(user, item)


@pytest.mark.parametrize(("rows", "dim", "share"), [(7, 5, 0.3), (300, 32, 0.5), (40, 300, 0.05), (3, 8, 0.0)])
def test_bytes_are_those_of_the_arrays(rows, dim, share):
    mask = np.random.default_rng(rows).random((rows, dim)) < share
    values = np.where(mask, 1, 0).astype(np.float32)
    table = sparse.csr_array(values)
    got = costs.stored_bytes(rows, dim, int(mask.sum()))
    assert got.dense == values.nbytes
    assert got.csr_int32 == table.data.nbytes + 4 * (len(table.indices) + len(table.indptr))
    column, start = (np.min_scalar_type(most) for most in (dim - 1, table.nnz))
    assert got.csr == sum(
        part.nbytes for part in (table.data, table.indices.astype(column), table.indptr.astype(start))
    )
    assert got.bitmap == table.data.nbytes + np.packbits(mask, axis=1).nbytes


def test_bytes_by_hand():
    # 10 of 300 x 256: columns up to 255 and starts up to 10 fit into a byte each.
    assert costs.stored_bytes(300, 256, 10) == (4 * 300 * 256, 8 * 10 + 4 * 301, 5 * 10 + 301, 4 * 10 + 300 * 32)
    assert costs.stored_bytes(300, 257, 256).csr == (4 + 2) * 256 + 2 * 301


def test_bytes_of_both_tables(masks):
    each = [costs.stored_bytes(*mask.shape, int(mask.sum())) for mask in masks]
    assert costs.stored_bytes_of(masks) == tuple(map(sum, zip(*each, strict=True)))


def test_the_fullest_row():
    assert costs.largest_row(np.array([[1, 0, 0], [1, 0, 1], [0, 0, 0]], bool)) == 2
    assert costs.largest_row(np.zeros((4, 3), bool)) == 0


def test_scoring_against_a_loop(masks):
    products = 0
    for user, item in itertools.product(*masks):
        products += sum(1 for u, i in zip(user, item, strict=True) if u and i)
    assert costs.scoring(masks) == products / 7
    bound = 11 * min(map(costs.largest_row, masks))
    assert costs.scoring(masks) <= bound
    assert costs.scoring(Embeddings(*map(np.ones_like, masks))) == 11 * 5


def test_layers_against_the_dense_product(masks, tiny):
    adjacency = np.zeros((18, 18))
    adjacency[tiny.train[:, 0], 7 + tiny.train[:, 1]] = 1
    adjacency += adjacency.T
    table = np.concatenate(masks).astype(float)
    degree = breakdown.degrees(tiny.train, 7, 11)
    layers = list(costs.layers(masks, tiny.train, 3))
    assert len(layers) == 4
    for layer in layers:
        np.testing.assert_array_equal(np.concatenate(layer), table > 0)
        used = sum(np.count_nonzero(table[j]) for i, j in np.argwhere(adjacency))  # a product for each stored entry
        assert costs.propagation(layer, degree) == used
        table = adjacency @ table


def test_propagation_of_a_dense_table(tiny):
    dense = Embeddings(np.ones((7, 5), bool), np.ones((11, 5), bool))
    degree = breakdown.degrees(tiny.train, 7, 11)
    assert costs.propagation(dense, degree) == 2 * len(tiny.train) * 5
    assert [np.concatenate(layer).sum() for layer in costs.layers(dense, tiny.train, 0)] == [18 * 5]
