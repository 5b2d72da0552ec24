"""What `devices` measures: time, memory and exchange of a training step on D devices, in a process of its own."""

import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed import collectives, random_data, stepping
from experiments.speed.collectives import Operation
from experiments.speed.footprint import Scale
from experiments.speed.random_data import Size
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.search.problem import prepare
from lthjax.settings import Settings
from lthjax.sharding import layout as layouts
from lthjax.training.keys import Purpose
from lthjax.training.step import LossMeter

_FOR_LITTLE_MEMORY = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}  # by default: for speed


class Measured(NamedTuple):
    """What one process has measured of one scale. Bytes of one device, unless said otherwise."""

    seconds: list[float]  # per step, of each repeat
    device: str  # its kind and platform
    tables: int  # in the shards of the fullest device
    masks: int
    moments: int
    graph: int
    arguments: int  # the compiled program's own figures
    temp: int
    temp_in_turn: int  # of the same program, where XLA orders it for little memory
    collectives: list[Operation]  # of a step
    sorts: list[Operation]

    @property
    def held(self) -> int:
        """All shards."""
        return self.tables + self.masks + self.moments + self.graph

    @property
    def exchanged(self) -> int:
        """What the collectives of a step put out."""
        return sum(operation.num_bytes for operation in self.collectives)


def measure(scale: Scale, settings: Settings, num_steps: int, repeats: int, tables_to: str | None = None) -> Measured:
    """Build a problem of this scale, train it for some steps, leave its tables, then take time; in a new process.

    Args:
      scale: of data, table and devices.
      settings: of model and batch.
      num_steps: before the tables are left, and per repeat.
      repeats: timed ones.
      tables_to: a folder for the tables after the first steps, `user.npy` and `item.npy`, gathered; None leaves none.

    Raises:
      SettingsError: there are fewer devices.
    """
    jax.config.update("jax_num_cpu_devices", scale.devices)
    if len(jax.devices()) < scale.devices:
        raise SettingsError(
            f"--devices: wanted at most {len(jax.devices())}, as many as are here; got {scale.devices}."
        )
    mesh = layouts.mesh_of(jax.devices()[: scale.devices]) if scale.devices > 1 else None
    size = Size(scale.users, scale.items, scale.interactions, scale.dim)
    problem = prepare(random_data.random_split(size, settings.seed), settings, None, mesh, scale.exchange)
    params = stepping.first_values(problem)
    masks, key, number = problem.all_kept(params), problem.key(Purpose.BATCHES), jnp.int32(num_steps)
    state = problem.program.start(params, masks)
    del params
    arrays = {"tables": state.params, "masks": masks, "moments": state.opt_state, "graph": problem.graph}
    shards = of_fullest_device({name: bytes_by_device(tree) for name, tree in arrays.items()})
    del arrays
    lowered = problem.program.run_steps.lower(state, LossMeter.zero(state), masks, problem.graph, key, number)
    compiled = lowered.compile()
    text, analysis = compiled.as_text(), compiled.memory_analysis()
    in_turn = analysis
    if jax.default_backend() == "cpu":
        in_turn = lowered.compile(compiler_options=_FOR_LITTLE_MEMORY).memory_analysis()

    def run() -> None:
        nonlocal state
        state, _ = jax.block_until_ready(compiled(state, LossMeter.zero(state), masks, problem.graph, key, number))

    run()
    if tables_to is not None:
        _leave_tables(state.params if problem.layout is None else problem.layout.gather(state.params), Path(tables_to))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        seconds.append((time.perf_counter() - began) / num_steps)
    return Measured(
        seconds=seconds,
        device=f"{jax.devices()[0].device_kind} ({jax.default_backend()})",
        **shards,
        arguments=analysis.argument_size_in_bytes,
        temp=analysis.temp_size_in_bytes,
        temp_in_turn=in_turn.temp_size_in_bytes,
        collectives=collectives.operations(text),
        sorts=collectives.operations(text, ("sort",)),
    )


def bytes_by_device(tree: Any) -> Counter[int]:
    """Number of a device -> bytes of all shards there, of arrays that occur twice counted once."""
    total: Counter[int] = Counter()
    for leaf in {id(leaf): leaf for leaf in jax.tree.leaves(tree)}.values():
        for shard in leaf.addressable_shards:
            total[shard.device.id] += shard.data.nbytes
    return total


def of_fullest_device(by_kind: dict[str, Counter[int]]) -> dict[str, int]:
    """Kind of array -> bytes on the device that holds most in all.

    Args:
      by_kind: kind -> number of a device -> bytes.
    """
    total = sum(by_kind.values(), Counter())
    fullest = max(total, key=total.__getitem__)
    return {kind: by_device[fullest] for kind, by_device in by_kind.items()}


def _leave_tables(tables: Embeddings, folder: Path) -> None:
    for side, table in tables._asdict().items():
        np.save(folder / f"{side}.npy", np.asarray(table))


def difference(first: str, second: str) -> float:
    """The largest between numbers of the tables that two processes left in folders."""
    return max(
        float(
            np.abs(
                np.subtract(*(np.load(Path(folder, f"{side}.npy"), mmap_mode="r") for folder in (first, second)))
            ).max()
        )
        for side in Embeddings._fields
    )
