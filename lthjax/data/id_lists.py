"""Sets of ids, one sorted row each, stored end to end as in CSR. NumPy only; `graph.id_sets` uses them on the device.

Letters: R rows, E ids in all rows together.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class IdLists:
    """R sorted sets of ids: row r is ids[starts[r]:starts[r + 1]]."""

    starts: Any  # [R + 1] int64; int32 on the device
    ids: Any  # [E] int32, ascending and unique within a row
    max_length: int  # ids of the longest row

    @property
    def num_rows(self) -> int:
        """R."""
        return self.starts.shape[0] - 1

    def pairs(self) -> np.ndarray:
        """[E, 2] int32, row and id."""
        return np.stack([np.repeat(np.arange(self.num_rows), np.diff(self.starts)), self.ids], 1, dtype=np.int32)


def from_lengths(lengths: np.ndarray, ids: np.ndarray) -> IdLists:
    """IdLists of the given [R] lengths, whose [E] ids stand one after the other."""
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    return IdLists(starts, ids.astype(np.int32), int(lengths.max(initial=0)))


def from_pairs(pairs: np.ndarray, num_rows: int) -> IdLists:
    """IdLists of [E, 2] pairs (row, id) in any order; pairs that come twice count once."""
    width = int(pairs[:, 1].max(initial=0)) + 1
    keys = np.sort(pairs[:, 0].astype(np.int64) * width + pairs[:, 1], kind="stable")  # quick where parts are sorted
    rows, ids = np.divmod(keys[np.diff(keys, prepend=-1) > 0], width)
    return from_lengths(np.bincount(rows, minlength=num_rows), ids)
