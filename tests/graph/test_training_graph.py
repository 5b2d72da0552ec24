"""What settings say of weights and negatives, in the graph of a run."""

import dataclasses

import numpy as np
import pytest

from lthjax.data.resolve import load_split
from lthjax.errors import DataError
from lthjax.graph import training_graph as making
from lthjax.graph.training_graph import importance, training_graph
from lthjax.settings import Settings


def test_by_default_there_is_nothing_but_the_interactions(tiny_split):
    values = np.ones(len(tiny_split.train), np.float32)
    given = dataclasses.replace(tiny_split, train_values=values, dislikes=np.array([[2, 0]], np.int32))
    for split in (tiny_split, given):
        graph = training_graph(split, Settings())
        assert (graph.weights, graph.popularity, graph.dislikes) == (None, None, None)


def test_weights_by_hand():
    np.testing.assert_allclose(importance([1, 3, 0, 4], "linear"), [0.5, 1.5, 0, 2])
    log = 1 + np.log([2.0, 4, 1, 5])
    np.testing.assert_allclose(importance([1, 3, 0, 4], "log"), log / log.mean(), rtol=1e-6)
    assert importance([2, 2], "log").tolist() == importance([2, 2], "linear").tolist() == [1, 1]
    assert importance([2, 2], "log").dtype == np.float32


@pytest.mark.parametrize("rule", ["log", "linear"])
@pytest.mark.parametrize(
    ("values", "came"),
    [([1, -0.5, 2], "-0.5, one of 1"), ([np.nan, 1, np.inf], "nan, one of 2"), ([-np.inf], "-inf, one of 1")],
)
def test_values_that_are_no_weights_are_refused(values, came, rule):
    with pytest.raises(DataError, match=rf"^--weights {rule}: wanted values of 0 or more; got {came} \(mine\)"):
        importance(values, rule, "mine")


def test_values_that_are_all_0_are_no_weights():
    with pytest.raises(DataError, match="--weights linear: wanted a value above 0; got 3 times 0"):
        importance([0, 0, 0], "linear")
    assert importance([0, 0, 0], "log").tolist() == [1, 1, 1]


def test_weights_stand_beside_their_interactions(tiny_split):
    values = np.arange(len(tiny_split.train), dtype=np.float32)
    graph = training_graph(dataclasses.replace(tiny_split, train_values=values), Settings(weights="linear"))
    np.testing.assert_allclose(graph.weights, values / values.mean(), rtol=1e-6)
    np.testing.assert_array_equal(np.stack([graph.pair_users, graph.positives.ids], 1), tiny_split.train)


def test_a_dislike_that_the_user_has_in_training_is_none(tiny_split):
    pairs = np.array([[0, 0], [0, 5], [2, 1], [3, 10], [6, 0]], np.int32)  # 0-0 and 3-10 are training interactions
    graph = training_graph(dataclasses.replace(tiny_split, dislikes=pairs), Settings(dislikes=True))
    assert graph.dislikes.pairs().tolist() == [[0, 5], [2, 1], [6, 0]]
    taken = {tuple(pair) for pair in tiny_split.train.tolist()}
    every = np.array([(user, item) for user in range(7) for item in range(11)])
    assert making.without(every, tiny_split.train, 11).tolist() == [p for p in every.tolist() if tuple(p) not in taken]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"weights": "log"}, r"^--weights log: wanted a value of each interaction, .*; got none \(tiny\)"),
        ({"dislikes": True}, r"^--dislikes: wanted data with dislikes; got none \(tiny\)"),
    ],
)
def test_what_the_data_do_not_have_is_refused(tiny_split, changes, said):
    with pytest.raises(DataError, match=said) as caught:
        load_split(tiny_split, Settings(**changes))
    assert "\n" not in str(caught.value)
