"""Splits: exact counts per user, nothing lost, nothing twice, the same for the same seed."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lthjax.data.interactions import load
from lthjax.data.resolve import load_split
from lthjax.data.split import BY_TIME, Split, split
from lthjax.errors import DataError, SettingsError
from lthjax.settings import Settings

several = settings(deadline=None, max_examples=60, derandomize=True)


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
    values = np.arange(len(got.train), dtype=np.float32)
    extended = [dict(train_values=values), dict(train_values=values + 1), dict(dislikes=got.test[:1]), {}]
    assert len({dataclasses.replace(got, **extra).fingerprint for extra in extended}) == 4


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


def test_random_pools_the_parts_and_auto_says_so(tmp_path):
    data = with_parts(tmp_path, train="0 1 2 3 4 5\n", test="0 6 7 8 9 10\n")
    assert sizes(split(data).test, 1) == [2]
    pooled = "the source's own parts are pooled; --split cut keeps its test part"
    assert pooled in split(data).notes
    assert pooled not in split(data, method="random").notes + split(data, method="cut").notes


def test_auto_takes_three_parts_as_they_are_and_then_wants_no_ratios(tmp_path):
    data = with_parts(tmp_path, train="0 1 2 3\n1 1\n", valid="0 4\n", test="1 2\n2 5\n")
    assert split(data).fingerprint == split(data, method="files").fingerprint
    refused(data, "--ratios", "--split random", "auto", ratios=(8, 1, 1))
    assert split(data, method="random", ratios=(8, 1, 1)).train.shape == (7, 2)


# By time


@st.composite
def logs(draw):
    """Rows of users with items at times, with many equal times; in any order."""
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 12)), min_size=1, unique_by=lambda r: r[:2]
        )
    )
    assume(len({time for _, _, time in rows}) > 1)
    return pd.DataFrame(rows, columns=["user", "item", "time"])


def times_of(frame, got, part):
    """[E] user ids and times of a part."""
    known = frame.set_index(["user", "item"])["time"]
    ids = [(got.user_ids[user], got.item_ids[item]) for user, item in part.tolist()]
    return np.array([user for user, _ in ids], int), known.loc[ids].to_numpy() if ids else np.zeros(0, int)


@several
@given(
    logs(),
    st.sampled_from(["user-time", "leave-one-out"]),
    st.sampled_from([(0.7, 0.1, 0.2), (1, 1, 1), (0.1, 0.1, 0.8)]),
    st.integers(0, 3),
)
def test_no_test_interaction_is_older_than_its_users_training_ones(frame, method, ratios, seed):
    got = split(load(frame, times=True), method=method, ratios=ratios, seed=seed)
    parts = [times_of(frame, got, part) for part in (got.train, got.valid, got.test)]
    for user in frame["user"].unique():
        train, valid, test = (times[users == user] for users, times in parts)
        assert train.size
        assert train.max() <= min([*valid, *test], default=99)
        assert max(valid, default=-1) <= min(test, default=99)
    together = np.concatenate([got.train, got.valid, got.test])
    assert sorted(map(tuple, together.tolist())) == list(map(tuple, load(frame).pairs.tolist()))
    counts = frame.groupby("user").size().to_numpy()
    if method == "leave-one-out":
        assert sizes(got.test, counts.size) == (counts >= 2).astype(int).tolist()
        assert sizes(got.valid, counts.size) == (counts >= 3).astype(int).tolist()
    else:
        drawn = split(load(frame), method="random", ratios=ratios)
        for part in ("train", "valid", "test"):
            assert sizes(getattr(got, part), counts.size) == sizes(getattr(drawn, part), counts.size)


@several
@given(logs(), st.sampled_from(["0.7,0.1,0.2", "0.4,0.3,0.3"]))
def test_no_test_interaction_is_older_than_any_training_one(frame, ratios):
    try:
        got = split(load(frame, times=True), method="time", ratios=tuple(map(float, ratios.split(","))))
    except DataError as error:
        assert "--split time" in str(error)  # noqa: PT017
        return
    train, valid, test = (times_of(frame, got, part)[1] for part in (got.train, got.valid, got.test))
    assert train.max() < valid.min() <= valid.max() < test.min()
    assert np.unique(got.train[:, 0]).size == got.num_users
    late = frame[~frame["user"].isin(got.user_ids)]
    assert len(late) + len(train) + len(valid) + len(test) == len(frame)
    assert (late["time"] > train.max()).all()


@several
@given(logs(), st.sampled_from(["user-time", "leave-one-out", "time", "leave-one-out-random"]), st.randoms())
def test_splits_do_not_follow_the_order_of_rows(frame, method, random):
    def fingerprint(rows):
        try:
            return split(load(rows, times=True), method=method, seed=2).fingerprint
        except DataError as error:
            return str(error)

    order = random.sample(range(len(frame)), len(frame))
    assert fingerprint(frame) == fingerprint(frame.iloc[order])


def timed(frame):
    return load(pd.DataFrame(frame), times=True)


def test_user_time_by_hand():
    users, items = np.repeat([0, 1], 10), np.tile(np.arange(10), 2)
    data = timed({"user": users, "item": items, "time": np.where(users == 0, items, 20 - items)})
    got = split(data, method="user-time")
    assert got.test.tolist() == [[0, 8], [0, 9], [1, 0], [1, 1]]
    assert got.valid.tolist() == [[0, 7], [1, 2]]
    assert "split per user by time, the last ones in test, train:valid:test 0.7:0.1:0.2" in got.notes


def test_equal_times_are_drawn():
    users, items = np.repeat(np.arange(300), 10), np.tile(np.arange(10), 300)
    data = timed({"user": users, "item": items, "time": np.where(items < 10 - users % 2, users, 999)})
    got = split(data, method="leave-one-out")
    assert np.bincount(got.test[:, 1], minlength=10)[:9].min() > 5
    assert set(got.test[1::2, 1]) == {9}
    assert any("for 300 users equal times lie on both sides of a cut: drawn, seed 0" in note for note in got.notes)
    assert got.fingerprint != split(data, method="leave-one-out", seed=1).fingerprint


def test_leave_one_out_by_hand_and_short_users():
    users, items = [0, 1, 1, 2, 2, 2, 3, 3, 3, 3], [0, 0, 1, 0, 1, 2, 3, 2, 1, 0]
    data = timed({"user": users, "item": items, "time": range(10)})
    got = split(data, method="leave-one-out")
    assert got.test.tolist() == [[1, 1], [2, 2], [3, 0]]
    assert got.valid.tolist() == [[2, 1], [3, 1]]
    assert "1 users with one interaction: it stays in train" in got.notes
    assert "1 users with two interactions: one in train, one in test, none in valid" in got.notes
    drawn = split(data, method="leave-one-out-random", seed=1)
    assert [sizes(part, 4) for part in (drawn.train, drawn.valid, drawn.test)] == [
        [1, 1, 1, 2],
        [0, 0, 1, 1],
        [0, 1, 1, 1],
    ]
    assert len({split(data, method="leave-one-out-random", seed=seed).fingerprint for seed in range(20)}) > 3


def test_time_by_hand():
    days = [f"2015-01-{day:02}" for day in range(1, 11)]
    frame = {"user": [0, 1] * 4 + [0, 2], "item": [*range(9), 20], "time": days}
    got = split(timed(frame), method="time", ratios=(0.6, 0.2, 0.2))
    assert (len(got.train), got.valid.tolist(), got.test.tolist()) == (6, [[0, 6], [1, 7]], [[0, 8]])
    assert (got.user_ids.tolist(), got.item_ids.tolist()) == ([0, 1], list(range(9)))
    assert any(
        "valid from 2015-01-07, test from 2015-01-09 on; 1 interactions of 1 users" in note for note in got.notes
    )
    again = split(timed(frame), method="time", times="2015-01-07,2015-01-09")
    assert again.fingerprint == got.fingerprint
    later = split(timed(frame), method="time", times="2015-01-06T00:00:01,2015-01-08")
    assert (len(later.train), len(later.valid), len(later.test)) == (6, 1, 2)


def test_what_time_splits_refuse():
    days = [f"2015-01-{day:02}" for day in range(1, 11)]
    data = timed({"user": [0, 1] * 5, "item": range(10), "time": days})
    plain = interactions([5, 5])
    for method in BY_TIME:
        refused(plain, f"--split {method}", "with times", "table", method=method)
    refused(data, "--split time", "0 valid, 0 test", "2015-01-10", method="time", times="2016-01-01,2017-01-01")
    refused(data, "--split-times", "times with dates", method="time", times="4,5")
    refused(data, "wanted two times", method="time", times="2015-01-04")
    refused(data, "--split-times: wanted --split time; got random", method="random", times="2015-01-04,2015-01-05")
    for method in BY_TIME:
        same = timed({"user": [0, 1], "item": [0, 1], "time": [5, 5]})
        refused(same, f"--split {method}", "times that differ", "5 for all 2 interactions", method=method)
    late = timed({"user": [0, 0, 0, 1, 1, 0], "item": range(6), "time": range(6)})
    refused(late, "3 train, 0 valid, 1 test and 2 interactions of 1 users", method="time", ratios=(3, 2, 1))


def test_settings_reach_the_split():
    frame = pd.DataFrame({"user": np.repeat(np.arange(8), 10), "item": np.tile(np.arange(10), 8)})
    frame["time"] = 978300760 + frame["item"] * 86400
    got = load_split(frame, Settings(split="user-time", ratios="0.5,0.2,0.3"))
    assert [len(part) for part in (got.train, got.valid, got.test)] == [40, 16, 24]
    assert set(got.test[:, 1]) == {7, 8, 9}
    got = load_split(frame, Settings(split="time", split_times="2001-01-05,2001-01-07"))
    assert set(got.valid[:, 1]) == {5, 6}
    assert len(load_split(frame, Settings(core="8,8")).user_ids) == 8
    with pytest.raises(DataError, match="--columns user,item,,time"):
        load_split(frame.drop(columns="time"), Settings(split="time"))
    with pytest.raises(DataError, match="--split time: wanted interactions with times"):
        load_split(load(frame), Settings(split="time"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ratios": "1,2"}, "--ratios: wanted three positive shares"),
        ({"ratios": "1,2,0"}, "--ratios: wanted three positive shares"),
        ({"ratios": "1,2,nan"}, "--ratios: wanted three positive shares"),
        ({"ratios": "a,b,c"}, "--ratios: wanted three positive shares"),
        ({"ratios": (1, 1, 1)}, "--ratios: wanted text, such as '0.7,0.1,0.2'; got"),
        ({"ratios": "8,1,1", "split": "files"}, "--ratios: wanted --split random"),
        ({"ratios": "8,1,1", "split": "leave-one-out"}, "--ratios: wanted --split random"),
        ({"ratios": "8,1,1", "split": "time", "split_times": "1,2"}, "--split-times: wanted no --ratios"),
        ({"split_times": "1,2"}, "--split-times: wanted --split time; got auto"),
        ({"split": "user_time"}, "did you mean user-time"),
        ({"core": ""}, "--core: wanted"),
        ({"core": "0"}, "--core: wanted"),
        ({"core": "5,10,15"}, "--core: wanted"),
        ({"core": "five"}, "--core: wanted"),
        ({"core": "-5"}, "--core: wanted"),
        ({"dedupe": "newest"}, "--dedupe: wanted one of merge, last, first"),
        ({"weights": "square"}, "--weights: wanted one of none, log, linear"),
    ],
)
def test_wrong_settings(changes, said):
    with pytest.raises(SettingsError, match=said):
        Settings(**changes)


def test_a_split_method_is_checked_before_anything_is_read():
    with pytest.raises(DataError, match="--split-times: wanted two times"):
        load_split("nowhere.csv", Settings(split="time", split_times="soon,later"))


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
