"""The smallest table: what is tried within a budget, the frontier, and that what is named is what is exported."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

import lthjax
from experiments import smallest
from experiments.smallest import Candidate, Config, Stored
from lthjax.errors import SettingsError

TINY = {"dims": (4, 2), "sparsities": (0.5,), "epochs": 4, "patience": 0, "budget": 30.0}


@pytest.fixture
def config(data, tmp_path):
    return lambda **changes: Config(**{"data": data, "out": str(tmp_path / "out")} | TINY | changes)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_everything_is_tried_stored_and_the_smallest_exported(config, model, tmp_path, capsys, forbid_training):
    rows = smallest.main(config(model=model))
    shown = capsys.readouterr().out
    tried = [(row["kind"], row["dim"]) for row in rows[::3]]
    best_first = sorted((4, 2), key=lambda dim: -max(r["valid_recall@20"] for r in rows if is_dense(r, dim)))
    sparse = [("ticket", best_first[0]), ("random-by-degree", best_first[0]), ("ticket", best_first[1])]
    assert tried == [("dense", 4), ("MagPrune", 4), ("dense", 2), ("MagPrune", 2), *sparse]
    assert [row["form"] for row in rows] == list(smallest.FORMS) * 7
    for row in rows:
        assert row["sparsity"] == pytest.approx(0 if row["kind"] == "dense" else 0.5, abs=0.01)
    bound = 0.99 * max(row["valid_recall@20"] for row in rows if row["kind"] == "dense" and row["form"] == "float32")
    wanted = min((row for row in rows if row["valid_recall@20"] >= bound), key=lambda row: row["bytes"])
    served = lthjax.load_compressed(tmp_path / "out" / "smallest.npz")
    assert served.sizes()["tables"] == wanted["bytes"]
    assert f"The smallest is {wanted['kind']}, F = {wanted['dim']}" in shown
    assert f"Test Recall@20 {wanted['recall@20']:.4f} against" in shown
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    forbid_training()
    assert smallest.main(config(model=model)) == rows


def is_dense(row, dim):
    return (row["kind"], row["dim"], row["form"]) == ("dense", dim, "float32")


def test_a_budget_of_one_is_one_dense_table_and_what_costs_nothing(config, capsys):
    rows = smallest.main(config(budget=1.0))
    assert [row["kind"] for row in rows] == ["dense"] * 3 + ["MagPrune"] * 3
    assert [row["spent"] for row in rows] == [1.0] * 3 + [0.0] * 3
    shown = capsys.readouterr().out
    assert "Left out: dense, F = 2; ticket, F = 4, 50%; random-by-degree, F = 4, 50%; PEP, F = 4." in shown
    assert "1.0 dense trainings of" in shown
    more = smallest.main(config(budget=30.0))  # goes on in the same folder
    assert more[:6] == rows


def test_other_widths_have_settings_of_their_own(config):
    """The best on validation of three L2s, then of two more rates, each after a tenth of a training."""
    rows = smallest.main(config(sparsities=()))
    first, other = (next(row for row in rows if row["dim"] == dim) for dim in (4, 2))
    assert (first["l2"], first["learning_rate"]) == (0.01, 0.003)
    assert any(other["l2"] == pytest.approx(0.01 * factor) for factor in (1, 1 / 3, 3))
    assert any(other["learning_rate"] == pytest.approx(0.003 * factor) for factor in (1, 0.5, 2))
    assert other["spent"] == pytest.approx(1 + 5 / 4)  # a tenth of 4 epochs is 1 epoch


def test_the_first_table_has_the_settings_that_are_given(config, capsys):
    given = {"l2": 0.02, "learning_rate": 0.005, "batch_size": 64}
    (row, *_) = smallest.main(config(budget=1.0, **given))
    assert (row["l2"], row["learning_rate"]) == (0.02, 0.005)
    assert smallest.settings_of(config(**given)).batch_size == 64
    assert "tuned on" not in capsys.readouterr().out
    smallest.main(config(budget=1.0, l2=0.02))
    assert "the first table has L2 0.02 and learning rate 0.003, as far as not given as tuned on ml-latest-small" in (
        capsys.readouterr().out
    )


def stored(kind, form, num_bytes, valid, dim=32, sparsity=0.0):
    settings = SimpleNamespace(dim=dim, l2=0.01, learning_rate=0.003, selection="valid")
    ticket = SimpleNamespace(settings=settings, sparsity=sparsity)
    return Stored(Candidate(kind, ticket, 1.0), form, num_bytes, valid, valid / 2)


TABLES = [
    stored("dense", "float32", 400, 0.200),
    stored("dense", "int8", 110, 0.199),
    stored("ticket", "float32", 220, 0.201, sparsity=0.5),
    stored("ticket", "int8", 60, 0.1981, sparsity=0.5),
    stored("MagPrune", "int8", 60, 0.18, sparsity=0.5),
    stored("ticket", "int8", 30, 0.19, sparsity=0.9),
]


def test_the_frontier_and_the_smallest_by_hand():
    assert [item.num_bytes for item in smallest.frontier(TABLES)] == [30, 60, 110, 220]
    assert smallest.best_dense(TABLES) is TABLES[0]
    assert smallest.smallest(TABLES, 0.01) is TABLES[3]
    assert smallest.smallest(TABLES, 0.05) is TABLES[5]
    assert smallest.smallest(TABLES, 0.001) is TABLES[2]


def test_the_picture_marks_the_smallest():
    ax = Figure().add_subplot()
    smallest.draw(TABLES, 0.01, ax)
    star = next(line for line in ax.lines if line.get_marker() == "*")
    np.testing.assert_allclose([star.get_xdata()[0], star.get_ydata()[0]], [60 / 1024, 0.1981])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"within": 0}, "--within: wanted a share between 0 and 1; got 0"),
        ({"budget": 0.5}, "--budget: wanted at least 1, for one dense table; got 0.5"),
        ({"dims": (16, 16)}, "--dims: wanted at least one width, each once"),
        ({"dims": ()}, "--dims: wanted at least one width"),
        ({"search": "dynamic"}, "--prune-by: wanted magnitude with --search dynamic; got movement"),
        ({"sparsities": (0.5, 1.0)}, "--sparsities: wanted shares between 0 and 1"),
    ],
)
def test_flags_that_cannot_be(changes, wanted):
    with pytest.raises(SettingsError, match=wanted):
        dataclasses.replace(Config(), **changes)
