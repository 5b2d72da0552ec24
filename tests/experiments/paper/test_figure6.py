"""Figure 6: epochs to the dense model's best."""

import pytest
from matplotlib.figure import Figure

from experiments.paper import figure6
from experiments.paper.runs import runs_of


def test_it_counts_epochs_to_the_dense_models_best(trained, data, forbid_training, monkeypatch):
    assert figure6.epochs_to_reach([(5, 0.1), (10, 0.3), (15, 0.2)], 0.2) == 10
    assert figure6.epochs_to_reach([(5, 0.1)], 0.2) is None
    forbid_training()
    monkeypatch.setitem(figure6.DIMS, "quick", (4,))
    rows = figure6.main(trained)
    assert [row["level"] for row in rows] == [1, 2]
    runs = runs_of(trained, data, "mf")
    for row in rows:
        taken = []
        for seed in ("seed_0", "seed_1"):
            ((_, dense),) = figure6.curves(runs.dense_folder / seed, "valid").items()
            best = max(value for _, value in dense)
            first = next(epoch for epoch, value in dense if value == best)
            curve = figure6.curves(runs.folder / seed, "valid")[row["level"]]
            taken += [(epoch, first) for epoch, value in curve if value >= best][:1]
        assert row["seeds_that_reach"] == len(taken)
        if taken:
            assert row["relative"] == pytest.approx(sum(d for _, d in taken) / sum(t for t, _ in taken))
            assert row["relative_low"] == min(d / t for t, d in taken)
        else:
            assert row["relative"] == ""


def test_it_chooses_among_winners_that_get_there():
    row = {"sparsity": 0.3, "verdict": "wins", "seeds": 2, "seeds_that_reach": 2, "relative": 4.0}
    sparse, never = row | {"sparsity": 0.5, "relative": 2.0}, row | {"sparsity": 0.7, "seeds_that_reach": 1}
    chosen = figure6.chosen([row, sparse, never, row | {"verdict": "slower", "relative": 9.0}])
    assert list(chosen.values()) == [row, sparse]
    assert figure6.chosen([never]) == {}
    band = {"relative_low": 1.0, "relative_high": 5.0}
    ax = figure6.panel({"MF-8d": [row | band], "MF-4d": [never | band]}, Figure().add_subplot())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "MF-8d",
        "MF-4d: no ticket gets there with all seeds",
    ]
