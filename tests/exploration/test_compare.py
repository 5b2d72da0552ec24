"""Many runs as one table, and pairs of tickets on the same test users."""

import dataclasses
import json
import shutil
import sys

import numpy as np
import optax
import pandas as pd
import pytest
from scipy import stats

import lthjax
from experiments import cli
from experiments import compare as command
from lthjax.errors import CheckpointError, DataError, SettingsError
from lthjax.exploration import compare as comparing

TINY = {"dim": 4, "epochs": 3, "batch_size": 64, "levels": 2, "prune_rate": 0.4, "show_progress": False}


@pytest.fixture(scope="module")
def folders(tastes, tmp_path_factory):
    """Runs of Adam, of Lion, of two seeds, and of Adam on another split."""
    place = tmp_path_factory.mktemp("runs")
    other = dataclasses.replace(tastes, name="swapped", valid=tastes.test, test=tastes.valid)
    for name, data, changes in (
        ("adam", tastes, {}),
        ("random", tastes, {"prune_by": "random"}),
        ("lion", tastes, {"optimizer": optax.lion(1e-3)}),
        ("seeds", tastes, {"seeds": 2}),
        ("swapped", other, {}),
    ):
        list(lthjax.find_tickets(data, out=place / name, **(TINY | changes)))
    return place


