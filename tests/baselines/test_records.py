"""PEP, LCM and MagPrune from a dense model to records that stand beside a ticket's."""

import dataclasses

import jax
import numpy as np
import pytest

import lthjax
from lthjax.baselines import records as rivals
from lthjax.evaluation import ranking
from lthjax.pruning import masks
from lthjax.search import problem as problems
from lthjax.settings import Settings
from lthjax.tickets import report
from lthjax.tickets.ticket import result
from lthjax.training.fit import Member, begin, fit
from lthjax.training.keys import Purpose

SETTINGS = Settings(data=None, dim=5, epochs=3, batch_size=64, learning_rate=0.05)
WEAK = rivals.Search(start=-4.0, pull=0.3, learning_rate=0.05, epochs=40, check_every=1)
SEARCH = dataclasses.replace(WEAK, l2=0.5)  # so that few steps reach far


@pytest.fixture(scope="module")
def problem(tastes):
    return problems.prepare(tastes, SETTINGS)


@pytest.fixture(scope="module")
def dense(tastes):
    return next(lthjax.find_tickets(tastes, settings=SETTINGS, levels=0, show_progress=False))


def pep(problem, dense, targets, **options):
    return rivals.pep(problem, dense, targets, **({"search": SEARCH} | options))


@pytest.fixture(scope="module")
def heard():
    """What trained while `records` were made."""
    return []


@pytest.fixture(scope="module")
def records(problem, dense, heard):
    def report(name, *rest):
        heard.append(name)

    return {
        "PEP": list(pep(problem, dense, [0.5, 0.75], report=report)),
        "LCM": list(rivals.lcm(problem, dense, [0.4, 0.5], report=report)),
        "MagPrune": list(rivals.magnitude_pruning(problem, dense, [0.4, 0.5])),
    }


@pytest.fixture(scope="module")
def watched(problem, dense):
    """PEP at 50% again, and (weights, masks) that its last part started from, as the compiled steps got them."""
    started = []

    def run_steps(state, meter, kept, *rest):
        if int(state.step) == 0 and not started:
            started.append((jax.tree.map(np.array, state.params), kept))
        return problem.program.run_steps(state, meter, kept, *rest)

    spied = dataclasses.replace(problem, program=problem.program._replace(run_steps=run_steps))
    (record,) = pep(spied, dense, [0.5])
    return record, *started[0]


def test_rows_stand_beside_a_ticket_s(records, dense):
    wanted = set(result(dense).row()) | {"method", "note"}
    users_with_test_items = len(dense.users)
    for method, of_method in records.items():
        assert len(of_method) == 2
        for record in of_method:
            assert set(record.row()) == wanted
            assert record.row()["method"] == method
            assert record.metrics.keys() == dense.metrics.keys()
            assert record.metrics["recall@20"] == pytest.approx(record.per_user["recall@20"].mean())
            assert len(record.per_user["ndcg@20"]) == users_with_test_items
            difference = record.metrics["recall@20"] - dense.metrics["recall@20"]
            assert record.row()["difference"] == pytest.approx(difference, abs=1e-6)
            assert record.row()["verdict"] in ("better", "wins", "slower", "matches", "worse")
    rows = [result(dense).row(), *(record.row() for of_method in records.values() for record in of_method)]
    assert len(report.table(rows)) == 7


def test_sizes(records):
    size = 70 * 5
    kept = {method: [record.row()["num_kept"] for record in of_method] for method, of_method in records.items()}
    assert kept["LCM"] == [70 * 3, 70 * 3]
    assert kept["MagPrune"] == [size - 140, size - 75 - 100]
    for target, record in zip((0.5, 0.75), records["PEP"], strict=True):
        assert target <= record.sparsity < target + 0.2
    for of_method in records.values():
        for record in of_method:
            assert record.sparsity == pytest.approx(1 - record.row()["num_kept"] / size)
    assert [record.row()["note"] for record in records["LCM"]] == [
        "",
        "50.0% of 5 dimensions is no whole number (2.5): 2 fall, 40.0000%",
    ]


def test_pep_s_last_part_is_a_ticket_s_training(problem, dense, watched):
    """From the dense model's first values x mask."""
    record, params, kept = watched
    for got, first, mask in zip(params, dense.start, kept, strict=True):
        np.testing.assert_array_equal(got, np.where(mask, first, 0))
    assert record.sparsity == masks.sparsity(kept)
    start = begin(problem.program.start(dense.start, kept), 0)
    (again,) = fit(problem.trainer, [Member("PEP", kept, problem.key(Purpose.PEP_BATCHES, 500_000), start)])
    measured = ranking.evaluate(problem.program.embed(again.best.params, problem.graph), problem.test).means()
    assert record.metrics["recall@20"] == measured["recall@20"]


def test_pep_that_falls_short_keeps_what_it_reached(problem, dense):
    found = pep(problem, dense, [0.2, 0.9], search=WEAK)
    assert next(found).sparsity >= 0.2
    with pytest.raises(lthjax.TrainingError, match=r"wanted 90\.0% of the entries at 0 within 40 epochs; got \d+\.\d%"):
        next(found)


def test_pep_refuses_at_once_what_leaves_nothing(problem, dense):
    with pytest.raises(lthjax.SettingsError, match=r"leaves some of 350 entries; got 0\.999"):
        next(pep(problem, dense, [0.2, 0.999]))


def test_the_same_seed_gives_the_same(records, problem, dense, watched):
    def still(record):
        return {name: value for name, value in record.row().items() if name != "seconds"}

    again = [*rivals.lcm(problem, dense, [0.4]), watched[0]]
    assert [still(record) for record in again] == [still(records["LCM"][0]), still(records["PEP"][0])]


def test_what_a_sparsity_gives_depends_on_no_other(records, problem, dense):
    """A table that was stopped between two sparsities goes on to the same numbers."""
    (lcm,), (pruned,) = rivals.lcm(problem, dense, [0.5]), pep(problem, dense, [0.75])
    assert lcm.metrics == records["LCM"][1].metrics
    assert pruned.metrics == records["PEP"][1].metrics


def test_reports_name_what_trains(records, heard):
    assert set(heard) == {"PEP, search", "PEP", "LCM"}
