"""What `loading` measures, each in a process of its own; no JAX but for training.

Letters: M users, N items, E rows.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.speed import memory, random_data
from lthjax.settings import Settings


class Measured(NamedTuple):
    """What a process took."""

    seconds: float  # by the clock
    cpu_seconds: float  # of the processor, in all threads
    peak_bytes: int  # most that was resident


def write(path: Path, num_users: int, num_items: int, num_rows: int, ids: str, seed: int) -> None:
    """Write a csv file of user_id, item_id, rating and timestamp in random order.

    Args:
      path: of the file.
      num_users: M.
      num_items: N.
      num_rows: E, of different pairs.
      ids: whole or text.
      seed: of the draws.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    user, item = rng.permutation(random_data.random_pairs(num_users, num_items, num_rows, seed)).T
    if ids == "text":  # numbers in hexadecimal digits say nothing of their order
        names = [
            np.array([f"{mark}{number * 2_654_435_761 % 16**width:0{width}X}" for number in range(count)])
            for mark, width, count in (("A", 11, num_users), ("B", 9, num_items))
        ]
        user, item = names[0][user], names[1][item]
    rating, seconds = rng.integers(1, 6, num_rows), rng.integers(1_000_000_000, 1_600_000_000, num_rows)
    columns = {"user_id": user, "item_id": item, "rating": rating, "timestamp": seconds}
    pd.DataFrame(columns).to_csv(path, index=False)


def measure(work: Callable[..., Any], *arguments: Any) -> Measured:
    """What some work takes in this process, from the imports on."""
    began, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return Measured(time.perf_counter() - began, time.process_time() - cpu, memory.peak_resident())


def _on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def load(path: Path) -> None:
    """Interactions, by lthjax."""
    _on_one_core()
    from lthjax.data import interactions

    interactions.load(path)


def read_csv(path: Path) -> None:
    """All columns, by pandas."""
    _on_one_core()
    import pandas as pd

    pd.read_csv(path)


SIDES = {"lthjax": load, "pandas.read_csv alone": read_csv}


def train(settings: Settings, num_steps: int) -> None:
    """Load, split, make MF ready and take some steps; on all cores."""
    from experiments.speed import stepping
    from lthjax.data import resolve
    from lthjax.search.problem import prepare

    problem = prepare(resolve.load_split(None, settings), settings)
    stepping.alone(problem, stepping.ticket_of(problem, stepping.first_values(problem)))(num_steps)
