"""Sides take turns, and are compared repeat by repeat."""

from experiments.speed import timing


def test_turns_alternate():
    called = []
    seconds = timing.in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, repeats=2)
    assert called == list("ababab")  # the first of each is not timed
    assert {name: len(repeats) for name, repeats in seconds.items()} == {"a": 2, "b": 2}


def test_a_time_per_step_is_that_of_all_steps_divided(monkeypatch):
    called = []
    monkeypatch.setattr(
        timing, "in_turns", lambda sides, repeats: {name: [run()] * repeats for name, run in sides.items()}
    )
    seconds = timing.per_step({"a": lambda num_steps: called.append(num_steps) or 6.0}, num_steps=3, repeats=2)
    assert (called, seconds) == ([3], {"a": [2.0, 2.0]})


def test_a_single_side_is_the_fastest_untimed():
    assert timing.fastest({256: None}) == 256


def test_ratios_are_of_repeats_side_by_side():
    assert timing.ratio([2.0, 4.0, 9.0], [1.0, 1.0, 3.0]) == {"of_medians": 4.0, "least": 2.0, "most": 4.0}
