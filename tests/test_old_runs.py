"""Runs, tickets and exports that commit b4bbf8e made, before searches were generators, load and go on.

runs_of_b4bbf8e/runs.tar.gz holds tiny.txt, the items of twenty users; a whole run of MF and of LightGCN, and one of
each that was stopped in the middle of a level (`MF` and `LIGHTGCN` below); `seeds`, two seeds of MF with one pruning;
`frame`, the same with the interactions of tiny.txt given as a DataFrame; an export of each model's last ticket; and
the items that users 0, 1 and 2 were recommended from it.
"""

import dataclasses
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lthjax
from lthjax import presets
from lthjax.settings import Settings

ARCHIVE = Path(__file__).parent / "runs_of_b4bbf8e" / "runs.tar.gz"
MF = {"levels": 2, "epochs": 6, "eval_every": 2, "patience": 30, "dim": 4, "batch_size": 32, "prune_rate": 0.05}
LIGHTGCN = MF | {"model": "lightgcn", "rewind": "epoch:2", "prune_from": "last", "layers": 2}
SETTINGS = {"mf": MF, "lightgcn": LIGHTGCN}
BOTH = pytest.mark.parametrize("model", SETTINGS)

pytestmark = pytest.mark.filterwarnings("ignore:.* was begun with (versions|device):UserWarning")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    place = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as file:
        file.extractall(place, filter="data")
    return place


@pytest.fixture
def old(archive, tmp_path, monkeypatch):
    """A copy of everything, in the folder that the runs were made in: their settings name a relative path."""
    place = shutil.copytree(archive, tmp_path / "old")
    monkeypatch.chdir(place)
    return place


def find(out, model, **changes):
    return list(lthjax.find_tickets("tiny.txt", out=out, show_progress=False, **(SETTINGS[model] | changes)))


def frame_of(place):
    rows = [line.split() for line in place.read_text().splitlines()]
    pairs = [(int(user), int(item)) for user, *items in rows for item in items]
    return pd.DataFrame(pairs, columns=["user", "item"])


@pytest.fixture
def assert_same_rows(rows_of):
    """A run has the rows of another, in all columns that were there then; what defaults are called has changed."""

    def check(out, wanted):
        for row, other in zip(rows_of(out), rows_of(wanted), strict=True):
            del other["settings"]
            assert {name: row[name] for name in other} == other

    return check


def columns(rows, *names):
    return [[float(row[name]) for name in names] for row in rows]


@BOTH
def test_folders_load(old, model, rows_of):
    run = lthjax.load_run(f"{model}-whole")
    assert run.settings == dataclasses.replace(
        {"mf": Settings(), "lightgcn": presets.lightgcn}[model], data="tiny.txt", split="random", **SETTINGS[model]
    )
    rows = rows_of(old / f"{model}-whole")
    names = ["level", "num_kept", "recall@20", "ndcg@20"]
    np.testing.assert_allclose(run.table()[names].to_numpy(), columns(rows, *names), atol=1e-6)
    assert len(run.log()) == {"mf": 9, "lightgcn": 7}[model]  # LightGCN's tickets start at epoch 2
    for ticket, row in zip(run.tickets, rows, strict=True):
        assert ticket.masks.user.sum() + ticket.masks.item.sum() == int(row["num_kept"])
        assert ticket.evaluate().means()["recall@20"] == pytest.approx(ticket.metrics["recall@20"], abs=1e-7)
        assert (ticket.ticket.optimizer, ticket.ticket.given, ticket.settings) == ("adam", {}, run.settings)
        assert ticket.verdict.name == row["verdict"]


def test_seeds_load_and_go_on(old, rows_of, monkeypatch):
    runs = lthjax.load_run("seeds")
    assert list(runs.seeds) == [0, 1]
    table = runs.table()
    each = [columns(rows_of(old / "seeds" / f"seed_{seed}"), "recall@20") for seed in (0, 1)]
    np.testing.assert_allclose(table["recall@20"], np.mean(each, axis=0).ravel(), atol=1e-6)
    assert table["num_seeds"].tolist() == [2, 2]
    monkeypatch.setattr("lthjax.search.executor.fit", None)
    assert len(find("seeds", "mf", levels=1, epochs=2, seeds=2)) == 4


