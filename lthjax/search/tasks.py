"""Whom the parts of a split are ranked for, and which items are left out then."""

import numpy as np

from lthjax import metric_names
from lthjax.data.share import Share
from lthjax.data.split import Split
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import ranking
from lthjax.evaluation.ranking import RankingTask
from lthjax.graph import sharded
from lthjax.settings import Settings
from lthjax.sharding.layout import Layout


def check_lengths(lengths: tuple[int, ...], num_items: int) -> None:
    """Raise SettingsError where a list is asked to be longer than there are items; the default never is."""
    longest = max(lengths)
    if longest > num_items and lengths != Settings().lengths:
        raise SettingsError(f"--at: wanted at most {num_items:,}, the number of items; got {longest:,}.")


def sample_note(split: Split | Share, settings: Settings) -> str:
    """What `--evaluate-users` comes to, in a line; empty where it is not used."""
    part = split.test if settings.selection == "test" else split.valid
    asked, num_users = settings.evaluate_users, len(np.unique(part[:, 0]))
    name = {"valid": "validation"}.get(settings.selection, settings.selection)
    if not asked:
        return ""
    if asked >= num_users:
        return f"--evaluate-users {asked:,}: there are {num_users:,} users with {name} items, and all are ranked."
    return (
        f"--evaluate-users {asked:,}: best epochs are chosen by the {metric_names.label(settings.main_metric)} of a "
        f"fixed sample, {asked:,} of the {num_users:,} users with {name} items ({settings.selection}_sample_... in "
        "log.jsonl); results are of all users."
    )


def test_task(
    split: Split | Share,
    settings: Settings,
    metrics: tuple[str, ...] = metric_names.DEFAULT,  # noqa: PT028 - this is no test
    layout: Layout | None = None,  # noqa: PT028
) -> RankingTask:
    """Whom the test part is ranked for, and which items are left out then.

    Args:
      split: with the parts.
      settings: what is left out.
      metrics: that it is ranked for.
      layout: of tables on several devices; None for one.

    Raises:
      DataError: it is empty.
    """
    if len(split.test) == 0:
        raise DataError(f"{split.name}: wanted interactions in the test part; it is empty.")
    return task_of(split, None if settings.test_mask == "train" else split.valid, split.test, metrics, layout)


def task_of(
    split: Split | Share,
    also_seen: np.ndarray | None,
    held_out: np.ndarray,
    metrics: tuple[str, ...],
    layout: Layout | None,
) -> RankingTask:
    """The task of some held-out pairs, with what the metrics need.

    Args:
      split: whose training items are left out.
      also_seen: pairs that are left out too.
      held_out: pairs that count as hits.
      metrics: that are measured.
      layout: of tables on several devices, of which a process leaves out its own items; None for one.
    """
    popularity, num_seen, seen = None, None, split.held_train
    if any(name in metric_names.OF_CATALOG for name in metrics):
        popularity = split.degrees.item
    if also_seen is not None:
        seen = np.concatenate([seen, also_seen])
    if layout is None:
        return ranking.ranking_task(seen, held_out, split.num_users, popularity)
    num_seen = split.degrees.user
    if also_seen is not None:
        num_seen = num_seen + np.bincount(also_seen[:, 0], minlength=split.num_users)
    is_own = sharded.own_rows(layout.rows, sharded.own_devices(layout.mesh), layout.num_devices).item
    seen = seen[is_own[seen[:, 1]]]
    return ranking.on_host(ranking.ranking_task(seen, held_out, split.num_users, popularity, num_seen))
