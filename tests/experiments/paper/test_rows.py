"""Rows: numbers over seeds, and what is written of them."""

from experiments.paper import rows


def test_numbers_over_seeds():
    assert rows.over_seeds([{"a": 3}]) == {"a": 3}
    assert rows.over_seeds([{"a": 1, "b": 2}, {"a": 3, "b": 2}]) == {"a": 2, "a_sd": 2**0.5, "b": 2, "b_sd": 0}
    assert rows.same_columns([{"a": 1}, {"b": 2}]) == [{"a": 1, "b": ""}, {"a": "", "b": 2}]


def test_rows_in_groups():
    first, second, third = {"a": 2, "b": 0}, {"a": 1, "b": 0}, {"a": 2, "b": 1}
    assert rows.grouped([first, second, third], "a") == {(2,): [first, third], (1,): [second]}
    assert list(rows.grouped([first, second, third], "a", "b")) == [(2, 0), (1, 0), (2, 1)]


def test_the_nearest_row_is_within_half_a_percent():
    row = {"recall@20": 0.5, "sparsity": 0.0}
    worse = row | {"sparsity": 0.5, "recall@20": 0.25}
    assert rows.nearest_row([row, worse], 0.502) is worse
    assert rows.nearest_row([row, worse], 0.51) is None
    assert rows.nearest_row([row, worse], 0.51, within=0.02) is worse
    assert rows.nearest_row([], 0.5) is None


def test_metrics_as_text():
    row = {"recall@20": 0.5, "recall@20_sd": 0.01, "verdict": "wins"}
    assert rows.in_digits(None, "recall@20") is None
    assert rows.in_digits(row, "recall@20") == "0.5000 ± 0.0100"
    dense = {"level": 0, "cut_short": False}
    assert rows.bold_if_winning(row, "recall@20", dense) == "**0.5000 ± 0.0100**"
    assert rows.bold_if_winning(row | {"verdict": "worse"}, "recall@20", dense) == "0.5000 ± 0.0100"
    assert rows.bold_if_winning(row, "recall@20", dense | {"cut_short": True}) == "0.5000 ± 0.0100 ?"
    assert rows.markdown(["a", "b"], [[1, None]]) == "| a | b |\n| --- | --- |\n| 1 |  |"


def test_dense_models_that_were_cut_short():
    dense, ticket = {"level": 0, "cut_short": True, "selection": "valid"}, {"level": 1, "cut_short": True}
    assert rows.is_cut_short([dense, ticket])
    assert rows.is_cut_short([{"dense_cut_short": True}])  # a table that has no row for the dense model
    assert not rows.is_cut_short([dense | {"cut_short": False}, ticket, {"dense_cut_short": ""}])
    assert rows.with_warning("text", [dense]) != "text"