def test_one_row_per_run_and_level_with_what_differs(folders):
    table = lthjax.compare([folders / "adam", str(folders / "lion"), lthjax.load_run(folders / "random")])
    assert table.columns[:4].tolist() == ["run", "prune_by", "optimizer", "learning_rate"]
    assert table["run"].tolist() == ["adam"] * 3 + ["lion"] * 3 + ["random"] * 3
    assert table["level"].tolist() == [0, 1, 2] * 3
    firsts = table[table["level"] == 0]
    assert firsts["prune_by"].tolist() == ["magnitude", "magnitude", "random"]
    assert firsts["learning_rate"].tolist()[::2] == [0.003, 0.003]
    assert pd.isna(firsts["learning_rate"].tolist()[1])  # Adam's, which Lion did not use
    assert firsts["optimizer"].str.contains("(given", regex=False).tolist() == [False, True, False]
    for name in ("adam", "lion", "random"):
        own = lthjax.load_run(folders / name).table()
        mine = table[table["run"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(
            mine[own.columns.drop(["settings", "selection"])], own.drop(columns=["settings", "selection"])
        )
    alike = lthjax.compare({"a": folders / "adam", "b": folders / "random"})
    assert alike.columns[:3].tolist() == ["run", "prune_by", "level"]
    latex = table.to_latex(index=False, escape=True)
    assert r"prune\_by" in latex
    assert latex.count(r"\\") == 10


def test_settings_that_have_the_name_of_a_result_are_called_by_their_flag(folders, tastes, tmp_path, call):
    changes = {"search": "short", "search_epochs": 1, "epochs": 2, "levels": 1}
    list(lthjax.find_tickets(tastes, out=tmp_path / "short", **(TINY | changes)))
    table = lthjax.compare([folders / "adam", tmp_path / "short"])
    assert table.columns[:7].tolist() == ["run", "levels", "search", "search_epochs", "--epochs", "level", "sparsity"]
    assert table["--epochs"].tolist() == [3, 3, 3, 2, 2]
    assert table["epochs"].tolist() == [3, 3, 3, 2, 2]
    code, output, _ = call(folders / "adam", tmp_path / "short")
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == "adam: levels 2; search imp; search_epochs 0; epochs 3"
    assert lines[1] == "short: levels 1; search short; search_epochs 1; epochs 2"
    assert lines[2].split()[:3] == ["run", "level", "pruned"]
    assert [line.split()[:2] for line in lines[3:8]] == [
        [name, level] for name, level in zip(["adam"] * 3 + ["short"] * 2, "01201", strict=True)
    ]


def test_seeds_are_one_run(folders):
    table = lthjax.compare([folders / "seeds", folders / "adam"])
    assert table.columns[:2].tolist() == ["run", "seed"]
    assert table["seed"].tolist() == ["0, 1"] * 3 + [0] * 3
    assert table["num_seeds"].tolist()[:3] == [2, 2, 2]
    mean = np.mean([lthjax.load_run(folders / "seeds").seeds[seed].table()["recall@20"] for seed in (0, 1)], axis=0)
    np.testing.assert_allclose(table["recall@20"][:3], mean)


def test_runs_on_another_split_stand_apart(folders):
    names = ["adam", "swapped", "random"]
    prints = {name: lthjax.load_run(folders / name).config["data"]["fingerprint"] for name in names}
    with pytest.warns(
        UserWarning, match=rf"2 splits, .*: adam, random \({prints['adam']}\); swapped \({prints['swapped']}"
    ):
        table = lthjax.compare([folders / name for name in names])
    assert table["run"].tolist() == ["adam"] * 3 + ["random"] * 3 + ["swapped"] * 3
    assert table["fingerprint"].tolist() == [prints["adam"]] * 6 + [prints["swapped"]] * 3
    assert table["data"].unique().tolist() == ["matrix", "swapped"]
    with pytest.raises(DataError, match=r"wanted two runs on one split; .*adam is on matrix .*swapped on swapped"):
        lthjax.differences(folders / "adam", folders / "swapped")


def test_names_tell_runs_apart(folders, tmp_path):
    for parent in ("a", "b"):
        shutil.copytree(folders / "adam", tmp_path / parent / "mine")
    table = lthjax.compare([tmp_path / "a" / "mine", tmp_path / "b" / "mine"])
    assert table["run"].unique().tolist() == ["a/mine", "b/mine"]
    assert table.columns[1] == "level"  # nothing differs
    with pytest.raises(SettingsError, match=r"wanted each run once; got .*mine again"):
        lthjax.compare([tmp_path / "a" / "mine", tmp_path / "b" / ".." / "a" / "mine"])


@pytest.mark.parametrize(
    ("runs", "error", "wanted"),
    [
        ([], SettingsError, "wanted runs, or their folders; got none"),
        ([3], SettingsError, "wanted a run of load_run, or its folder; got int"),
        (["nowhere"], CheckpointError, "nowhere: wanted a run folder"),
    ],
)
def test_what_is_no_run_is_refused(runs, error, wanted):
    with pytest.raises(error, match=wanted):
        lthjax.compare(runs)


def test_a_run_without_a_finished_level_is_refused(folders, tmp_path):
    out = shutil.copytree(folders / "adam", tmp_path / "run")
    shutil.rmtree(out / "tickets")
    (out / "results.csv").unlink()
    with pytest.raises(CheckpointError, match="wanted a run with a finished level"):
        lthjax.compare([out])


def test_paired_differences_by_hand(folders):
    table = lthjax.differences(folders / "adam", folders / "random", "ndcg@20")
    assert table["level"].tolist() == table["other_level"].tolist() == [0, 1, 2]
    runs = [lthjax.load_run(folders / name) for name in ("adam", "random")]
    for row in table.itertuples():
        mine, its = (run.tickets[row.level].ticket.per_user["ndcg@20"].astype(float) for run in runs)
        assert row.difference == pytest.approx((mine - its).mean(), abs=1e-9)
        assert row.num_users == len(mine)
        if row.level:  # the dense models are the same
            paired = stats.ttest_rel(mine, its)
            low, high = paired.confidence_interval()
            assert (row.p_value, row.interval_low) == pytest.approx((paired.pvalue, low), abs=1e-9)
            assert row.interval_high == pytest.approx(high, abs=1e-9)
    assert table["difference"][0] == 0
    assert table["verdict"][0] == "matches"
    assert (table["p_holm"] >= table["p_value"]).all()
    back = lthjax.differences(folders / "random", folders / "adam", "ndcg@20")
    np.testing.assert_allclose(back["difference"], -table["difference"])
    np.testing.assert_allclose(back["ndcg@20"], table["other_ndcg@20"])


def test_sure_differences_have_a_sign(folders, monkeypatch):
    run, other = (lthjax.load_run(folders / name) for name in ("adam", "random"))
    results = run.results()
    better = [
        dataclasses.replace(result, per_user={"recall@20": result.per_user["recall@20"] + np.float32(0.25)})
        for result in results
    ]
    monkeypatch.setattr(type(run), "results", lambda self, num=None: better if self is run else results)
    assert lthjax.differences(run, other)["verdict"].tolist() == ["better"] * 3
    assert lthjax.differences(other, run)["verdict"].tolist() == ["worse"] * 3


def test_seeds_are_paired_with_their_own(folders):
    seeds = lthjax.load_run(folders / "seeds")
    table = lthjax.differences(seeds, folders / "random")  # seed 0 alone
    assert table["num_seeds"].tolist() == [1, 1, 1]
    assert table["difference"][0] == 0
    whole = lthjax.differences(seeds, seeds)
    assert whole["num_seeds"].tolist() == [2, 2, 2]
    assert not whole["difference"].any()
    other = lthjax.load_run(folders / "seeds").seeds[1]
    assert len(lthjax.differences(other, folders / "adam")) == 3  # two single runs: each its own seed
    alone = comparing.SeedRuns(seeds.path, {1: seeds.seeds[1]})
    with pytest.raises(DataError, match=r"wanted runs with a seed in common; .* have 1 and 0"):
        lthjax.differences(alone, folders / "adam")


def test_what_cannot_be_paired_is_said(folders, tmp_path):
    with pytest.raises(DataError, match="wanted one of ndcg@20, recall@20 as metric; got 'mrr'"):
        lthjax.differences(folders / "adam", folders / "random", "mrr")
    out = shutil.copytree(folders / "adam", tmp_path / "run")
    config = json.loads((out / "config.json").read_text())
    config["settings"]["test_mask"] = "train"
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"wanted the same --test-mask; .* has train, .* train\+valid"):
        lthjax.differences(out, folders / "adam")
    sides = [lthjax.load_run(folders / name).results() for name in ("adam", "random")]
    run = lthjax.load_run(folders / "adam")
    with pytest.raises(DataError, match=r"wanted tickets of equal sparsity; .* have 40\.0% and 0\.0%, 63\.9%"):
        comparing._equally_sparse(sides[0][1:2], [sides[1][0], sides[1][2]], run, run)


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr("warnings.showwarning", print)
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.run(command.main, command.Config, command.__doc__)
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


def test_the_command_prints_and_leaves_it(call, folders, tmp_path):
    runs = [folders / name for name in ("adam", "random", "seeds", "swapped")]
    code, output, errors = call(*runs, "--out", tmp_path / "out", "--latex")
    assert (code, errors) == (0, "")
    assert output.startswith("2 splits, whose numbers cannot be set against each other: adam, random, seeds (")
    assert output.count(r"\begin{tabular}") == 2
    assert sorted(place.name for place in (tmp_path / "out").iterdir()) == [
        *("comparison.csv", "comparison.tex", "differences.csv", "recall_vs_sparsity.png")
    ]
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert table["run"].value_counts().to_dict() == dict.fromkeys(("adam", "random", "seeds", "swapped"), 3)
    assert table["num_seeds"].isna().sum() == 9
    pairs = pd.read_csv(tmp_path / "out" / "differences.csv")
    assert pairs[["run", "against"]].drop_duplicates().to_numpy().tolist() == [["adam", "random"], ["adam", "seeds"]]
    assert call(folders / "adam")[0] == 0
    assert not (folders / "adam" / "comparison.csv").exists()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], "RUNS: wanted run folders"),
        (["nowhere"], "nowhere: wanted a run folder"),
        (["--out", "x"], "RUNS: wanted run folders"),
        (["--picture"], "--picture"),
    ],
)
def test_bad_words_are_one_line(call, words, wanted):
    code, _, errors = call(*words)
    assert (code, errors.count("\n")) == (2, 1)
    assert wanted in errors


def test_without_jinja2_latex_says_what_to_install(call, folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, errors = call(folders / "adam", "--latex")
    assert code == 2
    assert errors.startswith("error: --latex: wanted jinja2, which pandas writes LaTeX with; pip install ")
    assert errors.count("\n") == 1


def test_differences_are_of_the_metric_that_judged(tastes, tmp_path):
    for name, changes in (("a", {}), ("b", {"prune_by": "random"})):
        list(lthjax.find_tickets(tastes, out=tmp_path / name, metrics="ndcg,recall", at="5", **(TINY | changes)))
    table = lthjax.differences(tmp_path / "a", tmp_path / "b")
    assert {"ndcg@5", "other_ndcg@5"} <= set(table.columns)
