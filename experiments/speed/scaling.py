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

import concurrent.futures
import contextlib
import ctypes
import dataclasses
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from experiments import cli
from experiments.speed import timing as benchmarks
from lthjax.data.split import Split
from lthjax.errors import SettingsError
from lthjax.pruning import masks as masking
from lthjax.search import problem as jobs
from lthjax.settings import Settings
from lthjax.training.step import LossMeter

_MOST_FULL = 0.25  # of the M x N pairs: beyond it, drawing pairs without duplicates takes long
_NUM_MEASURED = 3  # dispatches whose memory is measured
_POWER = 0.7  # popularity of the r-th node ~ r^-0.7, between the users and the items of Gowalla


class Size(NamedTuple):
    """The size of a graph and its table."""

    users: int  # M
    items: int  # N
    interactions: int  # E
    dim: int  # F


AXES = Size._fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmarks.Common):
    """The base, and how far it grows."""

    model: Literal["mf", "lightgcn"] = "lightgcn"
    """Backbone."""
    layers: int = 3
    """Propagation layers of LightGCN (K)."""
    batch_size: int = 2048
    """Triples a step (B)."""
    users: int = 10_000
    """Users of the base (M)."""
    items: int = 10_000
    """Items of the base (N)."""
    interactions: int = 200_000
    """Training interactions of the base (E)."""
    dim: int = 16
    """Numbers per user and per item of the base (F)."""
    axes: tuple[Literal["users", "items", "interactions", "dim"], ...] = AXES
    """What grows, one at a time."""
    factors: tuple[int, ...] = (1, 2, 4, 8)
    """How many times as large as the base."""
    steps: int = 5
    """Steps of a repeat; a time is that of all of them, divided."""
    repeats: int = 5
    """Timed repeats of each size; the median counts."""

    def __post_init__(self):
        super().__post_init__()
        benchmarks.check_at_least(self, 1, "users", "items", "interactions", "steps")
        Settings(model=self.model, layers=self.layers, batch_size=self.batch_size, dim=self.dim, seed=self.seed)
        if len(set(self.factors)) < 2 or min(self.factors) < 1:
            raise SettingsError(f"--factors: wanted two or more, from 1 up; got {' '.join(map(str, self.factors))}.")
        for size in sizes(self).values():
            if size.interactions > _MOST_FULL * size.users * size.items:
                raise SettingsError(
                    f"--interactions: wanted at most {_MOST_FULL:.0%} of users x items; "
                    f"got {size.interactions:,} of {size.users:,} x {size.items:,}."
                )


class Measured(NamedTuple):
    """What one process found of one size. Bytes, unless said otherwise."""

    seconds: list[float]  # a step, of each repeat
    table: int
    moments: int
    graph: int
    masks: int
    added: int  # measured: what a step adds to what was there
    how: str  # it was measured
    temp: int  # the compiled program's own figures, of one device
    arguments: int
    outputs: int
    aliased: int

    @property
    def state(self) -> int:
        """Table, moments and graph."""
        return self.table + self.moments + self.graph

    @property
    def peak(self) -> int:
        """All that is there while a step runs."""
        return self.state + self.masks + self.added


def sizes(config: Config) -> dict[tuple[str, int], Size]:
    """(axis, factor) -> size, axis by axis; the base comes once for each axis."""
    base = Size(*(getattr(config, name) for name in AXES))
    return {
        (axis, factor): base._replace(**{axis: factor * getattr(base, axis)})
        for axis in config.axes
        for factor in sorted(set(config.factors))
    }


