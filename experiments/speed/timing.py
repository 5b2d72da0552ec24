"""What the benchmarks share: timing in turns, the machine in words, and results as JSON.

Two sides are timed in turns, one repeat of each after the other, so that a machine that slows down slows both. Medians
are compared; least and most are shown beside them. What turns cannot even out is a machine that is busy with other
work: thread pools suffer from it unequally. So the load is noted before the clock starts.
"""

import contextlib
import dataclasses
import importlib
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from lthjax.errors import SettingsError
from lthjax.runtime import compilation, environment, files
from lthjax.settings import flag

_REST = 0.02  # seconds between two sides: OpenMP's threads spin for some milliseconds after their last work


@dataclasses.dataclass(frozen=True, kw_only=True)
class Common:
    """The flags of every benchmark."""

    repeats: int = 7
    """Timed repeats of each side; the median counts."""
    seed: int = 0
    """Seed of all random numbers."""
    json: str | None = None
    """File for all repeats, medians and versions."""

    def __post_init__(self):
        check_at_least(self, 1, "repeats")
        check_at_least(self, 0, "seed")
        if self.json is not None and (not Path(self.json).parent.is_dir() or Path(self.json).is_dir()):
            raise SettingsError(f"--json: wanted a file in a folder that exists; got {self.json}.")


def check_at_least(config: Any, least: int, *names: str) -> None:
    """Raise SettingsError for the first of the named fields that is below `least`."""
    for name in names:
        if getattr(config, name) < least:
            raise SettingsError(f"{flag(name)}: wanted {least} or more; got {getattr(config, name)}.")


def in_turns(sides: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
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


def find_torch() -> ModuleType | None:
    """PyTorch with all cores, or None where it is not installed, or where it cannot use the GPU that JAX uses."""
    with quiet():
        try:
            torch = importlib.import_module("torch")
        except ImportError:
            return None
        if jax.default_backend() != "cpu" and not torch.cuda.is_available():
            return None
    torch.set_num_threads(compilation.cores())
    return torch


def torch_device(torch: ModuleType) -> str:
    """The device that JAX uses, in PyTorch's words."""
    return "cpu" if jax.default_backend() == "cpu" else "cuda"


def wait_for_torch(torch: ModuleType) -> None:
    """Return when all of PyTorch's work is done."""
    if torch_device(torch) == "cuda":
        torch.cuda.synchronize()


NO_TORCH = "PyTorch is not here (or cannot use this GPU): lthjax alone. pip install torch for the comparison."


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings within: PyTorch says once a process that its sparse matrices are young."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def peak_bytes(torch: ModuleType | None) -> dict[str, int]:
    """Most bytes on the GPU so far, of each side; empty on a CPU, where one process cannot tell the two apart."""
    stats = jax.devices()[0].memory_stats() or {}
    found = {"lthjax": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {}
    if torch is not None and torch_device(torch) == "cuda":
        found["PyTorch"] = torch.cuda.max_memory_allocated()
    return found


def load() -> float | None:
    """Processes that wanted a core, on average over the last minute; to be asked before the work begins."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def machine(load_before: float | None) -> dict[str, Any]:
    """Device, processor, cores and the load before the work; no names of hosts or people."""
    first = jax.devices()[0]
    return {
        "device": f"{first.device_kind} ({first.platform})",
        "processor": _processor(),
        "cores": compilation.cores(),
        "load_before": load_before,
    }


def machine_in_words(found: dict[str, Any]) -> str:
    """One line on the machine, with a warning where it is busy."""
    text = f"{found['cores']} cores of {found['processor']}, jax on {found['device']}"
    if (found["load_before"] or 0) > 0.5:
        text += f"; NOTE: other work was under way or just over (load {found['load_before']}): times are upper bounds, "
        text += "PyTorch's (OpenMP) the loosest, and ratios uncertain"
    return text


def _processor() -> str:
    """The processor's model name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def command(name: str, config: Any) -> str:
    """The command line of a config, its json aside: flags off their defaults, and of a path its last part."""
    words = [f"python -m experiments.{name}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name == "json":
            continue
        values = value if isinstance(value, tuple) else (value,)
        words += [flag(field.name), *(Path(v).name if isinstance(v, str) else str(v) for v in values)]
    return " ".join(words)


def record(name: str, config: Any, found: dict[str, Any], torch: ModuleType | None, **results: Any) -> dict[str, Any]:
    """What the JSON of a benchmark holds: how it was made, and its results.

    Args:
      name: of the benchmark's module.
      config: its flags, with a seed.
      found: of `machine`.
      torch: PyTorch, where it was timed.
      results: named results that JSON can hold.
    """
    return {
        "command": command(name, config),
        "commit": environment.git_commit(),
        "machine": found,
        "versions": {
            "python": platform.python_version(),
            "jax": jax.__version__,
            "torch": None if torch is None else torch.__version__,
        },
        "seed": config.seed,
        **results,
    }


def write_json(place: str | None, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all; nothing where no place is given."""
    if place is not None:
        files.write_text(place, json.dumps(content, indent=1) + "\n")
