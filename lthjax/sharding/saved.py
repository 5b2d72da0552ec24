"""Checkpoints of tables that are cut over devices: written by all processes, and read by any number of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lthjax.runtime import checkpoint
from lthjax.sharding.layout import Layout
from lthjax.sharding.table import ShardedTable, sharded_table, whole


def save(path: Path, arrays: Mapping[str, np.ndarray | ShardedTable], facts: Mapping[str, Any]) -> None:
    """`checkpoint.save`; of each table the rows that fill up are saved too, and how many are not."""
    tables = {name: table.num_rows for name, table in arrays.items() if isinstance(table, ShardedTable)}
    as_they_lie = {name: array.array if name in tables else array for name, array in arrays.items()}
    checkpoint.save(path, as_they_lie, {**facts, **({"tables": tables} if tables else {})})


def load(path: Path, layout: Layout | None = None) -> tuple[dict[str, np.ndarray | ShardedTable], dict[str, Any]]:
    """`checkpoint.load`, with tables whole, rows by their numbers; or, those that were cut, as a layout cuts them.

    Args:
      path: the folder.
      layout: of the devices whose hosts read it; None for this process alone.

    Raises:
      CheckpointError: as there.
    """
    arrays, facts = checkpoint.load(path, None if layout is None else layout.in_host_memory)
    read = whole if layout is None else sharded_table
    tables = {name: read(arrays[name], num_rows) for name, num_rows in facts.pop("tables", {}).items()}
    return arrays | tables, facts
