"""The metrics by name, and how they are asked for: "recall,ndcg" at "5,20" is recall@5, ndcg@5, recall@20, ndcg@20.

Without JAX, since settings, tables and pictures need the names alone; what they mean is in `evaluation.metrics` (those
of users) and `evaluation.breakdown` (those of the catalog).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lthjax.errors import SettingsError, nearest

OF_USERS = {"recall": "Recall", "ndcg": "NDCG", "precision": "Precision", "hit": "Hit", "mrr": "MRR", "map": "MAP"}
OF_CATALOG = {"coverage": "Coverage", "popularity": "Popularity", "gini": "Gini"}  # one number for all users together
DEFAULT = ("recall", "ndcg")
LONGEST = 1_000  # places: a metric compares each with each


def metrics_of(asked: str | Iterable[str], flag: str = "--metrics") -> tuple[str, ...]:
    """The names in "recall,ndcg", or of a sequence of them.

    Args:
      asked: by the user.
      flag: for errors.

    Raises:
      SettingsError: there is none, one is unknown, or one comes twice.
    """
    names, known = _parts(asked, flag, "names"), {**OF_USERS, **OF_CATALOG}
    for name in names:
        if name not in known:
            raise SettingsError(f"{flag}: wanted names of {', '.join(known)}; got {name!r}{nearest(name, known)}.")
    return _once(names, flag)


def lengths_of(asked: str | int | Iterable[int], flag: str = "--at") -> tuple[int, ...]:
    """The list lengths in "5,20", of a number, or of a sequence of them; arguments and errors as `metrics_of`."""
    words = _parts(str(asked) if isinstance(asked, int) else asked, flag, "list lengths")
    for word in words:
        if not (word.isascii() and word.isdigit() and len(word) < 10 and 1 <= int(word) <= LONGEST):
            raise SettingsError(f'{flag}: wanted list lengths from 1 to {LONGEST:,}, "5,20"; got {word!r}.')
    return _once(tuple(map(int, words)), flag)


def _parts(asked: Any, flag: str, wanted: str) -> tuple[str, ...]:
    if not isinstance(asked, Iterable):
        raise SettingsError(f"{flag}: wanted {wanted}, by commas; got {asked!r}.")
    parts = asked.split(",") if isinstance(asked, str) else asked
    if not (parts := tuple(str(part).strip() for part in parts)):
        raise SettingsError(f"{flag}: wanted at least one; got none.")
    return parts


def _once(parts: tuple[Any, ...], flag: str) -> tuple[Any, ...]:
    for part in parts:
        if parts.count(part) > 1:
            raise SettingsError(f"{flag}: wanted each once; got {part} {parts.count(part)} times.")
    return parts


def label(name: str) -> str:
    """As people write it: "recall@20" -> "Recall@20"; what is no metric stays as it is."""
    metric, at, length = name.partition("@")
    return {**OF_USERS, **OF_CATALOG}.get(metric, metric) + at + length


def measured(names: Iterable[str]) -> list[str]:
    """Those of some columns that are metrics of the test part: "recall@20", but not "valid_recall@20"."""
    return [name for name in names if "@" in name and "_" not in name]


def digits(name: str) -> str:
    """How a metric is written out: shares with four digits, a mean number of interactions with one."""
    return ".1f" if name.startswith("popularity@") else ".4f"


def headline(names: Iterable[str]) -> list[str]:
    """Those of the test part at the first list length: what a line has room for."""
    names = measured(names)
    return [name for name in names if name.partition("@")[2] == names[0].partition("@")[2]]


def in_words(values: Mapping[str, Any]) -> str:
    """These and their values in a line."""
    return ", ".join(f"{name} {values[name]:{digits(name)}}" for name in headline(values))


def main_of(names: Iterable[str]) -> str:
    """The metric that chose the best epochs and that verdicts are about: of a table's columns, the first metric.

    Args:
      names: columns of a table, or names of a ticket's metrics, in their order (`Settings.main_metric` comes first).
    """
    return measured(names)[0]
