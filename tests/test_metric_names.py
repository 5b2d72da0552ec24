"""Names of metrics: how they are asked for, and how they are shown."""

import numpy as np
import pytest

from lthjax import metric_names
from lthjax.errors import SettingsError
from lthjax.metric_names import lengths_of, metrics_of


def test_what_is_asked_for():
    assert metrics_of("recall, map") == metrics_of(["recall", "map"]) == ("recall", "map")
    assert lengths_of("5, 20") == lengths_of((5, 20)) == lengths_of(np.array([5, 20])) == (5, 20)
    assert lengths_of(7) == lengths_of("7") == (7,)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ("recal", r"--metrics: wanted names of recall, .*; got 'recal' \(did you mean recall\?\)"),
        ("recall@20", r"got 'recall@20' \(did you mean recall\?\)"),
        ("Recall", "did you mean recall"),
        ("recall,", "got ''"),
        ("", "got ''"),
        ((), "wanted at least one; got none"),
        ("recall,ndcg,recall", "wanted each once; got recall 2 times"),
        (20, "wanted names, by commas; got 20"),
        (None, "wanted names, by commas; got None"),
    ],
)
def test_bad_metrics(asked, match):
    with pytest.raises(SettingsError, match=match):
        metrics_of(asked)


@pytest.mark.parametrize("asked", ["0", 0, -1, "five", "", "5,", "2.5", 2.5, "²", "1001", 10**30, (5, 0), True])
def test_bad_lengths(asked):
    with pytest.raises(SettingsError, match="--at: wanted list lengths"):
        lengths_of(asked)


@pytest.mark.parametrize("asked", ["5,5", "5,05", (20, 20)])
def test_lengths_that_come_twice(asked):
    with pytest.raises(SettingsError, match=r"--at: wanted each once; got .* 2 times"):
        lengths_of(asked)


def test_how_they_are_shown():
    assert [metric_names.label(name) for name in ("ndcg@5", "hit@10", "levels")] == ["NDCG@5", "Hit@10", "levels"]
    columns = ["level", "valid_map@5", "map@5", "map@5_sd", "hit@5", "map@20", "coverage@5", "best_epoch"]
    assert metric_names.measured(columns) == ["map@5", "hit@5", "map@20", "coverage@5"]
    assert metric_names.main_of(columns) == "map@5"
    assert metric_names.headline(columns) == ["map@5", "hit@5", "coverage@5"]
    assert metric_names.headline([]) == []
    values = {"level": 3, "map@5": 0.25, "valid_map@5": 0.5, "popularity@5": 31.44, "map@20": 1.0}
    assert metric_names.in_words(values) == "map@5 0.2500, popularity@5 31.4"
