"""Published settings, one frozen value each: where papers and codes differ silently, these say how; and LightGCN's own.

    lthjax.find_tickets(settings=lthjax.presets.paper_code, model="mf")
    python -m experiments.find_tickets --preset paper_code --model mf

Single settings are overridden as usual; `overridden` names them. The published ones use Adam with 1e-3. No self-loops.

What a preset does not say: `lightgcn_tf` stops after five evaluations without gain on test, which is `patience` 100
at an evaluation every 20 epochs. RecBole's loss is -log(1e-10 + sigmoid(x)), equal to softplus(-x) to float32 rounding
while x > -15; its own splits are 8:1:1, ours stay 7:1:2. `paper_code`, `lightgcn_*` and `bars_mf` choose the best epoch
on the test part, and every table that they touch says so.

BARS tells its runs by their logs: F, batches, negatives, an evaluation on test after each epoch, the learning rate 1e-4
after the first without gain, then 1e-5 and 1e-6 (so 1e-3 before), the best after 35 epochs. Our rate stays. The logs
do not tell first values and L2: N(0, 0.01^2) and 0 are ours. Its negatives are drawn once an epoch, ours in each step.
"""

import dataclasses
from collections.abc import Collection
from typing import Any

from lthjax.errors import SettingsError, nearest
from lthjax.settings import DataSettings, PresetSettings, Settings, flag, names

lightgcn = Settings(preset="lightgcn", model="lightgcn", batch_size=4096, learning_rate=0.02, l2=1e-3)
"""What LightGCN starts from where no preset is named: the best dense model on validation, on MovieLens latest-small.

The defaults of `Settings` are MF's. With their L2 of 0.01 LightGCN's Recall@20 is .16 instead of .21 there, and its
tickets seem to win up to 77% pruned (experiments/LOG.md).
"""

paper_text = Settings(  # sections 3 and 4.1; what the text leaves open is as in the authors' code
    preset="paper_text",
    split="random",
    combine="sum",  # "conventionally 1"
    levels=30,
    prune_rate=0.1,
    prune_from="last",  # X^J, after all J epochs
    epochs=1000,
    patience=0,
    eval_every=10,
    learning_rate=1e-3,
    l2=1e-4,
    sampler="users",
    test_mask="train",
    seed=2020,
)
"""Wang et al. 2023 as the text has it: 7:1:2, sum of layers, the weights after 1000 epochs are pruned."""

paper_code = Settings(  # `wangyf6891/LTH-MRS`
    preset="paper_code",
    split="files",
    levels=29,
    prune_rate=0.1,
    prune_count="threshold",
    epochs=1000,
    patience=100,
    eval_every=5,
    learning_rate=1e-3,
    l2=1e-4,
    sampler="users",
    selection="test",
    test_mask="train",
    seed=2020,
)
"""Wang et al. 2023 as released: the files' own train and test parts, mean of layers, everything chosen on test."""

lightgcn_pytorch = Settings(  # `gusye1234/LightGCN-PyTorch`
    preset="lightgcn_pytorch",
    split="files",
    model="lightgcn",
    dim=64,
    init="normal-0.1",
    levels=0,
    epochs=1000,
    patience=0,
    eval_every=10,
    learning_rate=1e-3,
    l2=1e-4,
    sampler="users",
    selection="test",
    test_mask="train",
    seed=2020,
)
"""LightGCN-PyTorch, K = 3, F = 64: N(0, 0.1), 1000 epochs, no early stop."""

lightgcn_pytorch_mf = dataclasses.replace(lightgcn_pytorch, preset="lightgcn_pytorch_mf", model="mf", init="normal-1")
"""LightGCN-PyTorch's MF: the default N(0, 1) of its embedding layers."""

lightgcn_tf = Settings(  # `kuandeng/LightGCN`
    preset="lightgcn_tf",
    split="files",
    model="lightgcn",
    dim=64,
    init="normal-0.01",
    levels=0,
    epochs=1000,
    patience=100,
    eval_every=20,
    learning_rate=1e-3,
    l2=1e-4,
    sampler="distinct-users",
    selection="test",
    test_mask="train",
)
"""LightGCN's own TensorFlow code, K = 3, F = 64: N(0, 0.01), batches of different users."""

