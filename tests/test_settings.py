"""Every setting is checked when it is made, by name, with what was wanted and what came."""

import dataclasses
import inspect

import pytest

from lthjax.data import split as splits
from lthjax.data.formats import FORMATS
from lthjax.errors import SettingsError
from lthjax.pruning.schedule import num_kept_at, rate_of, roundings
from lthjax.settings import Settings, flag


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
        ("model", "ligthgcn"),
        ("init", "xaviar"),
        ("split", "randm"),
        ("selection", "train"),
        ("rewind", "epoch"),
        ("rewind", "epoch:"),
        ("rewind", "epoch:0"),
        ("rewind", "epoch:200"),
        ("rewind", "epoch:-1"),
        ("rewind", "epoch:²"),
        ("rewind", "rewind"),
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


def test_the_rewind_epoch():
    assert Settings(rewind="epoch:199").rewind_epoch == 199
    assert Settings().rewind_epoch is None


def test_more_levels_than_entries():
    num_kept_at(Settings(levels=4, prune_rate=0.5), 16)  # 16, 8, 4, 2, 1
    with pytest.raises(SettingsError, match=r"--levels: wanted at most 4 prunings .* of 16 entries; got 5"):
        num_kept_at(Settings(levels=5, prune_rate=0.5), 16)
    with pytest.raises(SettingsError, match="wanted at most 0 prunings"):
        num_kept_at(Settings(levels=1, prune_rate=0.99), 2)


def test_schedules():
    settings = Settings(sparsities="0.5, 0.75")
    assert (settings.num_levels, settings.schedule) == (2, (0.5, 0.75))
    assert num_kept_at(settings, 10) == [10, 5, 2]  # 2.5 to the even one
    assert rate_of(settings, 2, 10) == pytest.approx(3 / 5)
    assert rate_of(Settings(sparsities="0.5,0.75", prune_parent="dense"), 2, 10) == pytest.approx(8 / 10)
    assert rate_of(Settings(prune_rate=0.2), 2, 10) == 0.2
    assert rate_of(Settings(levels=2, prune_rate=0.2, prune_parent="dense"), 2, 10) == pytest.approx(4 / 10)
    assert roundings(settings, 12) == []
    assert roundings(settings, 10) == ["75.0% of 10 entries is no whole number (7.5): 8 fall, 80.0000%."]
    with pytest.raises(SettingsError, match="which would keep 4 of 4"):
        num_kept_at(Settings(sparsities="0.6,0.61"), 10)


@pytest.mark.parametrize("sparsities", ["", "half", "0", "0.5,0.5", "0.7,0.5", "0.5,1", "nan", "0.5,"])
def test_bad_schedules(sparsities):
    with pytest.raises(SettingsError, match="--sparsities: wanted rising shares between 0 and 1"):
        Settings(sparsities=sparsities)


def test_settings_that_exclude_each_other():
    with pytest.raises(SettingsError, match="--min-per-row: wanted --prune-scope row; got joint"):
        Settings(min_per_row=1)
    with pytest.raises(SettingsError, match="--prune-parent: wanted previous"):
        Settings(prune_parent="dense", rewind="none")


def test_every_field_has_a_help_text():
    source = inspect.getsource(Settings)
    for field in dataclasses.fields(Settings):
        assert f"    {field.name}: " in source
        after = source.split(f"    {field.name}: ", 1)[1].split("\n", 1)[1]
        assert after.startswith('    """'), field.name


def test_split_methods_are_those_of_the_splits_module():
    assert set(Settings.__annotations__["split"].__args__) == set(splits.METHODS)
    assert set(Settings.__annotations__["format"].__args__) == {"auto", *FORMATS} | set(FORMATS)
