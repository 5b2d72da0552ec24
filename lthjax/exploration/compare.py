"""Many runs side by side: optimizers, seeds, models, data as one table; and ticket against ticket, user by user.

    table = lthjax.compare(["runs/adam", "runs/lion", lthjax.load_run("runs/five-seeds")])
    table.to_latex(index=False, escape=True)
    lthjax.differences("runs/adam", "runs/lion")

Letters: R runs, S seeds, U users with test items.
"""

import dataclasses
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lthjax.errors import CheckpointError, DataError, SettingsError
from lthjax.evaluation import statistics
from lthjax.exploration.run import Run, SeedRuns, load_run
from lthjax.settings import Settings, flag, names
from lthjax.tickets.result import IN_PLACE_OF, Result

if TYPE_CHECKING:
    import pandas as pd

AnyRun = Run | SeedRuns
EQUAL_SPARSITY = 5e-4  # two tickets are as sparse as each other; counts are rounded, and some rules take one entry more
_TOLD_BY_SETTINGS = ("settings", "selection")  # columns of a run's own table


def compare(runs: Iterable[Any] | Mapping[str, Any]) -> "pd.DataFrame":
    """One row per run and level: the run's name, each setting that is not the same in all, and what its table says.

    A setting whose name the table has for something else is called by its flag: `--epochs`, beside the epochs trained.

    Where the runs are not all on one split, the columns `data` and `fingerprint` tell which stand together, and a
    warning says so: their numbers are of other users or items, and are not to be set against each other.

    Args:
      runs: of `load_run`, or their folders; by name, or else named after their folders. Several seeds are one run.

    Raises:
      SettingsError: there are none, or one is there twice.
      CheckpointError: one is no run folder, or has no finished level.
    """
    import pandas as pd

    named = by_name(runs)
    about = differing(named)
    if len(groups := on_one_split(named)) > 1:
        warnings.warn(f"{apart(groups)}", stacklevel=2)
    tables = []
    for name in (name for group in groups.values() for name in group):
        table = named[name].table().drop(columns=list(_TOLD_BY_SETTINGS), errors="ignore")
        for place, (column, value) in enumerate({"run": name, **about[name]}.items()):
            table.insert(place, flag(column) if column in table else column, [value] * len(table))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def differences(run: Any, other: Any, metric: str | None = None) -> "pd.DataFrame":
    """Tickets of two runs at equal sparsity, on the same test users: a row per pair, run minus other.

    Both rank for the same users, so the differences are paired: a t-test over users, or over users and seeds, both
    random (`statistics.crossed_effect`), with p-values adjusted for all pairs (Holm).

    Args:
      run: of `load_run`, or its folder.
      other: likewise. Of several seeds, those count that both have.
      metric: of each test user, such as "ndcg@20"; by default the one that judged the first run.

    Raises:
      DataError: they do not share their test part, have no seed in common or no two tickets of equal sparsity, or do
        not have the metric.
    """
    import pandas as pd

    first, second = _opened(run), _opened(other)
    _check_same_test(first, second)
    ours, theirs = _of_common_seeds(first, second)
    metric = metric or ours[0][0].main_metric
    rows = []
    for mine, its in _equally_sparse(ours[0], theirs[0], first, second):
        left, right = ours[0][mine], theirs[0][its]
        values = _values(ours, mine, metric), _values(theirs, its, metric)
        effect = statistics.crossed_effect(values[0] - values[1])
        rows.append(
            {
                **{"sparsity": left.sparsity, "level": left.level, "other_level": right.level},
                **{metric: float(values[0].mean()), f"other_{metric}": float(values[1].mean())},
                **{"difference": effect.mean, "interval_low": effect.low, "interval_high": effect.high},
                **{"p_value": effect.p_value, "num_seeds": len(ours), "num_users": values[0].shape[1]},
            }
        )
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p_value") + 1, "p_holm", statistics.holm(table["p_value"].to_numpy()))
    sure = table["p_holm"] < 1 - statistics.CONFIDENCE
    table["verdict"] = np.where(sure, np.where(table["difference"] > 0, "better", "worse"), "matches")
    return table


def by_name(runs: Iterable[Any] | Mapping[str, Any]) -> dict[str, AnyRun]:
    """Runs by name: as given, or the shortest ends of their folders that tell them apart.

    Raises:
      SettingsError: there are none, or one is there twice.
      CheckpointError: one is no run folder, or has no finished level.
    """
    if isinstance(runs, str | Path | AnyRun):
        runs = [runs]
    opened = {name: _opened(run) for name, run in runs.items()} if isinstance(runs, Mapping) else None
    if opened is None:
        listed = [_opened(run) for run in runs]
        parts = [run.path.resolve().parts for run in listed]
        if twice := [run.path for number, run in enumerate(listed) if parts[number] in parts[:number]]:
            raise SettingsError(f"compare: wanted each run once; got {twice[0]} again.")
        length = next(n for n in range(1, max(map(len, parts), default=1) + 1) if _differ(p[-n:] for p in parts))
        opened = {"/".join(part[-length:]): run for part, run in zip(parts, listed, strict=True)}
    if not opened:
        raise SettingsError("compare: wanted runs, or their folders; got none.")
    for run in opened.values():
        if not len(run.table()):
            raise CheckpointError(f"{run.path}: wanted a run with a finished level; it has none.")
    return opened


