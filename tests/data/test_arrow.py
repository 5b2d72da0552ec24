"""Polars frames, Arrow tables and parquet files: the same interactions as the pandas frame, and no object a cell."""

import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lthjax.data import arrow
from lthjax.data.interactions import load
from lthjax.errors import DataError

pl = pytest.importorskip("polars", reason="polars is not installed: pip install 'lthjax[test]'")
pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'lthjax[test]'")
pq = pytest.importorskip("pyarrow.parquet")

several = settings(deadline=None, max_examples=40, derandomize=True)
BIG = 2**62 + 1  # no float holds it
words = st.one_of(st.text("abäß ,\"'|0", min_size=1, max_size=4).filter(str.strip), st.integers(0, 9).map(str))
ids = st.one_of(st.lists(words, min_size=4, max_size=20), st.lists(st.integers(-5, BIG), min_size=4, max_size=20))


def original(data):
    users, items = data.user_ids, data.item_ids
    return {(str(users[user]), str(items[item])) for user, item in data.pairs.tolist()}


def refused(data, *parts, **options):
    with pytest.raises(DataError) as caught:
        load(data, **options)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def parquet(table, path, **options):
    pq.write_table(table, path, **options)
    return path


@several
@given(ids, ids, st.sampled_from([1, 3, 100]))
def test_all_give_the_same_as_pandas(tmp_path_factory, users, items, at_once):
    size = min(len(users), len(items))
    columns = {"item": items[:size], "user": users[:size], "rating": [5.0, 1.0] * (size // 2) + [5.0] * (size % 2)}
    wanted = load(pd.DataFrame(columns), min_rating=2)
    frame, table = pl.DataFrame(columns), pa.table(columns)
    path = parquet(table, tmp_path_factory.mktemp("p") / "x.parquet", row_group_size=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow, "_ROWS_AT_ONCE", at_once)
        for data in (frame, frame.lazy(), table, table.to_batches()[0], table.to_reader(), path):
            got = load(data, min_rating=2)
            assert got.user_ids.tolist() == wanted.user_ids.tolist()
            assert got.item_ids.tolist() == wanted.item_ids.tolist()
            assert got.pairs.tolist() == wanted.pairs.tolist()


def test_whole_numbers_stay_exact_where_some_rows_have_none():
    columns = {"user": [1, 2] * 100 + [BIG], "item": [*range(200), None]}
    for data in (pl.DataFrame(columns), pl.DataFrame(columns).lazy(), pa.table(columns)):
        got = load(data)
        assert len(got.pairs) == 200
        assert "1 rows without a user or an item dropped" in " ".join(got.notes)
        assert load(data, columns="item,user").item_ids.tolist() == [1, 2]
    columns["item"] = [*range(200), 7]
    for data in (pl.DataFrame(columns), pa.table(columns)):
        assert load(data).user_ids.tolist() == [1, 2, BIG]


@pytest.mark.parametrize("kind", ["String", "Categorical", "Enum"])
def test_texts_of_polars_become_no_objects(kind):
    wanted = pl.Enum(["x", "y", "z"]) if kind == "Enum" else getattr(pl, kind)
    pl.Series(["other", "words", "of", "this", "process"]).cast(pl.Categorical)
    frame = pl.DataFrame({"user": pl.Series(["y", None, "z", "y"], dtype=pl.String).cast(wanted), "item": [1, 2, 3, 4]})
    (block,) = arrow.polars(frame, "frame").blocks([0, 1])
    assert [str(dtype) for dtype in block.dtypes] == ["category", "int64"]
    assert block.iloc[:, 0].tolist() == ["y", np.nan, "z", "y"]
    assert np.shares_memory(block.iloc[:, 1].to_numpy(), frame["item"].to_numpy())


def test_texts_of_arrow_stay_where_they_are():
    table = pa.table({"user": ["y", None, "z"], "item": pa.array(["p", "q", "p"]).dictionary_encode()})
    (block,) = arrow.table(table, "table").blocks([0, 1])
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in block.dtypes)
    got = load(table.slice(2), columns="0,1")
    assert original(got) == {("z", "p")}


def test_of_a_lazy_frame_and_of_a_file_only_what_matters_is_read(tmp_path, monkeypatch):
    calls = []

    def note(series):
        calls.append(len(series))
        return series

    rows = 60
    frame = pl.DataFrame({"user": [n % 7 for n in range(rows)], "item": [n % 9 for n in range(rows)], "x": [0] * rows})
    lazy = frame.lazy().with_columns(pl.col("x").map_batches(note, return_dtype=pl.Int64))
    assert original(load(lazy)) == original(load(frame))
    assert len(calls) == 1  # for the first rows, which show all columns
    assert (
        load(lazy).notes[0].startswith("LazyFrame: read as a polars LazyFrame: user 'user', item 'item'; first user 0")
    )
    path, asked = parquet(frame.to_arrow(), tmp_path / "x.parquet"), []
    iter_batches = pq.ParquetFile.iter_batches

    def noted(self, *arguments, columns=None, **options):
        asked.append(columns)
        return iter_batches(self, *arguments, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    assert original(load(path)) == original(load(frame))
    assert asked == [None, ["user", "item"]]  # the first rows, and then two columns


def test_users_in_the_index_of_a_parquet_file_are_a_column(tmp_path):
    frame = pd.DataFrame({"user_id": [1, 1, 2], "item_id": [5, 6, 5]}).set_index("user_id")
    frame.to_parquet(tmp_path / "x.parquet")
    assert original(load(tmp_path / "x.parquet")) == {("1", "5"), ("1", "6"), ("2", "5")}


def test_refused_in_one_line(tmp_path):
    refused(pl.DataFrame({"user": [], "item": []}), "without rows", "DataFrame")
    refused(pl.DataFrame({"user": [1], "item": [[2, 3]]}), "one id in a cell", "list")
    refused(pa.table({"user": [1], "item": [[2, 3]]}), "one id in a cell", "list")
    refused(pl.DataFrame({"user": [1.5, 2.0], "item": [1, 1]}), "whole numbers", "row 0")
    refused(pa.table({"who": [1], "item": [2]}), "one column of users")
    refused(pl.DataFrame({"user": [1], "item": [2]}).lazy().filter(pl.col("none") > 1), "LazyFrame", "none")
    refused(pl.Series([1, 2]), "in columns", "Series")
    path = parquet(pa.table({"user": ["a"] * 999, "item": ["b"] * 999}), tmp_path / "x.parquet")
    content = path.read_bytes()
    for name, damaged in (("a", content[:-30]), ("b", content[:40] + bytes(30) + content[70:]), ("c", b"PAR1")):
        (tmp_path / name).write_bytes(damaged)
        refused(tmp_path / name, "whole parquet data", name)


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch):
    table = pa.table({"user": [1], "item": [2]})
    frame = pl.DataFrame({"user": ["a", "b"], "item": ["c", None]})
    parquet(table, tmp_path / "x.parquet")
    for module in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    refused(tmp_path / "x.parquet", "pip install pyarrow", "x.parquet")
    refused(table, "pip install pyarrow", "Table")
    refused(frame, "item ids in every row", "row 1")  # polars needs no pyarrow
    assert original(load(frame[:1], columns="user,item")) == {("a", "c")}
