"""The run folder: what it holds, what it refuses, and that a run goes on as if it had never been stopped."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import optax
import pytest

import lthjax
from lthjax.pruning import masks as masking
from lthjax.runtime import checkpoint
from lthjax.tickets.ticket import to_checkpoint
from lthjax.training import fit as fitting

TINY = {
    "dim": 4,
    "epochs": 4,
    "eval_every": 2,
    "batch_size": 64,
    "levels": 2,
    "prune_rate": 0.2,
    "show_progress": False,
}
COLUMNS = [
    "level",
    "sparsity",
    "num_kept",
    "recall@20",
    "ndcg@20",
    "valid_recall@20",
    "best_epoch",
    "epochs",
    "seconds",
    "verdict",
]


def find(data_file, out, **changes):
    return list(lthjax.find_tickets(data_file, out=out, **(TINY | changes)))


@pytest.fixture(scope="module")
def unbroken(data_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "run"
    return out, find(data_file, out)


def test_what_a_run_leaves(unbroken, log_of):
    out, found = unbroken
    assert sorted(place.name for place in out.iterdir()) == [
        ".lock",
        "config.json",
        "log.jsonl",
        "results.csv",
        "tickets",
    ]
    config = json.loads((out / "config.json").read_text())
    assert config["settings"]["dim"] == 4
    assert config["settings"]["prune_rate"] == 0.2
    assert config["data"]["fingerprint"] == found[0].fingerprint
    assert {"python", "jax", "optax", "orbax-checkpoint"} <= config["versions"].keys()
    assert {"device", "git_commit", "optimizer", "command"} <= config.keys()
    header, *rows = (out / "results.csv").read_text().splitlines()
    assert set(COLUMNS) <= set(header.split(","))
    assert len(rows) == 3
    assert [(line["level"], line["epoch"]) for line in log_of(out)] == [(lv, e) for lv in range(3) for e in (2, 4)]
    assert sorted(place.name for place in (out / "tickets").iterdir()) == ["level_00", "level_01", "level_02"]


def test_a_ticket_loads_alone_and_retrains(unbroken, data_file, tmp_path):
    out, found = unbroken
    place = shutil.copytree(out / "tickets" / "level_02", tmp_path / "elsewhere")  # its run is not needed
    ticket = lthjax.load_ticket(place)
    for name in ("masks", "start", "trained"):
        for one, other in zip(getattr(ticket, name), getattr(found[2], name), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (ticket.metrics, ticket.verdict, ticket.parent) == (found[2].metrics, found[2].verdict, 1)
    assert (ticket.settings, ticket.optimizer, ticket.given) == (found[2].settings, "adam", {})
    again = lthjax.retrain(ticket, show_progress=False)  # the settings name the data
    np.testing.assert_array_equal(again.trained.item, found[2].trained.item)


@pytest.mark.parametrize("rewind", ["epoch:1", "none", "lr", "reinit"])
def test_retraining_is_exact_for_every_rewind_mode_loaded_or_not(data_file, tmp_path, rewind):
    found = find(data_file, tmp_path, rewind=rewind)
    loaded = lthjax.load_ticket(tmp_path / "tickets" / "level_02")
    for ticket in (found[2], loaded):
        again = lthjax.retrain(ticket, show_progress=False)
        np.testing.assert_array_equal(again.trained.user, found[2].trained.user)
        assert again.metrics == found[2].metrics


def test_a_finished_run_is_read_not_trained_again(unbroken, data_file, monkeypatch):
    out, found = unbroken
    monkeypatch.setattr("lthjax.search.executor.fit", None)
    again = find(data_file, out)
    assert [ticket.metrics for ticket in again] == [ticket.metrics for ticket in found]


@pytest.mark.parametrize("rewind", ["init", "epoch:1", "none", "reinit"])
def test_stopping_between_levels_changes_nothing(data_file, tmp_path, rewind, rows_of, log_of):
    whole = find(data_file, tmp_path / "whole", rewind=rewind, prune_from="last")
    tickets = lthjax.find_tickets(data_file, out=tmp_path / "cut", **TINY, rewind=rewind, prune_from="last")
    next(tickets)
    next(tickets)
    tickets.close()
    assert len(rows_of(tmp_path / "cut")) == 2
    find(data_file, tmp_path / "cut", rewind=rewind, prune_from="last")
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")
    assert len(whole) == 3


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.noisy_sgd(0.1, 0.01, 0.5, key=3),
        optax.contrib.muon(0.01),
        optax.adamw(optax.cosine_decay_schedule(0.1, 20)),
    ],
)
def test_optimizers_with_odd_states_go_on_too(data_file, tmp_path, optimizer, rows_of):
    for out in ("whole", "cut"):
        if out == "cut":
            tickets = lthjax.find_tickets(data_file, out=tmp_path / out, optimizer=optimizer, rewind="none", **TINY)
            next(tickets)
            tickets.close()
        find(data_file, tmp_path / out, optimizer=optimizer, rewind="none")
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")


def test_an_interrupt_in_the_middle_of_a_level_changes_nothing(
    unbroken, data_file, tmp_path, interrupting, rows_of, log_of
):
    out = tmp_path / "run"
    with interrupting(lambda name, epoch: name == "level 1 of seed 0"), pytest.raises(KeyboardInterrupt):
        find(data_file, out)
    assert [place.name for place in (out / "snapshots").iterdir()] == ["level_01-epoch_0000002-step_0000000012"]
    find(data_file, out)
    assert rows_of(out) == rows_of(unbroken[0])
    assert log_of(out) == log_of(unbroken[0])
    assert not (out / "snapshots").exists()


def test_a_changed_setting_optimizer_or_data_set_is_refused_by_name(unbroken, data_file, tmp_path):
    out, _ = unbroken
    before = {place: place.stat().st_mtime_ns for place in out.rglob("*") if place.name != ".lock"}
    with pytest.raises(lthjax.SettingsError, match=r"--levels: .* was made with 2; got 1"):
        find(data_file, out, levels=1)
    with pytest.raises(lthjax.SettingsError, match=r"--l2: .* was made with 0.01; got 0.0"):
        find(data_file, out, l2=0.0)
    with pytest.raises(lthjax.SettingsError, match=r"optimizer: .* was made with adam; got given"):
        find(data_file, out, optimizer=optax.sgd(0.1))
    more = tmp_path / "more.txt"
    more.write_text(data_file.read_text() + "99 1\n")
    with pytest.raises(lthjax.SettingsError, match=r"data: .* was made with"):
        find(more, out)
    assert before == {place: place.stat().st_mtime_ns for place in out.rglob("*") if place.name != ".lock"}


def test_given_optimizers_are_told_apart_by_what_they_do(data_file, tmp_path):
    find(data_file, tmp_path, optimizer=optax.sgd(0.1), levels=0)
    find(data_file, tmp_path, optimizer=optax.sgd(0.1), levels=0)  # another object, the same optimizer
    others = (
        optax.sgd(0.1, momentum=0.9),
        optax.chain(optax.clip_by_global_norm(10.0), optax.sgd(0.1)),
        optax.sgd(optax.piecewise_constant_schedule(0.1, {100: 0.5})),
        optax.partition({"u": optax.sgd(0.1), "i": optax.sgd(0.2)}, lthjax.Embeddings("u", "i")),
    )
    for other in others:
        with pytest.raises(lthjax.SettingsError, match="optimizer"):
            find(data_file, tmp_path, optimizer=other, levels=0)


def test_two_processes_do_not_share_a_folder(data_file, tmp_path):
    first = lthjax.find_tickets(data_file, out=tmp_path, **TINY)
    next(first)
    with pytest.raises(lthjax.CheckpointError, match="in use by another process"):
        find(data_file, tmp_path)
    first.close()
    find(data_file, tmp_path)


def test_a_damaged_ticket_is_named_and_made_again(unbroken, data_file, tmp_path, rows_of, log_of):
    out = tmp_path / "run"
    find(data_file, out)
    for place in (out / "tickets" / "level_01" / "arrays").rglob("*"):
        if place.is_file():
            place.write_bytes(b"\0" * place.stat().st_size)
    with pytest.warns(UserWarning, match="level_01: the arrays are damaged .*Going on from level 0"):
        find(data_file, out)
    assert rows_of(out) == rows_of(unbroken[0])
    assert log_of(out) == log_of(unbroken[0])
    assert (out / "tickets" / "level_01.damaged-1").exists()


def test_facts_that_were_altered_or_are_missing_are_damage(unbroken, data_file, tmp_path):
    out = tmp_path / "run"
    find(data_file, out, levels=0)
    place = out / "tickets" / "level_00" / "facts.json"
    record = json.loads(place.read_text())
    record["facts"]["metrics"]["recall@20"] = 0.9999
    place.write_text(json.dumps(record))
    with pytest.raises(lthjax.CheckpointError, match="not what was written"):
        lthjax.load_ticket(place.parent)
    with pytest.warns(UserWarning, match="not what was written .*Going on from the start"):
        (again,) = find(data_file, out, levels=0)
    assert again.metrics == unbroken[1][0].metrics


@pytest.mark.parametrize(
    ("change", "wanted"),
    [({"seed": 1}, "--seed 0; got one with 1"), ({"learning_rate": 0.5}, r"--learning-rate 0.003; got one with 0.5")],
)
def test_a_ticket_of_another_run_is_refused(unbroken, data_file, tmp_path, change, wanted):
    """Also where config.json was lost: it is not made anew for settings that the tickets do not have."""
    out = shutil.copytree(unbroken[0], tmp_path / "run")
    find(data_file, tmp_path / "other", **change)
    shutil.rmtree(out / "tickets" / "level_02")
    shutil.copytree(tmp_path / "other" / "tickets" / "level_02", out / "tickets" / "level_02")
    with pytest.raises(lthjax.SettingsError, match=f"level_02: wanted one of this run, with {wanted}"):
        find(data_file, out)
    (out / "config.json").unlink()
    with pytest.raises(lthjax.SettingsError, match=f"level_02: wanted one of this run, with {wanted}"):
        find(data_file, out)
    assert not (out / "config.json").exists()


def test_a_ticket_of_another_level_is_refused(unbroken, data_file, tmp_path):
    out = shutil.copytree(unbroken[0], tmp_path / "run")
    shutil.rmtree(out / "tickets" / "level_01")
    shutil.copytree(out / "tickets" / "level_02", out / "tickets" / "level_01")
    with pytest.raises(lthjax.SettingsError, match="level_01: wanted one of this run, with level 1; got one with 2"):
        find(data_file, out)


def test_a_lost_config_is_made_anew_for_tickets_that_agree(unbroken, data_file, tmp_path, rows_of):
    out = shutil.copytree(unbroken[0], tmp_path / "run")
    (out / "config.json").unlink()
    find(data_file, out)
    assert rows_of(out) == rows_of(unbroken[0])


def test_settings_that_a_version_did_not_know_stand_at_their_defaults(unbroken, data_file, tmp_path, rows_of):
    out = shutil.copytree(unbroken[0], tmp_path / "run")
    config = json.loads((out / "config.json").read_text())
    del config["settings"]["min_per_row"], config["settings"]["encoding"]
    (out / "config.json").write_text(json.dumps(config))
    find(data_file, out)
    assert rows_of(out) == rows_of(unbroken[0])


@pytest.mark.parametrize("name", ["results.csv", "log.jsonl", "tickets/level_00"])
def test_what_is_in_the_way_is_named_before_training(data_file, tmp_path, monkeypatch, name):
    monkeypatch.setattr("lthjax.search.executor.fit", None)
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(lthjax.CheckpointError, match=f"{path.name}.* is a link"):
        find(data_file, tmp_path / "run")


def test_a_ticket_whose_masks_are_not_the_search_s_is_set_aside(unbroken, data_file, tmp_path, rows_of):
    """Though it is a child of its parent: one entry is another one."""
    out = shutil.copytree(unbroken[0], tmp_path / "run")
    parent, ticket = unbroken[1][1:]
    kept, fallen = (
        np.argwhere(np.asarray(mask))[0] for mask in (ticket.masks.item, parent.masks.item & ~ticket.masks.item)
    )
    item = ticket.masks.item.at[tuple(kept)].set(False).at[tuple(fallen)].set(True)
    other = dataclasses.replace(ticket, masks=ticket.masks._replace(item=item))
    assert masking.are_nested(other.masks, parent.masks)
    assert other.num_kept == ticket.num_kept
    shutil.rmtree(out / "tickets" / "level_02")
    checkpoint.save(out / "tickets" / "level_02", *to_checkpoint(other))
    with pytest.warns(
        UserWarning, match=r"level_02: its masks are not those .* Going on from level 1; kept as level_02\.d"
    ):
        find(data_file, out)
    assert rows_of(out) == rows_of(unbroken[0])
    assert (out / "tickets" / "level_02.damaged-1").exists()


def test_ctrl_c_while_a_ticket_is_saved_or_a_level_evaluated_loses_nothing(
    data_file, tmp_path, monkeypatch, rows_of, log_of
):
    out = tmp_path / "run"
    real_save, real_evaluate = checkpoint.save, fitting.evaluate

    def save(path, *arguments):
        if path.name == "level_00":
            signal.raise_signal(signal.SIGINT)
        return real_save(path, *arguments)

    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(KeyboardInterrupt):
        find(data_file, out, model="lightgcn", layers=1)
    assert (out / "tickets" / "level_00" / "facts.json").exists()
    assert rows_of(out)[0]["level"] == "0"
    monkeypatch.setattr(checkpoint, "save", real_save)

    def evaluate(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return real_evaluate(*arguments, **options)

    monkeypatch.setattr(fitting, "evaluate", evaluate)
    with pytest.raises(KeyboardInterrupt):
        find(data_file, out, model="lightgcn", layers=1)
    monkeypatch.setattr(fitting, "evaluate", real_evaluate)
    find(data_file, out, model="lightgcn", layers=1)
    find(data_file, tmp_path / "whole", model="lightgcn", layers=1)
    assert rows_of(out) == rows_of(tmp_path / "whole")
    assert log_of(out) == log_of(tmp_path / "whole")


def test_a_damaged_config_or_unwritable_folder_is_one_line(data_file, tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(lthjax.CheckpointError, match=r"config\.json is missing or damaged .* Choose another --out"):
        find(data_file, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(lthjax.CheckpointError, match="--out: cannot write in"):
        find(data_file, tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("name", "value"), [("exchange", None), ("exchange", "gather"), ("exchange", [1]), ("extended", 3)]
)
def test_lists_of_the_config_that_are_none_are_damage(unbroken, data_file, tmp_path, name, value):
    out = shutil.copytree(unbroken[0], tmp_path / "run")
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {name: value}))
    with pytest.raises(lthjax.CheckpointError, match=f"config.json is damaged .{name} is no list"):
        find(data_file, out)


def test_a_log_whose_first_line_was_cut_off_loses_no_other(unbroken, data_file, tmp_path, log_of):
    out = tmp_path / "run"
    out.mkdir()
    (out / "log.jsonl").write_text((unbroken[0] / "log.jsonl").read_text()[:20])
    find(data_file, out)
    assert log_of(out) == log_of(unbroken[0])


def test_another_version_is_said(unbroken, data_file, tmp_path):
    out = tmp_path / "run"
    find(data_file, out, levels=0)
    config = json.loads((out / "config.json").read_text())
    config["versions"]["jax"] = "0.0.1"
    (out / "config.json").write_text(json.dumps(config))
    with pytest.warns(UserWarning, match=r"was begun with versions jax 0\.0\.1"):
        find(data_file, out, levels=0)


def start(data_file, out, before=""):
    """A process that finds tickets and saves after every dispatch."""
    code = f"""
        import lthjax
        {before}
        list(lthjax.find_tickets({str(data_file)!r}, out={str(out)!r}, save_seconds=0, **{TINY!r}))
    """
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_while_checkpoints_are_written_nothing_is_lost(unbroken, data_file, tmp_path, rows_of, log_of):
    """SIGKILL before the n-th rename of a run: files stand under their side names, whatever they are."""
    out = tmp_path / "run"
    for number in (2, 7, 12):
        kill = (
            "import os, signal, itertools; count, real = itertools.count(1), os.rename; "
            f"os.rename = lambda *a: os.kill(os.getpid(), signal.SIGKILL) if next(count) == {number} else real(*a)"
        )
        finished = set((out / "tickets").glob("level_??"))
        process = start(data_file, out, kill)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        assert finished <= set((out / "tickets").glob("level_??"))
    find(data_file, out)
    assert rows_of(out) == rows_of(unbroken[0])
    assert log_of(out) == log_of(unbroken[0])


@pytest.mark.slow
def test_killed_at_any_moment_and_interrupted_the_run_ends_the_same(unbroken, data_file, tmp_path, rows_of, log_of):
    out, ended = tmp_path / "run", []
    for signal_sent, lines in ((signal.SIGKILL, 1), (signal.SIGKILL, 3), (signal.SIGINT, 5)):
        process = start(data_file, out)
        while process.poll() is None and not (out / "log.jsonl").exists():
            time.sleep(0.005)
        while process.poll() is None and len((out / "log.jsonl").read_text().splitlines()) < lines:
            time.sleep(0.005)
        process.send_signal(signal_sent)
        errors = process.communicate(timeout=120)[1]
        assert process.returncode in (-signal_sent, 0), errors  # 0: it was done before the signal came
        ended.append(process.returncode)
    assert -signal.SIGKILL in ended
    find(data_file, out)
    assert rows_of(out) == rows_of(unbroken[0])
    assert log_of(out) == log_of(unbroken[0])


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_was_finished_stays(data_file, tmp_path):
    """A limit on the size of files stands in for the full disk: writes fail half-way through a ticket."""
    out = tmp_path / "run"
    find(data_file, out)
    for level in (1, 2):
        shutil.rmtree(out / "tickets" / f"level_0{level}")

    process = start(data_file, out, "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))")
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 1
    # Orbax's own threads complain too, before or after: here they cannot be spared it, see the next test.
    assert any(line.startswith("lthjax.errors.CheckpointError: cannot write") for line in errors.splitlines()), errors
    assert [place.name for place in (out / "tickets").glob("level_??")] == ["level_00"]
    assert lthjax.load_ticket(out / "tickets" / "level_00").level == 0
    assert len(find(data_file, out)) == 3


def test_a_disk_that_is_nearly_full_is_noticed_before_writing(data_file, tmp_path, monkeypatch):
    usage = checkpoint.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda place: usage._replace(free=2**20 + 100))
    with pytest.raises(
        lthjax.CheckpointError, match=r"cannot write .*level_00: No space left on device: wanted 0\.0 MiB"
    ):
        find(data_file, tmp_path / "run")
    assert not list((tmp_path / "run" / "tickets").iterdir())
    monkeypatch.undo()
    assert len(find(data_file, tmp_path / "run")) == 3


def test_writing_does_not_depend_on_the_working_directory(data_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    find(data_file, "run", levels=0)
    assert os.path.exists(tmp_path / "run" / "tickets" / "level_00" / "facts.json")
