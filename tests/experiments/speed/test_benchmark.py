"""Flags, and files: what every benchmark shares."""

import subprocess
import sys

import pytest

from experiments import cli
from experiments.speed import benchmark, step
from lthjax.errors import SettingsError


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        benchmark.write_json(str(path), {"x": object()})
    assert path.read_text() == "old"
    with pytest.raises(SettingsError, match="--json"):
        step.Config(json=str(tmp_path))


def test_ctrl_c_promises_nothing(monkeypatch, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit) as end:
        cli.run(interrupted, step.Config, "")
    assert end.value.code == 130
    assert capsys.readouterr().err == "stopped.\n"


def test_flags_are_read_without_jax():
    names = ("step", "ranking", "population", "propagation", "scaling", "devices")
    code = f"import sys; from experiments.speed import {', '.join(names)}; [m.Config() for m in ({', '.join(names)})]"
    code += "; print(*{'jax', 'pandas', 'scipy', 'torch'} & set(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == "\n"
