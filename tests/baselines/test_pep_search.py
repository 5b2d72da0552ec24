"""PEP's masks as tickets: those that `records` has, saved and gone on with, costs on record."""

import dataclasses

import numpy as np
import pytest

import lthjax
from lthjax.baselines import pep as thresholds
from lthjax.baselines import records
from lthjax.baselines.pep_search import pep_search
from lthjax.errors import SettingsError, TrainingError
from lthjax.pruning import masks
from lthjax.search import problem as problems
from lthjax.settings import Settings

SETTINGS = Settings(data=None, dim=5, epochs=3, batch_size=64, learning_rate=0.05, levels=2)
SEARCH = records.Search(start=-4.0, pull=0.3, learning_rate=0.05, l2=0.5, epochs=40, check_every=1)
TARGETS = (0.5, 0.75)


def find(split, search=SEARCH, targets=TARGETS, **options):
    settings = dataclasses.replace(SETTINGS, **{k: options.pop(k) for k in ("levels", "rewind") if k in options})
    own = pep_search(targets, search)
    return lthjax.find_tickets(split, settings=settings, search=own, show_progress=False, **options)


@pytest.fixture(scope="module")
def tickets(tastes):
    return list(find(tastes))


def test_tickets_have_peps_masks_and_first_values(tastes, tickets, assert_same):
    dense, *sparse = tickets
    problem = problems.prepare(tastes, dataclasses.replace(SETTINGS, levels=0))
    of_records = list(records.pep(problem, dense, TARGETS, search=SEARCH))
    assert [masks.num_kept(ticket.masks) for ticket in sparse] == [result.num_kept for result in of_records]
    for target, ticket in zip(TARGETS, sparse, strict=True):
        assert target <= ticket.sparsity < target + 0.1
        assert_same(ticket.start, masks.apply(ticket.masks, dense.start))
        for weights, kept in zip(ticket.trained, ticket.masks, strict=True):
            assert not np.asarray(weights)[~np.asarray(kept)].any()


def test_the_search_counts_until_each_sparsity_is_reached(tickets):
    first, second = (ticket.cost.search for ticket in tickets[1:])
    assert 0 < first.steps < second.steps <= SEARCH.epochs * tickets[0].cost.own.steps / SETTINGS.epochs
    assert 0 < first.seconds < second.seconds
    assert tickets[1].cost.columns()["search_cost"] == first.steps / tickets[0].cost.own.steps


def test_a_stopped_search_goes_on_to_the_same_tickets(tastes, tickets, tmp_path, monkeypatch, assert_same):
    before = find(tastes, out=tmp_path)
    assert [next(before).level for _ in range(2)] == [0, 1]
    before.close()
    searched = []

    def search(program, state, targets, *rest):
        searched.append(list(targets))
        return original(program, state, targets, *rest)

    original = thresholds.search
    monkeypatch.setattr(thresholds, "search", search)
    for ticket, wanted in zip(find(tastes, out=tmp_path), tickets, strict=True):
        assert_same(ticket.masks, wanted.masks)
        assert_same(ticket.trained, wanted.trained)
        assert ticket.cost.search.steps == wanted.cost.search.steps
    assert searched == [[0.75]]


def test_what_is_not_reached_is_told_after_what_is(tastes):
    weak = dataclasses.replace(SEARCH, pull=0.0, l2=0.0, epochs=1)
    tickets = find(tastes, search=weak)
    assert next(tickets).level == 0
    with pytest.raises(TrainingError, match=r"PEP: wanted 50\.0% of the entries at 0 within 1 epochs; got"):
        next(tickets)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"levels": 3}, "PEP: wanted --levels 2, one for each sparsity; got 3"),
        ({"rewind": "lr"}, "--rewind: wanted init, as PEP trains first values anew; got lr"),
    ],
)
def test_what_cannot_be(tastes, changes, wanted):
    with pytest.raises(SettingsError, match=wanted):
        next(find(tastes, **changes))
