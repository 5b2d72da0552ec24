"""Figures 2 to 5 and 7 at a tiny size: what they train, share and leave; called again they train nothing."""

import csv
from pathlib import Path

import numpy as np
import pytest

from experiments import cli
from experiments.paper import figure2, figure3, figure4, figure5, figure7
from experiments.paper.scales import Study


def test_figure2_shares_its_dense_models_and_trains_once(figure2_run, trained, forbid_training, tmp_path, capsys):
    rows = figure2_run.rows
    assert len({row["recall@20"] for row in rows if row["level"] == 0}) == 1
    assert [row["variant"] for row in rows] == ["IMP"] * 3 + ["OMP"] * 3 + ["RP"] * 3 + ["RP by degree"] * 3
    assert len({row["num_kept"] for row in rows if row["level"] == 2}) == 1
    assert [name.startswith("dense-") for name in figure2_run.folders].count(True) == 1
    forbid_training()
    assert figure2.main(trained) == rows
    folder = tmp_path / "figure2"
    with open(folder / "results.csv", newline="") as file:
        assert [row["num_kept"] for row in csv.DictReader(file)] == [str(row["num_kept"]) for row in rows]
    table = (folder / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert table.count("| few | mf |") == 4
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_figure5_takes_the_dense_models_of_figure2(figure2_run, trained):
    rows = figure5.main(trained)
    assert [row["variant"] for row in rows if row["level"] == 0] == ["init", "epoch:1", "reinit", "none", "lr"]
    folders = {folder.name for folder in Path(trained.out, "runs").iterdir()}
    assert [name for name in folders if name.startswith("dense")] == [
        name for name in figure2_run.folders if name.startswith("dense")
    ]


def test_variants(make_study):
    paper = make_study(scale="paper")
    assert figure4.variants_of(paper, "kuairand") == {
        "IMP-5%": {"prune_rate": 0.05, "levels": 60},
        "IMP-10%": {"prune_rate": 0.1, "levels": 29},
        "IMP-20%": {"prune_rate": 0.2, "levels": 14},
    }
    assert list(figure3.variants_of(paper, "kuairand")) == ["IMP-16d", "IMP-32d", "IMP-64d", "IMP-128d"]


def test_larger_data_have_fewer_variants_at_scale_cpu(make_study):
    few = make_study(data=("kuairand",), scale="cpu")
    assert list(figure3.variants_of(few, "kuairand")) == ["IMP-16d", "IMP-32d", "IMP-64d"]
    assert len(figure3.variants_of(few, "ml-latest-small")) == 4
    rates = figure4.variants_of(few, "kuairand").values()
    assert [(rate["prune_rate"], rate["levels"]) for rate in rates] == [(0.2, 7), (0.4, 3), (0.6, 2)]


def test_figure7_counts_what_is_kept(trained, forbid_training, tmp_path):
    values = np.array([5, -1, 2, -9, 0.5, 3, -4, 8, 7, 6])
    kept = np.abs(values) > 4
    np.testing.assert_array_equal(figure7.kept_by_magnitude(values, kept), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    forbid_training()
    (row,) = figure7.main(trained)
    shares = [row[f"tenth_{number}"] for number in range(1, 11)]
    assert np.mean(shares) == pytest.approx(1 - row["sparsity"], abs=0.01)
    assert row["dense_magnitude_of_kept"] > row["dense_magnitude_of_pruned"]
    assert (tmp_path / "figure7" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_bad_flags(monkeypatch, capsys):
    monkeypatch.setattr("warnings.showwarning", print)  # put back when the test is over
    monkeypatch.setattr("sys.argv", ["figure2", "--scale", "huge"])
    with pytest.raises(SystemExit) as end:
        cli.run(figure2.main, Study, figure2.__doc__)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
