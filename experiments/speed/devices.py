r"""What does each of D devices hold, exchange and take time for, as D grows? And what would it on devices not here?

    python -m experiments.speed.devices
    python -m experiments.speed.devices --users 1200000 --items 800000 --sizes fixed --devices 1 8 --steps 1
    python -m experiments.speed.devices --plan "users=1e9 items=1e8 dim=64 devices=256"

MF and LightGCN are trained on D devices twice: with sizes fixed, and with users, items and interactions growing with D.
Every D has a process of its own; one device is the plain path, without a mesh. On a CPU the devices are virtual ones
that share its cores: times say nothing of real devices, bytes do. Printed are

* "held": the shards of tables, masks, moments and graph on the fullest device, and what the formulas say;
* "added": what the compiled program says that a step adds to that, and what the formulas say; once as XLA orders the
  program for speed, as it does for a CPU, and once ordered for little memory ("in turn"), where LightGCN gathers one
  side of a slab at a time;
* "exchange": what the collectives in the compiled program's text put out a step, and what the formulas say.

LightGCN is measured with both ways of exchange: gather, and ring, where rows of one device after the other come by.

First it is checked, with sizes fixed, that the tables of all D are equal to the bit after --steps steps; of a ring, as
it sums in another order, to 1e-5.

--plan computes the same formulas for any sizes and needs none of the devices; of "users, items, dim, devices,
interactions, batch, layers, model, exchange" the first four are needed. It adds what training keeps beside, what the
host holds, and the least time that a step can take on known hardware.

Cost on 2 CPU cores: 5 minutes; a plan, a second.

Letters: M users, N items, E interactions, F dimensions, B batch, K layers, D devices.
"""

import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from experiments import cli
from experiments.speed import benchmark, timing
from experiments.speed.random_data import MOST_FULL
from lthjax.errors import LthjaxError, SettingsError
from lthjax.sharding.exchange import Exchange

if TYPE_CHECKING:
    from experiments.speed.devices_sides import Measured
    from experiments.speed.footprint import Scale

