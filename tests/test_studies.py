"""The paper's figures at a tiny size: what they train, share and leave; called again they train nothing."""

import csv
import sys

import numpy as np
import pytest

from experiments import cli, comparison, figure2, figure3, figure4, figure5, studies, table2
from lthjax import imp
from lthjax.errors import SettingsError
from lthjax.settings import Settings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 30 users and 40 items, 12 interactions a user."""
    draws = np.random.default_rng(0)
    lines = [f"{user} " + " ".join(map(str, draws.choice(40, 12, replace=False))) for user in range(30)]
    place = tmp_path_factory.mktemp("data") / "few.txt"
    place.write_text("\n".join(lines) + "\n")
    return str(place)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("paper")


@pytest.fixture(autouse=True)
def tiny_scale(monkeypatch):
    tiny = Settings(dim=4, epochs=2, eval_every=1, levels=2, prune_rate=0.4, batch_size=64)
    monkeypatch.setitem(studies.SCALES, "quick", tiny)


def study(data, out, **changes):
    return studies.Study(**({"data": (data,), "models": ("mf",), "seeds": 2, "out": str(out)} | changes))


def test_figure2_shares_its_dense_models_and_trains_once(data, out, monkeypatch, capsys):
    rows = figure2.main(study(data, out))
    dense = {row["recall@20"] for row in rows if row["level"] == 0}
    assert len(dense) == 1
    assert [row["variant"] for row in rows] == ["IMP"] * 3 + ["OMP"] * 3 + ["RP"] * 3
    assert len({row["num_kept"] for row in rows if row["level"] == 2}) == 1
    folders = sorted(place.name for place in (out / "runs").iterdir())
    assert [name.startswith("dense-") for name in folders].count(True) == 1
    with open(out / "figure2" / "results.csv", newline="") as file:
        assert [row["num_kept"] for row in csv.DictReader(file)] == [str(row["num_kept"]) for row in rows]
    table = (out / "figure2" / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert table.count("| few | mf |") == 3
    assert (out / "figure2" / "figure.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(imp, "fit_together", None)
    assert figure2.main(study(data, out)) == rows


def test_figure5_takes_the_dense_models_of_figure2(data, out):
    before = {place.name for place in (out / "runs").iterdir()}
    rows = figure5.main(study(data, out))
    assert [row["variant"] for row in rows if row["level"] == 0] == ["init", "epoch:1", "reinit", "none", "lr"]
    assert not [
        name for name in {place.name for place in (out / "runs").iterdir()} - before if name.startswith("dense")
    ]


def test_table2_reads_the_runs_of_figure2(data, out, monkeypatch, capsys):
    figure2.main(study(data, out))
    monkeypatch.setattr(imp, "fit_together", None)
    table2.main(study(data, out))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| few | MF | ours | 0."))
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert [bool(cell) for cell in cells[3:]] == [True, False, False, False] * 2  # 40% and 64% are not asked for


def test_table2_sets_the_papers_values_beside_ours():
    dense = {"recall@20": 0.5, "ndcg@20": 0.5, "sparsity": 0.0, "verdict": "dense", "selection": "valid"}
    rows = [dense, dense | {"sparsity": 0.2710, "recall@20": 0.6, "verdict": "wins"}]
    text = table2.text_of(study("x", "y"), {("kuairand", "mf"): rows, ("some/yelp2018", "lightgcn"): rows})
    assert "| kuairand | MF | ours | 0.5000 | **0.6000** |  |  | 0.5000 | **0.5000** |  |  |" in text
    assert "| Kwai, other data | MF | paper | 0.0411 | 0.0464 |" in text
    assert "| yelp2018 | LightGCN | paper | 0.0600 | 0.0602 |" in text


def test_variants():
    assert figure4.variants_of(study("x", "y", scale="paper")) == {
        "IMP-5%": {"prune_rate": 0.05, "levels": 60},
        "IMP-10%": {"prune_rate": 0.1, "levels": 29},
        "IMP-20%": {"prune_rate": 0.2, "levels": 14},
    }
    assert figure3.DIMS["paper"] == (16, 32, 64, 128)


def test_a_table_names_what_is_not_there():
    row = {"recall@20": 0.5, "sparsity": 0.0, "best_epoch": 3, "verdict": "dense", "selection": "test"}
    worse = row | {"sparsity": 0.5, "recall@20": 0.25, "verdict": "worse"}
    text = comparison.text_of(study("x", "y"), {("x", "mf"): {"IMP": [row, worse]}}, "title")
    assert "| x | mf | IMP | 0.5000 | 0.2500 | 50.0% | none |  |  | 3 |" in text
    assert "WARNING: best epochs were chosen on the test part" in text
    assert studies.nearest([row, worse], 0.502) is worse
    assert studies.nearest([row, worse], 0.51) is None
    assert studies.value(None, "recall@20") is None


def test_bad_flags(monkeypatch, capsys):
    with pytest.raises(SettingsError, match="--seeds: wanted at least 1; got 0"):
        studies.Study(seeds=0)
    monkeypatch.setattr(sys, "argv", ["figure2", "--scale", "huge"])
    with pytest.raises(SystemExit) as end:
        cli.run(figure2.main, studies.Study, figure2.__doc__)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
