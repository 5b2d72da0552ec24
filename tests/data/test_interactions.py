"""Names, folders, matrices and tables become numbered interactions."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lthjax.data.catalog import KNOWN
from lthjax.data.interactions import load
from lthjax.errors import DataError

DATA = os.environ.get("LTHJAX_DATA")
REAL = {
    "yelp2018": (31_668, 38_048, [1_237_259, 0, 324_147]),
    "gowalla": (29_858, 40_981, [810_128, 0, 217_242]),
    "kuairand": (19_685, 5_169, [501_398]),
    "tiktok-clickbait": (18_855, 33_230, [382_807]),
}


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A working folder without data, and no LTHJAX_DATA."""
    monkeypatch.delenv("LTHJAX_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(data, *parts, **options):
    with pytest.raises(DataError) as caught:
        load(data, **options)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def part_files(folder, **texts):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def original(data):
    return {(str(data.user_ids[user]), str(data.item_ids[item])) for user, item in data.pairs.tolist()}


def test_bundled_movielens(nowhere):
    got = load("ml-latest-small")
    assert (got.name, got.num_users, got.num_items, len(got.pairs)) == ("ml-latest-small", 671, 9_066, 100_004)
    assert got.parts is None
    assert len(load("ml-latest-small", min_rating=4).pairs) == 51_568
    keys = got.pairs[:, 0].astype(np.int64) * got.num_items + got.pairs[:, 1]
    assert (np.diff(keys) > 0).all()
    assert load(got) is got
    refused(got, "read already", min_rating=3)


@pytest.mark.parametrize("name", REAL)
def test_real_counts(name):
    if not DATA or not os.path.isdir(os.path.join(DATA, name)):
        pytest.skip("LTHJAX_DATA has no such folder")
    users, items, sizes = REAL[name]
    got = load(name)
    assert (got.num_users, got.num_items, len(got.pairs)) == (users, items, sum(sizes))
    if got.parts is None:
        assert len(sizes) == 1
        assert "stand-in for" in got.notes[0]
    else:
        assert np.bincount(got.parts, minlength=3).tolist() == sizes


@pytest.mark.parametrize("name", KNOWN)
def test_known_names_say_how_to_get_them(nowhere, name):
    refused(name, name, "LTHJAX_DATA", "./data", "github.com/", "not set")


def test_known_names_are_looked_for_in_both_places(nowhere, monkeypatch):
    part_files(nowhere / "data" / "gowalla", train="0 1 2 3\n1 2\n", test="0 4\n")
    assert len(load("gowalla").pairs) == 5
    part_files(nowhere / "mine" / "gowalla", train="0 1 2 3\n1 2\n2 1\n", test="0 4\n")
    monkeypatch.setenv("LTHJAX_DATA", str(nowhere / "mine"))
    assert load("gowalla").parts.tolist() == [0, 0, 0, 2, 0, 0]
    (nowhere / "mine" / "gowalla" / "test.txt").unlink()
    refused("gowalla", "test.txt", "gowalla", "github.com/")


def test_stand_ins_are_pooled_and_say_so(nowhere):
    part_files(nowhere / "data" / "kuairand", train="0 1 2 3\n1 2\n", valid="0 4\n", test="0 9 8 7 6\n")
    got = load("kuairand")
    assert original(got) == {("0", "1"), ("0", "2"), ("0", "3"), ("0", "4"), ("1", "2")}
    assert got.parts is None
    assert "stand-in for Kwai" in got.notes[0]
    assert "test.txt" in got.notes[0]
    part_files(nowhere / "data" / "tiktok-clickbait", valid="0 4\n", test="0 9 8 7 6\n1 2\n")
    assert "stand-in for TikTok" in load("tiktok-clickbait").notes[0]


def test_names_of_own_folders_and_unknown_names(nowhere):
    part_files(nowhere / "data" / "my-shop", train="0 1 2 3\n1 2\n")
    assert load("my-shop").name == "my-shop"
    refused("my-shpo", "did you mean my-shop?")
    refused("gowala", "did you mean gowalla?")
    refused("movies/none", "movies/none")
    refused("", "''")
    refused(3, "int")
    refused(None, "NoneType")
    refused("x" * 5000, "ml-latest-small")


def test_folder_parts_and_their_order(tmp_path):
    part_files(tmp_path, train="0 1 2 3\n1 1\n", val="0 4\n", test="0\n1 2 5 6\n")
    (tmp_path / "README.md").write_text("not data")
    got = load(tmp_path)
    assert got.name == tmp_path.name
    assert got.pairs.tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [1, 4], [1, 5]]
    assert got.parts.tolist() == [0, 0, 0, 1, 0, 2, 2, 2]
    assert got.parts.dtype == np.int8
    assert load(tmp_path / "train.txt").parts is None
    assert load(tmp_path / "train.txt").name == "train"