@BOTH
def test_a_stopped_run_goes_on_in_the_middle_of_its_level(old, model, interrupting, assert_same_rows, log_of):
    seen = []
    with interrupting(lambda name, epoch: seen.append((name, epoch))):  # only listens
        find(f"{model}-stopped", model)
    epochs = {"mf": [(1, 6), (2, 2), (2, 4), (2, 6)], "lightgcn": [(2, 6)]}[model]
    assert seen == [(f"level {level} of seed 0", epoch) for level, epoch in epochs]  # those before were made then
    assert_same_rows(old / f"{model}-stopped", old / f"{model}-whole")
    assert log_of(old / f"{model}-stopped") == log_of(old / f"{model}-whole")
    assert not (old / f"{model}-stopped" / "snapshots").exists()


@BOTH
def test_a_run_of_today_gives_the_same_rows(old, model, assert_same_rows, log_of):
    find("today", model)
    assert_same_rows(old / "today", old / f"{model}-whole")
    assert log_of(old / "today") == log_of(old / f"{model}-whole")


@BOTH
def test_a_finished_run_is_read_not_trained_again(old, archive, model, monkeypatch, assert_same_rows):
    monkeypatch.setattr("lthjax.search.executor.fit", None)
    tickets = find(f"{model}-whole", model)
    assert [ticket.num_kept for ticket in tickets] == [200, 190, 180]
    assert_same_rows(old / f"{model}-whole", archive / f"{model}-whole")
    with pytest.raises(lthjax.SettingsError, match=r"--l2: .* was made with"):
        find(f"{model}-whole", model, l2=0.5)
    with pytest.raises(lthjax.SettingsError, match=r"score: .* was made with None; got given"):
        find(f"{model}-whole", model, score=lambda params, key: params)


@BOTH
def test_a_ticket_loads_alone_retrains_and_is_a_dense_model(old, model, assert_same):
    places = [old / f"{model}-whole" / "tickets" / f"level_0{level}" for level in range(3)]
    dense, ticket, _ = map(lthjax.load_ticket, places)
    again = lthjax.retrain(ticket, show_progress=False)
    assert_same(again.trained, ticket.trained)
    assert again.metrics == ticket.metrics
    if model == "mf":  # a loaded ticket does not restore what later levels rewind to
        first = find(None, model, dense=dense, levels=1)[1]
        assert_same((first.masks, first.trained), (ticket.masks, ticket.trained))


def test_exports_serve_what_they_served(old):
    with np.load("expected.npz") as expected:
        for model, name in (("mf", "mf.npz"), ("lightgcn", "lightgcn-layer0.npz")):
            ranked = lthjax.load_compressed(name).recommend([0, 1, 2], k=5)
            np.testing.assert_array_equal(ranked.found, expected[model])
            looked_at = lthjax.load_run(f"{model}-whole").tickets[-1].recommend([0, 1, 2], k=5)
            np.testing.assert_array_equal(looked_at.found, expected[model])


def test_data_given_in_code_are_asked_for(old, monkeypatch):
    run = lthjax.load_run("frame")
    assert run.settings.data is None
    assert run.tickets[1].ticket.settings.data is None
    with pytest.raises(lthjax.DataError, match=r"wanted the data, as data=.*given in code"):
        _ = run.split
    frame = frame_of(old / "tiny.txt")
    run = lthjax.load_run("frame", data=frame)
    for ticket in run.tickets:
        assert ticket.evaluate().means()["recall@20"] == pytest.approx(ticket.metrics["recall@20"], abs=1e-7)
    with pytest.raises(lthjax.DataError, match="wanted the data and the split of frame"):
        _ = lthjax.load_run("frame", data=frame[1:]).split
    monkeypatch.setattr("lthjax.search.executor.fit", None)
    options = MF | {"levels": 1, "epochs": 2, "show_progress": False}
    assert len(list(lthjax.find_tickets(frame, out="frame", **options))) == 2
