r"""What does each of P processes hold of the training interactions, and what does it take to get there?

    python -m experiments.speed.shares
    python -m experiments.speed.shares --whole
    python -m experiments.speed.shares --models lightgcn --processes 1 8

Adjacency lists of train, valid and test part (8:1:1) are written to a folder that goes afterwards. P processes of one
virtual device each, joined on this machine, read them and make their part of the graph, and of the lists that
evaluation leaves out; tables are not made. One process reads the files whole; several read them in pieces, and hold
what their devices need, or, with --whole, all. Shown are, of the process that has most,

* "held": interactions as pairs, for the run;
* "graph": what its devices have of the interactions and of the product, and the lists of seen items on the host;
* "to read" and "in all": the most memory that was resident while it read, and until the end, less what Python, JAX and
  the connections to the others had taken before.

Cost on 2 CPU cores: 3 minutes.

Letters: M users, N items, E interactions, P processes.
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, Literal

from experiments import cli
from experiments.speed import benchmark
from experiments.speed.random_data import MOST_FULL
from lthjax.errors import SettingsError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """The files, and who reads them."""

    users: int = 200_000
    """Users (M)."""
    items: int = 100_000
    """Items (N)."""
    interactions: int = 5_000_000
    """Interactions in the three files together (E)."""
    models: tuple[Literal["mf", "lightgcn"], ...] = ("mf", "lightgcn")
    """Backbones."""
    processes: tuple[int, ...] = (1, 2, 4)
    """Numbers of processes (P)."""
    whole: bool = False
    """Have all of them read the files whole."""

    def __post_init__(self):
        super().__post_init__()
        self.check_at_least(1, "users", "items")
        self.check_at_least(100, "interactions")
        if self.interactions > MOST_FULL * self.users * self.items:
            raise SettingsError(
                f"--interactions: wanted at most {MOST_FULL:.0%} of users x items; "
                f"got {self.interactions:,} of {self.users:,} x {self.items:,}."
            )
        if any(number < 1 or number & (number - 1) for number in self.processes):
            raise SettingsError(f"--processes: wanted 1, 2, 4, ...; got {' '.join(map(str, self.processes))}.")


def main(config: Config) -> dict[str, Any]:
    """Write the files, measure every number of processes, print a table, write the JSON; returns what it holds."""
    import pandas as pd

    from experiments.speed import shares_sides as sides
    from experiments.speed.scaling_sides import in_fresh_process

    machine, rows = benchmark.announce_machine(), []
    with tempfile.TemporaryDirectory() as folder:
        sizes = config.users, config.items, config.interactions
        in_fresh_process(sides.write, Path(folder), *sizes, config.seed)
        for model in config.models:
            settings = config.settings(data=folder, format="adjacency", split="files", model=model)
            for number in config.processes:
                rows.append({"model": model, "P": number} | sides.of_fullest(settings, number, config.whole))
    shown = [{name: f"{value / 2**20:.1f}" if "MiB" in name else value for name, value in row.items()} for row in rows]
    print(pd.DataFrame(shown).to_string(index=False))
    return benchmark.leave("shares", config, machine, rows=rows)


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
