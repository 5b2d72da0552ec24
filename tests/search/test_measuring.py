"""What a run measures, by which metric it chooses and judges, whom it ranks, and how often."""

import dataclasses
import json

import numpy as np
import pytest

import lthjax
from lthjax.errors import SettingsError
from lthjax.evaluation import ranking
from lthjax.evaluation.verdict import compare
from lthjax.search import measuring, tasks
from lthjax.search import problem as problems
from lthjax.settings import Settings
from lthjax.tickets import report, seeds
from lthjax.tickets.ticket import result

ASKED = {"metrics": "map,coverage,hit", "at": "5,3", "epochs": 4, "eval_every": 1, "levels": 1}
NAMES = [*(f"{name}@{k}" for k in (5, 3) for name in ("map", "hit")), "coverage@5", "coverage@3"]


@pytest.fixture(scope="module")
def asked(find, tmp_path_factory):
    """(tickets, folder) of a run with metrics of its own."""
    out = tmp_path_factory.mktemp("runs") / "asked"
    return list(find(**ASKED, out=out)), out


def test_all_of_them_are_everywhere(asked, log_of, rows_of):
    tickets, out = asked
    for ticket in tickets:
        assert list(ticket.metrics) == [*NAMES, *(f"valid_{name}" for name in NAMES)]
        assert list(ticket.per_user) == NAMES[:4]  # metrics of the catalog have no value for a user
        for name, values in ticket.per_user.items():
            assert ticket.metrics[name] == np.mean(values, dtype=np.float64)
    for line in log_of(out):
        assert [name for name in line if "@" in name] == [f"valid_{name}" for name in NAMES]
    columns = list(rows_of(out)[0])
    assert columns[3:10] == ["valid_map@5", *NAMES]
    assert set(columns) >= {f"valid_{name}" for name in NAMES}
    run = lthjax.load_run(out)
    assert set(run.table().columns) >= {*NAMES}
    assert list(report.table(run.table().to_dict("records")).columns)[3:5] == ["MAP@5", "Hit@5"]
    assert "map@5" in repr(run.tickets[1])
    assert "map@3" not in repr(run.tickets[1])
    assert "map@5" in repr(tickets[1])


def test_the_first_one_chooses_and_judges(asked, log_of):
    tickets, out = asked
    for ticket in tickets:
        values = [line["valid_map@5"] for line in log_of(out) if line["level"] == ticket.level]
        assert ticket.best_epoch == 1 + int(np.argmax(values))
        assert ticket.metrics["valid_map@5"] == pytest.approx(max(values), abs=1e-6)
    dense, ticket = tickets
    wanted = compare(dense.per_user["map@5"], ticket.per_user["map@5"], dense.best_epoch, ticket.best_epoch)
    assert ticket.verdict == wanted
    assert report.sentence([result(dense).row()], 30).startswith("Only the dense model was trained: test MAP@5 ")


def test_seeds_have_means_of_all(asked):
    run = [result(ticket) for ticket in asked[0]]
    rows = seeds.combine([run, run])
    assert rows[1]["coverage@3"] == run[1].metrics["coverage@3"]
    assert rows[1]["hit@3_sd"] == 0
    assert rows[1]["difference"] == pytest.approx(run[1].metrics["map@5"] - run[0].metrics["map@5"])


def test_a_folder_goes_on_with_its_own_metrics_only(find, asked):
    _, out = asked
    with pytest.raises(SettingsError, match=r"--metrics: .* was made with 'map,coverage,hit'; got 'recall,ndcg'"):
        list(find(**ASKED | {"metrics": "recall,ndcg"}, out=out))
    with pytest.raises(SettingsError, match=r"--at: .* was made with '5,3'; got '5'"):
        list(find(**ASKED | {"at": 5}, out=out))
    with pytest.raises(SettingsError, match=r"--evaluate-users: .* was made with 0; got 3"):
        list(find(**ASKED | {"evaluate_users": 3}, out=out))


def test_baselines_are_chosen_and_judged_by_it_too(asked, tastes, quick):
    from lthjax.baselines import simple

    settings = {name: value for name, value in (quick | ASKED).items() if name != "show_progress"}
    dense = asked[0][0]
    for other in simple.results(problems.prepare(tastes, Settings(data=None, **settings)), dense):
        assert list(other.metrics) == list(dense.metrics)
        wanted = compare(dense.per_user["map@5"], other.per_user["map@5"], dense.best_epoch, 0)
        assert other.verdict == wanted


@pytest.mark.parametrize("at", [41, "5,41", (41,)])
def test_lists_longer_than_the_data_are_refused(find, at):
    with pytest.raises(SettingsError, match="--at: wanted at most 40, the number of items; got 41"):
        find(at=at)
    assert find(at=40)


@pytest.fixture
def rankings(monkeypatch):
    """Tasks that were ranked at the end of a level, in their order."""
    ranked, evaluate = [], measuring.evaluate

    def counting(final, task, *args, **options):
        ranked.append(task)
        return evaluate(final, task, *args, **options)

    monkeypatch.setattr(measuring, "evaluate", counting)
    return ranked


