"""What a run says of a level, or of another method at a sparsity: one row of its tables, typed.

Letters: U users with test items.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from lthjax import metric_names, presets
from lthjax.evaluation.verdict import Verdict
from lthjax.settings import Settings
from lthjax.tickets import effort
from lthjax.tickets.effort import Cost


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """What tables and statistics need of a ticket, without its arrays: runs with many seeds keep these.

    Attributes:
      level: prunings so far; None of methods that have no levels.
      sparsity: share of the entries that are pruned.
      num_kept: entries kept.
      metrics: means over users of the test part, "recall@20" and so on, and of the validation part, "valid_recall@20".
      per_user: [U] test metrics of each user, by name.
      best_epoch: epoch that was measured.
      epochs: epochs trained.
      seconds: time that took.
      verdict: against the dense model of the same run.
      selection: part that chose the best epoch.
      settings: in words.
      tied_users: test users of whose first K + 1 items (K = 20 unless --at says so) two score alike; None in tickets
        of older versions.
      dead_users: users without an entry; None of methods that prune no entries.
      dead_items: items without an entry, likewise.
      cut_short: might it have become better with more epochs?
      cost: of the search for it and of its training; None of other methods, and in tickets of older versions.
      method: of methods other than tickets.
      note: what was rounded.
    """

    level: int | None
    sparsity: float
    num_kept: int
    metrics: dict[str, float]
    per_user: dict[str, np.ndarray]
    best_epoch: int
    epochs: int
    seconds: float
    verdict: Verdict
    selection: str
    settings: str
    tied_users: int | None = None
    dead_users: int | None = None
    dead_items: int | None = None
    cut_short: bool = False
    cost: Cost | None = None
    method: str = ""
    note: str = ""

    @property
    def main_metric(self) -> str:
        """The metric that chose the best epoch and that the verdict is about, "recall@20"."""
        return metric_names.main_of(self.metrics)

    def row(self) -> dict[str, Any]:
        """The row of results.csv; rows of other methods have a column for the method and one for the note."""
        row = {
            "level": "" if self.level is None else self.level,
            "sparsity": self.sparsity,
            "num_kept": self.num_kept,
            f"valid_{self.main_metric}": "",  # where the split has no validation part
            **self.metrics,
            "best_epoch": self.best_epoch,
            "epochs": self.epochs,
            "seconds": self.seconds,
            **self.verdict.columns(),
            "selection": self.selection,
            "settings": self.settings,
            "tied_users": self.tied_users,
            "dead_users": self.dead_users,
            "dead_items": self.dead_items,
            "cut_short": self.cut_short,
            **(dict.fromkeys(effort.COLUMNS, "") if self.cost is None else self.cost.columns()),
        }
        return {"method": self.method, **row, "note": self.note} if self.method else row


IN_PLACE_OF = {  # what was given in code -> settings that then say nothing
    "optimizer": ("optimizer", "learning_rate"),
    "loss": ("loss", "temperature", "l2", "l2_form", "l2_on"),
}


def in_words(settings: Settings, given: Collection[str] = (), optimizer_label: str = "") -> dict[str, str]:
    """The fields of a result that its settings, and what was given in code in their place, fill.

    Args:
      settings: of the run.
      given: what was given in code: "loss", "optimizer" and so on.
      optimizer_label: what a given optimizer is called.
    """
    unused = [name for kind in given for name in IN_PLACE_OF.get(kind, ())]
    label = f" ({optimizer_label})" if optimizer_label else ""
    words = ", ".join(kind + (label if kind == "optimizer" else "") for kind in given)
    title = presets.title(settings, unused) + (f"; given in code: {words}" if given else "")
    return {"selection": settings.selection, "settings": title}


def is_cut_short(best_epoch: int, epochs: int, settings: Settings) -> bool:
    """Whether a level met the limit of its epochs before its patience ended: more epochs might have been better.

    Args:
      best_epoch: of the level.
      epochs: that it trained.
      settings: with the limit and the patience.
    """
    return epochs >= settings.epochs and best_epoch + max(settings.patience, settings.eval_every) > settings.epochs


def from_row(row: Mapping[str, Any], metrics: dict[str, float], per_user: dict[str, np.ndarray]) -> Result:
    """The result that a row was made of.

    Args:
      row: of `Result.row`.
      metrics: means by name.
      per_user: values of each user by name.
    """
    plain = ("sparsity", "num_kept", "best_epoch", "epochs", "seconds", "selection", "settings")
    newer = ("tied_users", "dead_users", "dead_items", "cut_short", "method", "note")
    return Result(
        level=None if row["level"] == "" else row["level"],
        metrics=metrics,
        per_user=per_user,
        verdict=Verdict(*(row[name] for name in ("verdict", "difference", "interval_low", "interval_high"))),
        **{name: row[name] for name in plain},
        **{name: row[name] for name in newer if name in row},
    )
