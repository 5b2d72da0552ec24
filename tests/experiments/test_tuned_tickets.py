"""Tickets with settings of their own: same masks and starts, chosen on validation, judged beside the dense model."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import lthjax
from experiments import tuned_tickets
from experiments.tuned_tickets import Config
from lthjax.errors import SettingsError
from lthjax.evaluation import verdict
from lthjax.search.fixed import fixed
from lthjax.tickets.ticket import result

TINY = {"dim": 4, "epochs": 6, "eval_every": 1, "patience": 0, "batch_size": 64, "l2": 0.01, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """The folder of a run of two levels."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    list(lthjax.find_tickets(data, levels=2, prune_rate=0.5, out=folder, **TINY))
    return str(folder)


@pytest.fixture
def config(run, tmp_path):
    return lambda **changes: Config(**{"run": run, "out": str(tmp_path / "out")} | changes)


def test_each_ticket_is_retrained_with_each_pair_and_the_best_on_validation_chosen(config, run):
    rows = tuned_tickets.main(config(l2=(0.001, 0.1), learning_rate=(0.01, 0.05)))
    assert [row["level"] for row in rows] == [0] + [1] * 5 + [2] * 5
    tried = [(row["l2"], row["learning_rate"]) for row in rows if row["level"] == 1]
    assert tried == [(0.01, 0.01), (0.001, 0.01), (0.001, 0.05), (0.1, 0.01), (0.1, 0.05)]
    ticket = lthjax.load_ticket(f"{run}/tickets/level_01")
    dense = lthjax.load_ticket(f"{run}/tickets/level_00")
    again = result(lthjax.retrain(ticket, l2=0.001, learning_rate=0.05))
    row = rows[3]
    assert {name: row[name] for name in again.metrics} == again.metrics
    epochs = dense.best_epoch, again.best_epoch
    judged = verdict.compare(dense.per_user["recall@20"], again.per_user["recall@20"], *epochs)
    assert {name: row[name] for name in judged.columns()} == judged.columns()
    for level in (1, 2):
        of_level = [row for row in rows if row["level"] == level]
        (chosen,) = (row for row in of_level if row["chosen"])
        assert chosen["valid_recall@20"] == max(row["valid_recall@20"] for row in of_level)


def test_by_default_a_third_and_three_times_the_l2(config):
    rows = tuned_tickets.main(config(levels=(2,)))
    assert [row["level"] for row in rows] == [0, 1, 2, 2, 2]
    assert [row["l2"] for row in rows] == pytest.approx([0.01, 0.01, 0.01, 0.01 / 3, 0.03])


def test_it_goes_on_where_it_stopped_and_keeps_what_other_values_gave(config, tmp_path, monkeypatch):
    before = tuned_tickets.main(config(levels=(1,), l2=(0.1,)))
    more = tuned_tickets.main(config(levels=(2,), l2=(1e-05,)))
    assert [(row["level"], row["l2"]) for row in more] == [(0, 0.01), (1, 0.01), (1, 0.1), (2, 0.01), (2, 1e-05)]
    assert more[:3] == before[:3]
    monkeypatch.setattr(tuned_tickets.lthjax.exploration.ticket, "retrain", None)
    assert tuned_tickets.main(config(l2=(0.01,))) == more
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "| 50.0% | as found" in (tmp_path / "out" / "table.md").read_text()


def test_trials_of_another_search_in_the_same_folder_do_not_count(config, data, run, tmp_path):
    """Runs with the same settings, whose masks were given in code."""
    ticket = lthjax.load_ticket(f"{run}/tickets/level_01")
    for name, shift in (("one", 0), ("other", 1)):
        masks = jax.tree.map(lambda m, shift=shift: np.roll(np.asarray(m), shift, axis=0), ticket.masks)
        list(lthjax.find_tickets(data, search=fixed({1: masks}), levels=1, out=tmp_path / name, **TINY))
    tuned_tickets.main(config(run=str(tmp_path / "one"), l2=(0.1,)))
    beside, alone = (
        tuned_tickets.main(config(run=str(tmp_path / "other"), l2=(0.1,), out=str(tmp_path / out)))
        for out in ("out", "alone")
    )
    assert [row | {"seconds": 0} for row in beside] == [row | {"seconds": 0} for row in alone]


def test_trials_stay_when_the_run_has_more_levels(config, data, tmp_path):
    grown = tmp_path / "grown"
    list(lthjax.find_tickets(data, levels=1, prune_rate=0.5, out=grown, **TINY))
    before = tuned_tickets.main(config(run=str(grown), l2=(0.1,)))
    list(lthjax.find_tickets(data, levels=2, prune_rate=0.5, out=grown, **TINY))
    assert tuned_tickets.main(config(run=str(grown), l2=(0.1,)))[: len(before)] == before