def test_validation_is_not_ranked_again(find, found, rankings, tastes):
    """The value that chose the epoch is the one that is reported, to the bit; the test part is ranked once."""
    for ticket, before in zip(find(), found, strict=True):
        assert len(rankings) == ticket.level + 1
        assert rankings[-1].relevant.ids.shape == (len(tastes.test),)
        assert ticket.metrics == before.metrics
    final = ranking.Embeddings(*ticket.trained)
    valid = ranking.ranking_task(tastes.train, tastes.valid, tastes.num_users)
    again = ranking.evaluate(final, valid).means()
    assert {name: ticket.metrics[f"valid_{name}"] for name in again} == again


def test_a_value_that_is_not_known_is_ranked(problem, found, rankings):
    """Of snapshots of older versions, of plans with other metrics, and where the test part chooses."""
    ticket = found[1]
    known = {name.removeprefix("valid_"): value for name, value in ticket.metrics.items() if name.startswith("valid")}
    of_test = dataclasses.replace(problem, settings=dataclasses.replace(problem.settings, selection="test"))
    for given, of_whom, times in (
        (known, problem, 1),
        ({}, problem, 2),
        (None, problem, 2),
        ({"map@5": 1.0}, problem, 2),
        (known, of_test, 2),  # these are values of the test part
    ):
        rankings.clear()
        measured = measuring.measure(of_whom, problem.program, ticket.trained, ticket.best_epoch, found[0], given)
        assert len(rankings) == times
        assert measured.metrics == ticket.metrics
        assert list(measured.metrics) == list(ticket.metrics)


def test_a_sample_chooses_and_all_are_reported(find, tastes, tmp_path, log_of, rankings):
    """Its values are called what they are; final numbers are those of all users."""
    (ticket,) = find(evaluate_users=7, levels=0, out=tmp_path / "run")
    assert [len(task.users) for task in rankings] == [len(np.unique(p[:, 0])) for p in (tastes.test, tastes.valid)]
    lines = log_of(tmp_path / "run")
    assert [name for name in lines[0] if "@" in name] == ["valid_sample_recall@20", "valid_sample_ndcg@20"]
    settings = Settings(data=None, evaluate_users=7)
    valid = ranking.ranking_task(tastes.train, tastes.valid, tastes.num_users)
    final = ranking.Embeddings(*ticket.trained)
    sampled = ranking.evaluate(final, ranking.sample_of(valid, 7, settings.split_seed)).means()
    best = next(line for line in lines if line["epoch"] == ticket.best_epoch)
    assert best["valid_sample_recall@20"] == pytest.approx(sampled["recall@20"], abs=1e-6)
    assert ticket.metrics["valid_recall@20"] == ranking.evaluate(final, valid).means()["recall@20"]
    note = tasks.sample_note(tastes, settings)
    assert "a fixed sample, 7 of the 30 users with validation items" in note
    assert "valid_sample_" in note
    assert "7 of the 29 users with test items" in tasks.sample_note(
        dataclasses.replace(tastes, test=tastes.test[tastes.test[:, 0] != 0]),
        dataclasses.replace(settings, selection="test"),
    )


def test_the_sample_is_that_of_the_split_and_the_same_for_every_seed(problem):
    sampled = dataclasses.replace(problem, settings=dataclasses.replace(problem.settings, evaluate_users=7))
    same = sampled.with_seed(5).sample.users
    np.testing.assert_array_equal(same, sampled.sample.users)
    other = dataclasses.replace(sampled, settings=dataclasses.replace(sampled.settings, split_seed=1))
    assert other.sample.users.tolist() != same.tolist()
    assert sampled.trainer.selection is sampled.sample
    assert sampled.selection is problem.valid  # what chooses among models, such as baselines, is not sampled


def test_a_sample_of_more_than_there_are_is_all(find, found, tastes, tmp_path, log_of):
    (ticket,) = find(evaluate_users=10**6, levels=0, out=tmp_path / "run")
    assert ticket.metrics == found[0].metrics
    assert "valid_recall@20" in log_of(tmp_path / "run")[0]
    note = tasks.sample_note(tastes, Settings(evaluate_users=10**6))
    assert note == "--evaluate-users 1,000,000: there are 30 users with validation items, and all are ranked."
    assert tasks.sample_note(tastes, Settings()) == ""


def test_a_snapshot_keeps_the_values_of_the_best_epoch(find, found, tmp_path, interrupting, rankings):
    """Stopped after the best epoch and gone on: the same metrics, and validation still not ranked again."""
    with interrupting(lambda name, epoch: epoch == 2), pytest.raises(KeyboardInterrupt):
        list(find(eval_every=1, levels=0, out=tmp_path / "run"))
    (snapshot,) = (tmp_path / "run" / "snapshots").iterdir()
    facts = json.loads((snapshot / "facts.json").read_text())["facts"]
    assert list(facts["best_means"]) == ["recall@20", "ndcg@20"]
    rankings.clear()
    (ticket,) = find(eval_every=1, levels=0, out=tmp_path / "run")
    assert len(rankings) == 1
    (unbroken,) = find(eval_every=1, levels=0)
    assert ticket.metrics == unbroken.metrics
