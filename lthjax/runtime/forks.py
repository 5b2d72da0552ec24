"""A process that was forked after JAX had started: there it would wait for ever for threads that were not copied."""

import os
import sys

from lthjax.errors import ForkError

_is_forked = False


def _look() -> None:
    """In a forked child: had JAX started?"""
    global _is_forked
    bridge = sys.modules.get("jax._src.xla_bridge")  # JAX tells it nowhere else
    _is_forked = _is_forked or (bridge is not None and bool(getattr(bridge, "_backends", None)))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_look)


def check() -> None:
    """Before JAX is used.

    Raises:
      ForkError: this process was forked from one in which JAX had started.
    """
    if _is_forked:
        raise ForkError(
            "this process was forked after JAX had started, and JAX would hang in it; wanted one that was spawned: "
            'multiprocessing.get_context("spawn").Pool(2), or ProcessPoolExecutor(mp_context=...) with that context.'
        )
