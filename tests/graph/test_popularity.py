"""Draws in proportion to weights among what a row does not have: every place of the line, by brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lthjax.data import id_lists
from lthjax.graph import id_sets, popularity

NUM_IDS, NUM_ROWS, MOST = 6, 3, 5


def line_of(weights, own):
    """The shorter line, place by place: each id that the row does not have, as often as it weighs."""
    return [number for number, weight in enumerate(weights) if number not in own for _ in range(weight)]


def built(sets, weights):
    pairs = np.array([(row, own) for row, ids in enumerate(sets) for own in sorted(ids)], np.int32).reshape(-1, 2)
    lists = id_lists.from_pairs(pairs, len(sets))
    return popularity.of_weights(np.array(weights, np.int64), lists), id_sets.on_device(lists)


@jax.jit
def every_place(tables, rows):
    row = jnp.broadcast_to(jnp.arange(NUM_ROWS)[:, None], (NUM_ROWS, NUM_IDS * MOST))
    return popularity.at(tables, rows, row, jnp.broadcast_to(jnp.arange(NUM_IDS * MOST)[None], row.shape))


@given(st.data())
def test_every_place_is_the_id_whose_interval_holds_it(data):
    weights = data.draw(st.lists(st.integers(0, MOST), min_size=NUM_IDS, max_size=NUM_IDS))
    positive = [number for number, weight in enumerate(weights) if weight]
    one_row = st.sets(st.sampled_from(positive)) if positive else st.just(set())
    sets = data.draw(st.lists(one_row, min_size=NUM_ROWS, max_size=NUM_ROWS))
    tables, rows = built(sets, weights)
    # Padded to one shape, so that one program serves all examples; a longer bound changes nothing.
    pad = NUM_IDS * NUM_ROWS
    tables = tables.replace(below=jnp.pad(tables.below, (0, pad - len(tables.below))))
    rows = id_lists.IdLists(rows.starts, jnp.pad(rows.ids, (0, pad - len(rows.ids))), NUM_IDS)
    found = np.asarray(every_place(tables, rows))
    for row, own in enumerate(sets):
        line = line_of(weights, own)
        assert int(tables.absent[row]) == len(line)
        assert found[row, : len(line)].tolist() == line


def test_weights_are_degrees_to_the_three_quarters():
    degree = np.array([16, 0, 81, 1, 1])
    tables = popularity.by_degree(degree, id_lists.from_pairs(np.array([(0, 0), (1, 2), (1, 3)]), 3))
    weights = np.diff(tables.ends, prepend=0)
    np.testing.assert_allclose(weights / weights.sum(), np.array([8, 0, 27, 1, 1]) / 37, rtol=1e-6)
    np.testing.assert_allclose(tables.absent / weights.sum(), [29 / 37, 9 / 37, 1], rtol=1e-6)
    assert 0.99 * 2**30 < weights.sum() < 1.01 * 2**30  # as fine as int32 allows, with room


def test_an_id_of_the_smallest_degree_is_not_rounded_away():
    degree = np.array([1, 10**15])
    tables = popularity.by_degree(degree, id_lists.from_pairs(np.empty((0, 2), np.int64), 1))
    assert int(tables.ends[0]) == max(1, round(2**30 * 10**-11.25))


def test_a_share_of_32_bits_is_exact():
    rng = np.random.default_rng(0)
    bits = np.concatenate([rng.integers(0, 2**32, 1000), [0, 2**32 - 1, 2**31, 0xFFFF, 0x10000]])
    for span in (1, 3, 2**16 - 1, 2**16, 2**16 + 1, 2**30 + 12345, 2**31 - 1):
        got = jax.jit(popularity._share)(jnp.asarray(bits, jnp.uint32), jnp.full(len(bits), span, jnp.uint32))
        assert got.tolist() == [int(bit) * span >> 32 for bit in bits]


def test_draws_have_their_probabilities_and_know_them():
    """Also with a total so large that bits modulo it would favour low places by a fifth."""
    weights, sets = [2**28, 2**28, 0, 2**29 + 2**28, 2**27], [{0}, set(), {0, 1, 3, 4}]
    tables, rows = built(sets, weights)
    row = jnp.repeat(jnp.arange(3), 20_000)
    drawn = jax.jit(popularity.draw)(jax.random.key(0), tables, rows, row)
    log_q = np.asarray(popularity.log_q(tables, row, drawn, jnp.array([4, 5, 1])[row]))
    for number, own in enumerate(sets[:2]):
        wanted = np.array([0 if item in own else weight for item, weight in enumerate(weights)]) / 2**28
        counts = np.bincount(np.asarray(drawn)[row == number], minlength=5)
        assert not counts[wanted == 0].any()
        kept = wanted > 0
        bound = stats.chi2.ppf(1 - 1e-6, kept.sum() - 1)
        assert stats.chisquare(counts[kept], wanted[kept] / wanted.sum() * 20_000).statistic < bound
        ratio = wanted / wanted.sum() * (5 - len(own))  # how much likelier than uniformly
        np.testing.assert_allclose(np.exp(log_q[row == number]), ratio[np.asarray(drawn)[row == number]], rtol=1e-5)
    assert np.isfinite(log_q).all()  # row 2 has nothing left: any id, which does not count
    assert int(tables.absent[2]) == 0


def test_weights_that_int32_cannot_sum_are_refused():
    with pytest.raises(ValueError, match="wanted weights below 2\\^31 in all; got 2147483648"):
        built([set()], [2**31])
