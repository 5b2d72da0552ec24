"""What `scaling` measures: time and memory of a training step at one size, in a process of its own."""

import concurrent.futures
import dataclasses
import multiprocessing
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.speed import memory, random_data, stepping
from experiments.speed.random_data import Size
from lthjax.search.problem import prepare
from lthjax.settings import Settings
from lthjax.training.step import LossMeter


class Measured(NamedTuple):
    """What one process has measured of one size. Bytes, unless said otherwise."""

    seconds: list[float]  # per step, of each repeat
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


def measure(size: Size, settings: Settings, num_steps: int, repeats: int) -> Measured:
    """Build a problem of this size, and take time and memory of its step; for a process of its own.

    Args:
      size: of graph and table.
      settings: all but the data and the table's dimensions.
      num_steps: per repeat.
      repeats: timed ones.
    """
    split = random_data.random_split(size, settings.seed)
    problem = prepare(split, dataclasses.replace(settings, dim=size.dim))
    state, masks, key = stepping.ticket_of(problem, stepping.first_values(problem))
    arrays = {"table": state.params, "moments": state.opt_state, "graph": problem.graph, "masks": masks}
    figures = {name: _bytes(tree) for name, tree in arrays.items()}
    del arrays
    number = jnp.int32(num_steps)
    compiled = problem.program.run_steps.lower(state, LossMeter.zero(), masks, problem.graph, key, number).compile()

    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(compiled(state, LossMeter.zero(), masks, problem.graph, key, number))

    run()  # imports, threads and pools that stay are no part of a step
    added, how = memory.added_bytes(run, sum(figures.values()))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append((time.perf_counter() - began) / num_steps)
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
