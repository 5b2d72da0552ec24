"""The time left, by hand: a clock that moves when told, and epochs of a second."""

import pytest

from lthjax.training.fit import Plan
from lthjax.training.time_left import Left, TimeLeft, duration

PLAN = Plan(epochs=100, patience=20, eval_every=5)


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def train(clock):
    """Trains a level epoch by epoch: estimator, key, first, last, best epoch."""

    def run(left, key, first, last, best=None):
        left.advance(key, first)
        for epoch in range(first + 1, last + 1):
            clock.now += 1
            left.advance(key, epoch, epoch == best if best else None)

    return run


def test_nothing_is_said_before_the_first_epoch(clock):
    left = TimeLeft(3, clock)
    assert str(left.left()) == ""
    left.begin("dense", 0, PLAN)
    clock.now += 60  # it compiles
    left.advance("dense", 0)
    assert left.left() == Left()


def test_before_a_level_is_finished_every_level_may_take_all_its_epochs(clock, train):
    left = TimeLeft(3, clock)
    left.begin("dense", 0, PLAN)
    train(left, "dense", 0, 10)
    assert left.left() == Left(290.0, is_most=True, has_ranked=False)
    assert str(left.left()) == "at most 5 min left, rankings aside"
    left.advance("dense", 10, is_best=True)
    assert str(left.left()) == "at most 5 min left"


def test_rankings_are_counted_once_they_were_timed(clock, train):
    left = TimeLeft(1, clock)
    left.begin("dense", 0, PLAN)
    train(left, "dense", 0, 10)
    clock.now += 10  # a ranking as long as the ten epochs
    left.advance("dense", 10, is_best=True)
    assert left.left().seconds == pytest.approx(90 * 2)


def test_later_levels_are_taken_to_be_as_long_as_the_last_three(clock, train):
    left = TimeLeft(6, clock)
    for key, length in enumerate((100, 60, 40, 20)):
        left.begin(key, 0, PLAN)
        train(left, key, 0, length, best=1)
        left.end(key, length)
    assert left.left() == Left(2 * 40.0, is_most=False, has_ranked=True)
    left.begin(4, 0, PLAN)
    train(left, 4, 0, 30, best=5)
    assert left.left().seconds == pytest.approx(10 + 40)
    train(left, 4, 30, 45, best=45)  # its patience begins anew
    assert left.left().seconds == pytest.approx(20 + 40)


def test_no_patience_means_all_epochs(clock, train):
    left = TimeLeft(2, clock)
    left.end("dense", 30)
    left.begin("next", 0, PLAN.__class__(epochs=100, patience=0, eval_every=5))
    train(left, "next", 0, 10, best=1)
    assert left.left() == Left(90.0, is_most=False, has_ranked=True)


def test_a_run_that_goes_on_knows_what_was_there(clock, train):
    left = TimeLeft(3, clock)
    left.end("dense", 50)
    left.begin("next", 20, PLAN)
    train(left, "next", 20, 30, best=30)
    assert left.left() == Left(20.0 + 50, is_most=False, has_ranked=True)
    left.end("next", 50)
    left.end("last", 50)
    assert left.left().seconds == 0
    assert str(left.left()) == ""


def test_epochs_of_a_search_count_for_the_mean(clock, train):
    left = TimeLeft(1, clock)
    left.advance_search("run", 0)
    for _ in range(10):
        clock.now += 3
        left.advance_search("run", 1)
    left.begin("dense", 0, PLAN)
    assert left.left().seconds == pytest.approx(300)


def test_epochs_of_searches_to_come_are_foreseen_until_their_tickets_begin(clock, train):
    left = TimeLeft(3, clock, {"first": 40, "second": 40})
    left.begin("dense", 0, PLAN)
    train(left, "dense", 0, 20, best=1)
    left.end("dense", 20)
    assert left.left().seconds == pytest.approx(2 * 20 + 40 + 40)
    left.advance_search("first", 0)
    for _ in range(10):
        clock.now += 1
        left.advance_search("first", 1)
    assert left.left().seconds == pytest.approx(2 * 20 + 30 + 40)
    left.end_search("first")  # before its most
    assert left.left().seconds == pytest.approx(2 * 20 + 40)
    left.end_search("second")
    left.end_search("second")
    assert left.left().seconds == pytest.approx(2 * 20)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59, "59 s"), (90, "2 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min"), (2e5, "2 d 7 h")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