def random_pairs(num_users: int, num_items: int, num_pairs: int, seed: int) -> np.ndarray:
    """[num_pairs, 2] int32 pairs (user, item), sorted, without duplicates, degrees by power laws on both sides."""
    rng = np.random.default_rng(seed)
    order = [rng.permutation(number) for number in (num_users, num_items)]  # a node's number says nothing of its degree
    upto = [np.cumsum(np.arange(1.0, number + 1) ** -_POWER) for number in (num_users, num_items)]
    found = np.zeros(0, np.int64)
    while len(found) < num_pairs:
        draws = rng.random((2, int(1.2 * (num_pairs - len(found))) + 16))
        users, items = (
            nodes[np.searchsorted(total[:-1], draw * total[-1])]
            for nodes, total, draw in zip(order, upto, draws, strict=True)
        )
        found = np.union1d(found, users * np.int64(num_items) + items)
    kept = np.sort(rng.choice(found, num_pairs, replace=False))
    return np.stack([kept // num_items, kept % num_items], axis=1).astype(np.int32)


def random_split(size: Size, seed: int) -> Split:
    """A split with exactly M, N and E, and one pair each to validate and to test on, which a job wants to have."""
    pairs = random_pairs(size.users, size.items, size.interactions + 2, seed)
    aside = np.random.default_rng(seed).choice(len(pairs), 2, replace=False)
    return Split(
        name="random",
        user_ids=np.arange(size.users),
        item_ids=np.arange(size.items),
        notes=(),
        train=np.delete(pairs, aside, axis=0),
        valid=pairs[aside[:1]],
        test=pairs[aside[1:]],
    )


def measure(size: Size, config: Config) -> Measured:
    """Build a job of this size, and take time and memory of its step; for a process of its own."""
    settings = Settings(
        model=config.model,
        layers=config.layers,
        batch_size=config.batch_size,
        dim=size.dim,
        seed=config.seed,
        levels=0,
        epochs=1,
    )
    job = jobs.prepare(random_split(size, config.seed), settings)
    params = job.program.init(job.key(0))
    masks = masking.all_kept(params)
    state = job.program.start(params, masks)
    figures = {
        "table": _bytes(state.params),
        "moments": _bytes(state.opt_state),
        "graph": _bytes(job.graph),
        "masks": _bytes(masks),
    }
    del params  # the state has its own copy
    number, key = jnp.int32(config.steps), job.key(1)
    compiled = job.program.run_steps.lower(state, LossMeter.zero(), masks, job.graph, key, number).compile()

    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(compiled(state, LossMeter.zero(), masks, job.graph, key, number))

    run()  # imports, threads and pools that stay are no part of a step
    added, how = _added_bytes(run, sum(figures.values()))
    seconds = []
    for _ in range(config.repeats):
        began = time.perf_counter()
        run()
        seconds.append((time.perf_counter() - began) / config.steps)
    analysis = compiled.memory_analysis()
    return Measured(
        seconds=seconds,
        **figures,
        added=added,
        how=how,
        temp=analysis.temp_size_in_bytes,
        arguments=analysis.argument_size_in_bytes,
        outputs=analysis.output_size_in_bytes,
        aliased=analysis.alias_size_in_bytes,
    )


def _bytes(tree: Any) -> int:
    """Bytes of all arrays, those that occur twice counted once."""
    return sum({id(leaf): leaf.nbytes for leaf in jax.tree.leaves(tree)}.values())


def _added_bytes(run: Callable[[], None], num_before: int) -> tuple[int, str]:
    """What a dispatch adds to the `num_before` bytes that were there, and how it was measured."""
    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:  # cannot be set back: building and compiling are in it, so it is an upper bound
        run()
        return max(jax.devices()[0].memory_stats()["peak_bytes_in_use"] - num_before, 0), "device peak of the process"
    if _reset_peak():
        added = [_added_resident(run) for _ in range(_NUM_MEASURED)]
        return max(added), "resident memory, its peak set back before the dispatch"
    before = _max_resident()
    run()
    return max(_max_resident() - before, 0), "peak of the process before and after: may be too little"


def _added_resident(run: Callable[[], None]) -> int:
    _give_back()
    _reset_peak()
    before = _status("VmRSS")
    run()
    return max(_status("VmHWM") - before, 0)


def _give_back() -> None:
    """Return freed memory to the system, or the step would use it again and seem to need none."""
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    """Set the peak of resident memory back to what is resident now; False where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return _status("VmHWM") < 1.05 * _status("VmRSS") + 2**20  # some sandboxes take the write and do nothing


def _status(name: str) -> int:
    """Bytes that Linux tells of this process under a name such as VmRSS."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _max_resident() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's value, from a process that has run nothing before.

    Raises:
      MemoryError: the process died.
    """
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise MemoryError(f"the process of {arguments[0]} died, most likely for want of memory.") from error


def exponent(sizes: list[float], values: list[float]) -> float:
    """The b of values ~ sizes^b: the slope of a line through their logarithms, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main(config: Config) -> dict[str, Any]:
    """Measure every size, print tables and goals, write the JSON; returns what it holds."""
    wanted, load_before = sizes(config), benchmarks.load()
    measured = {}  # the base is the same for every axis: once is enough
    for size in dict.fromkeys(wanted.values()):
        measured[size] = in_fresh_process(measure, size, config)
        print(f"{_in_words(size)}: {benchmarks.in_words(measured[size].seconds)} a step", file=sys.stderr, flush=True)
    found = benchmarks.machine(load_before)  # not earlier: on a GPU it takes the memory that the others need
    points = [(axis, factor, size, measured[size]) for (axis, factor), size in wanted.items()]
    print(benchmarks.machine_in_words(found))
    print(f"{config.model}, B = {config.batch_size:,}; peak: {points[0][3].how}")
    print(pd.DataFrame(_row(*point, config) for point in points).to_string(index=False))
    exponents = {axis: _exponents([point for point in points if point[0] == axis]) for axis in config.axes}
    for axis, found_of in exponents.items():
        print(f"growth with {axis}: " + ", ".join(f"{name} ^{value:.2f}" for name, value in found_of.items()))
    goals = _goals(list(measured.items()), config)
    print("\n".join(goals["in_words"]))
    content = benchmarks.record(
        "speed.scaling",
        config,
        found,
        None,
        points=[
            {"axis": axis, "factor": factor, "size": size._asdict(), "seconds_a_step": benchmarks.summary(m.seconds)}
            | {name: value for name, value in m._asdict().items() if name != "seconds"}
            | {"state": m.state, "peak": m.peak, "edge_list": edge_list(size)}
            for axis, factor, size, m in points
        ],
        exponents=exponents,
        goals=goals,
    )
    benchmarks.write_json(config.json, content)
    return content


def edge_list(size: Size) -> int:
    """Bytes of a gathered [2E, F] float32 temporary."""
    return 2 * size.interactions * size.dim * 4


def _row(axis: str, factor: int, size: Size, measured: Measured, config: Config) -> dict[str, str]:
    row = {
        "axis": axis,
        "x": str(factor),
        "users": f"{size.users:,}",
        "items": f"{size.items:,}",
        "interactions": f"{size.interactions:,}",
        "F": str(size.dim),
        "ms a step": f"{statistics.median(measured.seconds) * 1e3:.2f}",
        "state MiB": f"{measured.state / 2**20:.1f}",
        "peak MiB": f"{measured.peak / 2**20:.1f}",
        "peak/state": f"{measured.peak / measured.state:.2f}",
        "XLA temp MiB": f"{measured.temp / 2**20:.1f}",
        "added MiB": f"{measured.added / 2**20:.1f}",
    }
    return row | ({"2E x F MiB": f"{edge_list(size) / 2**20:.1f}"} if config.model == "lightgcn" else {})


def _exponents(points: list[tuple[str, int, Size, Measured]]) -> dict[str, float]:
    """Of time, peak and state along one axis."""
    factors = [factor for _, factor, _, _ in points]
    values = {
        "time": [statistics.median(measured.seconds) for *_, measured in points],
        "peak": [measured.peak for *_, measured in points],
        "state": [measured.state for *_, measured in points],
    }
    return {name: exponent(factors, of_axis) for name, of_axis in values.items()}


def _goals(measured: list[tuple[Size, Measured]], config: Config) -> dict[str, Any]:
    """Whether each goal is met: the first by every size, the second by that with most interactions a node."""
    worst, most = max(((size, m.peak / m.state) for size, m in measured), key=lambda found: found[1])
    words = [f"peak memory of a step: at most {most:.2f} x (table + moments + graph), at {_in_words(worst)}"]
    words[0] += f"; under 3: {'yes' if most < 3 else 'NO'}"
    goals: dict[str, Any] = {"peak_over_state": most, "peak_under_3": most < 3}
    if config.model == "lightgcn":
        size, m = max(measured, key=lambda found: found[0].interactions / (found[0].users + found[0].items))
        # Both figures count: the program's own does not see what kernels allocate, the measured one no reused page.
        share = max(m.temp, m.added) / edge_list(size)
        words.append(
            f"temporaries: {m.temp / 2**20:.1f} MiB by XLA, {m.added / 2**20:.1f} MiB measured, {share:.2f} x "
            f"(2E x F floats) at {_in_words(size)}; below 1: {'yes' if share < 1 else 'NO'}"
        )
        goals |= {"temporaries_over_edge_list": share, "temporaries_below_edge_list": share < 1}
    return goals | {"in_words": words}


def _in_words(size: Size) -> str:
    return f"{size.users:,} users, {size.items:,} items, {size.interactions:,} interactions, F = {size.dim}"


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