def differing(named: Mapping[str, AnyRun]) -> dict[str, dict[str, Any]]:
    """Name -> what is not the same in all runs: settings, optimizer, what was given in code, seeds, data."""
    told = {name: _told(run) for name, run in named.items()}
    columns = list(dict.fromkeys(column for of_run in told.values() for column in of_run))
    varied = [column for column in columns if len({repr(of_run.get(column)) for of_run in told.values()}) > 1]
    if "fingerprint" not in varied:
        varied = [column for column in varied if column != "data"]  # two names of the same interactions
    return {name: {column: of_run.get(column) for column in varied} for name, of_run in told.items()}


def on_one_split(named: Mapping[str, AnyRun]) -> dict[str, list[str]]:
    """Fingerprint of a split -> names of the runs on it, in the order in which they come first."""
    groups: dict[str, list[str]] = {}
    for name, run in named.items():
        groups.setdefault(run.config["data"]["fingerprint"], []).append(name)
    return groups


def apart(groups: Mapping[str, Iterable[str]]) -> str:
    """A line that says which runs stand apart.

    Args:
      groups: fingerprint -> names of runs.
    """
    sides = "; ".join(f"{', '.join(members)} ({fingerprint})" for fingerprint, members in groups.items())
    return f"{len(groups)} splits, whose numbers cannot be set against each other: {sides}."


def _differ(names: Iterable[Any]) -> bool:
    listed = list(names)
    return len(set(listed)) == len(listed)


def _opened(run: Any) -> AnyRun:
    if isinstance(run, AnyRun):
        return run
    if isinstance(run, str | Path):
        return load_run(run)
    raise SettingsError(f"compare: wanted a run of load_run, or its folder; got {type(run).__name__}.")


def _told(run: AnyRun) -> dict[str, Any]:
    """All that a run was made with, by the names of columns."""
    config, settings = run.config, dataclasses.asdict(run.settings)
    told = {name: settings[name] for name in names(Settings) if name != "data"}
    if isinstance(run, SeedRuns):
        told["seed"] = ", ".join(map(str, run.seeds))
    if run.settings.sparsities is not None:
        told["levels"] = told["prune_rate"] = None  # say nothing then
    optimizer = config["optimizer"]
    if optimizer.startswith("given"):
        told |= dict.fromkeys(IN_PLACE_OF["optimizer"])
        if label := config.get("optimizer_label"):
            optimizer = f"{label} ({optimizer})"
    given = {kind: fingerprint for kind, fingerprint in config.get("given", {}).items() if fingerprint}
    data = {"data": config["data"]["name"], "fingerprint": config["data"]["fingerprint"]}
    return data | told | {"optimizer": optimizer} | given


def _check_same_test(run: AnyRun, other: AnyRun) -> None:
    """Raise DataError where two runs were not measured on the same test users, with the same items left out."""
    (mine, its), masks = (run.config["data"], other.config["data"]), [one.settings.test_mask for one in (run, other)]
    if mine["fingerprint"] != its["fingerprint"]:
        raise DataError(
            f"differences: wanted two runs on one split; {run.path} is on {mine['name']} ({mine['fingerprint']}), "
            f"{other.path} on {its['name']} ({its['fingerprint']})."
        )
    if masks[0] != masks[1]:
        raise DataError(
            f"differences: wanted the same --test-mask; {run.path} has {masks[0]}, {other.path} {masks[1]}."
        )


def _of_common_seeds(run: AnyRun, other: AnyRun) -> tuple[list[list[Result]], list[list[Result]]]:
    """[S] results of the seeds that both have; of two single runs each its own."""
    sides = [one.seeds if isinstance(one, SeedRuns) else {one.settings.seed: one} for one in (run, other)]
    common = [seed for seed in sides[0] if seed in sides[1]]
    if isinstance(run, Run) and isinstance(other, Run):
        return [run.results()], [other.results()]
    if not common:
        each = " and ".join(", ".join(map(str, side)) for side in sides)
        raise DataError(f"differences: wanted runs with a seed in common; {run.path} and {other.path} have {each}.")
    of_both = [[side[seed] for seed in common] for side in sides]
    lengths = [min(len(one.results()) for one in side) for side in of_both]
    ours, theirs = ([one.results(length) for one in side] for side, length in zip(of_both, lengths, strict=True))
    return ours, theirs


def _equally_sparse(ours: list[Result], theirs: list[Result], run: AnyRun, other: AnyRun) -> list[tuple[int, int]]:
    """Places of each two tickets of equal sparsity."""
    pairs = []
    for place, mine in enumerate(ours):
        distances = [abs(mine.sparsity - its.sparsity) for its in theirs]
        nearest = int(np.argmin(distances))
        if distances[nearest] <= EQUAL_SPARSITY:
            pairs.append((place, nearest))
    if not pairs:
        each = " and ".join(", ".join(f"{result.sparsity:.1%}" for result in side) for side in (ours, theirs))
        raise DataError(f"differences: wanted tickets of equal sparsity; {run.path} and {other.path} have {each}.")
    return pairs


def _values(runs: list[list[Result]], place: int, metric: str) -> np.ndarray:
    """[S, U] float64, what a level of each seed reaches for each test user."""
    results = [of_seed[place] for of_seed in runs]
    if metric not in results[0].per_user:
        raise DataError(
            f"differences: wanted one of {', '.join(sorted(results[0].per_user))} as metric; got {metric!r}."
        )
    return np.asarray([result.per_user[metric] for result in results], np.float64)