recbole = Settings(  # RecBole's LightGCN
    preset="recbole",
    split="random",
    model="lightgcn",
    layers=2,
    dim=64,
    init="xavier-each",
    levels=0,
    epochs=300,
    patience=10,
    eval_every=1,
    learning_rate=1e-3,
    l2=1e-5,
    l2_form="norm",
)
"""RecBole's LightGCN, K = 2, F = 64: unsquared norms, every interaction once, stops on validation."""

recbole_bpr = dataclasses.replace(recbole, preset="recbole_bpr", model="mf", init="xavier-normal-each", l2=0.0)
"""RecBole's BPR: Xavier-normal, no L2."""

bars_mf = Settings(  # BARS' MF-BPR: `reczoo/BARS:matching/cf/MF_BPR`
    preset="bars_mf",
    split="files",
    model="mf",
    dim=64,
    init="normal-0.01",
    levels=0,
    epochs=100,
    patience=10,
    eval_every=1,
    batch_size=1024,
    learning_rate=1e-3,
    l2=0.0,
    negatives=50,
    selection="test",
    test_mask="train",
)
"""BARS' MF-BPR on Yelp2018, F = 64, 50 negatives: Recall@20 .0576. Gowalla's .1627 takes 300 and batches of 256."""

ABOUT_DATA = (*names(PresetSettings), *names(DataSettings))  # no preset says these

ALL = {
    value.preset: value
    for value in (
        lightgcn,
        paper_text,
        paper_code,
        lightgcn_pytorch,
        lightgcn_pytorch_mf,
        lightgcn_tf,
        recbole,
        recbole_bpr,
        bars_mf,
    )
}


def find(name: str) -> Settings:
    """The preset of a name; "none" is the defaults.

    Raises:
      SettingsError: there is none; names the nearest.
    """
    if name == "none":
        return Settings()
    if name not in ALL:
        raise SettingsError(f"--preset: wanted none, {', '.join(ALL)}; got {name!r}{nearest(name, list(ALL))}.")
    return ALL[name]


def for_model(name: str, model: str) -> str:
    """The preset of the same publication for a model: LightGCN-PyTorch and RecBole start MF from other values.

    Without a publication ("none") LightGCN has defaults of its own.
    """
    twins = {"lightgcn_pytorch": "lightgcn_pytorch_mf", "recbole": "recbole_bpr", "lightgcn": "none"}
    if model == "mf":
        return twins.get(name, name)
    return {of_mf: of_lightgcn for of_lightgcn, of_mf in twins.items()}.get(name, name)


def overridden(settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Settings that differ from their preset: name -> (preset's, the one used); data and folder names aside."""
    preset = find(settings.preset)
    return {
        field.name: (getattr(preset, field.name), getattr(settings, field.name))
        for field in dataclasses.fields(Settings)
        if field.name not in ABOUT_DATA and getattr(preset, field.name) != getattr(settings, field.name)
    }


def conflicts(settings: Settings) -> str:
    """A line that says which wins where a flag contradicts the preset; empty where none does."""
    changes = ", ".join(f"{flag(name)} {now} (preset: {was})" for name, (was, now) in overridden(settings).items())
    return f"flags win over preset {settings.preset}: {changes}" if changes and settings.preset != "none" else ""


def title(settings: Settings, unused: Collection[str] = ()) -> str:
    """The preset and what was overridden, in one line, for tables and pictures.

    Args:
      settings: of a run.
      unused: settings that said nothing there, and are left out.
    """
    changes = ", ".join(f"{name} {now}" for name, (_, now) in overridden(settings).items() if name not in unused)
    if settings.preset == "none":
        return "defaults" + (f" but for {changes}" if changes else "")
    return f"preset {settings.preset}" + (f" but for {changes}" if changes else "")
