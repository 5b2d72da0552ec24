"""How many entries are kept at each level, and at any sparsity; a line for where that is no whole number.

Letters: M users, N items, F dimensions.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lthjax.errors import SettingsError
from lthjax.settings import Settings


class Count(NamedTuple):
    """What is kept of `size` things at a sparsity."""

    kept: int
    sparsity: float  # 1 - kept / size, what was asked for but for rounding
    note: str  # says what was rounded to; empty where nothing was


def at_sparsity(sparsity: float, size: int, things: str = "entries") -> Count:
    """Keep all but round(sparsity * size), halves to even as everywhere in lthjax.

    Args:
      sparsity: share that falls, from 0 up to below 1.
      size: how many there are.
      things: what they are called.

    Raises:
      SettingsError: the sparsity is no such share, or nothing would be left.
    """
    if not 0 <= sparsity < 1:
        raise SettingsError(f"sparsity: wanted a share from 0 to below 1; got {sparsity!r}.")
    exact = sparsity * size
    fall = round(exact)
    kept = size - fall
    if kept == 0:
        raise SettingsError(f"sparsity: wanted one that leaves some of {size:,} {things}; got {sparsity:g}.")
    rounded = abs(exact - fall) > 1e-9 * size
    note = (
        f"{sparsity:.1%} of {size:,} {things} is no whole number ({exact:,.1f}): {fall:,} fall, {1 - kept / size:.4%}"
        if rounded
        else ""
    )
    return Count(kept, 1 - kept / size, note)


def num_kept_at(settings: Settings, num_entries: int) -> list[int]:
    """Entries kept at each level, the dense one first, of a table of (M + N) F entries pruned as a whole.

    Raises:
      SettingsError: a level would find no entry to prune, or leave none.
    """
    kept = [num_entries]
    for sparsity in settings.schedule:
        kept.append(at_sparsity(sparsity, num_entries).kept)
        if not 0 < kept[-1] < kept[-2]:
            raise SettingsError(
                f"--sparsities: wanted entries to fall at each level and some to stay; got {sparsity:g} "
                f"for a table of {num_entries:,}, which would keep {kept[-1]:,} of {kept[-2]:,}."
            )
    for level in range(1, 0 if settings.schedule else settings.levels + 1):
        fall = round(settings.prune_rate * kept[-1])
        if fall == 0 or fall == kept[-1]:
            raise SettingsError(
                f"--levels: wanted at most {level - 1} prunings of {settings.prune_rate:g} for a table of "
                f"{num_entries:,} entries; got {settings.levels}: of the {kept[-1]} left then, {fall} would fall."
            )
        kept.append(kept[-1] - fall)
    return kept


def roundings(settings: Settings, num_entries: int) -> list[str]:
    """A line for each sparsity of the schedule that is no whole number of entries: what it is rounded to."""
    notes = [at_sparsity(sparsity, num_entries).note for sparsity in settings.schedule]
    return [f"{note}." for note in notes if note]


def rate_of(settings: Settings, level: int, parent: int, num_entries: int) -> float:
    """Share of its parent's entries that a level prunes.

    Args:
      settings: the schedule.
      level: from 1.
      parent: the level that is pruned for it.
      num_entries: (M + N) F.
    """
    if settings.search_name == "imp" and not settings.schedule and parent == level - 1:
        return settings.prune_rate
    kept = num_kept_at(settings, num_entries)
    return 1 - kept[level] / kept[parent]


def rungs(targets: Sequence[int], num_entries: int, rate: float) -> list[list[int]]:
    """For each target the entries kept after each pruning on the way to it: equal shares, `rate` each but for rounding.

    Args:
      targets: entries kept, falling.
      num_entries: (M + N) F, where the way begins.
      rate: share that a pruning takes, about.
    """
    ways, before = [], num_entries
    for target in targets:
        steps = max(1, round(math.log(target / before) / math.log1p(-rate)))
        ways.append([round(before * (target / before) ** (step / steps)) for step in range(1, steps + 1)])
        before = target
    return ways
