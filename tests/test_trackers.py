"""Lines on a log, TensorBoard's files read back by TensorBoard, Weights & Biases without a network."""

import os
import subprocess
import sys
import textwrap

import pytest

import lthjax
from lthjax import trackers
from lthjax.errors import SettingsError
from lthjax.events import Evaluated, TicketFound

LEVELS = {"levels": 2, "epochs": 4, "eval_every": 2}


@pytest.fixture
def run(tastes, quick):
    """Finds tickets on the data of two tastes and tells a function; -> events that it was told."""

    def call(on_event, **changes):
        events = []
        changes = quick | LEVELS | changes
        list(lthjax.find_tickets(tastes, on_event=trackers.several(events.append, on_event), **changes))
        return events

    return call


def test_a_line_for_each_level(run, tmp_path):
    written = []
    found = [event for event in run(trackers.lines(written.append, lambda: 0.0)) if isinstance(event, TicketFound)]
    assert len(written) == 3
    for line, event in zip(written, found, strict=True):
        assert line.startswith(f"seed 0, level {event.level} of 2: {event.ticket.sparsity:.1%} pruned, Recall@20 ")
        assert f" {event.ticket.metrics['recall@20']:.4f}, {event.verdict.name}, best epoch " in line
        assert line.endswith(f"; {event.left}") == (event.level < 2)
    assert ["search" in line for line in written] == [False, True, True]


def test_what_was_there_is_one_line(run, tmp_path):
    run(print, levels=1, out=tmp_path)
    (tmp_path / "tickets" / "level_01").rename(tmp_path / "away")
    written = []
    run(trackers.lines(written.append, lambda: 0.0), levels=1, out=tmp_path)
    assert written[0] == "seed 0: 1 of 2 levels are there already"
    assert [line[:16] for line in written[1:]] == ["seed 0, level 1 "]
    written.clear()
    run(trackers.lines(written.append, lambda: 0.0), levels=1, out=tmp_path)
    assert written == []


def test_the_time_left_is_told_after_the_first_seconds(run):
    seconds = iter(range(0, 10_000, 11))
    written = []
    run(trackers.lines(written.append, clock=lambda: next(seconds)))
    assert written[0].startswith("seed 0, level 0: epoch 2; at most ")
    assert len(written) == 4


def test_several_are_told_in_turn():
    told = []
    trackers.several(lambda event: told.append(("first", event)), lambda event: told.append(("second", event)))("it")
    assert told == [("first", "it"), ("second", "it")]


def scalars(folder):
    """What TensorBoard reads of a folder: tag -> [(step, value)]."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    read = accumulator.EventAccumulator(str(folder)).Reload()
    return {tag: [(point.step, point.value) for point in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_tensorboard_reads_the_curves(run, tmp_path):
    pytest.importorskip("tensorboardX")
    events = run(trackers.tensorboard(tmp_path))
    assert sorted(path.name for path in (tmp_path / "seed_0").iterdir()) == [
        "level_00",
        "level_01",
        "level_02",
        "tickets",
    ]
    for level in range(3):
        curves = scalars(tmp_path / "seed_0" / f"level_{level:02d}")
        told = [event for event in events if isinstance(event, Evaluated) and event.level == level]
        wanted = [(event.epoch, pytest.approx(event.metrics["recall@20"])) for event in told]
        assert curves["valid_recall_at_20"] == wanted
        assert [step for step, _ in curves["loss"]] == [2, 4]
    found = [event for event in events if isinstance(event, TicketFound)]
    tickets = scalars(tmp_path / "seed_0" / "tickets")
    assert tickets["recall_at_20"] == [(event.level, pytest.approx(event.row["recall@20"])) for event in found]
    assert tickets["sparsity"] == [(event.level, pytest.approx(event.ticket.sparsity)) for event in found]


def test_tensorboard_shows_each_point_of_a_run_that_goes_on_once(run, tmp_path, interrupting):
    pytest.importorskip("tensorboardX")
    out, logs = tmp_path / "run", tmp_path / "logs"
    with interrupting(lambda name, epoch: name.startswith("level 1")), pytest.raises(KeyboardInterrupt):
        run(trackers.tensorboard(logs), out=out)
    run(trackers.tensorboard(logs), out=out)
    for level in range(3):
        curves = scalars(logs / "seed_0" / f"level_{level:02d}")
        assert [step for step, _ in curves["valid_recall_at_20"]] == [2, 4]
    assert [step for step, _ in scalars(logs / "seed_0" / "tickets")["recall_at_20"]] == [0, 1, 2]


def test_weights_and_biases_are_told_all(run, monkeypatch, tmp_path):
    """What its runs are given; the package itself runs in the next test."""
    package = pytest.importorskip("wandb")
    told, ended, options = [], [], []

    class Run:
        def define_metric(self, name, step_metric):
            told.append((name, step_metric))

        def log(self, values):
            told.append(values)

        def finish(self, exit_code):
            ended.append(exit_code)

    monkeypatch.setenv("WANDB_ERROR_REPORTING", "")
    monkeypatch.delenv("WANDB_ERROR_REPORTING")  # put back when the test is over
    monkeypatch.setattr(package, "init", lambda **given: options.append(given) or Run())
    events = run(trackers.wandb("tickets", folder=tmp_path / "new"))
    assert (options[0]["project"], options[0]["mode"], options[0]["config"]["levels"]) == ("tickets", "offline", 2)
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"
    assert ended == [0]
    assert ("tickets/*", "tickets/sparsity") in told
    assert ("level_01/*", "level_01/epoch") in told
    values = [part for part in told if isinstance(part, dict)]
    curve = [(part["level_01/epoch"], part["level_01/valid_recall@20"]) for part in values if "level_01/epoch" in part]
    evaluated = [event for event in events if isinstance(event, Evaluated) and event.level == 1]
    assert curve == [(event.epoch, event.metrics["recall@20"]) for event in evaluated]
    assert [part["tickets/recall@20"] for part in values if "tickets/level" in part] == [
        event.row["recall@20"] for event in events if isinstance(event, TicketFound)
    ]


@pytest.mark.slow
def test_weights_and_biases_needs_no_network(tmp_path):
    """The package itself, in a process of its own: as it starts another one, and keeps threads."""
    pytest.importorskip("wandb")
    code = """
        from pathlib import Path
        import numpy as np
        import lthjax
        pairs = [(u, i) for u in range(20) for i in np.random.default_rng(u).choice(25, 8, replace=False)]
        Path("pairs.txt").write_text("".join(f"{user} {item}\\n" for user, item in pairs))
        tracker = lthjax.trackers.wandb("tickets", folder="logs")
        print(len(list(lthjax.find_tickets("pairs.txt", dim=4, epochs=2, levels=1, batch_size=64, on_event=tracker))))
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment |= {name: "http://localhost:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "WANDB_BASE_URL")}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
    (file,) = tmp_path.glob("logs/wandb/offline-run-*/run-*.wandb")
    assert b"level_01/valid_recall@20" in file.read_bytes()


@pytest.mark.parametrize(
    ("name", "make"),
    [("tensorboardX", lambda: trackers.tensorboard("logs")), ("wandb", lambda: trackers.wandb("tickets"))],
)
def test_a_package_that_is_not_there_is_named(name, make, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SettingsError, match=f"wanted the package {name}, got none: pip install {name}"):
        make()


def test_a_mode_that_is_none():
    with pytest.raises(SettingsError, match="mode: wanted one of offline, online, disabled; got 'ofline'"):
        trackers.wandb("tickets", mode="ofline")
