"""Several runs that differ in their seed only, as one table: means, standard deviations, verdicts over users and seeds.

Letters: S seeds, U users, L levels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lthjax.evaluation import statistics, verdict
from lthjax.evaluation.verdict import Verdict
from lthjax.tickets import effort
from lthjax.tickets.result import Result


def combine(runs: Sequence[Sequence[Result]]) -> list[dict[str, Any]]:
    """One row a level, as `Result.row` has them, with means over the seeds and columns `..._sd`.

    Args:
      runs: the results of each seed, all levels, the dense one first; split and settings alike.
    """
    values, epochs = _of_seeds(runs)
    verdicts = [
        verdict.DENSE,
        *verdict.compare_seeds(values[:, 0], values[:, 1:].swapaxes(0, 1), epochs[:, 0], epochs[:, 1:].T),
    ]
    return [_mean([run[level] for run in runs], judged) for level, judged in enumerate(verdicts)]


def _mean(results: Sequence[Result], judged: Verdict) -> dict[str, Any]:
    """The row of one level: means over its seeds, and the verdict on all of them."""
    first, rows = results[0], [result.row() for result in results]
    measured = {}
    for name in [*first.metrics, "best_epoch", "epochs", "seconds"]:
        values = np.asarray([row[name] for row in rows], np.float64)
        measured[name] = float(values.mean())
        if name != "seconds":
            measured[f"{name}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {
        **{name: rows[0][name] for name in ("level", "sparsity", "num_kept")},
        **measured,
        **judged.columns(),
        "num_seeds": len(results),
        "selection": first.selection,
        "settings": first.settings,
        **{name: _mean_count(rows, name) for name in ("tied_users", "dead_users", "dead_items")},
        "cut_short": any(result.cut_short for result in results),
        **{name: _mean_count(rows, name) for name in effort.COLUMNS},
    }


def _mean_count(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    """Mean of a column over seeds; None where a seed does not have it."""
    return None if any(row[name] in (None, "") for row in rows) else float(np.mean([row[name] for row in rows]))


def sparsest_winner_interval(runs: Sequence[Sequence[Result]]) -> tuple[float, float]:
    """95% interval of the highest winning sparsity over users and seeds; see `statistics.sparsest_winner_interval`."""
    values, epochs = _of_seeds(runs)
    return statistics.sparsest_winner_interval(
        (values[:, 1:] - values[:, :1]).swapaxes(0, 1),
        (epochs[:, 1:] - epochs[:, :1]).T,
        np.asarray([ticket.sparsity for ticket in runs[0][1:]], np.float64),
    )


def _of_seeds(runs: Sequence[Sequence[Result]]) -> tuple[np.ndarray, np.ndarray]:
    """[S, L, U] float64 main metric of each user, and [S, L] best epochs."""
    main = runs[0][0].main_metric
    values = np.asarray([[result.per_user[main] for result in run] for run in runs], np.float64)
    epochs = np.asarray([[result.best_epoch for result in run] for run in runs])
    # A table that was trained elsewhere has no epoch to be later than.
    elsewhere = [run[0].epochs == 0 for run in runs]
    epochs[elsewhere, 0] = epochs[elsewhere].max(axis=1)
    return values, epochs
