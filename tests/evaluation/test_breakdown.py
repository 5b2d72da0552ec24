"""Group statistics and lists, by hand and against loops."""

import numpy as np
import pytest

from lthjax.evaluation import breakdown


def test_degrees(tiny):
    degree = breakdown.degrees(tiny.train, 7, 11)
    assert degree.user.tolist() == [3, 10, 0, 1, 5, 2, 4]
    assert degree.item.tolist() == [3, 2, 3, 3, 2, 2, 2, 0, 2, 3, 3]


def test_groups_have_equal_shares_of_the_interactions():
    # Sorted: 0 1 1 2 | 4 | 8, sixteen in all; the middle of the 4 lies at 6, that of the 8 at 12.
    assert breakdown.groups_of_equal_mass(np.array([4, 1, 8, 0, 2, 1]), 4).tolist() == [1, 0, 3, 0, 0, 0]
    assert breakdown.groups_of_equal_mass(np.ones(20, int)).tolist() == [i // 2 for i in range(20)]


def test_equal_degrees_go_by_id_and_a_heavy_row_leaves_groups_empty():
    assert breakdown.groups_of_equal_mass(np.array([2, 2, 2, 2]), 2).tolist() == [0, 0, 1, 1]
    assert breakdown.groups_of_equal_mass(np.array([1, 98, 1]), 10).tolist() == [0, 5, 0]
    assert breakdown.groups_of_equal_mass(np.zeros(3, int), 10).tolist() == [0, 0, 0]


def test_groups_of_many_rows():
    draws = np.random.default_rng(0)
    degree = draws.zipf(1.8, 500).clip(max=400)
    group = breakdown.groups_of_equal_mass(degree, 10)
    shares = np.bincount(group, weights=degree, minlength=10) / degree.sum()
    assert np.abs(shares - 0.1).max() <= degree.max() / degree.sum()  # off by half a row at either end
    order = np.argsort(degree, kind="stable")
    assert (np.diff(group[order]) >= 0).all()
    before = 0
    for row in order:  # the definition, row by row
        assert group[row] == int(10 * (before + degree[row] / 2) / degree.sum())
        before += degree[row]


def test_groups_of_more_interactions_than_floats_can_count():
    degree = np.array([2**53 + 1, 2**53 - 1, 1, 1])  # exact in whole numbers
    assert breakdown.groups_of_equal_mass(degree, 2).tolist() == [1, 0, 0, 0]


def test_means_by_group():
    means = breakdown.mean_by_group(np.array([True, False, True, True]), np.array([0, 0, 2, 2]), 4)
    np.testing.assert_array_equal(means, [0.5, np.nan, 1, np.nan])


def test_densities_of_rows_and_dimensions():
    mask = np.array([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]], bool)
    assert breakdown.density_of_rows(mask).tolist() == [0.5, 0, 0.75]
    np.testing.assert_allclose(breakdown.density_of_dimensions(mask), [2 / 3, 1 / 3, 2 / 3, 0])


def test_density_of_groups_weighted_by_rows_is_that_of_the_mask():
    draws = np.random.default_rng(1)
    mask, group = draws.random((40, 6)) < 0.4, draws.integers(0, 5, 40)
    means = breakdown.mean_by_group(breakdown.density_of_rows(mask), group, 5)
    for number in range(5):
        assert means[number] == pytest.approx(mask[group == number].mean())
    assert means @ np.bincount(group, minlength=5) / 40 == pytest.approx(mask.mean())


def test_hits_by_hand():
    users, lists = np.array([1, 4]), np.array([[7, 0], [3, -1]])
    pairs = np.array([(1, 0), (1, 3), (4, 3), (4, 0), (2, 7), (1, 7)])
    assert breakdown.are_hits(users, lists, pairs).tolist() == [True, False, True, False, False, True]
    assert breakdown.are_hits(users, lists, np.zeros((0, 2), np.int32)).tolist() == []
    nothing = np.full((2, 3), -1)  # an empty position is not the last item of the user before
    assert not breakdown.are_hits(users, nothing, pairs).any()


def test_hits_against_a_loop():
    draws = np.random.default_rng(2)
    users = draws.permutation(30)[:20]
    lists = np.stack([draws.permutation(50)[:5] for _ in users]).astype(np.int32)
    lists[draws.random(lists.shape) < 0.2] = -1
    pairs = np.argwhere(draws.random((30, 50)) < 0.1).astype(np.int32)
    of_user = dict(zip(users.tolist(), lists.tolist(), strict=True))
    wanted = [item in of_user.get(user, []) for user, item in pairs.tolist()]
    assert breakdown.are_hits(users, lists, pairs).tolist() == wanted
    assert any(wanted)


def test_exposure_coverage_and_popularity():
    exposed = breakdown.exposure(np.array([[0, 2], [2, -1]]), 4)
    assert exposed.tolist() == [1, 0, 2, 0]
    assert breakdown.coverage(exposed) == 0.5
    assert breakdown.mean_popularity(exposed, np.array([3, 100, 9, 100])) == 7  # (3 + 9 + 9) / 3
    assert np.isnan(breakdown.mean_popularity(np.zeros(4, int), np.ones(4)))


def test_gini():
    assert breakdown.gini(np.array([5, 5, 5])) == pytest.approx(0)
    assert breakdown.gini(np.array([0, 7, 0, 0])) == pytest.approx(3 / 4)
    counts = np.array([1, 0, 4, 2, 2])  # half the mean difference of two draws, over the mean
    wanted = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert breakdown.gini(counts) == pytest.approx(wanted)
    assert np.isnan(breakdown.gini(np.zeros(3)))