_STRIPES = 256  # of `sharding.layout`, which would load JAX
_CLOSE = 0.1  # share of the measured bytes that the formulas may be off by
_MOST_DIFFERENCE = {"gather": 0.0, "ring": 1e-5}  # between tables of several devices and of one


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(benchmark.Flags):
    """The sizes on one device, and how many devices there are."""

    plan: str | None = None
    """Compute instead: "users=1e9 items=1e8 dim=64 devices=256", and interactions, batch, layers, model, exchange."""
    models: tuple[Literal["mf", "lightgcn"], ...] = ("mf", "lightgcn")
    """Backbones."""
    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of devices (D); with 1, which all others are compared with."""
    exchanges: tuple[Exchange, ...] = ("gather", "ring")
    """How LightGCN gets the rows of other devices."""
    sizes: tuple[Literal["fixed", "growing"], ...] = ("fixed", "growing")
    """Sizes that stay, or of which each device has as much as one alone has."""
    layers: int = 3
    """Propagation layers of LightGCN (K)."""
    batch_size: int = 512
    """Triples per step (B)."""
    users: int = 40_000
    """Users on one device (M)."""
    items: int = 20_000
    """Items on one device (N)."""
    interactions: int = 200_000
    """Training interactions on one device (E)."""
    dim: int = 32
    """Numbers per user and per item (F)."""
    steps: int = 5
    """Steps before tables are compared, and per repeat; a time is that of all of them, divided."""
    repeats: int = 5
    """Timed repeats of each; the median counts."""

    def __post_init__(self):
        super().__post_init__()
        self.check_at_least(1, "users", "items", "interactions", "dim", "steps")
        if 1 not in self.devices or any(number < 1 or _STRIPES % number for number in self.devices):
            raise SettingsError(
                f"--devices: wanted 1, and any of 2, 4, ... 256; got {' '.join(map(str, self.devices)) or 'none'}."
            )
        if self.interactions + 2 > MOST_FULL * self.users * self.items:
            raise SettingsError(
                f"--interactions: wanted at most {MOST_FULL:.0%} of users x items; "
                f"got {self.interactions:,} of {self.users:,} x {self.items:,}."
            )


class Point(NamedTuple):
    """A model on so many devices."""

    sizes: str  # "fixed" or "growing"
    scale: "Scale"
    measured: "Measured"


class Compared(NamedTuple):
    """Bytes a device, measured and by the formulas."""

    measured: int
    predicted: int

    @property
    def off(self) -> float:
        """By how much of the measured the formulas are off; 0 where both are 0."""
        return abs(self.predicted - self.measured) / max(self.measured, 1)


def scales(config: Config) -> list[tuple[str, "Scale"]]:
    """("fixed" or "growing", scale), model by model; one device comes once for each."""
    from experiments.speed.footprint import Scale

    def scale(model: str, sizes: str, number: int, exchange: Exchange) -> Scale:
        times = number if sizes == "growing" else 1
        size = (times * getattr(config, name) for name in ("users", "items", "interactions"))
        return Scale(*size, config.dim, config.batch_size, config.layers, model, number, exchange)

    numbers = sorted(set(config.devices))
    return [
        (sizes, scale(model, sizes, number, exchange))
        for model in config.models
        for sizes in config.sizes
        for number in numbers
        for exchange in (config.exchanges if model == "lightgcn" and number > 1 else ("gather",))
    ]


def main(config: Config) -> dict[str, Any]:
    """Measure every number of devices, or compute a plan; print tables, write the JSON; returns what it holds."""
    if config.plan is not None:
        from experiments.speed import plan

        asked = plan.parse(config.plan)
        print("\n".join(plan.in_words(asked)))
        return benchmark.leave("devices", config, {}, plans=[plan.in_json(scale) for scale in asked])
    import pandas as pd

    load_before = timing.load()
    points = measure_all(config)
    machine = benchmark.announce_machine(load_before)
    print(f"devices: {points[0].measured.device}; F = {config.dim}, B = {config.batch_size:,}, K = {config.layers}")
    if "cpu" in points[0].measured.device:
        print("The devices are virtual and share these cores: times say nothing of real devices; bytes do.")
    print(pd.DataFrame(_row(point) for point in points).to_string(index=False))
    of_ring = f"; of a ring to {_MOST_DIFFERENCE['ring']:g}" if any(p.scale.exchange == "ring" for p in points) else ""
    print(f"tables of {' and '.join(config.models)} after {config.steps} steps: equal to the bit, sizes fixed{of_ring}")
    goals = goals_of(points)
    print("\n".join(goals["in_words"]))
    return benchmark.leave("devices", config, machine, points=[_in_json(point) for point in points], goals=goals)


def measure_all(config: Config) -> list[Point]:
    """Every number of devices, each in a process of its own; what comes twice is measured once.

    Raises:
      LthjaxError: tables of several devices are not those of one.
    """
    from experiments.speed import scaling_sides
    from experiments.speed.devices_sides import measure

    asked = scales(config)
    measured: dict[Scale, Measured] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (sizes, scale) in enumerate(asked):
            if scale in measured:
                continue
            settings = config.settings(epochs=1, model=scale.model)
            tables_to = Path(folder, f"{scale.model}-{number}") if _is_compared(config, scale) else None
            if tables_to is not None:
                tables_to.mkdir()
            measured[scale] = scaling_sides.in_fresh_process(
                measure, scale, settings, config.steps, config.repeats, tables_to and str(tables_to)
            )
            if tables_to is not None:
                _check_equal(tables_to, scale)
            words = timing.in_words(measured[scale].seconds)
            print(
                f"{scale.model}, {scale.devices} devices, {scale.exchange}, sizes {sizes}: {words} per step",
                file=sys.stderr,
                flush=True,
            )
    return [Point(sizes, scale, measured[scale]) for sizes, scale in asked]


def _is_compared(config: Config, scale: "Scale") -> bool:
    """Has one device the same data? With sizes that grow it has not."""
    return scale.users == config.users


def _check_equal(folder: Path, scale: "Scale") -> None:
    """Compare tables with those of one device, which were left first, in the first folder of the model.

    Raises:
      LthjaxError: they differ, by more than another order of sums makes them.
    """
    from experiments.speed.devices_sides import difference

    reference = min(folder.parent.glob(f"{scale.model}-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    most = _MOST_DIFFERENCE[scale.exchange]
    if not (off := difference(str(reference), str(folder))) <= most:  # not a number is off too
        raise LthjaxError(
            f"{scale.model}: wanted tables of {scale.devices} devices that equal those of one device to "
            f"{f'{most:g}' if most else 'the bit'}; got others, {off:.2g} off, so that nothing is compared."
        )


def compare(point: Point) -> dict[str, Compared]:
    """What is held, what is there while a step runs, in both orders, and what a step exchanges."""
    from experiments.speed import footprint

    scale, measured = point.scale, point.measured
    held = sum(footprint.held(scale).values())
    added, in_turn = (sum(footprint.added(scale, in_turn).values()) for in_turn in (False, True))
    return {
        "held": Compared(measured.held, held),
        "peak": Compared(measured.held + measured.temp, held + added),
        "peak in turn": Compared(measured.held + measured.temp_in_turn, held + in_turn),
        "exchange": Compared(measured.exchanged, sum(footprint.exchanged(scale).values())),
    }


def goals_of(points: list[Point]) -> dict[str, Any]:
    """How far the formulas are off at most, and whether that is close enough."""
    compared = [compare(point) for point in points]
    worst = {kind: max(kinds[kind].off for kinds in compared) for kind in compared[0]}
    is_met = max(worst.values()) <= _CLOSE
    words = ", ".join(f"{kind} {off:.1%}" for kind, off in worst.items())
    return {
        "off_at_most": worst,
        "within_10_percent": is_met,
        "in_words": [f"formulas off by at most: {words}; within {_CLOSE:.0%}: {'yes' if is_met else 'NO'}"],
    }


def _row(point: Point) -> dict[str, str]:
    """The row of the printed table; of two numbers with a stroke the second is by the formulas."""
    compared = compare(point)
    added = {
        kind: Compared(*(both - held for both, held in zip(compared[kind][:2], compared["held"][:2], strict=True)))
        for kind in ("peak", "peak in turn")
    }
    return {
        "model": point.scale.model,
        "sizes": point.sizes,
        "D": str(point.scale.devices),
        "exchange": point.scale.exchange if point.scale.model == "lightgcn" and point.scale.devices > 1 else "none",
        "ms per step": f"{statistics.median(point.measured.seconds) * 1e3:.1f}",
        "held MiB": _both(compared["held"]),
        "added MiB": _both(added["peak"]),
        "in turn MiB": _both(added["peak in turn"]),
        "program's arguments MiB": f"{point.measured.arguments / 2**20:.2f}",
        "exchange MiB": _both(compared["exchange"]),
    }


def _both(compared: Compared) -> str:
    return f"{compared.measured / 2**20:.2f} / {compared.predicted / 2**20:.2f}"


def _in_json(point: Point) -> dict[str, Any]:
    """What the JSON holds of a point."""
    from experiments.speed import collectives, footprint

    measured = point.measured
    figures = {
        name: value for name, value in measured._asdict().items() if name not in ("seconds", "collectives", "sorts")
    }
    return {
        "sizes": point.sizes,
        "scale": point.scale._asdict(),
        "seconds_a_step": timing.summary(measured.seconds),
        **figures,
        "exchanged": collectives.bytes_by_name(measured.collectives),
        "predicted": {
            "held": footprint.held(point.scale),
            "added": footprint.added(point.scale, in_turn=False),
            "added_in_turn": footprint.added(point.scale, in_turn=True),
            "exchanged": footprint.exchanged(point.scale),
        },
    }


if __name__ == "__main__":
    cli.run(main, Config, __doc__)
