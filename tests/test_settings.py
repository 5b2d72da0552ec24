"""Every setting is checked when it is made, by name, with what was wanted and what came."""

import dataclasses
import inspect
import json
import pydoc
from typing import get_args

import pytest

from lthjax.data import rules
from lthjax.data.formats import FORMATS
from lthjax.errors import SettingsError
from lthjax.field_docs import field_docs
from lthjax.model import losses
from lthjax.settings import (
    DataSettings,
    Settings,
    SplitSettings,
    StepSettings,
    flag,
    from_record,
    names,
    values,
)
from lthjax.training.optimizer import OPTIMIZERS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dim", 0),
        ("dim", 2.5),
        ("dim", True),
        ("epochs", 0),
        ("eval_every", 0),
        ("batch_size", -1),
        ("layers", -1),
        ("levels", -1),
        ("patience", -1),
        ("seed", -1),
        ("prune_rate", 0.0),
        ("prune_rate", 1.0),
        ("prune_rate", float("nan")),
        ("prune_rate", "a tenth"),
        ("learning_rate", 0.0),
        ("learning_rate", float("inf")),
        ("l2", -1e-9),
        ("temperature", 0.0),
        ("temperature", "cold"),
        ("negatives", 0),
        ("negatives", 2**16 + 1),
        ("negatives", 1.5),
        ("negative_sampling", "popular"),
        ("loss", "softmax"),
        ("optimizer", "adma"),
        ("weights", "logarithm"),
        ("model", "ligthgcn"),
        ("init", "xaviar"),
        ("split", "randm"),
        ("selection", "train"),
        ("rewind", "epoch"),
        ("rewind", "epoch:"),
        ("rewind", "epoch:0"),
        ("rewind", f"epoch:{Settings().epochs}"),
        ("rewind", "epoch:-1"),
        ("rewind", "epoch:²"),
        ("rewind", "rewind"),
        ("metrics", "recal"),
        ("metrics", ""),
        ("metrics", "recall,recall"),
        ("metrics", "coverage,recall"),
        ("at", "0"),
        ("at", 2.5),
        ("at", "5,5"),
        ("at", "5;10"),
        ("evaluate_users", -1),
        ("evaluate_users", 0.5),
    ],
)
def test_out_of_range(name, value):
    with pytest.raises(SettingsError, match=flag(name)) as caught:
        Settings(**{name: value})
    assert "wanted" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_near_names_are_offered():
    with pytest.raises(SettingsError, match="did you mean lightgcn"):
        Settings(model="ligthgcn")


def test_metrics_that_choose_and_judge():
    assert Settings().main_metric == "recall@20"
    settings = Settings(metrics=["ndcg", "coverage"], at=(10, 5))
    assert (settings.metrics, settings.at, settings.main_metric) == ("ndcg,coverage", "10,5", "ndcg@10")
    assert settings == Settings(metrics="ndcg, coverage", at=" 10,05")
    assert (settings.metric_names, settings.lengths) == (("ndcg", "coverage"), (10, 5))
    with pytest.raises(SettingsError, match=r"--metrics: wanted first one of recall, .*map, .*; got gini"):
        Settings(metrics="gini,recall")


def test_the_rewind_epoch():
    assert Settings(rewind="epoch:199").rewind_epoch == 199
    assert Settings().rewind_epoch is None


def test_a_schedule_is_read():
    settings = Settings(sparsities="0.5, 0.75")
    assert (settings.num_levels, settings.schedule) == (2, (0.5, 0.75))
    assert (Settings(levels=3).num_levels, Settings(levels=3).schedule) == (3, ())


@pytest.mark.parametrize("sparsities", ["", "half", "0", "0.5,0.5", "0.7,0.5", "0.5,1", "nan", "0.5,"])
def test_bad_schedules(sparsities):
    with pytest.raises(SettingsError, match="--sparsities: wanted rising shares between 0 and 1"):
        Settings(sparsities=sparsities)


def test_settings_that_exclude_each_other():
    with pytest.raises(SettingsError, match="--min-per-row: wanted --prune-scope row; got joint"):
        Settings(min_per_row=1)
    with pytest.raises(SettingsError, match=r"--min-per-row: wanted fewer than the 4 entries of a row.*; got 4"):
        Settings(min_per_row=4, prune_scope="row", dim=4)
    with pytest.raises(SettingsError, match="--prune-parent: wanted previous"):
        Settings(prune_parent="dense", rewind="none")


def test_a_temperature_wants_a_loss_on_cosines():
    with pytest.raises(SettingsError, match="--temperature: wanted --loss sampled-softmax or cosine-bpr; got bpr"):
        Settings(temperature=0.1)
    assert Settings(temperature=0.1, loss="cosine-bpr").temperature == 0.1


def test_losses_and_optimizers_are_those_of_their_modules():
    assert set(get_args(StepSettings.__annotations__["loss"])) == set(losses.LOSSES)
    assert set(get_args(StepSettings.__annotations__["optimizer"])) == set(OPTIMIZERS)


GROUPS = Settings.__mro__[1:-1]


def test_every_field_has_a_help_text():
    for group in (*GROUPS, Settings):
        source = inspect.getsource(group)
        for field in group.__annotations__:
            after = source.split(f"    {field}: ", 1)[1].split("\n", 1)[1]
            assert after.startswith('    """'), field


def test_help_from_python_says_what_the_flags_do():
    texts = field_docs(Settings)
    assert set(texts) == {*names(Settings)}
    assert texts["dim"] == "Numbers per user and per item (F)."
    shown = pydoc.plain(pydoc.render_doc(Settings))
    for name, text in texts.items():
        assert f"{name} (default {getattr(Settings(), name)!r}):" in shown
        assert text in " ".join(shown.replace("\n |", "\n").split())
    assert Settings.__doc__.startswith("What is trained, on what")


def test_every_setting_is_in_one_group_and_the_order_is_that_of_the_help():
    grouped = [name for group in reversed(GROUPS) for name in names(group)]
    assert [*grouped, "seed"] == list(names(Settings))
    assert len(set(grouped)) == len(grouped)
    for group in GROUPS:
        assert values(Settings(), group) == {name: getattr(Settings(), name) for name in names(group)}


def test_a_record_comes_back():
    settings = Settings(model="lightgcn", sparsities="0.5", data=None, seed=3)
    record = json.loads(json.dumps(dataclasses.asdict(settings)))
    assert from_record(record) == settings
    assert from_record(record | {"optimizer": "adam", "of_a_later_version": 1}) == settings
    assert from_record(record | {"data": "<DataFrame>"}).data is None  # as older versions wrote it
    assert from_record(record | {"data": "yelp2018"}).data == "yelp2018"
    assert from_record({"dim": 8}) == Settings(dim=8)
    assert from_record(record | {"optimizer": "given, 000755a8dc20"}) == settings  # likewise: its fingerprint
    assert from_record(record | {"optimizer": "lion"}).optimizer == "lion"
    with pytest.raises(SettingsError, match="--dim"):
        from_record(record | {"dim": 0})


def test_split_methods_are_those_of_the_rules():
    assert set(get_args(SplitSettings.__annotations__["split"])) == set(rules.METHODS)
    assert set(get_args(DataSettings.__annotations__["format"])) == {"auto", *FORMATS}
