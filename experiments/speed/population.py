r"""How much longer do T tickets take than one, if they are trained as one program?

    python -m experiments.speed.population
    python -m experiments.speed.population --data gowalla --model lightgcn --tickets 1 2 4
    python -m experiments.speed.population --data gowalla --dim 64 --json population.json       (on a GPU)

The tickets differ in seed, masks and batches, as in `lthjax.find_tickets(seeds=..., together=True)`. A step of all is
timed inside the compiled loop, beside the step of a single ticket; T tickets in turn take T times that. Before the
clock starts, each ticket of the population is compared with the same ticket trained alone.

On a CPU one ticket already keeps the cores busy, so that nothing is to be gained; a GPU is mostly idle with one.

Cost on 2 CPU cores: the bundled MovieLens 20 s.

Letters: T tickets.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import cli
from experiments.speed import timing as benchmarks
from lthjax.data import resolve
from lthjax.errors import LthjaxError, SettingsError
from lthjax.pruning import masks as masking
from lthjax.pruning import rules as prune
from lthjax.search import problem as jobs
from lthjax.search.problem import Job
from lthjax.settings import Settings
from lthjax.training.step import LossMeter, TrainState

_AGREE = 1e-3  # of the loss, relative, after a few steps: sums in another order, and Adam divides small by small


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmarks.Common):
    """What is trained, and how many of it at once."""

    data: str = "ml-latest-small"
    """Bundled or known name, or path, as for find_tickets; split 7:1:2."""
    model: Literal["mf", "lightgcn"] = "mf"
    """Backbone."""
    dim: int = 32
    """Numbers per user and per item (F)."""
    batch_size: int = 2048
    """Triples a step, of each ticket."""
    tickets: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Tickets at once (T)."""
    steps: int = 20
    """Steps of a repeat; a time is that of all of them, divided."""

    def __post_init__(self):
        super().__post_init__()
        benchmarks.check_at_least(self, 1, "steps")
        if not self.tickets or min(self.tickets) < 1:
            raise SettingsError(f"--tickets: wanted numbers from 1 on; got {self.tickets}.")
        _settings(self)  # checks the others


def _settings(config: Config) -> Settings:
    return Settings(
        levels=0, **{name: getattr(config, name) for name in ("data", "model", "dim", "batch_size", "seed")}
    )


@dataclasses.dataclass(frozen=True)
class Member:
    """A ticket of the population before its first step."""

    state: TrainState
    masks: masking.Masks
    key: jax.Array


def members_of(job: Job, number: int) -> list[Member]:
    """Tickets with seeds of their own; the first is dense, each further one has a tenth less than the one before."""
    found = []
    for place in range(number):
        one = jobs.with_seed(job, job.settings.seed + place)
        params = job.program.init(one.key(0))
        masks = masking.all_kept(params)
        for _ in range(place):
            masks = prune.prune(prune.magnitude(params), masks, 0.1)
        found.append(Member(job.program.start(params, masks), masks, one.key(1)))
    return found


def alone(job: Job, member: Member) -> Callable[[int], LossMeter]:
    """A function that goes on training one ticket by so many steps; returns its meter when they are done."""
    state = jax.tree.map(jnp.copy, member.state)

    def run(num_steps: int) -> LossMeter:
        nonlocal state
        meter = LossMeter.zero()
        state, meter = job.program.run_steps(state, meter, member.masks, job.graph, member.key, jnp.int32(num_steps))
        return jax.block_until_ready((state, meter))[1]

    return run


def together(job: Job, members: list[Member]) -> Callable[[int], LossMeter]:
    """The same of T tickets as one program; the meter is [T]."""
    stack = functools.partial(jax.tree.map, lambda *leaves: jnp.stack(leaves))
    state, masks = stack(*(one.state for one in members)), stack(*(one.masks for one in members))
    keys = jnp.stack([one.key for one in members])

    def run(num_steps: int) -> LossMeter:
        nonlocal state
        meter = stack(*(LossMeter.zero() for _ in members))
        state, meter = job.program.run_together(state, meter, masks, job.graph, keys, jnp.int32(num_steps))
        return jax.block_until_ready((state, meter))[1]

    return run


def check_equal(job: Job, members: list[Member], num_steps: int = 5) -> float:
    """Largest relative difference of a ticket's loss over the first steps, in the population and alone.

    Raises:
      LthjaxError: they differ by more than rounding.
    """
    at_once = np.asarray(together(job, members)(num_steps).total)
    by_itself = np.array([float(alone(job, one)(num_steps).total) for one in members])
    difference = float(np.max(np.abs(at_once - by_itself) / by_itself))
    if not difference < _AGREE:
        raise LthjaxError(
            f"wanted equal losses of {len(members)} tickets at once and alone; got {difference:.1e} between them."
        )
    return difference


def main(config: Config) -> dict[str, Any]:
    """Time each number of tickets, print a line for each; returns what the JSON holds."""
    found = benchmarks.machine(benchmarks.load())
    print(benchmarks.machine_in_words(found))
    settings = _settings(config)
    job = jobs.prepare(resolve.load_split(None, settings), settings)
    members = members_of(job, max(config.tickets))
    difference = check_equal(job, members)
    print(f"{job.split.name}, {config.model}, F = {config.dim}; losses at once and alone: equal to {difference:.1e}")
    sides = {"one": alone(job, members[0])} | {str(size): together(job, members[:size]) for size in config.tickets}
    seconds = benchmarks.in_turns(
        {name: functools.partial(run, config.steps) for name, run in sides.items()}, config.repeats
    )
    seconds = {name: [one / config.steps for one in repeats] for name, repeats in seconds.items()}
    one = statistics.median(seconds["one"])
    print(f"one ticket by itself: {benchmarks.in_words(seconds['one'])} a step")
    times, gains = {}, {}
    for size in config.tickets:
        at_once = statistics.median(seconds[str(size)])
        times[size], gains[size] = at_once / one, size * one / at_once
        words = benchmarks.in_words(seconds[str(size)])
        print(
            f"{size:3d} at once: {words} a step of all, {times[size]:.2f}x one; {gains[size]:.2f}x as fast as in turn"
        )
    most = max(config.tickets)
    print(
        f"{most} tickets at once take {times[most]:.2f}x the time of one, and are {gains[most]:.2f}x as fast as in turn"
    )
    content = benchmarks.record(
        "speed.population",
        config,
        found,
        None,
        agreement=difference,
        seconds_a_step={name: benchmarks.summary(repeats) for name, repeats in seconds.items()},
        times_of_one=times,
        as_fast_as_in_turn=gains,
        peak_bytes=benchmarks.peak_bytes(None),
    )
    benchmarks.write_json(config.json, content)
    return content


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
