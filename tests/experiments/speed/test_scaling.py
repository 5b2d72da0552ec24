"""Growth: what is measured of a size, and what follows from many."""

import pytest

from experiments.speed import scaling, scaling_sides
from experiments.speed.random_data import Size
from experiments.speed.scaling_sides import Measured

FEW = {"users": 20, "items": 30, "interactions": 100, "dim": 2, "batch_size": 16, "steps": 1, "repeats": 2}


def test_a_size_is_measured():
    settings = scaling.Config(**FEW, axes=("users",)).settings(epochs=1)
    measured = scaling_sides.measure(Size(20, 30, 100, 2), settings, num_steps=1, repeats=2)
    assert measured.table == 4 * (20 + 30) * 2
    assert measured.moments >= 2 * measured.table
    assert measured.state == measured.table + measured.moments + measured.graph
    assert measured.peak == measured.state + measured.masks + measured.added
    assert measured.arguments > measured.state
    assert measured.temp > 0
    assert len(measured.seconds) == 2


def test_scaling_goes_through_the_sizes(read_json, assert_are_summaries, monkeypatch, tmp_path, capsys):
    def pretend(function, size, settings, num_steps, repeats):
        assert function is scaling_sides.measure
        seconds = [size.users**0.5 * size.dim] * repeats
        return Measured(seconds, size.users, 2 * size.users, 0, 0, 6 * size.users, "", 9, 9, 9, 9)

    monkeypatch.setattr(scaling_sides, "in_fresh_process", pretend)
    path = tmp_path / "scaling.json"
    content = scaling.main(scaling.Config(**FEW, axes=("users", "dim"), factors=(1, 2), json=str(path)))
    written = read_json(path, content)
    points = written["points"]
    assert [(p["axis"], p["factor"]) for p in points] == [("users", 1), ("users", 2), ("dim", 1), ("dim", 2)]
    assert [p["size"]["users"] for p in points] == [20, 40, 20, 20]
    assert [p["edge_list"] for p in points] == [1_600, 1_600, 1_600, 3_200]
    assert_are_summaries([p["seconds_a_step"] for p in points], 2)
    assert written["exponents"]["users"] == pytest.approx({"time": 0.5, "peak": 1.0, "state": 1.0})
    assert written["exponents"]["dim"] == pytest.approx({"time": 1.0, "peak": 0.0, "state": 0.0}, abs=1e-9)
    assert written["goals"]["peak_over_state"] == 3.0
    assert capsys.readouterr().out.splitlines()[-2:] == written["goals"]["in_words"]


def test_goals_take_the_size_that_shows_most():
    def goals(model, **figures):
        measured = Measured([1.0], 100, 200, 700, 25, 0, "", 0, 0, 0, 0)._replace(**figures)
        small = Size(10, 10, 5, 50)  # 2E x F floats are 2,000 bytes
        sparser = small._replace(users=20)
        return scaling.goals_of({sparser: measured._replace(added=0), small: measured}, model)

    met = goals("lightgcn", added=1_975, temp=10)
    assert (met["peak_over_state"], met["temporaries_over_edge_list"]) == (3.0, 1_975 / 2_000)
    assert (met["peak_under_3"], met["temporaries_below_edge_list"]) == (False, True)
    assert not goals("lightgcn", temp=2_000)["temporaries_below_edge_list"]
    assert goals("mf")["peak_under_3"]
    assert "temporaries_below_edge_list" not in goals("mf")


def test_a_size_has_a_process_of_its_own():
    there = scaling_sides.in_fresh_process(scaling.exponent, [1, 2, 4], [3.0, 12.0, 48.0])
    assert there == pytest.approx(2.0)


def test_exponent_of_a_power_law():
    factors = [1, 2, 4, 8]
    assert scaling.exponent(factors, [7 * factor**1.5 for factor in factors]) == pytest.approx(1.5)
    assert scaling.exponent(factors, [3.0] * 4) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--factors 2", "--factors: wanted two or more, from 1 up; got 2;"),
        ("--axes rows", "--axes"),
        ("--interactions 99999999", "--interactions: wanted at most 25% of users x items"),
    ],
)
def test_bad_flags_are_one_line(flags, said, error_line):
    assert said in error_line(scaling, flags)
