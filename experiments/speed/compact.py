r"""What does a ticket save in training as vectors of its kept entries, instead of as tables and masks?

    python -m experiments.speed.compact
    python -m experiments.speed.compact --models mf --pruned 0.8 0.99 --json compact.json

Masked dense is how tickets are trained: tables, two moments and masks, whatever is pruned. Compact are vectors of the
kept entries and their moments, and where they stand: for MF one bit an entry and the number of each row's first, which
find the rows of a batch; for LightGCN a number for each kept entry, since each step makes the whole tables anyway. The
graph is random, its degrees follow power laws, and first values are pruned by magnitude.

Before the clock starts, values and moments of both are compared after ten steps. A step is timed inside the compiled
loop, batches drawn within. Of the memory,

* "state" is values, moments, and masks or places, exactly;
* "peak" is what the compiled program says of all that is there while a step runs: state, graph, temporaries.

A break-even is the share pruned from which compact takes less, on a line through the measured ones. In compact form
each length of the vectors is a program of its own; "compile" is what one costs before it is among the kept programs.

Cost on 2 CPU cores: 1.5 minutes.

Letters: M users, N items, F dimensions, B batch.
"""

import dataclasses
import statistics
from typing import Any, Literal

import numpy as np

from experiments import cli
from experiments.speed import benchmark, random_data, timing
from experiments.speed.random_data import MOST_FULL, Size
from lthjax.errors import SettingsError

_DENSE = "masked dense"
_ADAM = 3 * 4  # bytes of a value and its two moments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """What is trained, and how much of it is pruned."""

    models: tuple[Literal["mf", "lightgcn"], ...] = ("mf", "lightgcn")
    """Backbones."""
    pruned: tuple[float, ...] = (0.5, 0.75, 0.9, 0.95)
    """Shares of the entries that tickets prune."""
    layers: int = 3
    """Propagation layers of LightGCN (K)."""
    batch_size: int = 2048
    """Triples per step (B)."""
    users: int = 30_000
    """Users (M)."""
    items: int = 40_000
    """Items (N)."""
    interactions: int = 700_000
    """Training interactions."""
    dim: int = 32
    """Numbers per user and per item (F)."""
    steps: int = 5
    """Steps per repeat; a time is that of all of them, divided."""

    def __post_init__(self):
        super().__post_init__()
        self.check_at_least(1, "users", "items", "interactions", "steps")
        if len(set(self.pruned)) < 2 or not all(0 < share < 1 for share in self.pruned):
            raise SettingsError(
                f"--pruned: wanted two or more shares between 0 and 1; got {' '.join(map(str, self.pruned))}."
            )
        if not self.models:
            raise SettingsError("--models: wanted mf, lightgcn or both; got none.")
        if self.interactions > MOST_FULL * self.users * self.items:
            raise SettingsError(
                f"--interactions: wanted at most {MOST_FULL:.0%} of users x items; got {self.interactions:,}."
            )


def main(config: Config) -> dict[str, Any]:
    """Measure each model, print a table and break-evens; returns what the JSON holds."""
    machine = benchmark.announce_machine()
    size = Size(config.users, config.items, config.interactions, config.dim)
    print(f"{size.in_words()}, B = {config.batch_size:,}")
    return benchmark.leave(
        "compact", config, machine, models={model: measure(config, size, model) for model in config.models}
    )


