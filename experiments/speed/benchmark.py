"""What every benchmark does: it reads its flags, tells the machine, and leaves its results as JSON."""

import dataclasses
import json
import platform
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.speed import timing
from lthjax.errors import SettingsError
from lthjax.runtime import environment, files
from lthjax.settings import Settings, flag, names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flags:
    """The flags of every benchmark; those of `Settings` are checked as there."""

    repeats: int = 7
    """Timed repeats of each side; the median counts."""
    seed: int = 0
    """Seed of all random numbers."""
    json: str | None = None
    """File for all repeats, medians and versions."""

    def __post_init__(self):
        self.check_at_least(1, "repeats")
        if self.json is not None and (not Path(self.json).parent.is_dir() or Path(self.json).is_dir()):
            raise SettingsError(f"--json: wanted a file in a folder that exists; got {self.json}.")
        self.settings()

    def check_at_least(self, least: int, *fields: str) -> None:
        """Check that the named fields are not below `least`.

        Raises:
          SettingsError: for the first that is.
        """
        for name in fields:
            if getattr(self, name) < least:
                raise SettingsError(f"{flag(name)}: wanted {least} or more; got {getattr(self, name)}.")

    def settings(self, **others: Any) -> Settings:
        """The settings of a dense model that the flags name; `others` are those that are no flags here."""
        named = {name: getattr(self, name) for name in names(Settings) if hasattr(self, name)}
        return Settings(levels=0, **named | others)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataFlags(Flags):
    """The flags of benchmarks that read data."""

    data: str = "ml-latest-small"
    """Bundled or known name, or path, as for find_tickets; split 7:1:2, the training part is the graph."""


def announce_machine(load_before: float | None = None) -> dict[str, Any]:
    """Print a line on the machine; returns what the JSON holds of it.

    Args:
      load_before: of `timing.load`; asked for now where it is not given.
    """
    facts = timing.machine(timing.load() if load_before is None else load_before)
    print(timing.machine_in_words(facts), flush=True)
    return facts


def peak_bytes(torch: ModuleType | None = None) -> dict[str, int]:
    """Most bytes on the GPU so far, of each side; empty on a CPU, where one process cannot tell the two apart."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    peaks = {"lthjax": stats["peak_bytes_in_use"]} if "peak_bytes_in_use" in stats else {}
    if torch is not None and jax.default_backend() != "cpu":
        peaks["PyTorch"] = torch.cuda.max_memory_allocated()
    return peaks


def peaks_in_words(peaks: dict[str, int]) -> list[str]:
    """A line for each side."""
    return [f"most GPU memory so far, {name}: {size / 2**20:,.0f} MiB" for name, size in peaks.items()]


def command(name: str, flags: Flags) -> str:
    """The command line of flags, their json aside: those off their defaults, and of a path its last part."""
    words = [f"python -m experiments.speed.{name}"]
    for field in dataclasses.fields(flags):
        value = getattr(flags, field.name)
        if value == field.default or field.name == "json":
            continue
        values = value if isinstance(value, tuple) else (value,)
        words += [flag(field.name), *(Path(v).name if isinstance(v, str) else str(v) for v in values)]
    return " ".join(words)


def leave(
    name: str, flags: Flags, machine: dict[str, Any], torch: ModuleType | None = None, **results: Any
) -> dict[str, Any]:
    """Write how a benchmark was made, and its results, to the flags' JSON file, if any; returns what it holds.

    Args:
      name: of the benchmark's module.
      flags: that it was run with.
      machine: of `announce_machine`.
      torch: PyTorch, where it was timed.
      results: named results that JSON can hold.
    """
    content = {
        "command": command(name, flags),
        "commit": environment.git_commit(),
        "machine": machine,
        "versions": {
            "python": platform.python_version(),
            "jax": environment.version("jax"),
            "torch": None if torch is None else torch.__version__,
        },
        "seed": flags.seed,
        **results,
    }
    write_json(flags.json, content)
    return content


def write_json(path: str | None, content: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all; nothing where no path is given."""
    if path is not None:
        files.write_text(path, json.dumps(content, indent=1) + "\n")
