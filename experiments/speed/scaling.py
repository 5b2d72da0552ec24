r"""How do time and memory of a training step grow with users, items, interactions and dimensions?

    python -m experiments.speed.scaling
    python -m experiments.speed.scaling --model mf --json scaling.json
    python -m experiments.speed.scaling --axes interactions --factors 1 2 4 8 16 --interactions 500000

From a base, one of the four grows at a time, on random graphs whose degrees follow power laws. Every size has a
process of its own, so that none finds memory that another has left. Printed are the time of a step, the exponents of
growth (1: linear), and the memory:

* "state" is what has to be there: table, two moments, graph.
* "peak" is all that is there while a step runs: state, masks, and what the step adds, which is *measured*. On a CPU:
  resident memory, most within a dispatch minus that before it, with every array allocated, all compiled and imported,
  and freed memory given back; the worst of three dispatches, for it depends on what the allocator can use again. On a
  GPU: the device's own peak, over the whole process.
* "XLA temp" is what the compiled program says that it adds.

The goals: a LightGCN step peaks below 3 x state, and has no temporary of 2E x F floats (a gathered edge list). The
second is judged where interactions outnumber nodes most: elsewhere a few arrays as large as the table weigh as much.

Cost on 2 CPU cores: 3 minutes.

Letters: M users, N items, E interactions, F dimensions, B batch.
"""

import dataclasses
import statistics
import sys
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from experiments import cli
from experiments.speed import benchmark, timing
from experiments.speed.random_data import MOST_FULL, Size
from lthjax.errors import SettingsError

if TYPE_CHECKING:
    from experiments.speed.scaling_sides import Measured

_EDGE_LIST = "2E x F MiB"  # column of LightGCN alone: MF gathers no edges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """The base, and how far it grows."""

    model: Literal["mf", "lightgcn"] = "lightgcn"
    """Backbone."""
    layers: int = 3
    """Propagation layers of LightGCN (K)."""
    batch_size: int = 2048
    """Triples per step (B)."""
    users: int = 10_000
    """Users of the base (M)."""
    items: int = 10_000
    """Items of the base (N)."""
    interactions: int = 200_000
    """Training interactions of the base (E)."""
    dim: int = 16
    """Numbers per user and per item of the base (F)."""
    axes: tuple[Literal["users", "items", "interactions", "dim"], ...] = Size._fields
    """What grows, one at a time."""
    factors: tuple[int, ...] = (1, 2, 4, 8)
    """How many times as large as the base."""
    steps: int = 5
    """Steps per repeat; a time is that of all of them, divided."""
    repeats: int = 5
    """Timed repeats of each size; the median counts."""

    def __post_init__(self):
        super().__post_init__()
        self.check_at_least(1, "users", "items", "interactions", "steps")
        if len(set(self.factors)) < 2 or min(self.factors) < 1:
            raise SettingsError(f"--factors: wanted two or more, from 1 up; got {' '.join(map(str, self.factors))}.")
        for size in sizes(self).values():
            if size.interactions > MOST_FULL * size.users * size.items:
                raise SettingsError(
                    f"--interactions: wanted at most {MOST_FULL:.0%} of users x items; "
                    f"got {size.interactions:,} of {size.users:,} x {size.items:,}."
                )


class Point(NamedTuple):
    """A size on one of the axes."""

    axis: str
    factor: int  # times the base
    size: Size
    measured: "Measured"


def sizes(config: Config) -> dict[tuple[str, int], Size]:
    """(axis, factor) -> size, axis by axis; the base comes once for each axis."""
    base = Size(*(getattr(config, name) for name in Size._fields))
    return {
        (axis, factor): base._replace(**{axis: factor * getattr(base, axis)})
        for axis in config.axes
        for factor in sorted(set(config.factors))
    }


def main(config: Config) -> dict[str, Any]:
    """Measure every size, print tables and goals, write the JSON; returns what it holds."""
    import pandas as pd

    load_before = timing.load()
    points = measure_all(config)
    machine = benchmark.announce_machine(load_before)  # not earlier: on a GPU it takes the memory that the others need
    print(f"{config.model}, B = {config.batch_size:,}; peak: {points[0].measured.how}")
    table = pd.DataFrame(_row(point) for point in points)
    print((table if config.model == "lightgcn" else table.drop(columns=_EDGE_LIST)).to_string(index=False))
    exponents = {axis: _exponents([point for point in points if point.axis == axis]) for axis in config.axes}
    for axis, of_axis in exponents.items():
        print(f"growth with {axis}: " + ", ".join(f"{name} ^{value:.2f}" for name, value in of_axis.items()))
    goals = goals_of({point.size: point.measured for point in points}, config.model)
    print("\n".join(goals["in_words"]))
    return benchmark.leave(
        "scaling", config, machine, points=[_in_json(point) for point in points], exponents=exponents, goals=goals
    )