def measure(config: Config, size: Size, model: str) -> dict[str, Any]:
    """Masked dense once and compact at every sparsity, timed in turns; what the JSON holds of a model.

    Args:
      config: of the run.
      size: of graph and tables.
      model: backbone.
    """
    from experiments.speed import compact_sides
    from lthjax.search.problem import prepare

    problem = prepare(random_data.random_split(size, config.seed), config.settings(model=model))
    forms, differences = {}, []
    for share in sorted(set(config.pruned)):
        state, masks = compact_sides.ticket_of(problem, share)
        dense = compact_sides.masked_dense(problem, state, masks)
        forms[share] = compact_sides.compact(problem, state, masks)
        differences.append(compact_sides.check_equal(problem, dense, forms[share]))
        forms.setdefault(_DENSE, dense)  # once: its time and memory do not depend on the masks
    seconds = timing.per_step(
        {str(name): compact_sides.steps_of(problem, form) for name, form in forms.items()},
        config.steps,
        config.repeats,
    )
    memory = {str(name): compact_sides.memory_of(form)._asdict() for name, form in forms.items()}
    compiling = {str(name): form.seconds for name, form in forms.items()}
    agreement = f"to {max(differences):.1e}" if max(differences) else "to the bit"
    print(f"\n{model}: values and moments of both forms after ten steps: equal {agreement}")
    print(_table(seconds, memory, compiling))
    breaks = break_evens(seconds, memory)
    print("break-even: " + ", ".join(f"{name} {_in_words(share)}" for name, share in breaks.items()))
    return {
        "agreement": max(differences),
        "seconds_a_step": timing.summaries(seconds),
        "ratios": {name: timing.ratio(seconds[name], seconds[_DENSE]) for name in seconds},
        "memory": memory,
        "seconds_to_compile": compiling,
        "break_even": breaks,
    }


def _table(seconds: timing.Seconds, memory: dict[str, dict[str, int]], compiling: dict[str, float]) -> str:
    """A line for each form, masked dense first, which ratios refer to."""
    import pandas as pd

    dense, names = memory[_DENSE], [_DENSE, *(name for name in seconds if name != _DENSE)]
    medians = {name: statistics.median(repeats) for name, repeats in seconds.items()}
    rows = [
        {
            "form": name if name == _DENSE else f"compact, {float(name):.0%} pruned",
            "state MiB": _beside(memory[name]["state"], dense["state"]),
            "peak MiB": _beside(memory[name]["peak"], dense["peak"]),
            "of it graph": f"{memory[name]['graph'] / 2**20:.1f}",
            "per step": f"{timing.in_words(seconds[name])} {medians[name] / medians[_DENSE]:.2f}x",
            "compile s": f"{compiling[name]:.1f}",
        }
        for name in names
    ]
    return pd.DataFrame(rows).to_string(index=False)


def _beside(own: int, dense: int) -> str:
    return f"{own / 2**20:.1f} {own / dense:.2f}x"


def break_evens(seconds: timing.Seconds, memory: dict[str, dict[str, int]]) -> dict[str, float | None]:
    """Break-evens of state, peak and time.

    Args:
      seconds: per step, of masked dense and, by the share that is pruned, of compact.
      memory: of the same, their bytes.
    """
    values = {kind: {name: memory[name][kind] for name in memory} for kind in ("state", "peak")}
    values["time"] = {name: statistics.median(repeats) for name, repeats in seconds.items()}
    shares = [float(name) for name in seconds if name != _DENSE]
    return {
        kind: break_even(shares, [of_kind[name] for name in of_kind if name != _DENSE], of_kind[_DENSE])
        for kind, of_kind in values.items()
    }


def break_even(shares: list[float], compact: list[float], dense: float) -> float | None:
    """The share pruned from which compact takes less than dense, 0 where it always does, None where it never does.

    Args:
      shares: pruned.
      compact: what compact takes at each; a line through them is taken, by least squares.
      dense: what masked dense takes at any.
    """
    slope, at_none = np.polyfit(shares, compact, 1)
    if at_none <= dense:
        return 0.0 if at_none + slope <= dense else None
    return float((dense - at_none) / slope) if at_none + slope < dense else None


def dense_state(num_rows: int, dim: int) -> int:
    """Bytes of values, two moments and masks of one byte an entry.

    Args:
      num_rows: M + N.
      dim: F.
    """
    return (_ADAM + 1) * num_rows * dim


def compact_state(num_rows: int, dim: int, num_kept: int, model: str) -> int:
    """Bytes of kept values, their two moments, and where they stand; without padding.

    Args:
      num_rows: M + N.
      dim: F.
      num_kept: entries.
      model: "mf" has a bit an entry and a start a row (one more in each table), "lightgcn" a place a kept entry.
    """
    where = num_rows * -(-dim // 8) + 4 * (num_rows + 2) if model == "mf" else 4 * num_kept
    return _ADAM * num_kept + where


def _in_words(share: float | None) -> str:
    return "never" if share is None else "always less" if share == 0 else f"from {share:.0%} pruned on"


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
