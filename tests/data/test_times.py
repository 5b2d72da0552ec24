"""Times are read from whatever holds them, in any unit, or refused with the place of the first that cannot be."""

import datetime
import json

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from lthjax.data import times
from lthjax.data.interactions import load
from lthjax.errors import DataError

WHEN = np.array(["2000-12-31T22:12:40", "2016-02-29", "2009-12-14T02:52:24"], "datetime64[us]")
SECONDS = [978300760, 1456704000, 1260759144]
PAIRS = [("1", "10"), ("1", "20"), ("2", "10")]


def parsed(*values, **options):
    return times.settled([times.parsed(pd.Series(list(values), **options))], np.ones(len(values), bool))


def table(folder, header, form, end="\n"):
    """A table of PAIRS with the time of each."""
    whole = zip(PAIRS, SECONDS, WHEN, strict=True)
    rows = [form.format(user=u, item=i, time=second, date=str(when)[:19]) for (u, i), second, when in whole]
    path = folder / "x.csv"
    path.write_text("\n".join([header] * bool(header) + rows) + end)
    return path


def refused(path, *parts, **options):
    with pytest.raises(DataError) as caught:
        load(path, **{"times": True} | options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    for part in parts:
        assert part in message


@pytest.mark.parametrize("scale", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("kind", [int, str])
def test_units_are_told_by_their_size(scale, kind):
    got, unit = parsed(*(kind(second * scale) for second in SECONDS))
    assert got.dtype == "datetime64[us]"
    np.testing.assert_array_equal(got, WHEN)
    assert unit == {1: "", 10**3: "milli", 10**6: "micro", 10**9: "nano"}[scale] + "seconds since 1970"


def test_fractions_of_seconds_are_kept():
    got, _ = parsed("978300760.25", "978300760.000001")
    assert (got - WHEN[0]).astype(int).tolist() == [250_000, 1]
    assert (parsed(978300760123)[0] - WHEN[0]).astype(int).tolist() == [123_000]


@pytest.mark.parametrize(
    "values",
    [
        ["2000-12-31T22:12:40Z", "2016-02-29", "2009-12-14 02:52:24"],
        ["2001-01-01T00:12:40+02:00", "2016-02-29T00:00", "2009-12-14T02:52:24.000"],
        ["20001231221240", "20160229000000", "20091214025224"],
        [
            datetime.datetime(2000, 12, 31, 22, 12, 40),
            datetime.datetime(2016, 2, 29),
            pd.Timestamp(1260759144, unit="s"),
        ],
        list(WHEN.astype("datetime64[s]")),
        list(pd.Series(WHEN).dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")),
    ],
    ids=["iso", "zones", "digits", "datetimes", "seconds of NumPy", "with a zone"],
)
def test_dates(values):
    got, unit = parsed(*values)
    np.testing.assert_array_equal(got, WHEN)
    assert unit == "dates"


@pytest.mark.parametrize("day", ["2016-02-29", "20160229", 20160229, datetime.date(2016, 2, 29)])
def test_days(day):
    assert parsed(day)[0].tolist() == [datetime.datetime(2016, 2, 29)]


def test_numbers_without_a_unit_have_an_order():
    got, unit = parsed("3", "1", "200")
    assert (got.dtype, got.tolist()) == (np.int64, [3, 1, 200])
    assert "only their order counts" in unit
    assert parsed(20160230, 20160231)[0].dtype == np.int64  # no days of any month


@pytest.mark.parametrize(
    ("values", "row", "among"),
    [
        ([978300760, 978300761, 0], 2, "seconds"),
        ([978300760000, 978300761, 978300762000], 1, "milliseconds"),
        (["2016-02-29", "2016-02-30"], 1, "dates"),
        (["2016-02-29", "12/31/2015"], 1, "dates"),
        (["978300760", "", "978300761"], 1, "numbers"),
        (["soon"], 0, "dates"),
        ([1, -1], 1, "numbers"),
        ([1, 1.5], 1, "numbers"),
        ([1, 10**10], 1, "numbers"),
        (["1", "inf"], 1, "numbers"),
        ([None, 978300760], 0, "numbers"),
    ],
)
def test_what_is_no_time(values, row, among):
    with pytest.raises(times.NotATime) as caught:
        parsed(*values)
    assert (caught.value.row, caught.value.among) == (row, among)


def test_rows_that_do_not_count_need_no_time():
    keep = np.array([False, True, True])
    got, _ = times.settled([times.parsed(pd.Series(["", "978300760", "978300761"]))], keep)
    assert (got[2] - got[1]).astype(int) == 10**6


def test_pieces_of_two_kinds():
    pieces = [times.parsed(pd.Series(["978300760"])), times.parsed(pd.Series(["2016-02-29"]))]
    with pytest.raises(times.NotATime) as caught:
        times.settled(pieces, np.ones(2, bool))
    assert (caught.value.row, caught.value.among) == (1, "numbers")


def test_cuts():
    assert times.cuts("2015-01-01, 2016-01-01T12:00").tolist() == [
        datetime.datetime(2015, 1, 1),
        datetime.datetime(2016, 1, 1, 12),
    ]
    assert times.cuts("978300760,978300761")[0] == WHEN[0]
    assert times.cuts("20,30").tolist() == [20, 30]
    for text in ("", "2015-01-01", "2015-01-01,2015-01-01", "2016-01-01,2015-01-01", "a,b", "1,2,3", ",", None):
        with pytest.raises(DataError, match="--split-times: wanted two times"):
            times.cuts(text)


def test_shown_times_are_read_again():
    for time in WHEN:
        assert times.cuts(f"{times.shown(time)},2030-01-01")[0] == time
    assert times.shown(WHEN[1]) == "2016-02-29"
    assert times.note(WHEN, "dates") == "times from 2000-12-31 to 2016-02-29 (dates)"
    assert "from 2000-12-31T22:12:40 to 2000-12-31T22:12:40" in times.note(WHEN[:1], "dates")
    assert times.note(np.array([7, 5]), "x") == "times from 5 to 7 (x)"


@pytest.mark.parametrize(
    ("header", "form", "options"),
    [
        ("user_id,item_id,rating,timestamp", "{user},{item},4,{time}", {}),
        ("user_id,item_id,rating,timestamp", "{user},{item},4,{time}000", {}),
        ("timestamp;user_id;item_id", "{date};{user};{item}", {}),
        ("timestamp,user_id,item_id", "{time},{user},{item}", {"columns": "user_id,item_id"}),
        ("who,what,when", "{user},{item},{date}", {"columns": "who,what,,when"}),
        ("who,what,when", "{user},{item},{date}", {"columns": ("who", "what", "", "when")}),
        ("who,what,stars,when", "{user},{item},4,{time}", {"columns": "0,1,2,3", "min_rating": 4}),
        ("user_id:token\titem_id:token\ttimestamp:float", "{user}\t{item}\t{time}.0", {}),
        ("", "{user}::{item}::5::{time}", {"columns": "0,1,2"}),
        ("", "{user} {item} {time}", {"format": "pairs"}),
        ("", "{user} {item} 3.5 {time}", {"format": "pairs", "min_rating": 3}),
        ("userName,user_id,item_id,date,timestamp", "u,{user},{item},12 31,{time}", {}),
    ],
)
def test_tables(tmp_path, header, form, options):
    path = table(tmp_path, header, form)
    got = load(path, times=True, **options)
    assert got.user_ids.tolist() == [1, 2]
    np.testing.assert_array_equal(got.times, WHEN)
    assert any(note.startswith("times from 2000-12-31 to 2016-02-29 (") for note in got.notes)
    assert load(path, **options).times is None


def test_other_formats(tmp_path):
    records = [{"user_id": u, "item_id": i, "timestamp": s} for (u, i), s in zip(PAIRS, SECONDS, strict=True)]
    (tmp_path / "lines.jsonl").write_text("\n".join(map(json.dumps, records)))
    (tmp_path / "list.json").write_text(json.dumps(records))
    frame = pd.DataFrame(records)
    dated = frame.assign(timestamp=pd.to_datetime(frame["timestamp"], unit="s"))
    dated.to_parquet(tmp_path / "dated.parquet")
    frame.to_parquet(tmp_path / "numbers.parquet")
    named = dated.assign(timestamp=dated["timestamp"].dt.tz_localize("UTC")).rename(columns={"timestamp": "when"})
    np.save(tmp_path / "x.npy", np.array([[*map(int, pair), s] for pair, s in zip(PAIRS, SECONDS, strict=True)]))
    for data in (
        *(tmp_path / name for name in ("lines.jsonl", "list.json", "dated.parquet", "numbers.parquet")),
        dated,
    ):
        np.testing.assert_array_equal(load(data, times=True).times, WHEN)
    np.testing.assert_array_equal(load(named, columns="user_id,item_id,,when", times=True).times, WHEN)
    np.testing.assert_array_equal(load(tmp_path / "x.npy", format="pairs", times=True).times, WHEN)


@pytest.mark.parametrize(
    ("header", "form", "parts", "options"),
    [
        ("user_id,item_id,when", "{user},{item},{date}", ["none", "'when'", "--columns user,item,,time"], {}),
        ("user_id,item_id,date,timestamp", "{user},{item},{date},{time}", ["got 2", "--columns"], {}),
        ("", "{user} {item}", ["none among 2 columns", "leave-one-out-random"], {"format": "pairs"}),
        ("user_id,item_id,time", "{user},{item},soon", ["'soon' among dates", "x.csv, line 2"], {}),
        ("user_id,item_id,time", "{user},{item},31/12/2015", ["'31/12/2015'", "2015-12-31", "line 2"], {}),
        ("user_id,item_id,time", "{user},{item},", ["''", "x.csv, line 2"], {}),
        ("user_id,item_id,when", "{user},{item},{date}", ["'whem'"], {"columns": "user_id,item_id,,whem"}),
        ("user_id,item_id,when", "{user},{item},{date}", ["all different"], {"columns": "user_id,,item_id"}),
        ("user_id,item_id,when", "{user},{item},{date}", ["all different"], {"columns": "user_id,item_id,,,when"}),
        ("user_id,item_id,when", "{user},{item},{date}", ["rating"], {"columns": "0,1,,2", "min_rating": 1}),
    ],
)
def test_tables_refused(tmp_path, header, form, parts, options):
    refused(table(tmp_path, header, form), *parts, **options)


def test_lists_and_matrices_have_no_times(tmp_path):
    (tmp_path / "x.txt").write_text("0 1 2 3\n1 1\n")
    refused(tmp_path / "x.txt", "none among ['user', 'item']", "--split random")
    refused(sparse.eye_array(3), "none among", "--split random")


def test_a_missing_time_of_a_row_that_is_dropped_is_no_fault(tmp_path):
    text = "user,item,rating,time\n1,1,5,978300760\n1,2,1,\n2,1,5,978300761\n2,2,5,978300769\n"
    (tmp_path / "x.csv").write_text(text)
    assert len(load(tmp_path / "x.csv", times=True, min_rating=3).times) == 3
    refused(tmp_path / "x.csv", "got '' among numbers", "line 3")


def test_files_of_two_kinds_of_times(tmp_path):
    for name, time in (("train", "2016-02-29"), ("test", "7")):
        (tmp_path / f"{name}.csv").write_text(f"user,item,time\n1,{len(name)},{time}\n")
    refused(tmp_path, "times of one kind", "dates (train.csv)", "numbers without a unit")


def test_times_of_several_files_and_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("lthjax.data.text._ROWS_AT_ONCE", 2)
    rows = [(n % 3, n, SECONDS[0] + n) for n in range(12)]
    for name, part in (("train", rows[:8]), ("test", rows[8:])):
        unit = 1000 if name == "test" else 1
        text = "".join(f"{user},{item},{time * unit}\n" for user, item, time in part)
        (tmp_path / f"{name}.csv").write_text("user,item,time\n" + text)
    got = load(tmp_path, times=True)
    assert ((got.times - WHEN[0]).astype(int) // 10**6).tolist() == got.pairs[:, 1].tolist()
    assert any("milliseconds since 1970 and seconds since 1970" in note for note in got.notes)
