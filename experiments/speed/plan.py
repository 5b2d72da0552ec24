"""What training would cost on devices that are not here: the formulas of `footprint`, and the figures of hardware.

A floor, not a forecast: what must move, over what the makers say can move. No program reaches either number.
"""

from typing import Any, NamedTuple

from experiments.speed import footprint
from experiments.speed.footprint import Scale
from lthjax.errors import SettingsError, nearest
from lthjax.sharding import exchange as exchanges
from lthjax.sharding import layout as layouts

_NEEDED = ("users", "items", "dim", "devices")
_INTERACTIONS_OF_USER = 20  # where the plan does not tell
_DEFAULTS = {"batch": 2048, "layers": 3}
_MODELS = ("mf", "lightgcn")
_COUNTABLE = 2**31 - 1  # rows, positions and interactions are int32


class Hardware(NamedTuple):
    """Public figures of a device, and whose."""

    name: str
    memory: int  # bytes
    memory_a_second: float  # bytes
    link_a_second: float  # bytes that a device sends, in one direction


HARDWARE = (
    # NVIDIA, H100 data sheet, SXM: 80 GB, 3.35 TB/s; NVLink 900 GB/s counts both directions. Within one NVLink domain,
    # which is 8 GPUs in an HGX or DGX.
    Hardware("H100 SXM, NVLink", 80 * 10**9, 3.35e12, 450e9),
    # NVIDIA, DGX H100 data sheet: between those, a ConnectX-7 of 400 Gbit/s for each GPU.
    Hardware("H100 SXM, 400 Gbit/s", 80 * 10**9, 3.35e12, 50e9),
    # Google Cloud, "TPU v5p": 95 GiB, 2,765 GB/s; interconnect 1,200 GB/s in both directions (4,800 Gbit/s in one).
    Hardware("TPU v5p", 95 * 2**30, 2.765e12, 600e9),
)


class Floor(NamedTuple):
    """Least seconds of a step."""

    memory: float
    exchange: float

    @property
    def at_once(self) -> float:
        """Where one goes on beside the other."""
        return max(self)

    @property
    def in_turn(self) -> float:
        """Where it does not."""
        return sum(self)


def parse(text: str) -> list[Scale]:
    """The scales that a plan asks for, one for each model.

    Args:
      text: "users=1e9 items=1e8 dim=64 devices=256", and perhaps interactions, batch, layers, model and exchange.

    Raises:
      SettingsError: a key is missing, unknown or comes twice, or a value is none.
    """
    given: dict[str, str] = {}
    known = (*_NEEDED, "interactions", *_DEFAULTS, "model", "exchange")
    for word in text.replace(",", " ").split():
        key, sign, value = word.partition("=")
        if not sign or key not in known:
            raise SettingsError(f"--plan: wanted {', '.join(known)} as KEY=VALUE; got {word!r}{nearest(key, known)}.")
        if key in given:
            raise SettingsError(f"--plan: wanted {key} once; got {given[key]} and {value}.")
        given[key] = value
    if missing := [key for key in _NEEDED if key not in given]:
        raise SettingsError(f"--plan: wanted {', '.join(_NEEDED)}; got none of {', '.join(missing)}.")
    model = given.pop("model", None)
    if model not in (None, *_MODELS):
        raise SettingsError(f"--plan: wanted model={' or '.join(_MODELS)}; got {model!r}{nearest(model, _MODELS)}.")
    exchange = given.pop("exchange", "gather")
    numbers = _DEFAULTS | {key: _number(key, value) for key, value in given.items()}
    numbers.setdefault("interactions", _INTERACTIONS_OF_USER * numbers["users"])
    layouts.check_number(numbers["devices"], "--plan devices")
    exchanges.check(exchange, numbers["devices"], propagates=model != "mf")
    models = (model,) if model else _MODELS
    return [Scale(**numbers, model=name, exchange="gather" if name == "mf" else exchange) for name in models]


