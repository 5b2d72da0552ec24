"""The comparison sets ours beside what was published for the same data, model, size and epochs only."""

import sys

import numpy as np
import pandas as pd
import pytest

from experiments import cli, published
from lthjax import presets
from lthjax.errors import SettingsError
from lthjax.settings import Settings, values


def from_preset(name, **changes):
    """A config as the command line makes it: the preset's values, then the flags."""
    return published.Config(**(values(presets.find(name), Settings) | {"data": "gowalla"} | changes))


def test_published_rows_of_the_same_model_size_and_epochs():
    lightgcn = published.settings_of(from_preset("lightgcn_pytorch"), "lightgcn")
    assert {row.recall for row in published.comparable(lightgcn)} == {0.1824, 0.18236}
    early = published.settings_of(from_preset("lightgcn_pytorch", epochs=5), "lightgcn")
    assert [row.recall for row in published.comparable(early)] == [0.10711]
    mf = published.settings_of(from_preset("paper_code", data="some/folder/yelp2018"), "mf")
    assert [row.recall for row in published.comparable(mf)] == [0.0459]
    assert published.comparable(published.settings_of(from_preset("paper_code", dim=48), "mf")) == []


def test_mf_uses_the_twin_of_its_preset_and_keeps_what_flags_say():
    settings = published.settings_of(from_preset("lightgcn_pytorch", epochs=7), "mf")
    assert (settings.preset, settings.init, settings.epochs, settings.model) == (
        "lightgcn_pytorch_mf",
        "normal-1",
        7,
        "mf",
    )
    settings = published.settings_of(from_preset("recbole"), "mf")
    assert (settings.init, settings.l2) == ("xavier-normal-each", 0.0)
    settings = published.settings_of(from_preset("lightgcn_tf"), "mf")
    assert (settings.preset, settings.init) == ("lightgcn_tf", "normal-0.01")


def test_it_runs_and_leaves_the_comparison(tmp_path, monkeypatch, capsys):
    draws = np.random.default_rng(0)
    data = tmp_path / "gowalla"
    data.mkdir()
    for name, size in (("train", 6), ("test", 3)):
        lines = [f"{u} " + " ".join(str(i) for i in sorted(draws.choice(30, size, replace=False))) for u in range(20)]
        (data / f"{name}.txt").write_text("\n".join(lines) + "\n")
    words = (
        f"x --preset lightgcn_pytorch --data {data} --epochs 2 --eval-every 1 --batch-size 32 --out {tmp_path / 'out'}"
    )
    monkeypatch.setattr(sys, "argv", words.split())
    with pytest.raises(SystemExit) as end:
        cli.run(published.main, published.Config, "")
    printed = capsys.readouterr()
    assert end.value.code == 0, printed.err
    assert "WARNING: best epochs were chosen on the test part" in printed.out
    table = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert table["source"].tolist().count("ours") == 2
    assert set(table["model"]) == {"mf", "lightgcn"}
    assert 0.1627 in table["Recall@20"].tolist()
    for model in ("mf", "lightgcn"):
        assert (tmp_path / "out" / model / "results.csv").exists()


@pytest.mark.parametrize("changes", [{"metrics": "recall,map"}, {"at": "10"}])
def test_what_is_published_must_be_measured(changes):
    with pytest.raises(SettingsError, match="--metrics: wanted recall and ndcg, at 20, as they are published; got"):
        published.Config(**changes)
    assert published.Config(metrics="map,ndcg,recall", at="10,20").main_metric == "map@10"
