"""What a search asks for is checked before anything is trained: one line for what cannot be."""

from collections.abc import Set
from typing import Any

import jax
import numpy as np

from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.pruning import masks as masking
from lthjax.search.steps import Item, Progress, Request, Stretch
from lthjax.tickets.effort import Effort
from lthjax.training.step import TrainState


def check(item: Any, shapes: list[tuple[int, ...]], levels: Set[int]) -> None:
    """Raise SettingsError where a search asks for what cannot be.

    Args:
      item: what it yields.
      shapes: of the tables of its model.
      levels: that it has asked for before.
    """
    if not isinstance(item, Item):
        raise SettingsError(f"search: wanted requests; got {type(item).__name__}.")
    if isinstance(item, Progress):
        return
    if isinstance(item, Stretch):
        what = "in a stretch"
        if isinstance(item.epochs, bool) or not isinstance(item.epochs, int) or item.epochs < 1:
            raise SettingsError(f"search: wanted stretches of at least 1 epoch; got {item.epochs!r}.")
    else:
        what = f"at level {item.level}"
        _check_level(item, levels)
    _check_masks(item, shapes, what)


def _check_level(request: Request, levels: Set[int]) -> None:
    if isinstance(request.level, bool) or not isinstance(request.level, int) or request.level < 0:
        raise SettingsError(f"search: wanted levels that are whole numbers from 0; got {request.level!r}.")
    if request.level in levels:
        raise SettingsError(f"search: wanted each level once; got level {request.level} again.")
    if request.search is not None and not isinstance(request.search, Effort):
        raise SettingsError(f"search: wanted an Effort as what level {request.level} cost; got {request.search!r:.60}.")


def _check_masks(item: Request | Stretch, wanted: list[tuple[int, ...]], what: str) -> None:
    masks = item.masks
    came = [np.shape(leaf) for leaf in masks] if isinstance(masks, Embeddings) else type(masks).__name__
    if wanted != came:
        raise SettingsError(f"search: wanted masks of shapes {wanted} {what}; got {came}.")
    kinds = {str(leaf.dtype if isinstance(leaf, jax.Array) else np.asarray(leaf).dtype) for leaf in masks}
    if kinds != {"bool"}:
        raise SettingsError(f"search: wanted masks of bool {what}; got {', '.join(sorted(kinds))}.")
    if not isinstance(item.start, TrainState):
        came = type(item.start).__name__
        raise SettingsError(f"search: wanted a TrainState as the start {what}; got {came}.")
    if astray := masking.num_astray(masks, item.start.params):
        raise SettingsError(
            f"search: wanted a start whose pruned entries are 0 {what}; got {astray:,} that are not. "
            "problem.program.mask_state(start, masks) makes them so."
        )