def _number(key: str, text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 1 <= value < 1e18 or value != int(value):
        raise SettingsError(f"--plan {key}: wanted a whole number from 1 on, as 1000000 or 1e6; got {text!r}.")
    return int(value)


def per_device(scale: Scale) -> dict[str, int]:
    """What it is -> bytes on each device while it trains."""
    held, added = footprint.held(scale), footprint.added(scale, in_turn=True)
    parts = {
        "weights": held["tables"],
        "masks": held["masks"],
        "two moments of Adam": held["moments"],
        "gradient of the longer table": added["gradient"],
        "best epoch: weights, moments": footprint.kept(scale),
        "interactions, for batches": held["interactions"],
        "rows of a batch": added["batch"],
    }
    if scale.model == "lightgcn":
        parts |= {"matrix: values, columns, starts": held["matrix"]}
        slab = f"one slab of {footprint.SLAB} columns"
        slab = f"rows that visit and a product, of {slab}" if scale.exchange == "ring" else slab
        parts |= {"layers": added["layers"], slab: added["gathered"]}
    return parts


def floor(scale: Scale, hardware: Hardware) -> Floor:
    """The least time of a step on some hardware."""
    exchange = footprint.sent(scale) / hardware.link_a_second
    return Floor(footprint.moved(scale) / hardware.memory_a_second, exchange)


def in_words(scales: list[Scale]) -> list[str]:
    """The plan, line by line."""
    first = scales[0]
    lines = [
        f"{first.users:,} users, {first.items:,} items, {first.interactions:,} interactions, F = {first.dim}, "
        f"B = {first.batch:,}, D = {first.devices}; on paper, nothing was measured; shares are taken as even."
    ]
    for scale in scales:
        lines += ["", *_of_model(scale)]
    return [*lines, "", *_of_host(scales[-1]), *_beyond_counters(first)]


def _of_model(scale: Scale) -> list[str]:
    name = "MF" if scale.model == "mf" else f"LightGCN, K = {scale.layers}"
    name += ", ring (equal to about 1e-5, not to the bit)" if scale.exchange == "ring" else ""
    parts = per_device(scale)
    total = sum(parts.values())
    lines = [f"{name}: {_size(total)} a device"]
    lines += [f"  {_size(size):>12}  {what}" for what, size in parts.items()]
    if scale.model == "lightgcn" and scale.devices > 1:
        at_once = footprint.gathered(scale, in_turn=False)
        lines.append(
            f"  Where XLA propagates both sides of a slab at once, as on a CPU: {_size(at_once)} for the slab's."
        )
    put_out = footprint.exchanged(scale)
    lines.append(
        f"exchange a step: {_size(sum(put_out.values()))} put out ({_size(put_out['rows'])} rows of the batch, "
        f"{_size(put_out['draws'])} draws, {_size(put_out['tables'])} tables), {_size(footprint.sent(scale))} "
        f"sent by each device; {_size(footprint.moved(scale))} moved through its memory"
    )
    for hardware in HARDWARE:
        least = floor(scale, hardware)
        fits = "fits" if total <= hardware.memory else "does NOT fit"
        lines.append(
            f"  {hardware.name}: {fits} in {_size(hardware.memory)}; a step takes at least {_time(least.at_once)} "
            f"(memory {_time(least.memory)}, exchange {_time(least.exchange)}; in turn {_time(least.in_turn)})"
        )
    return lines


def _of_host(scale: Scale) -> list[str]:
    sizes = footprint.on_host(scale)
    of_share = sizes["pairs"] + sizes["seen"] + sizes["ids"]
    return [
        f"A process of one device holds in its host's memory {_size(sizes['ticket'])} of every ticket (9 bytes an "
        f"entry) and {_size(of_share)} of interactions: {_size(sizes['pairs'])} as pairs "
        f"({_size(sizes['all pairs'])}, all of them, where data are not read in pieces), {_size(sizes['seen'])} seen "
        f"items, {_size(sizes['ids'])} ids and degrees.",
    ]


def _beyond_counters(scale: Scale) -> list[str]:
    users, items = footprint.table_rows(scale)
    numbers = {"users": users, "items": items, "interactions": scale.interactions, "users and items": users + items}
    beyond = [name for name, number in numbers.items() if number > _COUNTABLE]
    return [f"Beyond what is counted today (int32, 2^31 - 1): {', '.join(beyond)}."] if beyond else []


def in_json(scale: Scale) -> dict[str, Any]:
    """What the JSON holds of a plan."""
    return {
        "scale": scale._asdict(),
        "bytes_a_device": per_device(scale),
        "exchanged": footprint.exchanged(scale),
        "sent": footprint.sent(scale),
        "moved": footprint.moved(scale),
        "host": footprint.on_host(scale),
        "floors": {hardware.name: floor(scale, hardware)._asdict() for hardware in HARDWARE},
    }


def _size(size: int) -> str:
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 2**10:,.1f} KiB"


def _time(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{seconds * 1e3:,.2f} ms"
