r"""How long does one training step take, beside the same step in PyTorch, and what is it spent on?

    python -m experiments.speed.step --data gowalla --model lightgcn
    python -m experiments.speed.step --data gowalla --model mf --json step.json
    python -m experiments.speed.step --data gowalla --model mf --adam plain       (PyTorch's default on a CPU)

Both sides do equal work: the same training graph, table, batches, BPR loss with L2 on the batch's layer-0 rows, and
dense Adam. That is checked before the clock starts: three steps from the same weights give the same losses.

* Ours is the step of a real run, inside the compiled epoch, masks included; it draws its batches on the device.
* PyTorch is given those very batches, drawn beforehand and for free. Its backward pass is autograd's; the product is
  torch.sparse.mm of a coalesced COO and of a CSR matrix; all rows of a batch are looked up at once in one table, which
  is quicker than three lookups in two; Adam is the quickest of its plain, foreach and fused kinds, unless --adam says.

"propagation", forward and backward, and "sampling" are ours, timed apart. The Adam floor is the bytes that a dense Adam
pass with masks must move, over the bandwidth of a multiply-add on arrays of that size.

Cost on 2 CPU cores: Gowalla at F = 32, LightGCN 1.5 minutes, MF 15 s; the bundled MovieLens a few seconds. A GPU
is used by both sides where JAX has one.

Letters: M users, N items, F dimensions, K layers, B batch, E interactions.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import cli
from experiments.speed import timing as benchmarks
from lthjax.data import resolve
from lthjax.embeddings import Embeddings
from lthjax.errors import LthjaxError
from lthjax.graph.graph import Graph
from lthjax.pruning import masks as masking
from lthjax.search import problem as jobs
from lthjax.search.problem import Job
from lthjax.settings import Settings
from lthjax.training.sampling import Sampler
from lthjax.training.step import LossMeter

_AGREE = 1e-4  # relative; float32 sums of another order differ by 1e-6, another loss or optimizer by far more
_NUM_CHECKED = 3  # the first loss shows the forward pass, the later ones gradients and Adam
_BYTES_AN_ENTRY = 4 * 7 + 1  # an Adam pass reads gradient, weight, two moments and mask, writes weight and two moments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmarks.Common):
    """What is trained, and how often it is timed."""

    data: str = "ml-latest-small"
    """Bundled or known name, or path, as for find_tickets; split 7:1:2, the training part is the graph."""
    model: Literal["mf", "lightgcn"] = "lightgcn"
    """Backbone."""
    dim: int = 32
    """Numbers per user and per item (F)."""
    layers: int = 3
    """Propagation layers of LightGCN (K)."""
    batch_size: int = 2048
    """Triples a step (B)."""
    adam: Literal["quickest", "plain", "foreach", "fused"] = "quickest"
    """Kind of PyTorch's Adam; plain is its default on a CPU, foreach on a GPU."""
    steps: int = 10
    """Steps of a repeat; a time is that of all of them, divided."""

    def __post_init__(self):
        super().__post_init__()
        benchmarks.check_at_least(self, 1, "steps")
        _settings(self)  # checks the others


def _settings(config: Config) -> Settings:
    names = ("data", "model", "dim", "layers", "batch_size", "seed")
    return Settings(levels=0, **{name: getattr(config, name) for name in names})


def batches_of(job: Job, num_steps: int) -> list[np.ndarray]:
    """The batches that our steps 0, 1, ... draw, each [3, B'] int64 rows of the joint table: users, liked, others.

    B' is B, or less where a batch is padded: rows that do not count are left out.
    """
    sample = jax.jit(_sampler(job.settings.sampler, job.settings.batch_size).sample)
    found = []
    for step in range(num_steps):
        batch = jax.tree.map(np.asarray, sample(job.key(1), jnp.int32(step), job.graph))
        rows = np.stack([batch.user, batch.positive + job.graph.num_users, batch.negative + job.graph.num_users])
        found.append(rows[:, batch.weight > 0].astype(np.int64))
    return found


@functools.cache  # one function, so that it is compiled once
def _sampler(name: str, batch_size: int) -> Sampler:
    return jobs.SAMPLERS[name](batch_size)


@functools.cache
def _sampling(sampler: Sampler) -> Callable[..., jax.Array]:
    """So many batches drawn, one after the other, and a number that needs all that is in them."""

    @jax.jit
    def run(key, graph, num_steps):
        def body(step, total):
            return total + sum(jnp.sum(part) for part in sampler.sample(key, step, graph))

        return jax.lax.fori_loop(0, num_steps, body, jnp.float32(0))

    return run


