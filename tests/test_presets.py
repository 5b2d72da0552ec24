"""Presets are what recipes and papers say, can be overridden, and name themselves."""

import dataclasses
import sys

import pytest

import lthjax
from experiments import cli, find_tickets
from lthjax import presets
from lthjax.errors import SettingsError
from lthjax.settings import Settings

PUBLISHED = {name: value for name, value in presets.ALL.items() if name != "lightgcn"}


def test_the_points_in_which_publications_differ():
    table = {
        name: (p.init, p.combine, p.l2, p.l2_form, p.sampler, p.split, p.selection, p.test_mask, p.layers, p.dim)
        for name, p in PUBLISHED.items()
    }
    squared, valid, both = "squared", "valid", "train+valid"
    on_test = ("files", "test", "train")
    assert table == {
        "paper_text": ("xavier", "sum", 1e-4, squared, "users", "random", valid, "train", 3, 32),
        "paper_code": ("xavier", "mean", 1e-4, squared, "users", *on_test, 3, 32),
        "lightgcn_pytorch": ("normal-0.1", "mean", 1e-4, squared, "users", *on_test, 3, 64),
        "lightgcn_pytorch_mf": ("normal-1", "mean", 1e-4, squared, "users", *on_test, 3, 64),
        "lightgcn_tf": ("normal-0.01", "mean", 1e-4, squared, "distinct-users", *on_test, 3, 64),
        "recbole": ("xavier-each", "mean", 1e-5, "norm", "interactions", "random", valid, both, 2, 64),
        "bars_mf": ("normal-0.01", "mean", 0.0, squared, "interactions", *on_test, 3, 64),
        "recbole_bpr": ("xavier-normal-each", "mean", 0.0, "norm", "interactions", "random", valid, both, 2, 64),
    }
    assert {p.learning_rate for p in PUBLISHED.values()} == {1e-3}
    assert {p.batch_size for name, p in PUBLISHED.items() if name != "bars_mf"} == {2048}
    assert (presets.bars_mf.batch_size, presets.bars_mf.negatives) == (1024, 50)
    assert {p.negatives for name, p in PUBLISHED.items() if name != "bars_mf"} == {1}
    assert presets.paper_code.prune_count == "threshold"
    assert presets.paper_text.prune_from == "last"


def test_they_are_reached_by_name_from_the_package_and_the_command_line():
    assert lthjax.presets.paper_code is presets.find("paper_code")
    assert presets.find("none") == Settings()
    with pytest.raises(SettingsError, match="did you mean paper_code"):
        presets.find("paper-code")
    for name, value in presets.ALL.items():
        assert getattr(presets, name) is value
        assert value.preset == name


def test_what_is_overridden_is_named():
    changed = dataclasses.replace(presets.recbole, dim=32, data="gowalla")
    assert presets.overridden(changed) == {"dim": (64, 32)}
    assert presets.conflicts(changed) == "flags win over preset recbole: --dim 32 (preset: 64)"
    assert presets.conflicts(presets.recbole) == presets.conflicts(Settings(dim=8)) == ""
    assert presets.title(changed) == "preset recbole but for dim 32"
    assert presets.title(presets.recbole) == "preset recbole"
    assert presets.title(Settings()) == "defaults"
    assert presets.title(Settings(levels=3)) == "defaults but for levels 3"


def test_without_a_preset_lightgcn_has_defaults_of_its_own(monkeypatch, tmp_path):
    own = {"preset": "lightgcn", "model": "lightgcn", "batch_size": 4096, "learning_rate": 0.02, "l2": 1e-3}
    assert presets.lightgcn == Settings(**own)
    monkeypatch.setattr(sys, "argv", ["find_tickets", "--model", "lightgcn", "--l2", "0.5"])
    config = cli._parse(find_tickets.Config, "")
    assert presets.overridden(config) == {"l2": (1e-3, 0.5)}
    pairs = tmp_path / "pairs.txt"
    pairs.write_text("\n".join(f"{user} {(user * 3 + step) % 12}" for user in range(9) for step in range(10)))
    options = {"data": str(pairs), "format": "pairs", "levels": 0, "epochs": 1, "dim": 2}
    (ticket,) = lthjax.find_tickets(model="lightgcn", **options)
    assert {name: getattr(ticket.settings, name) for name in own} == own
    (ticket,) = lthjax.find_tickets(settings=Settings(l2=0.25), model="lightgcn", **options)
    assert (ticket.settings.preset, ticket.settings.l2) == ("none", 0.25)
    (ticket,) = lthjax.find_tickets(**options)
    assert (ticket.settings.preset, ticket.settings.batch_size) == ("none", 2048)


def test_a_model_takes_the_twin_of_its_preset(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["find_tickets", "--preset", "lightgcn_pytorch", "--model", "mf"])
    config = cli._parse(find_tickets.Config, "")
    assert (config.preset, config.init, config.model) == ("lightgcn_pytorch_mf", "normal-1", "mf")


@pytest.mark.parametrize("words", [["--preset", "paper_code", "--dim", "8"], ["--dim=8", "--preset=paper_code"]])
def test_flags_win_over_the_preset_wherever_they_stand(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["find_tickets", *words])
    config = cli._parse(find_tickets.Config, "")
    assert (config.dim, config.sampler, config.preset, config.seeds) == (8, "users", "paper_code", 1)
    assert presets.overridden(config) == {"dim": (32, 8)}
