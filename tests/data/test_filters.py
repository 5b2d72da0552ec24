"""Filters keep what they say, in their order, and count it: events, one row of a pair, values, k-cores, dislikes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lthjax.data import filters
from lthjax.data.interactions import load
from lthjax.data.resolve import load_split
from lthjax.data.split import split
from lthjax.errors import DataError
from lthjax.settings import Settings

several = settings(deadline=None, max_examples=60, derandomize=True)
LOG = pd.DataFrame(
    [
        ("ann", "tea", "view", 1, 9.0),
        ("ann", "tea", "buy", 5, 2.0),
        ("ann", "tea", "buy", 3, 4.0),
        ("ann", "rum", "cart", 2, 1.0),
        ("bob", "tea", "buy", 4, 1.0),
        ("bob", "rum", "view", 6, 3.0),
        ("cid", "ale", "view", 7, 8.0),
    ],
    columns=["user", "item", "event", "time", "rating"],
)


def refused(call, *parts):
    with pytest.raises(DataError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    for part in parts:
        assert part in message


def original(data):
    return {(str(data.user_ids[user]), str(data.item_ids[item])) for user, item in data.pairs.tolist()}


# Events


def test_events_of_some_kinds_are_kept_and_counted():
    assert original(load(LOG, event="buy")) == {("ann", "tea"), ("bob", "tea")}
    got = load(LOG, event="buy, cart")
    assert original(got) == {("ann", "tea"), ("bob", "tea"), ("ann", "rum")}
    assert "DataFrame: kept 4 of 7 rows, those with event 'buy' or 'cart'" in got.notes
    assert "event 'event'" in got.notes[0]


def test_ratings_are_filtered_first():
    notes = load(LOG, event="buy", min_rating=2).notes
    assert notes[1:3] == (
        "DataFrame: kept 5 of 7 rows, those with rating >= 2",
        "DataFrame: kept 2 of 5 rows, those with event 'buy'",
    )


@pytest.mark.parametrize("name", ["Event_Type", "behavior", "behaviour", "action", "type", "eventName"])
def test_known_names_of_events(name):
    assert len(load(LOG.rename(columns={"event": name}), event="buy").pairs) == 2


def test_the_column_of_events_is_told(tmp_path):
    renamed = LOG.rename(columns={"event": "what happened"})
    assert len(load(renamed, event="what happened=buy").pairs) == 2
    assert len(load(renamed, event="2=buy").pairs) == 2
    refused(lambda: load(renamed, event="buy"), "none of a known name", "COLUMN=buy", "'what happened'")
    refused(lambda: load(renamed, event="happened=buy"), "'happened'")
    refused(lambda: load(LOG.assign(action="x"), event="buy"), "got 2 of a known name")
    path = tmp_path / "x.csv"
    path.write_text("1,2,1\n1,3,4\n2,2,1\n2,3,1\n")
    assert len(load(path, columns="0,1", event="2=1").pairs) == 3
    refused(lambda: load(path, columns="0,1", event="1"), "3 columns without names")


def test_events_that_do_not_occur_are_refused_with_those_that_do():
    refused(lambda: load(LOG, event="buyy"), "'view' (3)", "'buy' (3)", "did you mean buy?", "table")
    many = LOG.loc[np.arange(140) % 7].assign(event=np.arange(140) % 20)
    refused(lambda: load(many, event="99"), "and 12 more")


def test_an_event_of_one_file_alone_is_known(tmp_path):
    (tmp_path / "train.csv").write_text("user,item,event\n1,1,buy\n1,2,view\n2,1,buy\n")
    (tmp_path / "test.csv").write_text("user,item,event\n1,3,view\n")
    assert len(load(tmp_path, event="buy").pairs) == 2


@pytest.mark.parametrize("event", ["", ",", "buy,", "=buy", "event=", 3])
def test_events_that_say_nothing(event):
    refused(lambda: load(LOG, event=event), "--event: wanted purchase")


# Several rows of one pair


@pytest.mark.parametrize(
    ("dedupe", "time", "value"), [("merge", 3, 6.0), ("first", 3, 4.0), ("last", 5, 2.0)], ids=lambda value: str(value)
)
def test_of_several_rows_of_a_pair(dedupe, time, value):
    for frame in (LOG, LOG[::-1], LOG.sample(frac=1, random_state=3)):
        got = load(frame, event="buy", times=True, values=True, dedupe=dedupe)
        assert got.times.tolist() == [time, 4]
        assert (got.values.dtype, got.values.tolist()) == (np.float32, [value, 1.0])
        assert load(frame, event="buy", values=True, dedupe=dedupe).values.tolist() == [value, 1.0]  # times order them
        said = {
            "merge": "the time of its first row and the sum of its rows' values",
            "first": "what its first row says, by time",
            "last": "what its last row says, by time",
        }[dedupe]
        assert f"1 duplicates dropped: a pair has {said}" in got.notes


@pytest.mark.parametrize(("dedupe", "values"), [("merge", [15, 1]), ("first", [9, 1]), ("last", [4, 1])])
def test_without_times_rows_count_as_they_stand(dedupe, values):
    frame = LOG.drop(columns="time")[lambda rows: rows["item"] == "tea"]
    got = load(frame, values=True, dedupe=dedupe)
    assert got.values.tolist() == values
    if dedupe != "merge":
        assert f"a pair has what its {dedupe} row says, in the order of the source" in got.notes[-2]


def test_dedupe_says_when_there_is_nothing_to_do():
    assert "no duplicates" in load(LOG[3:], dedupe="last").notes
    assert "no duplicates" not in load(LOG[3:]).notes
    refused(lambda: load(LOG, dedupe="lats"), "merge, last, first", "did you mean last?")


def test_rows_of_another_part_add_nothing(tmp_path):
    (tmp_path / "train.csv").write_text("user,item,plays,time\n1,1,2,10\n1,1,3,20\n1,2,1,11\n2,1,4,12\n")
    (tmp_path / "test.csv").write_text("user,item,plays,time\n1,1,100,5\n2,2,7,13\n")
    got = load(tmp_path, values=True, times=True)
    assert got.parts.tolist() == [0, 0, 0, 2]
    assert got.values.tolist() == [5, 1, 4, 7]
    assert got.times.tolist() == [10, 11, 12, 13]


@several
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4), st.integers(0, 4)), min_size=1),
    st.sampled_from(filters.DEDUPE),
    st.randoms(use_true_random=False),
)
def test_one_each_is_that_of_loops(rows, dedupe, random):
    shuffled = random.sample(rows, len(rows))
    key, times, values = (
        np.array(column) for column in zip(*[(4 * u + i, t, v) for u, i, t, v in shuffled], strict=True)
    )
    got = filters.one_each(filters.Rows(key, times, values.astype(float)), dedupe)
    wanted = {}
    for user, item, time, value in sorted(rows):
        wanted.setdefault(4 * user + item, []).append((time, value))
    for place, (pair, found) in enumerate(sorted(wanted.items())):
        time, value = max(found) if dedupe == "last" else min(found)
        value = sum(value for _, value in found) if dedupe == "merge" else value
        assert (got.key[place], got.times[place], got.values[place]) == (pair, time, value)
    assert len(got.key) == len(wanted)


# Values


@pytest.mark.parametrize(
    ("columns", "options", "wanted"),
    [
        ({"plays": [3, 1, 2], "rating": [5, 4, 3]}, {}, [3, 1, 2]),
        ({"rating": [5, 4, 3]}, {}, [5, 4, 3]),
        ({"plays": [3, 1, 2], "rating": [5, 4, 3]}, {"columns": "user,item,rating"}, [5, 4, 3]),
        ({"plays": [3, 1, 2], "rating": [5, 4, 3]}, {"min_rating": 4}, [5, 4]),
        ({"watch_ratio": ["0,5", "1.25", "0"]}, {}, [0.5, 1.25, 0]),
        ({"click": [1, 0, 1], "count": [3, 1, 2]}, {}, [3, 2]),
        ({}, {}, [1, 1, 1]),
    ],
)
def test_where_values_come_from(columns, options, wanted):
    frame = pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1], **columns})
    assert load(frame, values=True, **options).values.tolist() == wanted
    assert load(frame, **options).values is None


def test_rows_are_counted_where_there_are_no_values(tmp_path):
    (tmp_path / "x.csv").write_text("user,item\n1,1\n1,1\n1,2\n2,1\n1,1\n")
    got = load(tmp_path / "x.csv", values=True)
    assert got.values.tolist() == [3, 1, 1]
    assert "value the number of rows" in got.notes[0]


@pytest.mark.parametrize(("value", "said"), [("-1", "'-1'"), ("many", "'many'"), ("", "''"), ("inf", "'inf'")])
def test_values_that_are_none(tmp_path, value, said):
    path = tmp_path / "x.csv"
    path.write_text(f"user,item,plays\n1,1,1\n2,1,{value}\n")
    refused(lambda: load(path, values=True), "--weights: wanted a value of 0 or more", said, "x.csv, line 3")


def test_of_several_columns_of_values_one_is_asked_for():
    frame = pd.DataFrame({"user": [1], "item": [1], "plays": [2], "count": [3]})
    refused(lambda: load(frame, values=True), "['plays', 'count']", "--columns user,item,value")
    assert load(frame, values=True, columns="user,item,count").values.tolist() == [3]


def test_a_split_has_the_values_of_its_training_pairs():
    frame = pd.DataFrame({"user": np.repeat(np.arange(9), 10), "item": np.tile(np.arange(10), 9)})
    frame["plays"] = 100 * frame["user"] + frame["item"]
    got = load_split(frame.sample(frac=1, random_state=1), Settings(weights="log"))
    assert got.train_values.dtype == np.float32
    assert got.train_values.tolist() == (100 * got.train[:, 0] + got.train[:, 1]).tolist()
    plain = load_split(frame, Settings())
    assert plain.train_values is None
    assert plain.train.tolist() == got.train.tolist()
    assert plain.fingerprint != got.fingerprint
    other = load_split(frame.assign(plays=frame["plays"] + 1), Settings(weights="log"))
    assert other.fingerprint != got.fingerprint
    refused(lambda: load_split(frame.assign(plays=2), Settings(weights="linear")), "values that differ", "got 2")
    refused(lambda: load_split(plain, Settings(weights="log")), "--weights log", "got none")


# Dislikes


def test_dislikes_are_other_pairs_of_known_users_and_items():
    rows = [("a", 1, 5), ("a", 2, 1), ("b", 2, 5), ("b", 1, 2), ("b", 1, 5), ("a", 3, 1), ("c", 1, 1), ("a", 2, 2)]
    frame = pd.DataFrame(rows, columns=["user", "item", "rating"])
    got = load(frame, min_rating=3, dislikes=True)
    assert (got.user_ids.tolist(), got.item_ids.tolist()) == (["a", "b"], [1, 2])
    assert got.dislikes.tolist() == [[0, 1]]  # b took 1 back, 3 and c are known by dislikes alone
    assert got.dislikes.dtype == np.int32
    assert any(note.startswith("1 dislikes") for note in got.notes)
    assert load(frame, min_rating=3).dislikes is None
    labels = frame.assign(label=(frame["rating"] > 3).astype(int)).drop(columns="rating")
    assert load(labels, dislikes=True).dislikes.tolist() == [[0, 1]]
    refused(lambda: load(frame, dislikes=True), "--dislikes wants --min-rating")


def test_dislikes_are_of_the_events_that_are_kept():
    got = load(LOG.assign(rating=[1, 5, 5, 1, 5, 1, 5]), event="buy,cart", min_rating=3, dislikes=True, core=1)
    assert got.dislikes.shape == (0, 2)
    frame = pd.concat([LOG, pd.DataFrame({"user": ["bob"], "item": ["rum"], "event": ["buy"], "rating": [5]})])
    got = load(frame, event="buy,cart", min_rating=1.5, dislikes=True)
    assert original(dataclasses.replace(got, pairs=got.dislikes)) == {("ann", "rum"), ("bob", "tea")}


def test_a_split_has_dislikes_that_train_knows():
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(
        {"user": np.repeat(np.arange(30), 8), "item": np.concatenate([rng.permutation(20)[:8] for _ in range(30)])}
    )
    frame["rating"] = rng.integers(1, 6, len(frame))
    for method in ("random", "user-time", "time"):
        frame["time"] = rng.integers(0, 50, len(frame))
        got = load_split(frame, Settings(min_rating=3, dislikes=True, split=method))
        pairs = {tuple(pair) for part in (got.train, got.valid, got.test) for pair in part.tolist()}
        wanted = set()
        for user, item, rating, _ in frame.itertuples(index=False):
            known = [np.flatnonzero(ids == one) for ids, one in ((got.user_ids, user), (got.item_ids, item))]
            if rating < 3 and known[0].size and known[1].size:
                pair = (known[0][0], known[1][0])
                if pair[0] in got.train[:, 0] and pair[1] in got.train[:, 1] and pair not in pairs:
                    wanted.add(pair)
        assert {tuple(pair) for pair in got.dislikes.tolist()} == wanted
        assert got.dislikes.tolist() == sorted(got.dislikes.tolist())
        plain = load_split(frame, Settings(min_rating=3, split=method))
        assert plain.dislikes is None
        assert plain.fingerprint != got.fingerprint
    refused(lambda: load_split(frame, Settings(min_rating=0, dislikes=True)), "--dislikes: wanted data with dislikes")


# Cores


def core_by_loops(pairs, least_user, least_item):
    pairs = set(pairs)
    while True:
        users = [user for user, _ in pairs]
        items = [item for _, item in pairs]
        kept = {(u, i) for u, i in pairs if users.count(u) >= least_user and items.count(i) >= least_item}
        if kept == pairs:
            return kept
        pairs = kept


@several
@given(st.sets(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=1), st.integers(1, 4), st.integers(1, 4))
def test_core_is_that_of_loops(pairs, least_user, least_item):
    array = np.array(sorted(pairs), np.int32)
    kept = filters.core(array, least_user, least_item)
    assert {tuple(pair) for pair in array[kept].tolist()} == core_by_loops(pairs, least_user, least_item)


def test_a_core_is_numbered_anew_and_counted(tmp_path):
    grid = [(f"u{user}", f"i{item:02}", 10 * user + item) for user in range(6) for item in range(8)]
    extra = [("alone", "i00", 1), ("u0", "seldom", 2), ("u1", "seldom", 3), ("pair", "i01", 4), ("pair", "i02", 5)]
    path = tmp_path / "x.csv"
    path.write_text("user,item,plays\n" + "".join(f"{u},{i},{v}\n" for u, i, v in grid + extra))
    got = load(path, core=(3, 3), values=True)
    assert original(got) == {(user, item) for user, item, _ in grid}
    assert got.values.tolist() == [value for _, _, value in grid]
    assert got.pairs.dtype == np.int32
    note = "kept 48 of 53 interactions, at least 3 interactions a user and 3 an item: 2 users and 1 items dropped"
    assert got.notes[-2] == note
    assert original(load(path, core=2)) == original(got) | {(user, item) for user, item, _ in extra[1:]}
    refused(lambda: load(path, core=(9, 3)), "--core: wanted users with 9 and items with 3", "x")
    for core in (0, (1, 2, 3), 2.5, "5", (5, 0)):
        refused(lambda core=core: load(path, core=core), "as core")


def test_a_core_keeps_parts(tmp_path):
    (tmp_path / "train.txt").write_text("0 1 2 3\n1 1 2 9\n2 2 3 1\n")
    (tmp_path / "test.txt").write_text("0 4\n1 3\n2 8\n")
    got = split(load(tmp_path, core=2, format="adjacency"), method="files")
    assert got.test.tolist() == [[1, 2]]
    assert got.train.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0], [2, 1], [2, 2]]
