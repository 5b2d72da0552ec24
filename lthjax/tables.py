"""Tables: parameters -> layer-0 embeddings.

A table is a pair of pure functions. `dense` is the plain table, whose pruned entries the masked optimizer keeps at
exactly 0, so that its lookup needs no mask; a table of another kind is another pair (`pep.table`, `lcm.table`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lthjax.embeddings import Draw, Embeddings


class Table(NamedTuple):
    """How a table's parameters are drawn and read."""

    init: Callable[[jax.Array, int, int, int], Any]  # (key, M, N, F) -> parameters
    lookup: Callable[[Any], Embeddings]  # parameters -> layer-0 embeddings


def dense(draw: Draw) -> Table:
    """The parameters are the embeddings."""
    return Table(init=draw, lookup=lambda params: params)
