"""From whatever names or holds data, and settings, to a split."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lthjax.data import catalog, rules, share
from lthjax.data import interactions as loading
from lthjax.data import split as splitting
from lthjax.data.catalog import PARTS, TEST, TRAIN, Source
from lthjax.data.columns import Options
from lthjax.data.share import Needed, Share
from lthjax.data.split import Split
from lthjax.data.streams import Unsuited
from lthjax.errors import DataError
from lthjax.settings import DataSettings, Settings, flag, values


def load_split(data: Any, settings: Settings) -> Split:
    """Load and split the data that the settings name (or `data`, in any form that `find_tickets` takes).

    Raises:
      DataError: neither names or holds data; no values or dislikes where the settings want them.
    """
    if isinstance(data, Split | Share):
        return _with_what_is_wanted(data, settings)
    options = values(settings, DataSettings)
    named = options.pop("data")
    if data is None and named is None:
        raise DataError("wanted the data, as data=...: these were given in code, and no name of them is known.")
    options |= {"core": settings.core_sizes, "times": settings.split in rules.BY_TIME}
    options |= {"values": settings.weights != "none", "dislikes": settings.dislikes}
    how = _how(settings)
    rules.plan(**how)  # checked before minutes of reading
    interactions = loading.load(named if data is None else data, **options)
    return _with_what_is_wanted(splitting.split(interactions, **how), settings)


def _how(settings: Settings) -> dict[str, Any]:
    """What `split.split` and `rules.plan` take of the settings."""
    how = {"method": settings.split, "ratios": settings.split_ratios, "seed": settings.split_seed}
    return how | {"times": settings.split_times}


def load_share(data: Any, settings: Settings, needed: Needed) -> tuple[Split | Share, str]:
    """What one of several processes needs of the data, where these can be read in pieces; else the whole split.

    Args:
      data: as in `load_split`.
      settings: likewise.
      needed: which training interactions are.

    Returns:
      The share or split, and why it is whole; "" of a share.

    Raises:
      DataError: as `load_split`.
    """
    try:
        return share.read(_ready_parts(data, settings), Options(settings.format, settings.columns), needed), ""
    except (Unsuited, DataError) as error:  # what is wrong is told by who reads it whole
        return load_split(data, settings), str(error)


def _ready_parts(data: Any, settings: Settings) -> Source:
    """The files whose parts are the split.

    Raises:
      Unsuited: the data are no files, have other parts than are wanted, or some of their rows do not count.
      DataError: they are not there.
    """
    rules.plan(**_how(settings))
    named = settings.data if data is None else data
    if not isinstance(named, str | Path):
        raise Unsuited("they are given in code")
    asked = values(settings, DataSettings) | {"weights": settings.weights, "dislikes": settings.dislikes}
    defaults = values(Settings(), DataSettings) | {"weights": "none", "dislikes": False}
    chosen = [name for name in asked if name not in ("data", "format", "columns") and asked[name] != defaults[name]]
    if chosen:
        raise Unsuited(f"{flag(chosen[0])} is asked for")
    source = catalog.find(named)
    parts = source.parts or ()
    wanted = PARTS if settings.split == "auto" else (TRAIN, TEST)
    if settings.split not in ("auto", "files") or not {*wanted} <= {*parts}:
        raise Unsuited("the split is drawn among all of them")
    if settings.split == "auto" and settings.ratios != Settings().ratios:
        raise Unsuited("--ratios is asked for")
    return source


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


def settle(
    data: Any, settings: Settings, changes: dict[str, Any], load: Callable[[Any, Settings], Split | Share] = load_split
) -> tuple[Settings, Split | Share]:
    """The settings with their changes, naming the data, and the split.

    Args:
      data: in any form that `find_tickets` takes; None for what the settings name. A Split does not change the name.
      settings: where to start from.
      changes: single settings.
      load: (data, settings) -> the split, or a share of it.
    """
    if isinstance(data, str | Path):
        data, changes = None, changes | {"data": str(data)}
    elif data is not None and not isinstance(data, Split | Share):
        changes = changes | {"data": None}
    settings = dataclasses.replace(settings, **changes)
    return settings, load(data, settings)


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
