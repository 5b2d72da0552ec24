"""Shares of whole things: how many are kept at a sparsity, and a line for where that is no whole number."""

from typing import NamedTuple

from lthjax.errors import SettingsError


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
        raise SettingsError(f"sparsity: wanted one that leaves some of {size:,} {things}; got {sparsity:.1%}.")
    rounded = abs(exact - fall) > 1e-9 * size
    note = (
        f"{sparsity:.1%} of {size:,} {things} is no whole number ({exact:,.1f}): {fall:,} fall, {1 - kept / size:.4%}"
        if rounded
        else ""
    )
    return Count(kept, 1 - kept / size, note)
