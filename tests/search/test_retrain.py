"""One ticket trained again: the same from the same start, others with other settings."""

import dataclasses

import numpy as np
import optax
import pytest

import lthjax


def test_retraining_a_ticket_gives_it_again(found, tastes, assert_same):
    again = lthjax.retrain(found[2], tastes, show_progress=False)
    assert_same(again.trained, found[2].trained)
    assert again.metrics == found[2].metrics
    assert again.parent == 2
    assert again.verdict.difference == 0
    other = lthjax.retrain(found[2], tastes, optimizer=optax.sgd(0.1), show_progress=False)
    assert not np.array_equal(other.trained.user, found[2].trained.user)
    assert_same(other.start, found[2].start)
    assert (again.optimizer, other.optimizer.startswith("given")) == ("adam", True)


def test_who_listens_is_told_of_a_run_of_one_level(found, tastes):
    told = []
    again = lthjax.retrain(found[1], tastes, show_progress=False, on_event=told.append)
    kinds = [type(event).__name__ for event in told]
    assert kinds[:2] == ["RunBegun", "LevelBegun"]
    assert kinds[-2:] == ["TicketFound", "RunEnded"]
    assert told[0].num_levels == 1
    assert kinds.count("Evaluated") >= 1
    assert told[-2].ticket is again
    assert told[-1].is_finished


def test_the_dense_model_can_be_rewound_to_when_it_is_trained_again(find, tastes, assert_same):
    dense = next(find(rewind="epoch:2"))
    again = lthjax.retrain(dense, tastes, show_progress=False)
    assert_same((again.trained, again.origin.params), (dense.trained, dense.origin.params))
    assert (again.verdict.difference, again.verdict.name) == (0, "wins")  # against the one that it was made of


def test_retraining_on_other_users_is_refused(found):
    with pytest.raises(lthjax.DataError, match="wanted the ticket's users and items"):
        lthjax.retrain(found[1], "ml-latest-small", show_progress=False)


def test_retraining_on_other_data_is_judged_against_nothing(found, tastes):
    swapped = dataclasses.replace(tastes, valid=tastes.test, test=tastes.valid)
    again = lthjax.retrain(found[1], swapped, show_progress=False)
    assert (again.verdict.name, again.fingerprint) == ("unjudged", swapped.fingerprint)