def test_folder_of_recbole_parts(tmp_path):
    for part, row in (("train", "1\t2"), ("valid", "1\t3"), ("test", "1\t4")):
        (tmp_path / f"shop.{part}.inter").write_text(f"user_id:token\titem_id:token\n{row}\n")
    assert load(tmp_path).parts.tolist() == [0, 1, 2]


def test_folder_of_one_atomic_file(tmp_path):
    (tmp_path / "shop.inter").write_text("user_id:token\titem_id:token\n1\t2\n")
    (tmp_path / "shop.item").write_text("item_id:token\n2\n")
    assert original(load(tmp_path)) == {("1", "2")}
    assert load(tmp_path).parts is None


def test_folder_of_ncf_parts(tmp_path):
    (tmp_path / "ml.train.rating").write_text("0\t10\t5\t978300760\n0\t11\t5\t978300760\n1\t10\t5\t978300760\n")
    (tmp_path / "ml.test.rating").write_text("0\t12\t5\t978300760\n1\t11\t5\t978300760\n")
    (tmp_path / "ml.test.negative").write_text("(0,12)\t7\t8\n")
    assert load(tmp_path).parts.tolist() == [0, 0, 2, 0, 2]


def test_folders_refused(tmp_path):
    (tmp_path / "ratings.txt").write_text("0 1\n")
    refused(tmp_path, "train.txt", tmp_path.name)
    (tmp_path / "u1.base").write_text("0 1\n")
    refused(tmp_path, "ml-100k", "u.data")
    part_files(tmp_path, valid="0 1\n", val="0 1\n")
    refused(tmp_path, "one file a part", "val.txt and valid.txt")


def test_a_pair_in_several_parts_stays_in_the_earliest(tmp_path):
    part_files(tmp_path, train="0 1 2 3 1\n1 1\n", valid="0 3 4\n1\n", test="0 4 5 1 5 6\n1\n")
    got = load(tmp_path)
    assert got.item_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert got.parts.tolist() == [0, 0, 0, 1, 2, 2, 0]
    assert "5 duplicates dropped, 3 of them in another part (a pair stays in its earliest part)" in got.notes


def test_a_test_part_that_train_holds_too_is_what_was_held_out(tmp_path):
    part_files(tmp_path, train="0 1 2 3\n1 1 2\n", test="0 3\n1 2\n")
    got = load(tmp_path)
    assert got.parts.tolist() == [0, 0, 2, 0, 2]
    assert "2 duplicates dropped, 2 of them in another part (a pair stays in its latest part)" in got.notes


def test_users_with_items_in_one_part_only_are_kept(tmp_path):
    part_files(tmp_path, train="0 1 2 3\n1\n7\n", test="0\n1 2\n7\n8 9\n")
    got = load(tmp_path)
    assert got.user_ids.tolist() == [0, 1, 8]
    assert "1 users without any item left out" in got.notes


