"""The report: what lies there from this call and earlier ones, and the runs behind it."""

import json
from pathlib import Path
from typing import get_args

from experiments.paper import claims, reproduce, scales
from lthjax.errors import TrainingError


def test_it_reports_what_lies_there(trained, forbid_training, monkeypatch):
    """Two parts in two calls; a part that fails is named, one that was not asked for is not run."""
    forbid_training()
    flags = {"data": trained.data, "models": ("mf",), "seeds": 2, "out": trained.out}
    reproduce.main(reproduce.Reproduction(**flags, parts=("figure2", "complexity", "who_pays")))

    def fail(study):
        raise TrainingError("the loss is no longer finite")

    monkeypatch.setitem(reproduce.PARTS, "figure5", fail)
    report = reproduce.main(reproduce.Reproduction(**flags, parts=("figure5",))).read_text()
    lines = [line for line in report.splitlines() if line.startswith(("| abstract", "| 4.", "| 3.5"))]
    assert len(lines) == 2 * len(claims.ALL)  # an overview of all data sets and models, and this one's figures
    assert "| paper | claim | few, MF |" in report
    half = len(claims.ALL)
    assert [line.split("|")[3] for line in lines[:half]] == [line.split("|")[3] for line in lines[half:]]
    words = {line.split("|")[2].strip(): line.split("|")[3].strip("*(?) ") for line in lines}
    assert words["random pruning finds none (but for LightGCN on TikTok)"] in ("holds", "does not hold")
    assert words["they exist at every embedding size"] == "not run"
    assert "| rewinding improves the best ticket | not run | the loss is no longer finite |" in report
    for part in ("figure2", "complexity", "who_pays"):
        assert f"![{part}](few-mf/{part}/figure.png)" in report
    assert tuple(reproduce.PARTS) == get_args(reproduce.Part)
    out = Path(trained.out)
    assert (out / "quick-2-seeds" / "few-mf" / "figure2" / "figure.png").exists()
    runs = [config.parent.parent.name for config in (out / "runs").glob("*/seed_1/config.json")]
    assert runs
    assert [report.count(f"| {name} | 0, 1") for name in runs] == [1] * len(runs)
    assert list(reproduce.finished(out / "quick-3-seeds")) == []


def test_runs_are_remembered_when_their_folders_are_gone(tmp_path):
    """What an earlier call wrote down stays, commits of digits too; what is on disk wins, if it is of the report."""
    ledger = tmp_path / "runs.csv"
    report = reproduce.Reproduction(scale="cpu", seeds=2, out=str(tmp_path))
    assert reproduce.remembered(report, ledger) == []
    row = {"folder": "b", "seeds": "0, 1", "settings": "", "commit": "0438638", "device": "1 x cpu"}
    ledger.write_text("folder,seeds,settings,commit,device\n" + 'b,"0, 1",,0438638,1 x cpu\n' + "a,0,dim 8,abc,old\n")
    epochs = scales.SCALES["cpu"].epochs
    for folder, seeds, of_epochs in (("a", 2, epochs), ("one_seed", 1, epochs), ("other_scale", 2, epochs + 1)):
        for seed in range(seeds):
            settings = {"seed": seed, "dim": 8, "epochs": of_epochs}
            file = tmp_path / "runs" / folder / f"seed_{seed}" / "config.json"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"settings": settings, "git_commit": "f" * 40, "device": "new"}))
    rows = reproduce.remembered(report, ledger)
    assert rows == [
        {**row, "folder": "a", "seeds": "0, 1", "settings": "dim 8", "commit": "fffffff", "device": "new"},
        row,
    ]
    elsewhere = reproduce.Reproduction(scale="cpu", seeds=2, out=str(tmp_path / "nowhere"))
    assert reproduce.remembered(elsewhere, ledger) == rows
    assert "| b | 0, 1 |  | 0438638 | 1 x cpu |" in reproduce.runs_table(rows)


def test_a_claim_against_an_unfinished_dense_model_has_a_mark():
    row = {"data": "yelp2018", "level": 0, "recall@20": 0.5, "sparsity": 0.0, "verdict": "dense", "cut_short": False}
    winner = row | {"level": 1, "sparsity": 0.5, "verdict": "wins"}
    claim = next(claim for claim in claims.ALL if claim.text == "winning tickets exist")
    words = []
    for short in (False, True):
        about = {"data": "yelp2018", "model": "mf", "error": ""}
        done = reproduce.Done(Path("folder"), "table2", about, [row | {"cut_short": short}, winner])
        words.append(reproduce.claim_line(claim, {"table2": done})[2:])
    assert [word for word, _ in words] == ["holds", "holds (?)"]
    assert "? as a dense model was cut short" in words[1][1]


def test_the_papers_own_data_come_first(tmp_path):
    for data in ("kuairand", "yelp2018", "other"):
        folder = tmp_path / f"{data}-mf" / "table2"
        folder.mkdir(parents=True)
        about = {"data": f"somewhere/{data}", "model": "mf", "error": "not tried"}
        (folder / "about.json").write_text(json.dumps(about))
    titles = [done.title for done in reproduce.finished(tmp_path)]
    assert titles == ["yelp2018, MF", "kuairand, MF", "other, MF"]
