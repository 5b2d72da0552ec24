"""Several files or frames are one log: whatever their order, the interactions are those of one file with all rows."""

import os
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import find_tickets
from lthjax.data import catalog, several
from lthjax.data.interactions import load
from lthjax.data.split import split
from lthjax.errors import DataError

many = settings(deadline=None, max_examples=40, derandomize=True)
words = st.one_of(st.integers(0, 12).map(str), st.sampled_from(["a", "007", "1.0", "ä"]))
pieces = st.lists(st.lists(st.tuples(words, words), min_size=1, max_size=6), min_size=1, max_size=5)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A working folder without data, and no LTHJAX_DATA."""
    monkeypatch.delenv("LTHJAX_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, rows, header="user,item"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(",".join(row) for row in rows)]) + "\n")
    return path


def same(got, wanted):
    assert got.user_ids.tolist() == wanted.user_ids.tolist()
    assert got.item_ids.tolist() == wanted.item_ids.tolist()
    assert got.pairs.tolist() == wanted.pairs.tolist()
    assert got.parts is None
    assert split(got).fingerprint == split(wanted).fingerprint


def refused(data, *parts, **options):
    with pytest.raises(DataError) as caught:
        load(data, **options)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    for part in parts:
        assert part in str(caught.value)


@many
@given(pieces, st.randoms())
def test_pieces_in_any_order_are_the_whole(tmp_path_factory, rows, random):
    folder = tmp_path_factory.mktemp("logs")
    wanted = load(write(folder / "all.csv", [row for piece in rows for row in piece]))
    paths = [write(folder / f"day-{number}.csv", piece) for number, piece in enumerate(rows)]
    same(load(str(folder / "day-*.csv")), wanted)
    shuffled = random.sample(paths, len(paths))
    same(load(shuffled), wanted)
    same(load(list(map(str, shuffled))), wanted)
    same(load([pd.DataFrame(piece, columns=["user", "item"]) for piece in rows]), wanted)


def test_a_note_says_how_many_files_were_read(here):
    for day in range(12):
        write(here / "logs" / f"day-{day:02}.csv", [(f"u{day}", "i"), ("u", f"i{day}")], "# by hand\nuser,item")
    got = load("logs/*.csv")
    assert (got.name, len(got.pairs)) == ("logs", 24)
    assert got.notes[0].startswith("*.csv: read as a table: user 'user', item 'item'; first user u0, item i")
    assert got.notes[1] == "*.csv: 12 files read as one, from day-00.csv to day-11.csv"
    assert got.notes[2] == "*.csv: day-00.csv: 1 comment lines skipped"
    assert got.notes[12] == "*.csv: 2 more notes on single files"
    assert load("logs/*-00.csv").notes[0] == "one file matches logs/*-00.csv, logs/day-00.csv"
    paths = sorted((here / "logs").iterdir())
    assert load(paths[:2]).name == "day-00-and-1-more"
    assert load(paths[:1]).name == "day-00"
    frame = pd.read_csv(paths[0], comment="#")
    assert (
        load([frame, frame.assign(user="x")]).notes[1] == "list: 2 tables read as one, from DataFrame 0 to DataFrame 1"
    )
    assert load([frame]).notes == load(frame).notes


def test_patterns_are_looked_for_in_the_folders_of_data_too(here, monkeypatch):
    write(here / "data" / "logs" / "a.csv", [("u", "i"), ("v", "i")])
    assert load("logs/*.csv").num_users == 2
    write(here / "mine" / "logs" / "a.csv", [("u", "i"), ("v", "i"), ("w", "i")])
    monkeypatch.setenv("LTHJAX_DATA", str(here / "mine"))
    assert load("logs/*.csv").num_users == 3
    write(here / "logs" / "deep" / "a.csv", [("u", "i")])
    assert load("logs/**/*.csv").num_users == 1
    write(here / "[a]*.csv", [("u", "i"), ("v", "j")])
    assert load("[a]*.csv").name == "[a]*"  # a file of that very name comes first


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("logs/*.parquet", "logs"),
        ("logs/day-*.csv.gz", "day"),
        ("*.csv", "files"),
        ("a/**/x[0-9]*.csv", "x"),
        ("/*", "files"),
    ],
)
def test_names_of_patterns(pattern, name):
    assert catalog.name_of_pattern(pattern) == name


def test_the_run_folder_is_named_after_the_pattern():
    names = [find_tickets.default_out(find_tickets.Config(data=data)) for data in ("logs/*.csv", "more/*.csv", "x.csv")]
    assert [name.rsplit("-", 1)[0] for name in names] == ["runs/logs-mf", "runs/more-mf", "runs/x-mf"]


def test_columns_in_another_order_are_the_same(here):
    write(here / "a.csv", [("u", "i", "5"), ("v", "j", "1")], "user,item,rating")
    write(here / "b.csv", [("4", "k", "u")], "rating,item,user")
    got = load("?.csv", min_rating=2)
    assert (got.user_ids.tolist(), got.item_ids.tolist()) == (["u"], ["i", "k"])


def test_other_columns_are_refused_with_both_names(here):
    write(here / "a.csv", [("u", "i"), ("v", "j")])
    write(here / "b.csv", [("u", "i")], "user,product")
    refused("*.csv", "the same columns", "['item', 'user'] (a.csv)", "['product', 'user'] (b.csv)")
    refused(["b.csv", "a.csv"], "(a.csv)", "(b.csv)")
    (here / "b.csv").write_text("1 2\n1 3\n2 2\n")
    refused("*.csv", "(a.csv)", "2 columns without names (b.csv)")
    (here / "b.csv").write_text("1 2 3\n2 2\n")
    refused("*.csv", "(a.csv)", "lists of items (b.csv)")
    frame = pd.DataFrame({"user": [1, 2], "item": [3, 4]})
    refused([frame, frame.rename(columns={"item": "thing"})], "(DataFrame 0)", "(DataFrame 1)")
    (here / "a.json").write_text('{"user": 1, "item": 2, "note": "x"}\n')
    (here / "b.json").write_text('{"user": 1, "thing": 3}\n')
    refused("*.json", "['item'] (a.json)", "(b.json)")
    (here / "b.json").write_text('{"item": 3, "user": 1}\n')  # records may lack what is not read
    assert len(load("*.json").pairs) == 2


def test_lists_and_tables_without_names(here):
    (here / "a.txt").write_text("0 1 2\n1 3\n")
    (here / "b.txt").write_text("2 1 2 3\n3\n1 2\n")
    got = load("?.txt")
    assert len(got.pairs) == 7
    assert "1 users without any item left out" in got.notes
    for name, low in (("c", 0), ("d", 10)):
        (here / f"{name}.dat").write_text(
            "\n".join(f"{u}\t{i}\t5" for u in range(low, low + 10) for i in range(50, 70))
        )
    assert len(load("?.dat").pairs) == 400  # what shows that these are users and items is in all of them


def test_a_fault_is_told_with_its_own_file_and_line(here):
    rows = [(f"u{n % 9}", f"{n % 11}.5", "3") for n in range(40)]
    write(here / "a.csv", [(user, item[:-2], rating) for user, item, rating in rows], "user,item,rating")
    write(
        here / "b.csv",
        [*((user, item[:-2], rating) for user, item, rating in rows), ("u", "1", "bad")],
        "user,item,rating",
    )
    refused("?.csv", "'bad'", "b.csv, line 42", min_rating=1)
    write(here / "b.csv", rows, "user,item,rating")
    refused("?.csv", "whole numbers as item", "b.csv, line 2")
    (here / "b.csv").write_text("user,item,rating\nu,1\n")
    refused("?.csv", "wanted 2 fields", "b.csv, line 1")
    (here / "b.csv").write_text('user,item,rating\nu1,"5,1\nu2,5,1\n",1\n')
    refused("?.csv", "b.csv")


def test_no_match_names_the_nearest(here):
    refused("logs/*.csv", "no folder logs", "logs/*.csv")
    write(here / "logs" / "ratings.csv", [("u", "i")])
    refused("logs/rating?.tsv", "none among 1 files", "did you mean ratings.csv?")
    refused("logs/*.parquet", "none among 1 files in logs (such as ratings.csv)")
    (here / "empty").mkdir()
    refused("empty/*", "without files")


def test_lists_that_are_none(here):
    path = write(here / "a.csv", [("u", "i"), ("v", "j")])
    (here / "folder").mkdir()
    refused([], "an empty one")
    refused([path, "b.csv"], "none in the place", "b.csv")
    refused([path, "folder"], "a folder", "folder")
    refused([path, "./a.csv"], "twice")
    refused([path, pd.DataFrame()], "both", "DataFrame")
    refused([(1, 2), (3, 4)], "numpy.array(pairs)")
    refused([3.5], "float")
    refused([pd.DataFrame({"user": [1], "item": [1]})], "are for files", format="csv")
    assert len(load(np.array([(1, 2), (3, 4)]), columns="0,1").pairs) == 2


def test_one_file_at_a_time_is_in_memory(monkeypatch):
    alive, most = set(), []

    def opener(number):
        def read():
            from lthjax.data import frames

            class Frame(pd.DataFrame):
                def __del__(self):
                    alive.discard(number)

            frame = pd.DataFrame({"user": [number, 0], "item": [1, number]})
            alive.add(number)
            most.append(len(alive))

            def parts():
                yield frame
                alive.discard(number)

            return frames.frames(parts(), f"frame {number}")

        return several.Opener(f"frame {number}", read)

    sheet = several.join("all", [opener(number) for number in range(5)], "frames")
    assert sum(len(block) for block in sheet.blocks([0, 1])) == 10
    assert max(most) == 1
    assert len(most) == 5  # each is read once


def test_a_folder_of_parquet_files_in_pieces(here):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'lthjax[test]'")
    frame = pd.DataFrame({"user": [n % 7 for n in range(40)], "item": [n % 9 for n in range(40)]})
    folder = here / "log"
    folder.mkdir()
    for number, start in enumerate(range(0, 40, 10)):
        frame[start : start + 10].to_parquet(folder / f"part-{number:04}.snappy.parquet")
    (folder / "_SUCCESS").touch()
    (folder / ".part-0000.parquet.crc").write_bytes(b"?")
    same(load(folder), load(frame))
    assert (
        load(folder).notes[1]
        == "*.parquet: 4 files read as one, from part-0000.snappy.parquet to part-0003.snappy.parquet"
    )
    (folder / "day=2").mkdir()
    frame.to_parquet(folder / "day=2" / "part-0000.snappy.parquet")
    got = load(folder)
    same(got, load(frame))
    assert "what the names of folders say, such as day=2, is not read" in got.notes
    frame[:5].to_parquet(folder / "train.parquet")  # a folder with parts
    assert load(folder).parts.tolist() == [0] * 5
    pieces = here / "pieces"
    pieces.mkdir()
    for part in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        frame.to_parquet(pieces / f"{part}.parquet")
    refused(pieces, "one file a part", "train*.parquet", "pieces")
    same(load(str(pieces / "train*.parquet")), load(frame))


def test_no_pickle_is_read(here):
    (here / "a.pkl").write_bytes(pickle.dumps([1]))
    write(here / "b.pkl", [("u", "i")])
    refused("*.pkl", "a pickle", "a.pkl")
    assert os.path.exists("a.pkl")
