"""Shares of processes: the files are what they say, and what is shown follows from what is measured."""

import pytest

from experiments.speed import shares, shares_sides
from lthjax.data.resolve import load_split
from lthjax.settings import Settings

SIZE = {"users": 60, "items": 40, "interactions": 500}


def test_the_files_are_what_they_say(tmp_path):
    shares_sides.write(tmp_path, 60, 40, 500, seed=3)
    split = load_split(None, Settings(data=str(tmp_path), split="files", format="adjacency"))
    assert len(split.train) + len(split.valid) + len(split.test) == 500
    assert len(split.valid) > 20 < len(split.test)


@pytest.mark.slow
def test_shares(read_json, tmp_path, capsys):
    path = tmp_path / "shares.json"
    config = shares.Config(**SIZE, models=("mf",), processes=(1, 2), json=str(path))
    whole, share = read_json(path, shares.main(config))["rows"]
    assert (whole["P"], share["P"]) == (1, 2)
    assert share["interactions"] < whole["interactions"]
    assert whole["held, MiB"] == 8 * whole["interactions"]
    assert "to read, MiB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--processes 3", "--processes: wanted 1, 2, 4, ...; got 3"),
        ("--interactions 3000 --users 100 --items 100", "--interactions: wanted at most 25% of users x items"),
    ],
)
def test_bad_flags_are_one_line(error_line, flags, said):
    assert said in error_line(shares, flags)
