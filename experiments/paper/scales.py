"""The flags that every figure and table takes, and the settings that a scale stands for.

`quick` takes seconds to minutes, `cpu` is what the results in this repository were made with, `paper` are the settings
of the paper's own code. For the modules beside this one; it is no command.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from lthjax import plots, presets
from lthjax.errors import SettingsError
from lthjax.settings import Settings, StepSettings, values

SCALES = {
    "quick": Settings(dim=8, epochs=4, eval_every=2, levels=3, prune_rate=0.3),
    "cpu": Settings(),
    "paper": presets.paper_code,
}
# Table 2's three sparsities and table 3's two: a tenth at a time would take hours. L2, learning rate and batch size are
# the best on validation of those tried, for dense models trained to their end (experiments/LOG.md); large batches cost
# LightGCN nothing but steps.
_FEW_LEVELS: dict[str, Any] = {"sparsities": "0.271,0.5,0.6513,0.75,0.9529"}
_OF_MODEL: dict[str, dict[str, Any]] = {"mf": {}, "lightgcn": values(presets.lightgcn, StepSettings)}
ON_CPU = {  # (data, model) -> what differs from the defaults at scale cpu
    ("ml-latest-small", "lightgcn"): _FEW_LEVELS | _OF_MODEL["lightgcn"],
    ("kuairand", "mf"): _FEW_LEVELS,
    ("kuairand", "lightgcn"): _FEW_LEVELS | {"batch_size": 16384, "learning_rate": 0.03, "l2": 2e-3},
    ("tiktok-clickbait", "mf"): _FEW_LEVELS | {"batch_size": 8192, "learning_rate": 0.005, "l2": 0.05},
    ("tiktok-clickbait", "lightgcn"): _FEW_LEVELS | {"batch_size": 16384, "learning_rate": 0.03, "l2": 5e-3},
    ("yelp2018", "mf"): _FEW_LEVELS | {"batch_size": 8192, "learning_rate": 0.0025, "l2": 0.01},
    ("yelp2018", "lightgcn"): _FEW_LEVELS | {"batch_size": 65536, "learning_rate": 0.006, "l2": 1e-4},  # at F = 64
}
LARGER = ("kuairand", "tiktok-clickbait", "yelp2018")  # at scale cpu with fewer variants
STANDS_FOR = {"tiktok-clickbait": "TikTok", "kuairand": "Kwai"}  # the paper's own, which can no longer be had
_HOW_MUCH = {"levels", "prune_rate", "sparsities"}  # three settings that together say how much is pruned


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """The flags of every figure and table."""

    data: tuple[str, ...] = ("ml-latest-small",)
    """Data sets: bundled or known names, or paths."""
    models: tuple[Literal["mf", "lightgcn"], ...] = ("mf", "lightgcn")
    """Backbones."""
    scale: Literal["quick", "cpu", "paper"] = "quick"
    """Seconds to minutes, to see that it works; the defaults of find_tickets, in fewer levels where they would take
    hours; or the settings of the paper's code (for a GPU)."""
    seeds: int = 1
    """Runs of each variant, that differ in their seed."""
    out: str = "runs/paper"
    """Folder of all runs and results; studies that are given the same one share what they train."""
    results: str | None = None
    """Another folder for tables and figures; by default one under --out for each scale and number of seeds."""
    picture: plots.Picture = "png"
    """Format of the picture."""

    def __post_init__(self):
        if self.seeds < 1:
            raise SettingsError(f"--seeds: wanted at least 1; got {self.seeds}.")
        if not self.data or not self.models:
            raise SettingsError("wanted at least one of --data and of --models; got none.")
        names = [Path(data).stem for data in self.data]  # what rows and folders call them
        if len(set(names)) < len(names):
            raise SettingsError(f"--data: wanted data sets with different names; got {', '.join(self.data)}.")


def of_scale(study: Study) -> str:
    """The folder of a scale and a number of seeds: no study writes over one of another."""
    return f"{study.scale}-{study.seeds}-seeds"


def results_folder(study: Study, name: str) -> Path:
    """Where a study leaves table and picture; of other data or models than by default, these are in its name.

    Args:
      study: the flags.
      name: of the figure or table.
    """
    if study.results:
        return Path(study.results) / name
    data = [Path(one).stem for one in study.data if study.data != Study.data]
    models = [model for model in study.models if study.models != Study.models]
    return Path(study.out) / of_scale(study) / "-".join([name, *data, *models])


def settings_of(study: Study, data: str, model: str, **changes: Any) -> Settings:
    """Settings of the scale.

    Args:
      study: the flags.
      data: name or path.
      model: backbone.
      **changes: single settings; one of how much is pruned replaces the few levels of `ON_CPU`.
    """
    own = dict(ON_CPU.get((data, model), _OF_MODEL[model])) if study.scale == "cpu" else {}
    if _HOW_MUCH & changes.keys():
        own.pop("sparsities", None)
    return dataclasses.replace(SCALES[study.scale], **({"data": data, "model": model} | own | changes))


def has_few_levels(study: Study, data: str, model: str) -> bool:
    """Is it pruned in a few large steps at this scale, since many would take hours?

    Args:
      study: the flags.
      data: name or path.
      model: backbone.
    """
    return study.scale == "cpu" and "sparsities" in ON_CPU.get((data, model), {})


def is_larger(study: Study, data: str) -> bool:
    """Do studies take fewer variants of this data set at this scale, since all of the paper's would take hours?"""
    return study.scale == "cpu" and data in LARGER


def title(data: str, model: str) -> str:
    """How tables and pictures call a data set, by name or path, with a model: "kuairand, LightGCN"."""
    return f"{Path(data).stem}, {plots.MODELS[model]}"


def in_words(study: Study, varied: Sequence[str] = (), **changes: Any) -> str:
    """Scale, settings and seeds, to stand under a table.

    Args:
      study: the flags.
      varied: settings that the table tells by itself, left out here.
      **changes: settings that are not the scale's own.
    """
    left_out = {*varied, "model"} | (_HOW_MUCH if _HOW_MUCH & {*varied} else set())
    settings_by_title = {}
    for data, model in itertools.product(study.data, study.models):
        settings = settings_of(study, data, model, **changes)
        preset = presets.find(settings.preset)
        as_in_preset = {name: getattr(preset, name) for name in left_out}
        settings_by_title[title(data, model)] = presets.title(dataclasses.replace(settings, **as_in_preset))
    different = set(settings_by_title.values())
    words = "; ".join(f"{name}: {settings}" for name, settings in settings_by_title.items())
    words = different.pop() if len(different) == 1 else words
    return f"scale {study.scale} ({words}), {study.seeds} seed{'s' if study.seeds > 1 else ''}"
