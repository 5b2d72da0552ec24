"""Tickets at once and alone: they are the same tickets."""

import pytest

from experiments.speed import population, population_sides, stepping
from lthjax.data import resolve
from lthjax.errors import LthjaxError
from lthjax.search.problem import prepare

FEW = {"dim": 2, "batch_size": 100, "steps": 2, "repeats": 2}


def test_population(data, read_json, assert_are_summaries, tmp_path, capsys):
    path = tmp_path / "population.json"
    content = population.main(population.Config(**FEW, data=data, tickets=(1, 3), json=str(path)))
    written = read_json(path, content, data)
    assert written["agreement"] < 1e-5
    assert set(written["seconds_a_step"]) == {"one", "1", "3"}
    assert_are_summaries(written["seconds_a_step"].values(), 2)
    assert written["as_fast_as_in_turn"]["3"] == pytest.approx(3 / written["times_of_one"]["3"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 tickets at once take ")


def test_unequal_tickets_are_an_error(data, monkeypatch):
    settings = population.Config(**FEW, data=data).settings()
    problem = prepare(resolve.load_split(None, settings), settings)
    tickets = population_sides.tickets_of(problem, 3)
    kept = [sum(int(mask.sum()) for mask in ticket.masks) for ticket in tickets]
    assert kept[1] == kept[0] - round(0.1 * kept[0])
    with_key_of_first = [*tickets[:2], tickets[2]._replace(key=tickets[0].key)]
    together = stepping.together
    monkeypatch.setattr(stepping, "together", lambda problem, _: together(problem, with_key_of_first))
    with pytest.raises(LthjaxError, match="wanted equal losses of 3 tickets"):
        population_sides.check_equal(problem, tickets)


def test_bad_flags_are_one_line(error_line):
    assert "--tickets: wanted numbers from 1 on; got (0, 2);" in error_line(population, "--tickets 0 2")
