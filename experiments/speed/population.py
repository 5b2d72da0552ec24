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
import statistics
from typing import Any, Literal

from experiments import cli
from experiments.speed import benchmark, timing
from lthjax.data import resolve
from lthjax.errors import SettingsError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.DataFlags):
    """What is trained, and how many of it at once."""

    model: Literal["mf", "lightgcn"] = "mf"
    """Backbone."""
    dim: int = 32
    """Numbers per user and per item (F)."""
    batch_size: int = 2048
    """Triples per step, of each ticket."""
    tickets: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Tickets at once (T)."""
    steps: int = 20
    """Steps per repeat; a time is that of all of them, divided."""

    def __post_init__(self):
        super().__post_init__()
        self.check_at_least(1, "steps")
        if not self.tickets or min(self.tickets) < 1:
            raise SettingsError(f"--tickets: wanted numbers from 1 on; got {self.tickets}.")


def main(config: Config) -> dict[str, Any]:
    """Time each number of tickets, print a line for each; returns what the JSON holds."""
    from experiments.speed import population_sides, stepping
    from lthjax.search.problem import prepare

    machine, settings = benchmark.announce_machine(), config.settings()
    problem = prepare(resolve.load_split(None, settings), settings)
    tickets = population_sides.tickets_of(problem, max(config.tickets))
    difference = population_sides.check_equal(problem, tickets)
    print(
        f"{problem.split.name}, {config.model}, F = {config.dim}; losses at once and alone: equal to {difference:.1e}"
    )
    sides = {"one": population_sides.alone(problem, tickets[0])}
    sides |= {str(size): stepping.together(problem, tickets[:size]) for size in config.tickets}
    seconds = timing.per_step(sides, config.steps, config.repeats)
    medians = {name: statistics.median(repeats) for name, repeats in seconds.items()}
    times = {size: medians[str(size)] / medians["one"] for size in config.tickets}
    gains = {size: size * medians["one"] / medians[str(size)] for size in config.tickets}
    print(f"one ticket by itself: {timing.in_words(seconds['one'])} per step")
    for size in config.tickets:
        print(
            f"{size:3d} at once: {timing.in_words(seconds[str(size)])} per step of all, {times[size]:.2f}x one; "
            f"{gains[size]:.2f}x as fast as in turn"
        )
    most = max(config.tickets)
    print(
        f"{most} tickets at once take {times[most]:.2f}x the time of one, and are {gains[most]:.2f}x as fast as in turn"
    )
    return benchmark.leave(
        "population",
        config,
        machine,
        agreement=difference,
        seconds_a_step=timing.summaries(seconds),
        times_of_one=times,
        as_fast_as_in_turn=gains,
        peak_bytes=benchmark.peak_bytes(),
    )


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