def our_steps(job: Job, start: Embeddings) -> Callable[[int], float]:
    """A function that goes on training by so many steps, and returns their mean loss when they are done."""
    masks = masking.all_kept(start)
    state = job.program.start(start, masks)

    def run(num_steps: int) -> float:
        nonlocal state
        number = jnp.int32(num_steps)
        state, meter = job.program.run_steps(state, LossMeter.zero(), masks, job.graph, job.key(1), number)
        jax.block_until_ready(state)
        return meter.mean()

    return run


def torch_steps(
    torch: ModuleType, job: Job, start: Embeddings, batches: list[np.ndarray], layout: str, adam: str
) -> Callable[[int], float]:
    """The same of PyTorch; the batches are taken in turn.

    Args:
      torch: the module.
      job: settings and graph.
      start: first values.
      batches: from `batches_of`.
      layout: of the adjacency, "COO" or "CSR"; MF has none.
      adam: kind of torch.optim.Adam: "plain", "foreach" or "fused".
    """
    device, settings = benchmarks.torch_device(torch), job.settings
    num_layers = settings.layers if settings.model == "lightgcn" else 0
    table = torch.tensor(np.concatenate([np.asarray(part) for part in start]), device=device, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=settings.learning_rate, **_adam_options(adam))
    adjacency = torch_adjacency(torch, job.graph, layout) if num_layers else None
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
        benchmarks.wait_for_torch(torch)
        return float(torch.stack(losses).mean())

    return run


def torch_adjacency(torch: ModuleType, graph: Graph, layout: str) -> Any:
    """The graph's own normalized adjacency [M + N, M + N] in PyTorch: a coalesced COO matrix, or CSR."""
    indices = torch.from_numpy(np.asarray(graph.adjacency.indices).astype(np.int64).T.copy())
    values = torch.from_numpy(np.asarray(graph.adjacency.data).copy())
    with benchmarks.quiet():
        matrix = torch.sparse_coo_tensor(indices, values, graph.adjacency.shape).coalesce()
        matrix = matrix.to_sparse_csr() if layout == "CSR" else matrix
        return matrix.to(benchmarks.torch_device(torch))


def _adam_options(kind: str) -> dict[str, bool]:
    return {name: name == kind for name in ("foreach", "fused")}


def quickest_adam(torch: ModuleType, num_rows: int, dim: int) -> str:
    """Which kind of PyTorch's Adam is quickest on a dense gradient of the whole table, [num_rows, dim]."""
    device = benchmarks.torch_device(torch)

    def steps_of(kind: str) -> Callable[[], None]:
        table = torch.zeros(num_rows, dim, device=device, requires_grad=True)
        table.grad = torch.full_like(table, 0.1)
        optimizer = torch.optim.Adam([table], **_adam_options(kind))

        def run():
            for _ in range(3):
                optimizer.step()
            benchmarks.wait_for_torch(torch)

        return run

    return benchmarks.fastest({kind: steps_of(kind) for kind in ("plain", "foreach", "fused")}, repeats=5)


def check_equal_work(job: Job, start: Embeddings, peers: dict[str, Callable[[int], float]]) -> dict[str, float]:
    """Worst relative difference of the first losses between ours and each peer's, all from the same weights.

    Raises:
      LthjaxError: they differ, so the work is not the same.
    """
    run = our_steps(job, start)
    ours = [run(1) for _ in range(_NUM_CHECKED)]
    found = {}
    for name, peer in peers.items():
        theirs = [peer(1) for _ in range(_NUM_CHECKED)]
        found[name] = max(abs(their / our - 1) for their, our in zip(theirs, ours, strict=True))
        if not found[name] <= _AGREE:
            raise LthjaxError(f"wanted the same losses from both sides, got {ours} and {theirs} ({name}).")
    return found


def our_parts(job: Job, start: Embeddings) -> dict[str, Callable[[int], Any]]:
    """Parts of our step that can be timed apart, as functions of the number of steps."""
    key, sampling = job.key(1), _sampling(_sampler(job.settings.sampler, job.settings.batch_size))
    parts = {"sampling": lambda num: sampling(key, job.graph, jnp.int32(num)).block_until_ready()}
    if job.settings.model == "lightgcn":

        @jax.jit
        def propagation(graph, params, num_steps):
            def body(_, params):
                final, pull_back = jax.vjp(lambda params: job.program.embed(params, graph), params)
                return pull_back(final)[0]  # A' has norm 1, and so has the mean of its powers: nothing grows

            return jax.lax.fori_loop(0, num_steps, body, params)

        parts["propagation"] = lambda num: jax.block_until_ready(propagation(job.graph, start, jnp.int32(num)))
    return parts


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