def measure_all(config: Config) -> list[Point]:
    """Every size, each in a process of its own; the base, which all axes share, once."""
    from experiments.speed import scaling_sides

    size_of, settings = sizes(config), config.settings(epochs=1)
    measured = {}
    for size in dict.fromkeys(size_of.values()):
        measured[size] = scaling_sides.in_fresh_process(
            scaling_sides.measure, size, settings, config.steps, config.repeats
        )
        words = timing.in_words(measured[size].seconds)
        print(f"{size.in_words()}: {words} per step", file=sys.stderr, flush=True)
    return [Point(axis, factor, size, measured[size]) for (axis, factor), size in size_of.items()]


def exponent(sizes: list[float], values: list[float]) -> float:
    """The b of values ~ sizes^b: the slope of a line through their logarithms, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _row(point: Point) -> dict[str, str]:
    """The row of the printed table."""
    axis, factor, size, measured = point
    return {
        "axis": axis,
        "x": str(factor),
        "users": f"{size.users:,}",
        "items": f"{size.items:,}",
        "interactions": f"{size.interactions:,}",
        "F": str(size.dim),
        "ms per step": f"{statistics.median(measured.seconds) * 1e3:.2f}",
        "state MiB": f"{measured.state / 2**20:.1f}",
        "peak MiB": f"{measured.peak / 2**20:.1f}",
        "peak/state": f"{measured.peak / measured.state:.2f}",
        "XLA temp MiB": f"{measured.temp / 2**20:.1f}",
        "added MiB": f"{measured.added / 2**20:.1f}",
        _EDGE_LIST: f"{size.edge_list / 2**20:.1f}",
    }


def _in_json(point: Point) -> dict[str, Any]:
    """What the JSON holds of a point."""
    axis, factor, size, measured = point
    figures = {name: value for name, value in measured._asdict().items() if name != "seconds"}
    return {
        "axis": axis,
        "factor": factor,
        "size": size._asdict(),
        "seconds_a_step": timing.summary(measured.seconds),
        **figures,
        "state": measured.state,
        "peak": measured.peak,
        "edge_list": size.edge_list,
    }


def _exponents(points: list[Point]) -> dict[str, float]:
    """Of time, peak and state along one axis."""
    factors = [point.factor for point in points]
    values = {
        "time": [statistics.median(point.measured.seconds) for point in points],
        "peak": [point.measured.peak for point in points],
        "state": [point.measured.state for point in points],
    }
    return {name: exponent(factors, of_axis) for name, of_axis in values.items()}


def goals_of(measured: "dict[Size, Measured]", model: str) -> dict[str, Any]:
    """Whether each goal is met: the first by every size, the second by that with most interactions per node."""
    over_state = {size: figures.peak / figures.state for size, figures in measured.items()}
    worst = max(over_state, key=over_state.__getitem__)
    most = over_state[worst]
    words = [f"peak memory of a step: at most {most:.2f} x (table + moments + graph), at {worst.in_words()}"]
    words[0] += f"; under 3: {'yes' if most < 3 else 'NO'}"
    goals: dict[str, Any] = {"peak_over_state": most, "peak_under_3": most < 3}
    if model == "lightgcn":
        size = max(measured, key=lambda size: size.interactions / (size.users + size.items))
        temp, added = measured[size].temp, measured[size].added
        # Both figures count: the program's own does not see what kernels allocate, the measured one no reused page.
        share = max(temp, added) / size.edge_list
        words.append(
            f"temporaries: {temp / 2**20:.1f} MiB by XLA, {added / 2**20:.1f} MiB measured, {share:.2f} x "
            f"(2E x F floats) at {size.in_words()}; below 1: {'yes' if share < 1 else 'NO'}"
        )
        goals |= {"temporaries_over_edge_list": share, "temporaries_below_edge_list": share < 1}
    return goals | {"in_words": words}


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
