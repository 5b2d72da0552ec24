"""Random graphs of any size, with degrees by power laws. NumPy only.

Letters: M users, N items, E interactions, F dimensions.
"""

from typing import NamedTuple

import numpy as np

from lthjax.data.split import Split

MOST_FULL = 0.25  # of the M x N pairs: beyond it, drawing pairs without duplicates takes long
_POWER = 0.7  # popularity of the r-th node ~ r^-0.7, between the users and the items of Gowalla


class Size(NamedTuple):
    """The size of a graph and its table."""

    users: int  # M
    items: int  # N
    interactions: int  # E
    dim: int  # F

    @property
    def edge_list(self) -> int:
        """Bytes of a gathered [2E, F] float32 temporary."""
        return 2 * self.interactions * self.dim * 4

    def in_words(self) -> str:
        """For tables."""
        return f"{self.users:,} users, {self.items:,} items, {self.interactions:,} interactions, F = {self.dim}"


def random_pairs(num_users: int, num_items: int, num_pairs: int, seed: int) -> np.ndarray:
    """[num_pairs, 2] int32 pairs (user, item), sorted, without duplicates, degrees by power laws on both sides.

    Args:
      num_users: M.
      num_items: N.
      num_pairs: how many; at most `MOST_FULL` of M x N.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    order = [rng.permutation(number) for number in (num_users, num_items)]  # a node's number says nothing of its degree
    up_to = [np.cumsum(np.arange(1.0, number + 1) ** -_POWER) for number in (num_users, num_items)]
    pairs = np.zeros(0, np.int64)  # one number per pair
    while len(pairs) < num_pairs:
        draws = rng.random((2, int(1.2 * (num_pairs - len(pairs))) + 16))
        users, items = (
            nodes[np.searchsorted(total[:-1], draw * total[-1])]
            for nodes, total, draw in zip(order, up_to, draws, strict=True)
        )
        pairs = np.union1d(pairs, users * np.int64(num_items) + items)
    kept = np.sort(rng.choice(pairs, num_pairs, replace=False))
    return np.stack([kept // num_items, kept % num_items], axis=1).astype(np.int32)


def random_split(size: Size, seed: int) -> Split:
    """A split with exactly M, N and E, and one pair each to validate and to test on, which a problem wants to have."""
    pairs = random_pairs(size.users, size.items, size.interactions + 2, seed)
    aside = np.random.default_rng(seed).choice(len(pairs), 2, replace=False)
    return Split(
        name="random",
        user_ids=np.arange(size.users),
        item_ids=np.arange(size.items),
        notes=(),
        train=np.delete(pairs, aside, axis=0),
        valid=pairs[aside[:1]],
        test=pairs[aside[1:]],
    )
