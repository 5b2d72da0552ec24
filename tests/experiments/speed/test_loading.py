"""Loading beside pandas: the file is what it says, and processes tell what they took."""

import numpy as np
import pandas as pd
import pytest

from experiments.speed import loading, loading_sides
from lthjax.data.interactions import load


def test_loading(read_json, assert_are_summaries, tmp_path, capsys):
    path = tmp_path / "loading.json"
    config = loading.Config(
        users=60, items=40, interactions=600, repeats=2, ids="text", steps=2, dim=4, batch_size=64, json=str(path)
    )
    written = read_json(path, loading.main(config))
    sides = {"lthjax", "pandas.read_csv alone"}
    for kind in ("seconds", "cpu_seconds"):
        assert written[kind].keys() == sides
        assert_are_summaries(written[kind].values(), 2)
    assert all(2**24 < size < 2**31 for size in written["peak_bytes"].values())
    assert written["trained"]["peak_bytes"] > written["peak_bytes"]["lthjax"]  # JAX is in it
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("600 rows, 0 MiB, ids: text")
    assert lines[-1].startswith("lthjax takes ")


@pytest.mark.parametrize(("ids", "kind"), [("whole", "i"), ("text", "U")])
def test_the_file_is_what_it_says(tmp_path, ids, kind):
    loading_sides.write(tmp_path / "log.csv", 60, 40, 600, ids, 0)
    got = load(tmp_path / "log.csv")
    assert len(got.pairs) == 600
    assert (got.user_ids.dtype.kind, got.item_ids.dtype.kind) == (kind, kind)
    frame = pd.read_csv(tmp_path / "log.csv")
    assert frame.columns.tolist() == ["user_id", "item_id", "rating", "timestamp"]
    assert not frame["user_id"].is_monotonic_increasing
    if ids == "text":
        assert set(frame["user_id"].str.len()) == {12}
        assert set(frame["item_id"].str.len()) == {10}


def test_memory_of_the_process_is_in_it():
    def work():
        np.ones(64 * 2**20, np.uint8)

    before = loading_sides.measure(lambda: None).peak_bytes
    took = loading_sides.measure(work)
    assert took.peak_bytes >= before > 2**24
    assert took.seconds > 0
    assert took.cpu_seconds > 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--interactions 0", "--interactions: wanted 1 or more; got 0;"),
        ("--interactions 1000 --users 10 --items 10", "--interactions: wanted at most 25% of users x items"),
        ("--steps -1", "--steps: wanted 0 or more; got -1;"),
        ("--ids number", "--ids"),
        ("--batch-size 0", "--batch-size"),
    ],
)
def test_bad_flags_are_one_line(flags, said, error_line):
    assert said.rstrip(";") in error_line(loading, flags)
