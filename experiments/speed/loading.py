r"""How long does a large table take to load, beside pandas.read_csv alone, and in how much memory?

    python -m experiments.speed.loading
    python -m experiments.speed.loading --ids text
    python -m experiments.speed.loading --users 200000 --items 100000 --interactions 10000000 --repeats 1
    python -m experiments.speed.loading --users 200000 --items 100000 --interactions 10000000 --repeats 1 --steps 20

A csv file of user, item, rating and time, in random order, with whole numbers or texts as ids, is written to a folder
that goes afterwards. pandas reads all its columns and does no more. lthjax finds out what is what, checks every line,
numbers the ids and drops what comes twice. Every repeat of either has a process of its own, on one core where the
system allows it. Seconds of the processor are shown beside those of the clock: on a machine that does other work they
are the ones to compare. Memory is the most that was resident at any time, Python and libraries included.

With --steps, MF is made ready on the split data, and trains some steps: the most memory that loading and training take.

The goals, for 10 million interactions of 200,000 users with 100,000 items: 30 seconds and 2 GB to load; 4 GB to train.

Cost on 2 CPU cores: a minute; 5 minutes for 10 million.

Letters: F dimensions, B batch.
"""

import dataclasses
import statistics
import tempfile
from pathlib import Path
from typing import Any, Literal

from experiments import cli
from experiments.speed import benchmark, timing
from experiments.speed.random_data import MOST_FULL
from lthjax.errors import SettingsError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """The file, and how often it is read."""

    users: int = 20_000
    """Users (M)."""
    items: int = 10_000
    """Items (N)."""
    interactions: int = 1_000_000
    """Rows of the file (E)."""
    ids: Literal["whole", "text"] = "whole"
    """Ids: whole numbers, or texts of 12 and 10 letters and digits."""
    steps: int = 0
    """Training steps of MF afterwards, in a process of its own; 0 = none."""
    dim: int = 32
    """Numbers per user and per item that are trained (F)."""
    batch_size: int = 16_384
    """Triples a training step (B)."""
    repeats: int = 3
    """Times that each side reads the file; the median counts."""

    def __post_init__(self):
        super().__post_init__()
        self.check_at_least(1, "users", "items", "interactions")
        self.check_at_least(0, "steps")
        if self.interactions > MOST_FULL * self.users * self.items:
            raise SettingsError(
                f"--interactions: wanted at most {MOST_FULL:.0%} of users x items; "
                f"got {self.interactions:,} of {self.users:,} x {self.items:,}."
            )


def main(config: Config) -> dict[str, Any]:
    """Write the file, measure both sides in turn, print the table, write the JSON; returns what it holds."""
    from experiments.speed import loading_sides as sides
    from experiments.speed.scaling_sides import in_fresh_process

    machine = benchmark.announce_machine()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        in_fresh_process(sides.write, path, config.users, config.items, config.interactions, config.ids, config.seed)
        print(f"{config.interactions:,} rows, {path.stat().st_size / 2**20:,.0f} MiB, ids: {config.ids}", flush=True)
        measured = {name: [] for name in sides.SIDES}
        for _ in range(config.repeats):
            for name, read in sides.SIDES.items():
                measured[name].append(in_fresh_process(sides.measure, read, path))
        trained = None
        if config.steps:
            settings = config.settings(data=str(path))
            trained = in_fresh_process(sides.measure, sides.train, settings, config.steps)
    for name, repeats in measured.items():
        print(f"{name}: {_in_words(repeats)}")
    if trained:
        print(f"lthjax, loading, {config.steps} steps of MF (F = {config.dim}): {_in_words([trained])}")
    cpu = {name: [repeat.cpu_seconds for repeat in repeats] for name, repeats in measured.items()}
    ratio = timing.ratio(cpu["lthjax"], cpu["pandas.read_csv alone"])
    words = f"{ratio['of_medians']:.1f}x ({ratio['least']:.1f} to {ratio['most']:.1f})"
    print(f"lthjax takes {words} the processor's seconds of pandas.read_csv alone")
    return benchmark.leave(
        "loading",
        config,
        machine,
        seconds=timing.summaries({name: [repeat.seconds for repeat in repeats] for name, repeats in measured.items()}),
        cpu_seconds=timing.summaries(cpu),
        peak_bytes={name: max(repeat.peak_bytes for repeat in repeats) for name, repeats in measured.items()},
        trained=None if trained is None else trained._asdict(),
        ratio=ratio,
    )


def _in_words(repeats: list) -> str:
    seconds, cpu = (statistics.median(column) for column in list(zip(*repeats, strict=True))[:2])
    peak = max(repeat.peak_bytes for repeat in repeats)
    return f"{seconds:.1f} s, {cpu:.1f} s of the processor, {peak / 2**30:.2f} GiB at most"


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
