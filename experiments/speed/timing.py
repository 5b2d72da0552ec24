"""Times of sides that take turns, and the machine that they were taken on; in numbers and in words.

Two sides are timed in turns, one repeat of each after the other, so that a machine that slows down slows both. Medians
are compared; least and most are shown beside them. What turns cannot even out is a machine that is busy with other
work: thread pools suffer from it unequally. So the load is noted before the clock starts.
"""

import contextlib
import functools
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lthjax.runtime import compilation

_REST = 0.02  # seconds between two sides: OpenMP's threads spin for some milliseconds after their last work

Seconds = dict[str, list[float]]  # name of a side -> seconds of each repeat


def in_turns(sides: dict[Any, Callable[[], Any]], repeats: int) -> Seconds:
    """Seconds of `repeats` calls of each side, one of each in turn.

    Args:
      sides: functions that return when their work is done (on a GPU: synchronized). Each is called once beforehand,
        untimed, so that nothing is compiled or allocated for the first time within a timed call.
      repeats: timed calls of each.
    """
    for run in sides.values():
        run()
    seconds = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            time.sleep(_REST)
            began = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - began)
    return seconds


def per_step(sides: dict[str, Callable[[int], Any]], num_steps: int, repeats: int) -> Seconds:
    """Seconds per step, in turns as `in_turns`.

    Args:
      sides: functions that do as many steps as they are told.
      num_steps: of each call.
      repeats: timed calls of each.
    """
    seconds = in_turns({name: functools.partial(run, num_steps) for name, run in sides.items()}, repeats)
    return {name: [repeat / num_steps for repeat in repeats_of_side] for name, repeats_of_side in seconds.items()}


def fastest(sides: dict[Any, Callable[[], Any]], repeats: int = 3) -> Any:
    """The name of the side with the shortest call; a single side is not timed."""
    if len(sides) == 1:
        return next(iter(sides))
    seconds = in_turns(sides, repeats)
    return min(seconds, key=lambda name: min(seconds[name]))


def summary(seconds: list[float]) -> dict[str, Any]:
    """Median, least, most, and every repeat."""
    return {
        "median": statistics.median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "seconds": seconds,
    }


def summaries(seconds: Seconds) -> dict[str, dict[str, Any]]:
    """The summary of each side."""
    return {name: summary(repeats) for name, repeats in seconds.items()}


def in_words(seconds: list[float]) -> str:
    """Milliseconds, as median (least to most)."""
    median, least, most = (_milliseconds(value) for value in (statistics.median(seconds), min(seconds), max(seconds)))
    return f"{median} ms ({least} to {most})"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.{0 if seconds >= 1 else 1 if seconds >= 0.01 else 3}f}"


def ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """How many times as long theirs take: of the medians, and the least and most of the repeats taken side by side."""
    pairs = [their / our for their, our in zip(theirs, ours, strict=True)]
    return {
        "of_medians": statistics.median(theirs) / statistics.median(ours),
        "least": min(pairs),
        "most": max(pairs),
    }


def load() -> float | None:
    """Processes that wanted a core, on average over the last minute; to be asked before the work begins."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def machine(load_before: float | None) -> dict[str, Any]:
    """Device, processor, cores and the load before the work; no names of hosts or people."""
    import jax

    device = jax.devices()[0]
    return {
        "device": f"{device.device_kind} ({device.platform})",
        "processor": _processor(),
        "cores": compilation.cores(),
        "load_before": load_before,
    }


def machine_in_words(facts: dict[str, Any]) -> str:
    """One line on the machine, with a warning where it is busy."""
    text = f"{facts['cores']} cores of {facts['processor']}, jax on {facts['device']}"
    if (facts["load_before"] or 0) > 0.5:
        text += f"; NOTE: other work was under way or just over (load {facts['load_before']}): times are upper bounds, "
        text += "PyTorch's (OpenMP) the loosest, and ratios uncertain"
    return text


def _processor() -> str:
    """The processor's model name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
