"""From whatever names or holds data, and settings, to a split."""

import dataclasses
from pathlib import Path
from typing import Any

from lthjax.data import interactions as loading
from lthjax.data import rules
from lthjax.data import split as splitting
from lthjax.data.split import Split
from lthjax.errors import DataError
from lthjax.settings import DataSettings, Settings, values


def load_split(data: Any, settings: Settings) -> Split:
    """Load and split the data that the settings name (or `data`, in any form that `find_tickets` takes).

    Raises:
      DataError: neither names or holds data; no values or dislikes where the settings want them.
    """
    if isinstance(data, Split):
        return _with_what_is_wanted(data, settings)
    options = values(settings, DataSettings)
    named = options.pop("data")
    if data is None and named is None:
        raise DataError("wanted the data, as data=...: these were given in code, and no name of them is known.")
    options |= {"core": settings.core_sizes, "times": settings.split in rules.BY_TIME}
    options |= {"values": settings.weights != "none", "dislikes": settings.dislikes}
    how = {"method": settings.split, "ratios": settings.split_ratios, "seed": settings.split_seed}
    how |= {"times": settings.split_times}
    rules.plan(**how)  # checked before minutes of reading
    interactions = loading.load(named if data is None else data, **options)
    return _with_what_is_wanted(splitting.split(interactions, **how), settings)


def _with_what_is_wanted(split: Split, settings: Settings) -> Split:
    """The split, which has to have values for weights, and dislikes where they are sampled."""
    if settings.weights != "none":
        if split.train_values is None:
            raise DataError(
                f"--weights {settings.weights}: wanted a value of each interaction, such as a rating, count or watch "
                f"ratio; got none ({split.name})."
            )
        if split.train_values.size and (split.train_values == split.train_values[0]).all():
            came = f"{split.train_values[0]:g} for every pair"
            raise DataError(
                f"--weights {settings.weights}: wanted values that differ, got {came}: name their column, "
                f"--columns user,item,value ({split.name})."
            )
    if settings.dislikes and (split.dislikes is None or not len(split.dislikes)):
        came = "none" if split.dislikes is None else "none of users and items that training knows"
        raise DataError(f"--dislikes: wanted data with dislikes; got {came} ({split.name}).")
    return split


def settle(data: Any, settings: Settings, changes: dict[str, Any]) -> tuple[Settings, Split]:
    """The settings with their changes, naming the data, and the split.

    Args:
      data: in any form that `find_tickets` takes; None for what the settings name. A Split does not change the name.
      settings: where to start from.
      changes: single settings.
    """
    if isinstance(data, str | Path):
        data, changes = None, changes | {"data": str(data)}
    elif data is not None and not isinstance(data, Split):
        changes = changes | {"data": None}
    settings = dataclasses.replace(settings, **changes)
    return settings, load_split(data, settings)


def split_of(data: Any, settings: Settings, fingerprint: str, whose: str) -> Split:
    """The split that a run or ticket was made with.

    Args:
      data: as in `find_tickets`, or None for what the settings name.
      settings: of the run or ticket.
      fingerprint: what the split's must be.
      whose: the run or ticket, for the error.

    Raises:
      DataError: the data are not at hand, or others.
    """
    _, split = settle(data, settings, {})
    if split.fingerprint != fingerprint:
        raise DataError(
            f"{split.name}: wanted the data and the split of {whose}, with fingerprint {fingerprint}; "
            f"got {split.fingerprint}."
        )
    return split
