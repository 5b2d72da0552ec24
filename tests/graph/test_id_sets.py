"""Membership and complement by binary search, against Python sets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lthjax.data.id_lists import IdLists
from lthjax.graph import id_sets

NUM_IDS, WIDTH = 9, 4  # three chunks hold a row, and more
EXAMPLES = [
    [[], [0], [8], list(range(9)), [0, 1, 2], [6, 7, 8], [0, 2, 4, 6, 8], []],
    [[], [], [3]],
    [[4], [], []],
    [[], []],
    [list(range(9))],
    [[1, 2, 3, 5, 8], [0, 8]],
]


def build(sets):
    pairs = [(row, member) for row, ids in enumerate(sets) for member in sorted(ids)]
    return id_sets.from_pairs(np.array(pairs, np.int32).reshape(-1, 2), len(sets))


@jax.jit
def everything(built):
    """contains [M, N], nth_absent [M, N], chunks [M, 3, WIDTH] for all rows, all ids and all n."""
    row = jnp.broadcast_to(jnp.arange(built.num_rows)[:, None], (built.num_rows, NUM_IDS))
    number = jnp.broadcast_to(jnp.arange(NUM_IDS)[None], row.shape)
    every_row = jnp.arange(built.num_rows)
    return (
        id_sets.contains(built, row, number),
        id_sets.nth_absent(built, row, number),
        jax.vmap(lambda m: jnp.stack([id_sets.chunk(built, m, c, WIDTH, fill=NUM_IDS) for c in range(3)]))(every_row),
    )


def check(built, sets):
    contained, absent, chunks = (np.asarray(x) for x in everything(built))
    for row, ids in enumerate(sets):
        assert [n for n in range(NUM_IDS) if contained[row, n]] == sorted(ids)
        rest = [n for n in range(NUM_IDS) if n not in ids]
        assert absent[row, : len(rest)].tolist() == rest
        assert (absent[row, len(rest) :] >= NUM_IDS).all()  # there is no such id below N
        assert chunks[row].ravel().tolist() == sorted(ids) + [NUM_IDS] * (3 * WIDTH - len(ids))


@pytest.mark.parametrize("sets", EXAMPLES)
def test_rows_are_sets(sets):
    built = build(sets)
    assert built.num_rows == len(sets)
    assert built.max_length == max(map(len, sets))
    assert built.starts.dtype == built.ids.dtype == jnp.int32
    check(built, sets)


@given(st.lists(st.sets(st.integers(0, NUM_IDS - 1)), min_size=4, max_size=4))
def test_any_rows_are_sets(sets):
    # Padded to one shape, so that one program serves all examples; a longer bound must change nothing.
    built = build(sets)
    ids = jnp.pad(built.ids, (0, 4 * NUM_IDS - built.ids.shape[0]), constant_values=2)
    check(IdLists(built.starts, ids, NUM_IDS), sets)


def test_ids_out_of_range_are_in_no_row():
    built = build([[0, 8], list(range(9)), []])
    for outside in (-1, NUM_IDS, 2**31 - 1):
        got = id_sets.contains(built, jnp.arange(3), jnp.full(3, outside, jnp.int32))
        assert not got.any()


def test_large_rows_against_numpy():
    rng = np.random.default_rng(0)
    num_rows, num_ids = 40, 3000
    dense = rng.random((num_rows, num_ids)) < rng.random((num_rows, 1))
    built = id_sets.from_pairs(np.argwhere(dense), num_rows)
    row, ids = np.indices(dense.shape, np.int32)
    np.testing.assert_array_equal(id_sets.contains(built, jnp.asarray(row), jnp.asarray(ids)), dense)
    order = np.argsort(dense, axis=1, kind="stable")  # absent ids first, ascending
    got = id_sets.nth_absent(built, jnp.asarray(row), jnp.asarray(ids))
    np.testing.assert_array_equal(np.where(np.sort(dense, axis=1), num_ids, order), np.minimum(got, num_ids))
