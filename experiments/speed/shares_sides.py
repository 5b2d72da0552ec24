"""What `shares` measures: what each of several processes holds of the interactions.

Letters: M users, N items, E interactions.
"""

import concurrent.futures
import multiprocessing
import socket
from pathlib import Path

import numpy as np

from experiments.speed import memory, random_data
from lthjax.settings import Settings

_SECONDS = 300  # to wait for one another


def write(folder: Path, num_users: int, num_items: int, num_pairs: int, seed: int) -> None:
    """Write adjacency lists to train.txt, valid.txt and test.txt, 8:1:1 at random.

    Args:
      folder: of the files.
      num_users: M.
      num_items: N.
      num_pairs: E, all different.
      seed: of the draws.
    """
    pairs = random_data.random_pairs(num_users, num_items, num_pairs, seed)
    part = np.random.default_rng(seed).choice(3, num_pairs, p=(0.8, 0.1, 0.1))
    for code, name in enumerate(("train", "valid", "test")):
        users, starts = np.unique(pairs[part == code, 0], return_index=True)
        lists = np.split(pairs[part == code, 1], starts[1:])
        with open(folder / f"{name}.txt", "w") as file:
            for user, items in zip(users.tolist(), lists, strict=True):
                file.write(f"{user} {' '.join(map(str, items.tolist()))}\n")


def of_fullest(settings: Settings, number: int, whole: bool) -> dict[str, int]:
    """What so many processes measure, each figure of the one that has most.

    Args:
      settings: of data and model.
      number: of processes.
      whole: whether all of them read whole files.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(number, mp_context=context) as pool:
        waiting = [pool.submit(_measure, settings, number, process, address, whole) for process in range(number)]
        measured = [future.result() for future in waiting]
    return {name: max(of_process[name] for of_process in measured) for name in measured[0]}


def _measure(settings: Settings, number: int, process: int, address: str, whole: bool) -> dict[str, int]:
    import jax

    import lthjax
    from lthjax.runtime import processes
    from lthjax.search import problem

    if number > 1:
        processes.start(address, number, process, _SECONDS)
    mesh = lthjax.mesh(1)
    processes.any_of(False)  # all are connected
    before = memory.peak_resident()
    if whole or number == 1:
        split = lthjax.load_split(None, settings)
        held = split.train
    else:
        from lthjax.search import shares

        split, _ = shares.load(None, settings, mesh)
        held = split.held_train
    to_read = memory.peak_resident() - before
    made = problem.prepare(split, settings, mesh=mesh)
    shards = [shard.data for leaf in jax.tree.leaves(made.graph) for shard in leaf.addressable_shards]
    seen = [leaf for task in (made.valid, made.test) for leaf in jax.tree.leaves(task.seen)]
    measured = {
        "interactions": len(held),
        "held, MiB": held.nbytes,
        "graph, MiB": sum(array.nbytes for array in [*shards, *seen]),
        "to read, MiB": to_read,
        "in all, MiB": memory.peak_resident() - before,
    }
    if number > 1:
        jax.distributed.shutdown()
    return measured
