"""Random graphs: as large as asked for, no pair twice, few nodes with most of the edges."""

import numpy as np

from experiments.speed.random_data import Size, random_pairs, random_split


def test_random_pairs_are_distinct_and_skewed():
    pairs = random_pairs(300, 200, 15_000, seed=3)  # as full as it may be
    assert pairs.shape == (15_000, 2)
    assert len(np.unique(pairs, axis=0)) == 15_000
    np.testing.assert_array_equal(pairs, pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])
    np.testing.assert_array_equal(pairs, random_pairs(300, 200, 15_000, seed=3))
    degrees = np.bincount(random_pairs(300, 200, 3_000, seed=0)[:, 1], minlength=200)
    assert degrees.max() > 4 * np.median(degrees)


def test_a_split_has_the_size():
    split = random_split(Size(20, 30, 100, 2), seed=0)
    assert (split.num_users, split.num_items) == (20, 30)
    assert (len(split.train), len(split.valid), len(split.test)) == (100, 1, 1)
