"""What a run would need: counted against what a run takes, timed, and nothing written."""

import sys

import optax
import pytest

import lthjax
from experiments import cli, find_tickets
from lthjax.search import dry_run
from lthjax.search.dry_run import Pace
from lthjax.search.given import Given
from lthjax.search.problem import prepare
from lthjax.settings import Settings
from lthjax.tickets.ticket import to_checkpoint

TINY = {"dim": 4, "epochs": 4, "eval_every": 2, "batch_size": 64, "levels": 2, "prune_rate": 0.2}


def problem_of(tastes, given=None, **changes):
    return prepare(tastes, Settings(data=None, **(TINY | changes)), given)


def test_bytes_of_memory_by_hand(tastes):
    in_memory = dry_run.memory(problem_of(tastes))
    entries = (tastes.num_users + tastes.num_items) * 4
    assert in_memory["weights"] == 4 * entries
    assert in_memory["masks"] == entries
    assert in_memory["optimizer"] == 8 * entries + 4  # two moments, and a counter
    assert in_memory["best epoch"] == 12 * entries + 4
    sgd = dry_run.memory(problem_of(tastes, Given(optimizer=optax.sgd(0.1))))
    assert sgd["optimizer"] == 0
    assert in_memory["interactions"] > 8 * len(tastes.train)  # user and item, 4 bytes each, and more


METRICS = {"metrics": "ndcg,recall,hit,coverage", "at": "5,10,20"}


@pytest.mark.parametrize("changes", [{}, {"rewind": "none", "prune_from": "last"}, {"rewind": "epoch:1"}, METRICS])
def test_bytes_of_tickets_are_those_that_are_saved(tastes, changes):
    options = {"show_progress": False} | TINY | changes
    saved = [to_checkpoint(ticket)[0] for ticket in lthjax.find_tickets(tastes, **options)]
    wanted = sum(array.nbytes for arrays in saved for array in arrays.values())
    assert dry_run.disk(problem_of(tastes, **changes))["tickets"] == pytest.approx(wanted, rel=0.1)


