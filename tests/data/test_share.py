"""A share that is read in pieces says of all what the whole split says, and holds what is needed."""

import dataclasses
import gzip

import numpy as np
import pytest

from lthjax.data import catalog, resolve, streams
from lthjax.data.columns import Options
from lthjax.data.share import Share, read
from lthjax.data.split import Split
from lthjax.errors import DataError
from lthjax.settings import Settings

PARTS = {  # ids with gaps, an empty user, a pair that comes twice, one that is in two parts
    "train": "2 30 10 20\n3 10 10\n5\n7 40 20 10 500\n12 10\n",
    "valid": "3 30\n7 30 20\n",
    "test": "2 40\n5 10\n900 10 60\n",
}


@pytest.fixture
def folder(tmp_path):
    """Writes parts as texts, or as parquet files -> folder."""

    def write(as_parquet=False, **changes):
        for part, text in (PARTS | changes).items():
            if text is not None and not as_parquet:
                (tmp_path / f"{part}.txt").write_text(text)
            elif text is not None:
                pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
                rows = [(int(words[0]), int(item)) for words in map(str.split, text.splitlines()) for item in words[1:]]
                users, items = zip(*rows, strict=True)
                table = pa.table({"rating": [1.5] * len(rows), "item_id": items, "user_id": users})
                pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=2)
        return tmp_path

    return write


def share_of(folder, needed=None, **changes):
    settings = Settings(**{"data": str(folder), "format": "adjacency"} | changes)
    everything = needed or (lambda degrees: [np.ones(len(degree), bool) for degree in degrees])
    return *resolve.load_share(None, settings, everything), resolve.load_split(None, settings)


@pytest.fixture(params=[1, 1 << 23], ids=["a line at a time", "at once"])
def small_pieces(request, monkeypatch):
    monkeypatch.setattr(streams, "_AT_ONCE", request.param)


LOADS = (resolve.load_split, lambda *given: resolve.load_share(*given, lambda degrees: None))
PAIRS = {"train": "1 10\n2 10\n2 20\n", "valid": "1 20\n", "test": "2 30\n"}
CASES = [
    ({}, {}),
    ({"train": "1 5 6\n2 5\n\n\t\n3 6 7"}, {"format": "auto"}),
    ({"valid": None}, {"split": "files", "selection": "test"}),
    ({"valid": "2 10 40\n", "test": "2 40 30\n5 20 10\n"}, {}),
]


@pytest.mark.parametrize(("changes", "settings"), CASES)
def test_a_share_of_all_is_the_split(folder, small_pieces, changes, settings):
    if settings.get("format") == "auto":
        changes = changes | {"valid": "1 9\n3 9 8\n"}
    share, why, split = share_of(folder(**changes), **settings)
    assert (type(share), why) == (Share, "")
    assert_alike(share, split)


def assert_alike(share, split):
    np.testing.assert_array_equal(share.held_train, split.train)
    for name in ("valid", "test", "user_ids", "item_ids"):
        np.testing.assert_array_equal(getattr(share, name), getattr(split, name), err_msg=name)
    for came, wanted in zip(share.degrees, split.degrees, strict=True):
        np.testing.assert_array_equal(came, wanted)
    assert share.fingerprint == split.fingerprint
    assert share.notes == split.notes
    assert (share.name, share.num_train) == (split.name, split.num_train)
    assert (share.held_train.dtype, share.user_ids.dtype) == (split.train.dtype, split.user_ids.dtype)


def test_parquet_is_read_by_row_groups(folder, monkeypatch):
    monkeypatch.setattr("lthjax.data.arrow._ROWS_AT_ONCE", 3)
    share, why, split = share_of(folder(as_parquet=True), format="auto")
    assert why == ""
    assert_alike(share, split)


def test_packed_files_are_unpacked_on_the_way(folder, small_pieces):
    place = folder()
    for part in PARTS:
        (place / f"{part}.txt.gz").write_bytes(gzip.compress((place / f"{part}.txt").read_bytes()))
        (place / f"{part}.txt").unlink()
    share, why, split = share_of(place)
    assert why == ""
    assert_alike(share, split)
    packed = (place / "train.txt.gz").read_bytes()
    (place / "train.txt.gz").write_bytes(packed[:-9])
    for load in LOADS:
        with pytest.raises(DataError, match=r"got a damaged or closed one: .*train.txt.gz\)"):
            load(None, Settings(data=str(place), format="adjacency"))


