"""The step beside PyTorch's: equal work on both sides, and its parts."""

import sys

import pytest

from experiments.speed import pytorch, step, step_sides, stepping
from lthjax.data import resolve
from lthjax.errors import LthjaxError
from lthjax.search.problem import prepare

# 270 training interactions: the third batch is short, and its padding must count on neither side.
FEW = {"dim": 2, "layers": 2, "batch_size": 100, "steps": 3, "repeats": 2}


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_step(model, data, read_json, assert_are_summaries, tmp_path, capsys):
    path = tmp_path / "step.json"
    content = step.main(step.Config(**FEW, data=data, model=model, json=str(path)))
    written = read_json(path, content, data)
    assert written["command"].startswith("python -m experiments.speed.step --repeats 2 --data few.txt")
    parts = {"lthjax", "sampling", "multiply-add"} | ({"propagation"} if model == "lightgcn" else set())
    peers = set(written["ratios"])
    assert set(written["seconds_a_step"]) == parts | peers
    assert_are_summaries(written["seconds_a_step"].values(), 2)
    assert written["adam_floor"]["bytes"] == 29 * (30 + 40) * 2
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("lthjax is ") if peers else last == pytorch.NOT_HERE
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'lthjax[peers]'")
    assert peers == ({"PyTorch"} if model == "mf" else {"PyTorch sparse COO", "PyTorch sparse CSR"})
    assert written["agreement"].keys() == peers
    assert max(written["agreement"].values()) < 1e-5


def test_step_without_torch(data, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)  # its import fails
    content = step.main(step.Config(**FEW, data=data, model="mf"))
    assert (content["agreement"], content["ratios"], content["versions"]["torch"]) == ({}, {}, None)
    assert capsys.readouterr().out.splitlines()[-1] == pytorch.NOT_HERE


def test_unequal_work_is_an_error(data):
    settings = step.Config(**FEW, data=data, model="mf").settings()
    problem = prepare(resolve.load_split(None, settings), settings)
    start = stepping.first_values(problem)
    other = step_sides.our_steps(problem, start._replace(user=2 * start.user))
    same = step_sides.our_steps(problem, start)
    assert step_sides.check_equal_work(problem, start, {"same": same}) == {"same": 0.0}
    with pytest.raises(LthjaxError, match="wanted the same losses"):
        step_sides.check_equal_work(problem, start, {"other": other})


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--model gcn", "--model"),
        ("--steps 0", "--steps: wanted 1 or more; got 0;"),
        ("--repeats -1", "--repeats: wanted 1 or more; got -1;"),
        ("--dim 0", "--dim: wanted at least 1; got 0;"),
        ("--json no/such/folder/x.json", "--json: wanted a file in a folder that exists"),
        ("--data no_such_name", "wanted a path or one of"),
        ("--preset paper_text", "preset"),
    ],
)
def test_bad_flags_are_one_line(flags, said, error_line):
    assert said in error_line(step, flags)
