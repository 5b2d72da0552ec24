"""Several runs that differ in their seed only, as one table: means, standard deviations, verdicts over users and seeds.

Letters: S seeds, U users, L levels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lthjax.evaluation import statistics, verdict
from lthjax.tickets.ticket import Record


def combine(runs: Sequence[Sequence[Record]], k: int = 20) -> list[dict[str, Any]]:
    """One row a level, as `tickets.row`, with means over the seeds and columns `..._sd`.

    Args:
      runs: the records of each seed, all levels, the dense one first; split and settings alike.
      k: places of Recall.
    """
    main = f"recall@{k}"
    values = np.asarray([[ticket.per_user[main] for ticket in run] for run in runs], np.float64)  # [S, L, U]
    epochs = np.asarray([[ticket.best_epoch for ticket in run] for run in runs])  # [S, L]
    verdicts = [
        verdict.DENSE,
        *verdict.compare_seeds(values[:, 0], values[:, 1:].swapaxes(0, 1), epochs[:, 0], epochs[:, 1:].T),
    ]
    rows = []
    for level, judged in enumerate(verdicts):
        each = [run[level].row for run in runs]
        measured = {}
        for name in [*runs[0][level].metrics, "best_epoch", "epochs", "seconds"]:
            numbers = np.asarray([one[name] for one in each], np.float64)
            measured[name] = float(numbers.mean())
            if name != "seconds":
                measured[f"{name}_sd"] = float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0
        rows.append(
            {
                **{name: each[0][name] for name in ("level", "sparsity", "num_kept")},
                **measured,
                "verdict": judged.name,
                "difference": judged.difference,
                "interval_low": judged.low,
                "interval_high": judged.high,
                "num_seeds": len(runs),
                "selection": each[0]["selection"],
                "settings": each[0]["settings"],
            }
        )
    return rows


def sparsest_winner_interval(runs: Sequence[Sequence[Record]], k: int = 20) -> tuple[float, float]:
    """95% interval of the highest winning sparsity over users and seeds; see `statistics.sparsest_winner_interval`."""
    main = f"recall@{k}"
    values = np.asarray([[ticket.per_user[main] for ticket in run] for run in runs], np.float64)
    epochs = np.asarray([[ticket.best_epoch for ticket in run] for run in runs])
    return statistics.sparsest_winner_interval(
        (values[:, 1:] - values[:, :1]).swapaxes(0, 1),
        (epochs[:, 1:] - epochs[:, :1]).T,
        np.asarray([ticket.sparsity for ticket in runs[0][1:]], np.float64),
    )
