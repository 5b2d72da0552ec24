"""Small data, and the checks that hold for every benchmark. Nothing timed is asserted."""

import json
import shlex
import sys

import numpy as np
import pytest

from experiments import cli


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A file of 30 users and 40 items, 12 interactions per user."""
    draws = np.random.default_rng(0)
    lines = [f"{user} {item}" for user in range(30) for item in draws.choice(40, 12, replace=False)]
    path = tmp_path_factory.mktemp("data") / "few.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="session")
def read_json():
    """The JSON beside what `main` returned, after the checks that hold for all of them: path, content, data -> JSON."""

    def read(path, content, data=None):
        text = path.read_text()
        written = json.loads(text)
        assert written == json.loads(json.dumps(content))
        assert {"command", "commit", "machine", "versions", "seed"} <= written.keys()
        assert set(written["versions"]) == {"python", "jax", "torch"}
        assert str(path.parent) not in text  # no path of this machine
        assert data is None or data not in text
        assert not list(path.parent.glob(".*.partial"))
        return written

    return read


@pytest.fixture(scope="session")
def assert_are_summaries():
    """Each holds as many repeats as it should, and what follows from them."""

    def check(summaries, repeats):
        for summary in summaries:
            seconds = summary["seconds"]
            assert len(seconds) == repeats
            assert summary["least"] == min(seconds) <= summary["median"] <= summary["most"] == max(seconds)
            assert summary["least"] > 0

    return check


@pytest.fixture
def error_line(monkeypatch, capsys):
    """What a benchmark says of a bad command line, which is one line: module, flags -> text."""

    def run(module, flags):
        monkeypatch.setattr(sys, "argv", ["bench", *shlex.split(flags)])
        with pytest.raises(SystemExit) as end:
            cli.run(module.main, module.Config, module.__doc__)
        said = capsys.readouterr().err
        assert end.value.code == 2
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        return said

    return run
