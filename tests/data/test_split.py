"""Splits: exact counts per user, nothing lost, nothing twice, the same for the same seed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from lthjax.data.interactions import load
from lthjax.data.split import Split, split
from lthjax.errors import DataError


def interactions(counts):
    """User m has items 0..counts[m]-1."""
    users = np.repeat(np.arange(len(counts)), counts)
    items = np.concatenate([np.arange(count) for count in counts])
    return load(pd.DataFrame({"user": users, "item": items}))


def with_parts(tmp_path, **texts):
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return load(tmp_path, format="adjacency")


def sizes(pairs, num_users):
    return np.bincount(pairs[:, 0], minlength=num_users).tolist()


def refused(data, *parts, **options):
    with pytest.raises(DataError) as caught:
        split(data, **options)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def test_random_counts_by_hand():
    got = split(interactions([1, 2, 3, 4, 5, 10, 35, 100]))
    assert sizes(got.test, 8) == [0, 0, 1, 1, 1, 2, 7, 20]
    assert sizes(got.valid, 8) == [0, 0, 0, 0, 1, 1, 4, 10]
    assert sizes(got.train, 8) == [1, 2, 2, 3, 3, 7, 24, 70]
    assert "1 users with one interaction: it stays in train" in got.notes


def test_random_parts_are_a_sorted_partition():
    data = interactions([7, 30, 1, 12])
    got = split(data, seed=5)
    together = np.concatenate([got.train, got.valid, got.test])
    assert sorted(map(tuple, together.tolist())) == list(map(tuple, data.pairs.tolist()))
    for part in (got.train, got.valid, got.test):
        assert part.dtype == np.int32
        assert part.tolist() == sorted(part.tolist())
    assert (got.num_users, got.num_items, got.name) == (4, 30, "table")


def test_train_keeps_one_whatever_the_ratios():
    got = split(interactions([1, 2, 3, 9]), ratios=(0.01, 0.01, 0.98))
    assert sizes(got.train, 4) == [1, 1, 1, 1]


def test_ratios_are_scaled():
    data = interactions([40, 15, 35])
    assert split(data, ratios=(7, 1, 2)).fingerprint == split(data).fingerprint


def test_seed_and_row_order():
    frame = pd.DataFrame({"user": np.repeat(np.arange(20), 10), "item": np.tile(np.arange(10), 20)})
    shuffled = frame.sample(frac=1, random_state=1)
    first = split(load(frame), seed=1)
    assert first.fingerprint == split(load(shuffled), seed=1).fingerprint
    assert first.fingerprint != split(load(frame), seed=2).fingerprint
    assert len({tuple(split(load(frame), seed=seed).test[0]) for seed in range(20)}) > 3


def test_random_draws_every_item_alike():  # 2,000 users: each of 10 items is in test 400 +- 18 times
    got = split(interactions([10] * 2000))
    assert np.abs(np.bincount(got.test[:, 1]) - 400).max() < 90


def test_fingerprint_sees_parts_and_ids():
    got = split(interactions([5, 5]))
    assert len(got.fingerprint) == 16
    assert int(got.fingerprint, 16) >= 0
    swapped = dataclasses.replace(got, valid=got.test, test=got.valid)
    renamed = dataclasses.replace(got, item_ids=got.item_ids + 1)
    texts = dataclasses.replace(got, item_ids=got.item_ids.astype(str))
    assert len({each.fingerprint for each in (got, swapped, renamed, texts)}) == 4
    assert dataclasses.replace(got, name="other", notes=()).fingerprint == got.fingerprint


def test_fingerprint_does_not_drift():  # tickets on disk carry it
    assert split(interactions([5, 5])).fingerprint == "68f1ed7eeb6446f5"


def test_files(tmp_path):
    data = with_parts(tmp_path, train="0 1 2 3\n1 1\n", valid="0 4\n", test="1 2\n2 5\n")
    got = split(data, method="files")
    assert got.train.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0]]
    assert got.valid.tolist() == [[0, 3]]
    assert got.test.tolist() == [[1, 1], [2, 4]]
    assert "1 users without training interactions, seen only in valid or test" in got.notes
    assert "2 items without training interactions, seen only in valid or test" in got.notes


def test_files_without_valid(tmp_path):
    got = split(with_parts(tmp_path, train="0 1 2 3\n", test="0 5\n"), method="files")
    assert got.valid.shape == (0, 2)
    assert got.valid.dtype == np.int32


def test_cut(tmp_path):
    train = " ".join(map(str, range(12)))
    data = with_parts(tmp_path, train=f"0 {train}\n1 0\n", valid="0 20 21 22 23\n", test="0 30\n1 31\n")
    got = split(data, method="cut")
    assert got.test.tolist() == split(data, method="files").test.tolist()
    assert sizes(got.valid, 2) == [2, 0]  # an eighth of 16
    assert sizes(got.train, 2) == [14, 1]
    assert got.fingerprint != split(data, method="cut", seed=4).fingerprint


def test_random_pools_the_parts(tmp_path):
    data = with_parts(tmp_path, train="0 1 2 3 4 5\n", test="0 6 7 8 9 10\n")
    assert sizes(split(data).test, 1) == [2]


def test_refusals(tmp_path):
    plain = interactions([5, 5])
    refused(plain, "'randon'", "did you mean random", method="randon")
    for method in ("files", "cut"):
        refused(plain, "parts", "table", method=method)
    for ratios in ((0.7, 0, 0.3), (1, -1, 1), (1, 1), (1, 1, float("nan")), "abc", None, 3):
        refused(plain, "ratios", ratios=ratios)
    for seed in (-1, 0.5, None, True):
        refused(plain, "seed", seed=seed)


def test_parts_missing(tmp_path):
    for name, texts, reason in (
        ("a", {"test": "0 1 2 3\n"}, "all interactions are in the test part"),
        ("b", {"train": "0 1 2 3\n"}, "wants a test part"),
        ("c", {"valid": "0 1\n", "test": "0 2\n"}, "valid and test"),
    ):
        (tmp_path / name).mkdir()
        refused(with_parts(tmp_path / name, **texts), reason, name, method="files")


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (np.array([0.5, 1.5]), "int64 or str; got float64"),
        (np.array(["a", "b"], object), "int64 or str; got object"),
        (np.array([2, 1]), "ascending, each once"),
        (np.array(["a", "a"]), "ascending, each once"),
    ],
)
def test_ids_of_a_split_made_by_hand(ids, said):
    pairs = np.array([[0, 0]], np.int32)
    with pytest.raises(DataError, match=said):
        Split("mine", ids, np.array([7]), (), pairs, pairs, pairs)


def test_a_part_as_a_matrix(tiny_split):
    for part in ("train", "valid", "test"):
        matrix = tiny_split.matrix(part)
        assert (matrix.shape, matrix.dtype, matrix.has_canonical_format) == ((7, 11), np.float32, True)
        np.testing.assert_array_equal(np.argwhere(matrix.toarray() == 1), getattr(tiny_split, part))
        assert matrix.sum() == len(getattr(tiny_split, part))
    np.testing.assert_array_equal(tiny_split.matrix().toarray(), tiny_split.matrix("train").toarray())
    with pytest.raises(DataError, match=r"wanted train, valid or test; got 'vaild' \(did you mean valid\?\)"):
        tiny_split.matrix("vaild")