def count_epochs(tastes, search, **changes):
    """Epochs of a search besides its tickets, from the effort that its last ticket tells."""
    options = {"show_progress": False} | TINY | {"search": search} | changes
    tickets = list(lthjax.find_tickets(tastes, **options))
    steps_per_epoch = problem_of(tastes).program.steps_per_epoch
    efforts = [ticket.cost.search.steps // steps_per_epoch for ticket in tickets[1:]]
    return sum(efforts) if search == "dynamic" else max(efforts)  # its levels are searches of their own


@pytest.mark.parametrize("changes", [{"search_epochs": 2}, {"sparsities": "0.5,0.7", "search_epochs": 1}])
@pytest.mark.parametrize("search", ["short", "early", "gradual", "dynamic"])
def test_epochs_of_a_search_are_those_that_it_takes(tastes, search, changes):
    wanted = count_epochs(tastes, search, **changes)
    assert dry_run.search_epochs(problem_of(tastes, search=search, **changes)) == wanted


def test_searches_that_train_their_tickets_alone(tastes):
    for changes in ({}, {"search": "one-shot"}, {"prune_parent": "dense"}, {"search": "short", "levels": 0}):
        assert dry_run.search_epochs(problem_of(tastes, **changes)) == 0


def test_seconds_by_hand(tastes):
    problem = problem_of(tastes, epochs=100, patience=9, eval_every=2)
    steps = problem.program.steps_per_epoch
    least, typical, most = dry_run.duration(problem, Pace(step=0.5, ranking=3.0), num_tickets=3)
    assert most == 3 * (100 * steps * 0.5 + (50 + 2) * 3)
    assert typical == 3 * (23 * steps * 0.5 + (12 + 2) * 3)  # 2.6 times 9
    assert least == 3 * (12 * steps * 0.5 + (6 + 2) * 3)  # best at the first evaluation, then 9 epochs, by twos
    endless = problem_of(tastes, epochs=100, patience=0, eval_every=2)
    assert set(dry_run.duration(endless, Pace(0.5, 3.0), 3)) == {most}
    short = problem_of(tastes, search="short", search_epochs=7, epochs=100, patience=0, eval_every=2)
    two_seeds = dry_run.duration(short, Pace(0.5, 3.0), 6, num_searches=2)
    assert two_seeds.most == 2 * most + 2 * 14 * steps * 0.5
    assert dry_run.duration(short, Pace(0.5, 3.0), 0, num_searches=0).most == 0


def test_at_the_end_all_users_are_ranked(tastes):
    sampled = problem_of(tastes, epochs=100, patience=0, eval_every=2, evaluate_users=5)
    steps, num_users = sampled.program.steps_per_epoch, len(sampled.valid.users)
    most = dry_run.duration(sampled, Pace(step=0.5, ranking=3.0), num_tickets=1).most
    assert most == pytest.approx(100 * steps * 0.5 + 50 * 3 + 2 * 3 * num_users / 5)


def test_no_estimate_is_below_the_least_number_of_epochs(tastes, quick):
    """A level whose value never grows after its first evaluation ends where `least` says."""
    options = quick | {"epochs": 50, "patience": 5, "eval_every": 3, "levels": 0}
    (ticket,) = lthjax.find_tickets(tastes, optimizer=optax.sgd(0.0), **options)
    del options["show_progress"]
    problem = problem_of(tastes, **options)
    assert dry_run.duration(problem, Pace(1.0, 0.0), 1).least == ticket.epochs * problem.program.steps_per_epoch


def test_the_pace_is_timed(tastes):
    pace = dry_run.measure_pace(problem_of(tastes), least_seconds=0.02)
    assert 0 < pace.step < 1
    assert 0 < pace.ranking < 60


@pytest.fixture
def call(data_file, monkeypatch, capsys):
    def call(*words):
        flags = [part for name, value in TINY.items() for part in ("--" + name.replace("_", "-"), str(value))]
        monkeypatch.setattr(dry_run.measure_pace, "__defaults__", (0.01,))
        monkeypatch.setattr(sys, "argv", ["find_tickets", "--data", str(data_file), *flags, *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.run(find_tickets.main, find_tickets.Config, "")
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


def test_nothing_is_written(call, tastes, tmp_path, monkeypatch):
    monkeypatch.setattr("lthjax.search.executor.fit", None)
    monkeypatch.setattr(dry_run, "measure_pace", lambda problem, seconds: Pace(0.001, 0.01))
    code, output, errors = call("--out", tmp_path / "run", "--dry-run", "--seeds", "2", "--patience", "2")
    assert (code, errors) == (0, "")
    assert list(tmp_path.iterdir()) == []
    for words in (
        "split per user at random",
        "30 users + 40 items, 4 dimensions, 280 entries; level 2 keeps 179, 36.1% pruned",
        "tickets to train: 6, of 2 seeds\n",
        "memory: weights ",
        "disk: tickets ",
        "pace: 1 ms a step, ",
        "time here: at most ",
        "if every level trains 4 epochs",
        "dry run: nothing was written.",
    ):
        assert words in output
    assert "typically" not in output  # 2.6 times 2 is above the limit of 4


def test_what_is_there_counts_and_what_would_be_refused_is(call, tmp_path, monkeypatch):
    out = tmp_path / "run"
    assert call("--out", out)[0] == 0
    before = {place: place.stat().st_mtime_ns for place in out.rglob("*")}
    monkeypatch.setattr(dry_run, "measure_pace", lambda problem, seconds: Pace(0.001, 0.01))
    assert "tickets to train: 2; 3 are there already" in call("--out", out, "--levels", 4, "--dry-run")[1]
    assert "tickets to train: 0; 3 are there already" in call("--out", out, "--dry-run")[1]
    other = tmp_path / "other"
    assert "tickets to train: 2; 1 are there already" in call("--out", other, "--dense", out, "--dry-run")[1]
    for words, wanted in ((["--l2", 0.5], "--l2: "), (["--seeds", 2], "--seeds: "), (["--levels", 1], "--levels: ")):
        code, _, errors = call("--out", out, *words, "--dry-run")
        assert code == 2
        assert errors.startswith(f"error: {wanted}")
    assert before == {place: place.stat().st_mtime_ns for place in out.rglob("*")}
    code, _, errors = call("--dry-run", "much")
    assert code == 2
    assert "much" in errors
