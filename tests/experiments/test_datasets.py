"""The command that lists data sets."""

import sys

import pytest

from experiments import cli, datasets
from lthjax.data.published import PUBLISHED


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.delenv("LTHJAX_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def test_table(capsys, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "Books.csv").write_text("user_id,parent_asin,rating,timestamp\na,b,1,2\n")
    datasets.main(datasets.Config())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "interactions", "users", "items", "here"]
    assert [line.split()[-1] for line in lines if " ml-100k " in f" {line} "] == ["-"]
    assert any("amazon-2023-Books" in line and line.endswith("data/Books.csv") for line in lines)
    assert not any("amazon-2023-Software" in line for line in lines)
    assert lines[-2].startswith("amazon-2023-CATEGORY: 33 categories")
    datasets.main(datasets.Config(all=True))
    text = capsys.readouterr().out
    assert all(name in text for name in PUBLISHED)


def test_one(capsys):
    datasets.main(datasets.Config(name="book-crossing"))
    text = capsys.readouterr().out
    assert "wanted: data/BX-CSV-Dump.zip" in text
    assert "page: http" in text
    assert "interactions: 1,149,780" in text
    assert "here" not in text


@pytest.mark.parametrize(("flags", "said"), [("--name ml-1n", "did you mean ml-1m?"), ("--nmae x", "nmae")])
def test_bad_flags_are_one_line(flags, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["datasets", *flags.split()])
    with pytest.raises(SystemExit) as end:
        cli.run(datasets.main, datasets.Config, datasets.__doc__)
    text = capsys.readouterr().err
    assert end.value.code == 2
    assert said in text
    assert text.count("\n") == 1
