"""Several seeds: one run each, one table, verdicts over users and seeds."""

import sys

import numpy as np
import pandas as pd
import pytest

from experiments import cli, find_tickets

TINY = ["--dim", "4", "--epochs", "2", "--levels", "2", "--batch-size", "64"]


def test_each_seed_is_a_run_of_its_own_and_the_table_their_mean(data_file, tmp_path, monkeypatch, capsys):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["find_tickets", "--data", str(data_file), *TINY, *words])
        with pytest.raises(SystemExit) as end:
            cli.run(find_tickets.main, find_tickets.Config, "")
        return end.value.code, capsys.readouterr()

    code, said = call("--seeds", "3", "--seed", "5", "--out", str(tmp_path / "three"))
    assert code == 0, said.err
    assert "3 seeds, mean ± standard deviation" in said.out
    assert "95% interval of the highest winning sparsity" in said.out
    table = pd.read_csv(tmp_path / "three" / "results.csv")
    each = [pd.read_csv(tmp_path / "three" / f"seed_{seed}" / "results.csv") for seed in (5, 6, 7)]
    recall = np.stack([one["recall@20"] for one in each])
    np.testing.assert_allclose(table["recall@20"], recall.mean(axis=0), atol=2e-6)
    np.testing.assert_allclose(table["recall@20_sd"], recall.std(axis=0, ddof=1), atol=2e-6)
    np.testing.assert_allclose(table["difference"], (recall - recall[:, :1]).mean(axis=0), atol=2e-6)
    assert table["num_seeds"].tolist() == [3, 3, 3]
    assert (tmp_path / "three" / "recall_vs_sparsity.png").stat().st_size > 0

    code, said = call("--seed", "6", "--out", str(tmp_path / "one"))
    assert code == 0
    one = pd.read_csv(tmp_path / "one" / "results.csv").drop(columns=["seconds", "search_seconds"])
    pd.testing.assert_frame_equal(
        one.drop(columns="settings"), each[1].drop(columns=["seconds", "search_seconds", "settings"])
    )

    code, said = call("--seeds", "2", "--seed", "6", "--out", str(tmp_path / "one"))  # a single run's folder
    assert (code, said.err) == (2, said.err)
    assert "--seeds" in said.err
    assert len(said.err.splitlines()) == 1

    code, said = call("--seeds", "4", "--seed", "5", "--out", str(tmp_path / "three"))  # one more goes on
    assert code == 0, said.err

    code, said = call("--seeds", "0")
    assert code == 2
    assert said.err.startswith("error: --seeds: wanted at least 1; got 0"), said.err


def test_selection_on_test_is_warned_of_under_the_table(data_file, tmp_path, monkeypatch, capsys):
    words = ["find_tickets", "--data", str(data_file), *TINY, "--selection", "test", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit):
        cli.run(find_tickets.main, find_tickets.Config, "")
    assert "WARNING: best epochs were chosen on the test part" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "results.csv")["selection"].tolist() == ["test"] * 3