def main(config: Config) -> dict[str, Any]:
    """Time both sides, print the table, write the JSON; returns what it holds."""
    found, torch = benchmarks.machine(benchmarks.load()), benchmarks.find_torch()
    settings = _settings(config)
    job = jobs.prepare(resolve.load_split(None, settings), settings)
    start = job.program.init(job.key(0))
    num_rows = job.graph.num_users + job.graph.num_items
    print(benchmarks.machine_in_words(found))
    print(
        f"{job.split.name}: {job.graph.num_users:,} users, {job.graph.num_items:,} items, "
        f"{job.graph.num_interactions:,} training interactions; {config.model}, F = {config.dim}, "
        f"{f'K = {config.layers}, ' if config.model == 'lightgcn' else ''}B = {config.batch_size:,}"
    )
    peers, adam = {}, None
    if torch is not None:
        adam = quickest_adam(torch, num_rows, config.dim) if config.adam == "quickest" else config.adam
        batches = batches_of(job, max(config.steps, _NUM_CHECKED))
        for layout in ("COO", "CSR") if config.model == "lightgcn" else ("",):
            name = f"PyTorch sparse {layout}" if layout else "PyTorch"
            peers[name] = torch_steps(torch, job, start, batches, layout, adam)
    differences = check_equal_work(job, start, peers)
    for name, difference in differences.items():
        print(f"losses of the first {_NUM_CHECKED} steps, lthjax and {name}: equal to {difference:.1e} (relative)")

    stream, stream_bytes = multiply_add(num_rows, config.dim)
    runs = {"lthjax": our_steps(job, start)} | peers | our_parts(job, start) | {"multiply-add": stream}
    with benchmarks.quiet():
        turns = benchmarks.in_turns(
            {name: functools.partial(run, config.steps) for name, run in runs.items()}, config.repeats
        )
    seconds = {name: [repeat / config.steps for repeat in repeats] for name, repeats in turns.items()}
    floor = adam_floor(statistics.median(seconds["multiply-add"]), stream_bytes, num_rows * config.dim)
    ratios = {name: benchmarks.ratio(seconds[name], seconds["lthjax"]) for name in peers}
    peak = benchmarks.peak_bytes(torch)
    print("\n".join(_lines(seconds, peers, adam, floor, peak)))
    print(_last_line(ratios))
    content = benchmarks.record(
        "speed.step",
        config,
        found,
        torch,
        agreement=differences,
        torch_adam=adam,
        seconds_a_step={name: benchmarks.summary(repeats) for name, repeats in seconds.items()},
        adam_floor=floor,
        peak_bytes=peak,
        ratios=ratios,
    )
    benchmarks.write_json(config.json, content)
    return content


def adam_floor(stream_seconds: float, stream_bytes: int, num_entries: int) -> dict[str, float]:
    """The bytes of one dense Adam pass, the bandwidth measured, and the seconds that follow."""
    bandwidth = stream_bytes / stream_seconds
    num_bytes = _BYTES_AN_ENTRY * num_entries
    return {"bytes": num_bytes, "bytes_a_second": bandwidth, "seconds": num_bytes / bandwidth}


def _lines(
    seconds: dict[str, list[float]],
    peers: dict[str, Any],
    adam: str | None,
    floor: dict[str, float],
    peak: dict[str, int],
) -> list[str]:
    """The table: a step of each side, then what ours is spent on."""
    ours = statistics.median(seconds["lthjax"])
    lines = [f"lthjax, batches drawn within: {benchmarks.in_words(seconds['lthjax'])} a step"]
    for name in peers:
        lines.append(f"{name}, batches given, {adam} Adam: {benchmarks.in_words(seconds[name])} a step")
    for name in ("sampling", "propagation"):
        if name in seconds:
            share = statistics.median(seconds[name]) / ours
            lines.append(f"  of ours, {name} by itself: {benchmarks.in_words(seconds[name])}, {share:.0%}")
    lines.append(
        f"  of ours, floor of a dense Adam pass: {floor['seconds'] * 1e3:.3f} ms, {floor['seconds'] / ours:.0%} "
        f"({floor['bytes'] / 1e6:,.1f} MB at the {floor['bytes_a_second'] / 1e9:.1f} GB/s of a multiply-add); "
        f"the step takes {ours / floor['seconds']:.1f}x that"
    )
    lines += [f"most GPU memory so far, {name}: {size / 2**20:,.0f} MiB" for name, size in peak.items()]
    return lines


def _last_line(ratios: dict[str, dict[str, float]]) -> str:
    if not ratios:
        return benchmarks.NO_TORCH
    return "lthjax is " + ", ".join(
        f"{ratio['of_medians']:.1f}x ({ratio['least']:.1f} to {ratio['most']:.1f}) as fast as {name}"
        for name, ratio in ratios.items()
    )


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
