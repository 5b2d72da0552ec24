"""What may be added to a run that is there: more levels, and longer training where no finished level would notice.

A run that was added to is the run made in one go, to the bit, but for seconds: nothing may change that a finished
ticket depends on. First values, batches and random scores are drawn by the number of a level, and every search but
gradual goes from level to level, or makes each by itself: so levels are added behind the last, never in between. A
level trains on where its last state was kept and nothing is built on it.
"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lthjax.errors import CheckpointError, SettingsError
from lthjax.runtime import files
from lthjax.settings import PruningSettings, Settings, names
from lthjax.tickets.places import runs_in, ticket_levels, ticket_place
from lthjax.tickets.ticket import Ticket

GROWING = ("levels", "sparsities", "epochs", "patience")


def obstacle(name: str, before: Settings, now: Settings, is_own_search: bool) -> str | None:
    """Why a setting may not be what it is now, as a sentence, empty where it just is another; None where it may be.

    Args:
      name: of a setting that has changed.
      before: what a run was made with.
      now: what it is to go on with.
      is_own_search: it was found by a search given in code.
    """
    was, to_be = getattr(before, name), getattr(now, name)
    if name not in GROWING or None in (was, to_be):
        return ""
    if is_own_search:
        return "What a search that is given in code makes of more is not known."
    if name == "sparsities" and now.schedule[: len(before.schedule)] != before.schedule:
        return "Sparsities are added behind the last: what is drawn for a level goes by its number."
    if name == "patience" and 0 in (was, to_be):  # 0 is without end
        return None if to_be == 0 else "It can only grow."
    if name != "sparsities" and to_be < was:
        return "It can only grow."
    if name in ("levels", "sparsities") and before.search_name == "gradual":
        return "How fast gradual prunes depends on the last level."
    return None


def trains_on(best_epoch: int, epochs: int, now: Settings) -> bool:
    """Whether a level that ended with shorter epochs or patience would have trained on with those that are wanted now.

    Args:
      best_epoch: of the level.
      epochs: at which it ended.
      now: the settings that it is to have been made with.
    """
    is_out_of_patience = now.patience > 0 and epochs - best_epoch >= now.patience
    was_evaluated_for_the_end = epochs % now.eval_every > 0  # only as it was the last epoch
    return epochs < now.epochs and (was_evaluated_for_the_end or not is_out_of_patience)


def as_of(ticket: Ticket, settings: Settings) -> Ticket:
    """A ticket of a run that was added to, as if made in one go with the settings of today."""
    grown = {name: getattr(settings, name) for name in GROWING}
    return dataclasses.replace(ticket, settings=dataclasses.replace(ticket.settings, **grown))


class Change(NamedTuple):
    """What is not as it was."""

    name: str  # a flag, or what was given in code
    was: Any
    now: Any
    obstacle: str | None  # why it may not be so; None where the run goes on with it


def grown(folder: Path, changes: Sequence[Change], now: Settings) -> list[Change]:
    """The changes, all of which a folder may go on with.

    Args:
      folder: of a run, or of several seeds.
      changes: against what it was made with.
      now: the settings that it is to go on with.

    Raises:
      SettingsError: it may not; names the change, and says what to do.
    """
    for change in changes:
        if change.obstacle is not None:
            raise SettingsError(_refusal(folder, change, changes, now))
    longer = [change for change in changes if change.name in ("--epochs", "--patience")]
    for run in runs_in(folder) if longer else []:
        facts = _facts_of(run)
        for level in facts:
            if why := _stuck(level, facts, now):
                said = f"{ticket_place(run, level)} would have trained on, {why}."
                raise SettingsError(_refusal(folder, longer[0]._replace(obstacle=said), changes, now))
    return list(changes)


def _facts_of(run: Path) -> dict[int, dict[str, Any]]:
    """Level -> what its ticket says of itself; not of damaged ones, which are set aside in their turn."""
    wanted = ("best_epoch", "epochs", "parent", "settings")
    facts = {}
    for level in ticket_levels(run):
        with contextlib.suppress(CheckpointError, KeyError, TypeError):
            found = files.read_json(ticket_place(run, level) / "facts.json")["facts"]
            facts[level] = {name: found[name] for name in wanted}
    return facts


def _stuck(level: int, facts: Mapping[int, Mapping[str, Any]], now: Settings) -> str:
    """Why a level that would train on cannot; empty where it can, or would not."""
    own = facts[level]
    if not trains_on(own["best_epoch"], own["epochs"], now):
        return ""
    if own["settings"].get("prune_from") != "last":
        return "and its last state was not kept (--prune-from last keeps it)"
    if own["settings"].get("evaluate_users"):  # the ticket has the values of all users, which chose nothing
        return "and the value on a sample of users that chose its best epoch was not kept"
    if own["epochs"] % now.eval_every:
        return f"and its end at epoch {own['epochs']} would not have been evaluated"
    built_on = [other for other, of in facts.items() if other and (level == 0 or of["parent"] == level)]
    return f"and level {built_on[0]} is built on it" if built_on else ""


def _refusal(folder: Path, change: Change, changes: Sequence[Change], now: Settings) -> str:
    """One line: what was changed, why that cannot be, and what to do, all changes considered."""
    name, was, to_be, why = change
    if name == "--seeds":
        of_one = folder / f"seed_{now.seed}"
        if was is None:
            return (
                f"--seeds: {folder} is a run of one seed; got several. To have it as one of them: "
                f"mkdir NEW && cp -r {folder} NEW/{of_one.name}, then --out NEW."
            )
        return f"--seeds: {folder} has runs of several seeds; got one. Each is a run of its own: --out {of_one}."
    said = [repr(value) if name.startswith("--") else value for value in (was, to_be)]
    then = "Choose another --out."
    if _shares_dense_model(folder, changes, now):
        then = f"Choose another --out; --dense {folder} takes the dense model from here."
    return " ".join(filter(None, [f"{name}: {folder} was made with {said[0]}; got {said[1]}.", why, then]))


def _shares_dense_model(folder: Path, changes: Sequence[Change], now: Settings) -> bool:
    """Whether a run with other settings may take the dense models of a folder, which are finished."""
    dense = [facts[0] for run in runs_in(folder) if 0 in (facts := _facts_of(run))]
    asks_little = {*names(PruningSettings)} - {"rewind", "prune_from"}  # what these need may not have been kept
    longer = {"epochs", "patience"}
    for change in changes:
        name = setting(change.name)
        if not change.name.startswith("--") or not (name in asks_little or (name in longer and not change.obstacle)):
            return False
    return bool(dense) and not any(trains_on(one["best_epoch"], one["epochs"], now) for one in dense)


def extended(before: dict[str, Any], config: dict[str, Any], changes: Sequence[Change]) -> dict[str, Any]:
    """A config.json after its run was added to: as it was, but for what has grown; and how that was made.

    Args:
      before: what it was.
      config: as `before`, of the run that goes on.
      changes: of `grown`.
    """
    settings = before["settings"] | {setting(change.name): change.now for change in changes}
    how = {name: config[name] for name in ("git_commit", "command", "versions", "device")}
    entry = {"before": {setting(change.name): change.was for change in changes}, **how}
    entries = [*before.get("extended", []), entry]
    return before | {"settings": settings, "preset": config["preset"], "extended": entries}


def setting(name: str) -> str:
    """The setting of a flag."""
    return name.removeprefix("--").replace("-", "_")


def filled(arrays: Mapping[str, np.ndarray], template: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Arrays by name, with what they lack, whole ones and places behind the last, as in the template.

    Args:
      arrays: that were kept when a run had fewer levels.
      template: of all its levels.
    """

    def of(name: str, like: np.ndarray) -> np.ndarray:
        if (saved := arrays.get(name)) is None:
            return like
        is_shorter = saved.ndim == like.ndim > 0 and len(saved) < len(like)
        return np.concatenate([saved, like[len(saved) :]]) if is_shorter else saved

    return {name: of(name, like) for name, like in template.items()}