def test_what_is_marked_is_held(folder):
    def needed(degrees):
        users, items = (np.zeros(len(degree), bool) for degree in degrees)
        users[0] = items[0] = True  # ids 2 and 10
        return users, items

    share, _, split = share_of(folder(), needed)
    wanted = [pair for pair in split.train.tolist() if pair[0] == 0 or pair[1] == 0]
    assert share.held_train.tolist() == wanted
    assert len(wanted) < split.num_train == share.num_train
    assert share.fingerprint == split.fingerprint


@pytest.mark.parametrize(
    ("changes", "settings", "why"),
    [
        ({"train": "3 10 20\n2 10\n"}, {}, "users do not ascend in train.txt"),
        ({"train": "3 10 20\n3 30\n"}, {}, "users do not ascend in train.txt"),
        ({"train": "a 10 20\nb 10\n"}, {}, "train.txt is no lists of whole numbers between blanks"),
        ({"train": "1 010 20\n2 10\n"}, {}, "train.txt has numbers that begin with 0, or of more than 18 digits"),
        ({"train": "1 10 20\n2 99999999999999999999\n"}, {}, "train.txt has numbers that begin with 0"),
        ({"train": "1 10 20\n2 9999999999999999999\n"}, {}, "train.txt has numbers that begin with 0"),
        ({"train": "1 10 20\n2 1000000000000000000\n"}, {}, "train.txt has numbers that begin with 0"),
        (PAIRS, {"format": "pairs"}, "train.txt is to be read as a table"),
        (PAIRS, {"format": "auto", "columns": "0,1"}, "train.txt is to be read as a table"),
        (PAIRS | {"valid": "3 30\n7 30 20\n"}, {"format": "auto"}, "train.txt is not surely lists"),
        ({}, {"core": "1"}, "--core is asked for"),
        ({}, {"split": "random"}, "the split is drawn among all of them"),
        ({"valid": None}, {}, "the split is drawn among all of them"),
        ({"test": "3 10\n"}, {}, "the other parts hold all of test"),
    ],
)
def test_what_is_not_read_in_pieces_is_read_whole(folder, changes, settings, why):
    split, came, wanted = share_of(folder(**changes), **settings)
    assert type(split) is Split
    assert came.startswith(why)
    assert split.fingerprint == wanted.fingerprint


@pytest.mark.parametrize(
    ("train", "settings", "message"),
    [
        ("1 10 20\n2 1.5 3\n", {}, r"wanted whole numbers as item ids, got '1.5' \(.*train.txt, line 2\)"),
        ("1 10 20\n1 20\n2 5\n", {"format": "auto"}, r"wanted one line a user, got .*train.txt\)"),
        ("1 5\n2 5 7\n3 4 5 6\n", {"format": "auto"}, r"lines that begin with their length.*train.txt\)"),
        ("", {}, r"wanted interactions, got an empty file \(.*train.txt\)"),
    ],
)
def test_malformed_files_are_refused_as_ever(folder, train, settings, message):
    if "begin with" in message:
        train = "1 5\n2 5 7\n3 4 5 6\n"
    settings = Settings(data=str(folder(train=train)), **{"format": "adjacency"} | settings)
    for load in LOADS:
        with pytest.raises(DataError, match=message):
            load(None, settings)


def test_a_file_that_changes_meanwhile_is_refused(folder):
    place = folder()

    def needed(degrees):
        (place / "train.txt").write_text(PARTS["train"].replace("20", ""))
        return [np.ones(len(degree), bool) for degree in degrees]

    source = catalog.find(place)
    with pytest.raises(DataError, match="wanted 9 training interactions, as when the file was first read; got 7"):
        read(source, Options("adjacency"), needed)


def test_a_share_has_no_values_to_weigh_by(folder):
    share, _, _ = share_of(folder())
    with pytest.raises(DataError, match="--weights linear: wanted a value of each interaction"):
        resolve.load_split(share, Settings(weights="linear"))
    assert {field.name for field in dataclasses.fields(Share)}.isdisjoint({"train"})  # which would be taken for all


def test_other_files_are_no_streams(tmp_path):
    with pytest.raises(streams.Unsuited, match="is no plain file"):
        streams.of(tmp_path, None)
