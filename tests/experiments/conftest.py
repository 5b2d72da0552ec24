"""A file of thirty users, and figure 2 of it: run once, so that whatever shares its runs only reads."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from experiments.paper import figure2, scales
from experiments.paper.scales import Study
from lthjax.baselines import records
from lthjax.search import executor
from lthjax.settings import Settings

TINY = Settings(dim=4, epochs=2, eval_every=1, levels=2, prune_rate=0.4, batch_size=64)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A file of 30 users and 40 items, 12 interactions per user."""
    draws = np.random.default_rng(0)
    pairs = [(user, item) for user in range(30) for item in draws.choice(40, 12, replace=False)]
    file = tmp_path_factory.mktemp("data") / "few.txt"
    file.write_text("".join(f"{user} {item}\n" for user, item in pairs))
    return str(file)


@pytest.fixture
def make_study(data, tmp_path, monkeypatch):
    """A study of MF on the file with two seeds, whose scale takes seconds: changed flags -> Study."""
    monkeypatch.setitem(scales.SCALES, "quick", TINY)

    def make(**changes):
        return Study(**({"data": (data,), "models": ("mf",), "seeds": 2, "out": str(tmp_path)} | changes))

    return make


@pytest.fixture
def forbid_training(monkeypatch):
    """From the call on, whatever would train fails."""

    def forbid():
        for module in (executor, records):
            monkeypatch.setattr(module, "fit", None)

    return forbid


class Figure2(NamedTuple):
    """What figure 2 left."""

    study: Study
    rows: list
    folders: list  # names, of all runs


@pytest.fixture(scope="session")
def figure2_run(data, tmp_path_factory):
    """Figure 2 of MF on the file with two seeds."""
    study = Study(data=(data,), models=("mf",), seeds=2, out=str(tmp_path_factory.mktemp("paper")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(scales.SCALES, "quick", TINY)
        rows = figure2.main(study)
    return Figure2(study, rows, [folder.name for folder in Path(study.out, "runs").iterdir()])


@pytest.fixture
def trained(figure2_run, make_study, tmp_path):
    """A study that shares the runs of figure 2 and has a folder of its own for results."""
    return dataclasses.replace(figure2_run.study, results=str(tmp_path))