def test_items_after_users(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("0 3\n0 5\n1 3\n2 4\n")
    got = load(path, items_after_users=True, format="pairs")
    assert got.item_ids.tolist() == [0, 1, 2]
    assert "items numbered after users: 3 subtracted from every item number" in got.notes
    path.write_text("0 3\n3 5\n")
    refused(path, "item 3 and user 3", "x", items_after_users=True, format="pairs")
    path.write_text("0 a\n3 5\n")
    refused(path, "text", items_after_users=True, format="pairs")


def test_sparse_matrix():
    dense = np.array([[0, 2, 0], [0, 0, 0], [5, 1, 0]])
    for matrix in (sparse.csr_matrix(dense), sparse.coo_array(dense), sparse.csc_array(dense.astype(bool))):
        got = load(matrix)
        assert got.user_ids.tolist() == [0, 2]
        assert got.item_ids.tolist() == [0, 1]
        assert got.pairs.tolist() == [[0, 1], [1, 0], [1, 1]]
        assert "1 users without any item left out" in got.notes
    stored_zero = sparse.coo_array(([0, 1], ([0, 1], [0, 1])), shape=(2, 2))
    assert load(stored_zero).user_ids.tolist() == [1]
    assert len(load(sparse.csr_array(dense), min_rating=2).pairs) == 2
    signed = sparse.csr_array([[-1, 2], [3, -4]])
    assert original(load(signed)) == {("0", "1"), ("1", "0")}
    assert "matrix: 2 values that are not above 0 are no positives: dropped" in load(signed).notes
    assert len(load(signed, min_rating=-1).pairs) == 3
    refused(sparse.csr_array((3, 4)), "without positive values")
    refused(sparse.csr_array(dense), "are for files", format="pairs")
    refused(sparse.csr_array(dense), "no --columns", columns="0,1")


def test_array_of_pairs():
    assert original(load(np.array([[0, 2], [0, 1], [1, 1]]))) == {("0", "1"), ("0", "2"), ("1", "1")}
    refused(np.array([[0, 1], [1, 2]]), "never repeats", "--columns 0,1")
    assert len(load(np.array([[0, 1], [1, 2]]), columns="0,1").pairs) == 2
    refused(np.zeros(3), "[3]")


def test_data_frame():
    frame = pd.DataFrame({"score": [5, 1, 4], "uid": ["a", "b", "a"], "iid": [7, 7, 8]})
    got = load(frame)
    assert (got.user_ids.tolist(), got.item_ids.tolist()) == (["a", "b"], [7, 8])
    assert got.pairs.tolist() == [[0, 0], [0, 1], [1, 0]]
    assert len(load(frame, min_rating=4).pairs) == 2
    assert load(frame, columns="iid,uid").user_ids.tolist() == [7, 8]
    unnamed = pd.DataFrame([[3, "x", 1.5], [4, "y", 2.5], [3, "y", 1.0], [4, "x", 5.0]])
    assert original(load(unnamed, min_rating=2)) == {("4", "y"), ("4", "x")}
    assert load(unnamed, columns="1,0").user_ids.tolist() == ["x", "y"]
    refused(unnamed[::3], "never repeats")
    refused(unnamed.set_axis(["a", "b", "c"], axis=1), "one column of users", "{'a': '3', 'b': 'x'")
    digits = load(pd.DataFrame({"user": ["10", "9"], "item": pd.Categorical(["q", "r"])}))
    assert digits.user_ids.tolist() == [9, 10]
    floats = load(pd.DataFrame({"user": [1.0, 2.0], "item": pd.array([1, 2], dtype="Int64")}))
    assert floats.user_ids.tolist() == [1, 2]
    big = load(pd.DataFrame({"user": np.array([2**64 - 1, 1], np.uint64), "item": [1, 1]}))
    assert big.user_ids.tolist() == ["1", str(2**64 - 1)]


@pytest.mark.parametrize(
    ("frame", "parts"),
    [
        ({"user": [1.0, np.nan], "item": [1, 2]}, ["user ids in every row", "1 of 2", "row 1"]),
        ({"user": ["a", None], "item": [1, 2]}, ["user ids in every row", "row 1"]),
        ({"user": ["a", "b"], "item": [1, pd.NA]}, ["item ids in every row", "row 1"]),
        ({"user": [1.5, 2], "item": [1, 2]}, ["whole", "1.5", "row 0"]),
        ({"user": [1], "item": [[2, 3]]}, ["one id in a cell", "list"]),
        ({"user": [1], "item": [2], "rating": ["good"]}, ["'good'", "row 0"]),
        ({"user": [1], "item": [2], "rating": [None]}, ["a number as rating", "row 0"]),
        ({"user": [1], "item": [2]}, ["--min-rating wants"]),
        ({"user": [], "item": [], "rating": []}, ["without rows"]),
        ({"only": [1]}, ["one column of users"]),
    ],
)
def test_data_frames_refused(frame, parts):
    rated = "rating" in " ".join([*frame, *parts])
    refused(pd.DataFrame(frame), *parts, "DataFrame", min_rating=1 if rated else None)


def test_frames_with_users_in_the_index_are_refused_with_the_line_that_mends_them():
    frame = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [5, 6, 5], "clicks": [1, 0, 2]})
    indexed = frame.set_index("user_id")
    refused(indexed, "user_id", "frame.reset_index()")
    assert original(load(indexed.reset_index())) == {("1", "5"), ("1", "6"), ("2", "5")}
    pivot = frame.pivot(index="user_id", columns="item_id", values="clicks")
    refused(pivot, "a pivot", "frame.stack().loc[lambda value: value > 0].reset_index()")
    assert original(load(pivot.stack().loc[lambda value: value > 0].reset_index())) == {("1", "5"), ("2", "5")}


def test_importing_data_is_light():
    code = "import sys, lthjax.data.split; print(*({'jax', 'pandas', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
