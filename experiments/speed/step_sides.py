"""What `step` times: our training step and its parts, and the same step in PyTorch.

Letters: M users, N items, F dimensions, K layers, B batch.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.speed import pytorch, stepping, timing
from lthjax.embeddings import Embeddings
from lthjax.errors import LthjaxError
from lthjax.graph.graph import Graph
from lthjax.search.problem import Problem
from lthjax.training.keys import Purpose
from lthjax.training.sampling import Sampler

NUM_CHECKED = 3  # the first loss shows the forward pass, the later ones gradients and Adam
_AGREE = 1e-4  # relative; float32 sums of another order differ by 1e-6, another loss or optimizer by far more
_ADAMS = ("plain", "foreach", "fused")

Steps = Callable[[int], float]  # goes on training by so many steps; their mean loss, when they are done


class Way(NamedTuple):
    """How PyTorch does it."""

    layout: str  # of the adjacency: "COO", "CSR", or "" for MF, which has none
    adam: str  # kind of torch.optim.Adam: "plain", "foreach" or "fused"

    @property
    def name(self) -> str:
        """For the table."""
        return f"PyTorch sparse {self.layout}" if self.layout else "PyTorch"


def our_steps(problem: Problem, start: Embeddings) -> Steps:
    """The dense model in training, from these first values; it draws its batches itself."""
    run = stepping.alone(problem, stepping.ticket_of(problem, start))
    return lambda num_steps: run(num_steps).mean()


def torch_sides(torch: ModuleType, problem: Problem, start: Embeddings, num_steps: int, adam: str) -> dict[str, Steps]:
    """PyTorch in each layout of the adjacency, by name.

    Args:
      torch: the module.
      problem: with settings and graph.
      start: first values.
      num_steps: of a repeat; each has a batch of its own, drawn beforehand.
      adam: kind of torch.optim.Adam.
    """
    batches = batches_of(problem, max(num_steps, NUM_CHECKED))
    layouts = ("COO", "CSR") if problem.settings.model == "lightgcn" else ("",)
    ways = [Way(layout, adam) for layout in layouts]
    return {way.name: torch_steps(torch, problem, start, batches, way) for way in ways}


def batches_of(problem: Problem, num_steps: int) -> list[np.ndarray]:
    """The batches that our steps 0, 1, ... draw, each [3, B'] int64 rows of the joint table: users, liked, others.

    B' is B, or less where a batch is padded: rows that do not count are left out.
    """
    sample, key = jax.jit(problem.parts.sampler.sample), problem.key(Purpose.BATCHES)
    num_users = problem.graph.num_users
    batches = []
    for step in range(num_steps):
        batch = jax.tree.map(np.asarray, sample(key, jnp.int32(step), problem.graph))
        rows = np.stack([batch.user, batch.positive + num_users, batch.negative + num_users])
        batches.append(rows[:, batch.weight > 0].astype(np.int64))
    return batches


def torch_steps(torch: ModuleType, problem: Problem, start: Embeddings, batches: list[np.ndarray], way: Way) -> Steps:
    """The dense model in training in PyTorch; the batches are taken in turn.

    Args:
      torch: the module.
      problem: settings and graph.
      start: first values.
      batches: from `batches_of`.
      way: layout and kind of Adam.
    """
    device, settings = pytorch.device_of_jax(), problem.settings
    num_layers = settings.layers if settings.model == "lightgcn" else 0
    table = torch.tensor(np.concatenate([np.asarray(part) for part in start]), device=device, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=settings.learning_rate, **_adam_options(way.adam))
    adjacency = torch_adjacency(torch, problem.graph, way.layout) if num_layers else None
    on_device = [torch.from_numpy(batch).to(device) for batch in batches]
    look_up = torch.nn.functional.embedding
    done = 0

    def one_step(ids):
        optimizer.zero_grad()
        layer = total = table
        for _ in range(num_layers):
            layer = torch.sparse.mm(adjacency, layer)
            total = total + layer
        user, liked, other = final = look_up(ids, total) / (num_layers + 1)  # the mean, of the batch's rows only
        layer0 = look_up(ids, table) if num_layers else final
        ranking = torch.nn.functional.softplus(-(user * (liked - other)).sum(dim=1)).sum()
        loss = (ranking + settings.l2 * 0.5 * layer0.square().sum()) / ids.shape[1]
        loss.backward()
        optimizer.step()
        return loss.detach()

    def run(num_steps: int) -> float:
        nonlocal done
        losses = []
        for step in range(done, done + num_steps):
            losses.append(one_step(on_device[step % len(on_device)]))
        done += num_steps
        pytorch.wait(torch)
        return float(torch.stack(losses).mean())

    return run


def torch_adjacency(torch: ModuleType, graph: Graph, layout: str) -> Any:
    """The graph's own normalized adjacency [M + N, M + N] in PyTorch.

    Args:
      torch: the module.
      graph: of lthjax.
      layout: "COO", coalesced, or "CSR".
    """
    indices = torch.from_numpy(np.asarray(graph.adjacency.indices).astype(np.int64).T.copy())
    values = torch.from_numpy(np.asarray(graph.adjacency.data).copy())
    with pytorch.quiet():
        matrix = torch.sparse_coo_tensor(indices, values, graph.adjacency.shape).coalesce()
        matrix = matrix.to_sparse_csr() if layout == "CSR" else matrix
        return matrix.to(pytorch.device_of_jax())


def _adam_options(kind: str) -> dict[str, bool]:
    """Arguments of torch.optim.Adam."""
    return {name: name == kind for name in ("foreach", "fused")}


def quickest_adam(torch: ModuleType, num_rows: int, dim: int) -> str:
    """Which kind of PyTorch's Adam is quickest on a dense gradient of the whole table.

    Args:
      torch: the module.
      num_rows: M + N.
      dim: F.
    """

    def steps_of(kind: str) -> Callable[[], None]:
        table = torch.zeros(num_rows, dim, device=pytorch.device_of_jax(), requires_grad=True)
        table.grad = torch.full_like(table, 0.1)
        optimizer = torch.optim.Adam([table], **_adam_options(kind))

        def run():
            for _ in range(3):
                optimizer.step()
            pytorch.wait(torch)

        return run

    return timing.fastest({kind: steps_of(kind) for kind in _ADAMS}, repeats=5)


def check_equal_work(problem: Problem, start: Embeddings, peers: dict[str, Steps]) -> dict[str, float]:
    """Worst relative difference of the first losses between ours and each peer's, all from the same weights.

    Args:
      problem: that ours trains on.
      start: first values.
      peers: before their first step.

    Raises:
      LthjaxError: they differ, so the work is not the same.
    """
    run = our_steps(problem, start)
    ours = [run(1) for _ in range(NUM_CHECKED)]
    differences = {}
    for name, peer in peers.items():
        theirs = [peer(1) for _ in range(NUM_CHECKED)]
        differences[name] = max(abs(their / our - 1) for their, our in zip(theirs, ours, strict=True))
        if not differences[name] <= _AGREE:
            raise LthjaxError(f"wanted the same losses from both sides, got {ours} and {theirs} ({name}).")
    return differences


def our_parts(problem: Problem, start: Embeddings) -> dict[str, Callable[[int], Any]]:
    """Parts of our step that can be timed apart, as functions of the number of steps."""
    key, sampling = problem.key(Purpose.BATCHES), _sampling(problem.parts.sampler)
    parts = {"sampling": lambda num_steps: sampling(key, problem.graph, jnp.int32(num_steps)).block_until_ready()}
    if problem.settings.model == "lightgcn":

        @jax.jit
        def propagation(graph, params, num_steps):
            def body(_, params):
                final, pull_back = jax.vjp(lambda params: problem.program.embed(params, graph), params)
                return pull_back(final)[0]  # A' has norm 1, and so has the mean of its powers: nothing grows

            return jax.lax.fori_loop(0, num_steps, body, params)

        parts["propagation"] = lambda num_steps: jax.block_until_ready(
            propagation(problem.graph, start, jnp.int32(num_steps))
        )
    return parts


@functools.cache  # one function per sampler, so that it is compiled once
def _sampling(sampler: Sampler) -> Callable[..., jax.Array]:
    """So many batches drawn, one after the other, and a number that needs all that is in them."""

    @jax.jit
    def run(key, graph, num_steps):
        def body(step, total):
            return total + sum(jnp.sum(part) for part in jax.tree.leaves(sampler.sample(key, step, graph)))

        return jax.lax.fori_loop(0, num_steps, body, jnp.float32(0))

    return run


def multiply_add(num_rows: int, dim: int) -> tuple[Callable[[int], Any], int]:
    """The pass a = a / 2 + b in place, with a and b [2 num_rows, dim], and the bytes that it moves.

    In place, as Adam's pass is: no written line has to be fetched that was not wanted. The two arrays are as large as
    gradient, weights and two moments together, so that a cache helps as much as it helps Adam.
    """

    @functools.partial(jax.jit, donate_argnums=0)
    def passes(a, b, number):
        return jax.lax.fori_loop(0, number, lambda _, a: 0.5 * a + b, a)

    a, b = jnp.ones((2 * num_rows, dim)), jnp.ones((2 * num_rows, dim))

    def run(number: int) -> None:
        nonlocal a
        a = passes(a, b, jnp.int32(number)).block_until_ready()

    return run, 3 * 4 * a.size
