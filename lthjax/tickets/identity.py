"""What a run was made with, as config.json says it, and what tells it from another run."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lthjax import presets
from lthjax.data.share import Share
from lthjax.data.split import Split
from lthjax.errors import CheckpointError, SettingsError
from lthjax.runtime import files
from lthjax.settings import Settings, flag, from_record
from lthjax.sharding.exchange import Exchange
from lthjax.tickets import extension
from lthjax.tickets.extension import Change
from lthjax.tickets.places import is_of_seed, seed_folders


def describe(
    settings: Settings,
    split: Split | Share,
    optimizer: str | None = None,
    given: Mapping[str, str] | None = None,
    optimizer_label: str = "",
    exchange: Exchange = "gather",
) -> dict[str, Any]:
    """What config.json says of a run, versions and machine aside.

    Args:
      settings: of the run.
      split: that it is found on.
      optimizer: the fingerprint of one that was given in code; by default what the settings name.
      given: fingerprints of other functions that were given in code, by what they are.
      optimizer_label: what a given optimizer is called; for people, not to tell runs apart.
      exchange: how rows of other devices come; a run goes on with another way, and is told that digits may differ.
    """
    overridden = {name: now for name, (_, now) in presets.overridden(settings).items()}
    return {
        "settings": dataclasses.asdict(settings),
        "preset": {"name": settings.preset, "overridden": overridden},
        "optimizer": optimizer or settings.optimizer,
        **({"optimizer_label": optimizer_label} if optimizer_label else {}),
        "given": dict(given or {}),
        "exchange": [exchange],
        "data": {
            "name": split.name,
            "fingerprint": split.fingerprint,
            "num_users": split.num_users,
            "num_items": split.num_items,
            "num_train": split.num_train,
            "num_valid": len(split.valid),
            "num_test": len(split.test),
            "notes": list(split.notes),
        },
    }


def check_folder(path: Path, config: dict[str, Any]) -> None:
    """Raise as `open_folder` where a folder is another run's; nothing is written, and none need be there.

    Args:
      path: the folder.
      config: of `describe`.
    """
    if (path / "config.json").exists():
        compared(path, json.loads(json.dumps(config)))


def compared(folder: Path, config: dict[str, Any]) -> tuple[dict[str, Any], list[Change]]:
    """The config.json of a folder, and what has grown since.

    Raises:
      SettingsError: something else has changed; names it, and says what to do.
      CheckpointError: config.json is damaged.
    """
    path = folder / "config.json"
    try:
        before = files.read_json(path)
        _ = before["versions"], before["device"]
        _check_lists(before)
        return before, extension.grown(folder, changes(before, config), from_record(config["settings"]))
    except SettingsError:
        raise
    except CheckpointError as error:
        raise CheckpointError(f"{error} Choose another --out.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); choose another --out.") from error


def _check_lists(config: Mapping[str, Any]) -> None:
    exchange, extended = config.get("exchange", []), config.get("extended", [])
    if not isinstance(exchange, list) or not all(isinstance(way, str) for way in exchange):
        raise ValueError("exchange is no list of names")
    if not isinstance(extended, list):
        raise ValueError("extended is no list")


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What differs between two descriptions of a run, in the order of its settings."""
    was, wanted = _identity(before), _identity(now)
    settings = from_record(before["settings"]), from_record(now["settings"])
    is_own_search = wanted["search"] is not None

    def obstacle(name: str) -> str | None:
        is_setting = name.startswith("--") and name != "--seeds"
        return extension.obstacle(extension.setting(name), *settings, is_own_search) if is_setting else ""

    return [Change(name, was[name], wanted[name], obstacle(name)) for name in was if was[name] != wanted[name]]


def check_seeds(path: Path, config: dict[str, Any]) -> None:
    """Raise SettingsError where one table would be of runs that differ in more than their seed, or hide one.

    Args:
      path: the folder of a run.
      config: of `describe`.
    """
    if seed_folders(path):
        raise SettingsError(f"{path}: wanted a folder for one run; it holds runs of seeds. Choose another --out.")
    if not is_of_seed(path):
        return
    together = path.parent
    if (together / "tickets").exists():
        raise SettingsError(f"{together}: wanted a folder for several seeds; it holds a run. Choose another --out.")
    for seed, other in seed_folders(together).items():
        if other != path and (other / "config.json").exists() and (change := _apart_on_disk(other, config)):
            raise SettingsError(
                f"{together}: wanted runs that differ in their seed alone; that of seed {seed} has "
                f"{change.name} {change.was}, got {change.now}. Choose another --out."
            )


def _apart_on_disk(folder: Path, config: dict[str, Any]) -> Change | None:
    path = folder / "config.json"
    try:
        return apart(files.read_json(path), json.loads(json.dumps(config)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); choose another --out.") from error


# What runs of several seeds may differ in: a search that is given masks has others for each.
_OF_SEED = ("--seed", "search", "score", "dense")


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> Change | None:
    """What two runs of several seeds differ in beside their seed; None where it is nothing, or one has only grown."""

    def refused(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
        told = (change for change in changes(before, now) if change.name not in _OF_SEED)
        return [change for change in told if change.obstacle is not None]

    differences = refused(one, other)
    return differences[0] if differences and refused(other, one) else None


def changed(before: Any, now: Any) -> str:
    """Two values in words; of dicts only what differs."""
    if isinstance(before, dict):
        return ", ".join(f"{k} {before.get(k)} (now {now.get(k)})" for k in now if before.get(k) != now.get(k))
    return f"{before} (now {now})"


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one run from another, by flag or name; settings that a version did not know are at their defaults.

    Raises:
      ValueError: there are no such settings.
    """
    try:
        settings = dataclasses.asdict(from_record(config["settings"]))
    except SettingsError as error:
        raise ValueError(str(error)) from error
    del settings["data"], settings["split"], settings["optimizer"]  # told apart by the fingerprints below
    identity = {flag(name): value for name, value in settings.items()}
    identity |= {"--seeds": config["settings"].get("seeds"), "optimizer": config["optimizer"]}
    identity |= {kind: config.get("given", {}).get(kind) for kind in ("search", "score", "backbone", "loss", "dense")}
    return identity | {"data": config["data"]["fingerprint"]}
