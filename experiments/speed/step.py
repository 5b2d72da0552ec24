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
import statistics
from typing import TYPE_CHECKING, Any, Literal

from experiments import cli
from experiments.speed import benchmark, pytorch, timing
from experiments.speed.timing import Seconds
from lthjax.data import resolve

if TYPE_CHECKING:
    from lthjax.search.problem import Problem

_BYTES_PER_ENTRY = 4 * 7 + 1  # Adam reads gradient, weight, two moments and mask, writes weight and two moments


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.DataFlags):
    """What is trained, and how often it is timed."""

    model: Literal["mf", "lightgcn"] = "lightgcn"
    """Backbone."""
    dim: int = 32
    """Numbers per user and per item (F)."""
    layers: int = 3
    """Propagation layers of LightGCN (K)."""
    batch_size: int = 2048
    """Triples per step (B)."""
    adam: Literal["quickest", "plain", "foreach", "fused"] = "quickest"
    """Kind of PyTorch's Adam; plain is its default on a CPU, foreach on a GPU."""
    steps: int = 10
    """Steps per repeat; a time is that of all of them, divided."""

    def __post_init__(self):
        super().__post_init__()
        self.check_at_least(1, "steps")


def main(config: Config) -> dict[str, Any]:
    """Time both sides, print the table, write the JSON; returns what it holds."""
    from experiments.speed import step_sides, stepping
    from lthjax.search.problem import prepare

    machine, torch, settings = benchmark.announce_machine(), pytorch.find(), config.settings()
    problem = prepare(resolve.load_split(None, settings), settings)
    start, num_rows = stepping.first_values(problem), problem.graph.num_users + problem.graph.num_items
    print(_in_words(problem))
    peers, adam = {}, None
    if torch is not None:
        adam = step_sides.quickest_adam(torch, num_rows, config.dim) if config.adam == "quickest" else config.adam
        peers = step_sides.torch_sides(torch, problem, start, config.steps, adam)
    differences = step_sides.check_equal_work(problem, start, peers)
    checked = f"losses of the first {step_sides.NUM_CHECKED} steps, lthjax and"
    for name, difference in differences.items():
        print(f"{checked} {name}: equal to {difference:.1e} (relative)")

    stream, stream_bytes = step_sides.multiply_add(num_rows, config.dim)
    sides = {"lthjax": step_sides.our_steps(problem, start)} | peers
    sides |= step_sides.our_parts(problem, start) | {"multiply-add": stream}
    with pytorch.quiet():
        seconds = timing.per_step(sides, config.steps, config.repeats)
    floor = adam_floor(statistics.median(seconds["multiply-add"]), stream_bytes, num_rows * config.dim)
    ratios = {name: timing.ratio(seconds[name], seconds["lthjax"]) for name in peers}
    peaks = benchmark.peak_bytes(torch)
    print("\n".join([*_table(seconds, list(peers), adam, floor), *benchmark.peaks_in_words(peaks)]))
    print(pytorch.comparison(ratios))
    return benchmark.leave(
        "step",
        config,
        machine,
        torch,
        agreement=differences,
        torch_adam=adam,
        seconds_a_step=timing.summaries(seconds),
        adam_floor=floor,
        peak_bytes=peaks,
        ratios=ratios,
    )


def adam_floor(stream_seconds: float, stream_bytes: int, num_entries: int) -> dict[str, float]:
    """The bytes of one dense Adam pass, the bandwidth measured, and the seconds that follow.

    Args:
      stream_seconds: of a pass that does nothing but move bytes.
      stream_bytes: that it moves.
      num_entries: of the table.
    """
    bandwidth = stream_bytes / stream_seconds
    num_bytes = _BYTES_PER_ENTRY * num_entries
    return {"bytes": num_bytes, "bytes_a_second": bandwidth, "seconds": num_bytes / bandwidth}


def _in_words(problem: "Problem") -> str:
    """The data and the model."""
    graph, settings = problem.graph, problem.settings
    depth = f"K = {settings.layers}, " if settings.model == "lightgcn" else ""
    return (
        f"{problem.split.name}: {graph.num_users:,} users, {graph.num_items:,} items, "
        f"{graph.num_interactions:,} training interactions; {settings.model}, F = {settings.dim}, "
        f"{depth}B = {settings.batch_size:,}"
    )


def _table(seconds: Seconds, peers: list[str], adam: str | None, floor: dict[str, float]) -> list[str]:
    """Lines: a step of each side, then what ours is spent on.

    Args:
      seconds: per step, of each side and part.
      peers: names of PyTorch's sides.
      adam: the kind that they use.
      floor: of `adam_floor`.
    """
    ours = statistics.median(seconds["lthjax"])
    lines = [f"lthjax, batches drawn within: {timing.in_words(seconds['lthjax'])} per step"]
    lines += [f"{name}, batches given, {adam} Adam: {timing.in_words(seconds[name])} per step" for name in peers]
    for name in ("sampling", "propagation"):
        if name in seconds:
            share = statistics.median(seconds[name]) / ours
            lines.append(f"  of ours, {name} by itself: {timing.in_words(seconds[name])}, {share:.0%}")
    lines.append(
        f"  of ours, floor of a dense Adam pass: {floor['seconds'] * 1e3:.3f} ms, {floor['seconds'] / ours:.0%} "
        f"({floor['bytes'] / 1e6:,.1f} MB at the {floor['bytes_a_second'] / 1e9:.1f} GB/s of a multiply-add); "
        f"the step takes {ours / floor['seconds']:.1f}x that"
    )
    return lines


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