def test_the_run_of_one_of_several_seeds(data, tmp_path, monkeypatch):
    """What it leaves beside the others is no run of a seed; from within its folder, too."""
    call = {"levels": 1, "prune_rate": 0.5, "out": tmp_path / "mine"} | TINY
    list(lthjax.find_tickets(data, seeds=2, **call))
    monkeypatch.chdir(tmp_path / "mine" / "seed_0")
    assert len(tuned_tickets.main(Config(run=".", l2=(0.1,)))) == 3
    assert (tmp_path / "mine" / "seed_0-tuned" / "table.md").exists()
    list(lthjax.find_tickets(data, seeds=3, **call))
    assert list(lthjax.load_run(tmp_path / "mine").seeds) == [0, 1, 2]


def test_only_the_chosen_dense_model_casts_doubt(config, tmp_path):
    """One that was cut short and not chosen says nothing of the verdicts; the one that is chosen does."""
    rows = tuned_tickets.main(config(levels=(0,), learning_rate=(1e-6,), l2=(0.01,)))
    dense = [row for row in rows if row["level"] == 0]
    assert [row["chosen"] for row in dense] == [True, False], "this case wants a worse one"
    for cut_short in ([False, True], [True, False]):
        changed = [row | {"cut_short": cut} for row, cut in zip(dense, cut_short, strict=True)]
        text = tuned_tickets.text_of([*changed, *rows[2:]], "recall@20")
        assert ("CUT SHORT" in text.upper()) == cut_short[0]


def test_trials_of_another_run_in_the_same_folder_do_not_count(config, data, tmp_path):
    tuned_tickets.main(config(levels=(1,), l2=(0.1,)))
    other = tmp_path / "other"
    list(lthjax.find_tickets(data, levels=1, prune_rate=0.5, out=other, **TINY | {"seed": 1}))
    rows = tuned_tickets.main(config(run=str(other), l2=(0.01,)))
    assert [row["as_found"] for row in rows] == [True, True]


def test_tickets_are_judged_beside_the_dense_model_that_was_tuned_with_them(config):
    rows = tuned_tickets.main(config(levels=(0, 1), l2=(0.3,), learning_rate=(0.1, 0.03)))
    dense = [row for row in rows if row["level"] == 0]
    assert len(dense) == 3
    chosen = max(dense, key=lambda row: row["valid_recall@20"])
    assert not chosen["as_found"], "this case wants a dense model that gets better"
    assert chosen["verdict"] == "dense"
    for row in rows:
        assert row["difference"] == pytest.approx(row["recall@20"] - chosen["recall@20"], abs=1e-7)


def test_the_test_part_does_not_choose():
    def trial(valid, test):
        found = dataclasses.make_dataclass("Found", ("metrics", "main_metric"))
        return tuned_tickets.Trial(None, found({"valid_recall@20": valid, "recall@20": test}, "recall@20"))

    trials = [trial(0.1, 0.9), trial(0.2, 0.1), trial(0.2, 0.5)]
    assert tuned_tickets.best(trials) is trials[1]


def test_what_cannot_be_trained_again_is_refused(config, data, tmp_path):
    with pytest.raises(SettingsError, match=r"--levels: wanted levels that .* has, \[0, 1, 2\]; got \[7\]"):
        tuned_tickets.main(config(levels=(1, 7)))
    with pytest.raises(SettingsError, match="RUN: wanted a run folder"):
        tuned_tickets.main(config(run=""))
    begun = tmp_path / "begun"
    next(tickets := lthjax.find_tickets(data, levels=1, out=begun, **TINY))
    tickets.close()
    shutil.rmtree(begun / "tickets")
    (begun / "results.csv").unlink(missing_ok=True)
    with pytest.raises(SettingsError, match=r"RUN: wanted a run with a finished dense model; .* has none"):
        tuned_tickets.main(config(run=str(begun)))
    several = tmp_path / "several"
    list(lthjax.find_tickets(data, levels=0, out=several, seeds=range(3, 5), **TINY))
    with pytest.raises(SettingsError, match=r"the run of one seed, such as .*seed_3"):
        tuned_tickets.main(config(run=str(several)))
    on_test = tmp_path / "on-test"
    list(lthjax.find_tickets(data, levels=0, out=on_test, selection="test", **TINY))
    with pytest.raises(SettingsError, match="wanted epochs chosen on a validation part"):
        tuned_tickets.main(config(run=str(on_test)))
    import optax

    in_code = tmp_path / "in-code"
    list(lthjax.find_tickets(data, levels=0, out=in_code, optimizer=optax.sgd(0.1), **TINY))
    with pytest.raises(
        SettingsError, match="wanted a run that its settings tell all of; got one with a given optimizer"
    ):
        tuned_tickets.main(config(run=str(in_code)))


def test_the_settings_of_the_run_itself_are_not_trained_again(config, run):
    own = lthjax.load_run(run).settings
    assert tuned_tickets.choices(own, config(l2=(own.l2,))) == []
    (longer,) = tuned_tickets.choices(own, config(l2=(own.l2,), patience=50))
    assert longer == dataclasses.replace(own, patience=50)
    assert np.isclose(tuned_tickets.choices(own, config())[0].l2, own.l2 / 3)
