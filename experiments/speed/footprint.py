"""What training costs each of several devices, on paper: bytes held, added by a step, exchanged, moved through memory.

Each formula stands here once: `devices` shows it beside what it measures, `plan` computes with it alone. No devices, no
arrays. Shares are taken as even; the device with the most popular items holds more of the interactions than its share.

Letters: M users, N items, E interactions, F dimensions, K layers, B batch, D devices.
"""

from typing import Literal, NamedTuple

from lthjax.graph.propagate import SLAB
from lthjax.sharding import stripes
from lthjax.sharding.exchange import Exchange

_FLOAT, _MASK, _NUMBER = 4, 1, 4  # bytes of a float32, a bool, an int32
_ID = 8  # of an original id, and of a degree
_TASKS = 2  # rankings that leave seen items out, of validation and of test part
_MOMENTS = 2  # of Adam, each as large as the table
# Adam reads gradient, weight, two moments and mask, and writes weight and moments; the gradient was written before.
_ADAM = (4 * _FLOAT + _MASK) + 3 * _FLOAT + _FLOAT
# How often a step holds the rows that it exchanges: before and after the sum, their gradients, products. As seen in
# compiled programs; with LightGCN half of it lies where slabs were.
_COPIES_OF_ROWS = {"mf": 4, "lightgcn": 2}


class Scale(NamedTuple):
    """What is trained, and on how many devices; one device is the plain path, without a mesh."""

    users: int  # M
    items: int  # N
    interactions: int  # E
    dim: int  # F
    batch: int  # B
    layers: int  # K of LightGCN
    model: Literal["mf", "lightgcn"]
    devices: int  # D
    exchange: Exchange = "gather"  # of LightGCN


def table_rows(scale: Scale) -> tuple[int, int]:
    """Rows of the tables of users and of items, over all devices, with those that fill them up on several."""
    if scale.devices == 1:
        return scale.users, scale.items
    users, items = stripes.heights(scale.users, scale.items)
    return stripes.STRIPES * users, stripes.STRIPES * items


def entries(scale: Scale) -> int:
    """Entries of both tables on each device."""
    return sum(table_rows(scale)) * scale.dim // scale.devices


def held(scale: Scale) -> dict[str, int]:
    """Bytes that each device holds between steps: tables, masks, moments, and the graph in two parts."""
    return {
        "tables": _FLOAT * entries(scale),
        "masks": _MASK * entries(scale),
        "moments": _MOMENTS * _FLOAT * entries(scale),
        "interactions": _interactions(scale),
        "matrix": _matrix(scale),
    }


def _interactions(scale: Scale) -> int:
    """What batches are drawn from: user and item of each interaction; start and number of each user with any."""
    active = min(scale.users, scale.interactions)
    return _NUMBER * (2 * scale.interactions + scale.users + active) // scale.devices


def _matrix(scale: Scale) -> int:
    """The matrix A': values, columns and starts of two halves; on several devices for LightGCN alone.

    On one device the half of the users shares its columns and starts with the interactions, and there is a list of
    entries beside the halves, for other devices than CPUs: a value, a row and a column of each, 2E times.

    In a ring a device has D blocks, each with a start for each of its rows: starts do not shrink as D grows.
    """
    users, items = table_rows(scale)
    one_half = (_FLOAT + _NUMBER) * scale.interactions
    if scale.devices == 1:
        return one_half + _FLOAT * scale.interactions + _NUMBER * items + 2 * scale.interactions * 3 * _NUMBER
    if scale.model == "mf":
        return 0
    starts = _NUMBER * (users + items) * (scale.devices if scale.exchange == "ring" else 1)
    return (2 * one_half + starts) // scale.devices


def kept(scale: Scale) -> int:
    """Bytes of the best epoch so far, which training keeps on each device: weights and moments."""
    return (1 + _MOMENTS) * _FLOAT * entries(scale)


def added(scale: Scale, in_turn: bool) -> dict[str, int]:
    """Bytes that a step adds on each device.

    XLA orders a program for speed, as it does for CPUs, so that everything that can goes on at once; or for little
    memory: then tables are updated, and slabs propagated, one after the other.

    Args:
      scale: of the run.
      in_turn: ordered for little memory.
    """
    users, items = table_rows(scale)
    layers = scale.layers if scale.model == "lightgcn" else 0
    if layers and scale.devices > 1 and scale.dim > SLAB and not in_turn:
        layers += 1  # as seen in compiled programs: slabs lie beside the tables that they are cut from
    return {
        "gradient": _FLOAT * (max(users, items) * scale.dim // scale.devices if in_turn else entries(scale)),
        "layers": layers * _FLOAT * entries(scale),
        "gathered": gathered(scale, in_turn),
        "batch": (1 if in_turn else _COPIES_OF_ROWS[scale.model]) * exchanged(scale)["rows"],
    }


def gathered(scale: Scale, in_turn: bool) -> int:
    """Bytes that LightGCN's products have gathered from all devices at a time; or, in a ring, what they hold of others.

    That is the rows of the device that are multiplied and of the one that come next, and a product that is not added
    yet, as seen in compiled programs.

    Args:
      scale: of the run.
      in_turn: one side of a slab, in a program ordered for little memory; else both.
    """
    if scale.model == "mf" or scale.devices == 1:
        return 0
    users, items = table_rows(scale)
    rows = max(users, items) if in_turn else users + items
    if scale.exchange == "ring":
        rows = (2 * rows + max(users, items)) // scale.devices
    return _FLOAT * rows * min(SLAB, scale.dim)


def exchanged(scale: Scale) -> dict[str, int]:
    """Bytes of what the collectives of a step put out, on each device.

    Rows of users, positives and negatives: MF reads those for the ranking and for L2 from one table, LightGCN from
    layer 0 and from the final tables. Its products gather both tables K times forward and K times backward; in a ring
    a device's own rows do not come.
    """
    if scale.devices == 1:
        return {"rows": 0, "draws": 0, "tables": 0}
    num_rows = (3 if scale.model == "mf" else 2 * 3) * scale.batch
    passes = 2 * scale.layers if scale.model == "lightgcn" else 0
    hops = scale.devices - 1 if scale.exchange == "ring" else scale.devices
    return {
        "rows": num_rows * scale.dim * _FLOAT,
        "draws": scale.batch * (3 * _NUMBER + _FLOAT),  # user, positive, negative and weight of each triple
        "tables": passes * sum(table_rows(scale)) * scale.dim * _FLOAT * hops // scale.devices,
    }


def sent(scale: Scale) -> int:
    """Bytes that each device sends a step, in rings: a sum goes round twice, a table once, whatever `exchange` is."""
    put_out = exchanged(scale._replace(exchange="gather"))
    return (2 * (put_out["rows"] + put_out["draws"]) + put_out["tables"]) * (scale.devices - 1) // scale.devices


def moved(scale: Scale) -> int:
    """Bytes that a step reads or writes in each device's memory, at least.

    Adam's pass over all entries; and of each product what was gathered, written, of this the rows that own interactions
    need, read (each once, or once an interaction where these are fewer), and the layer, written and read for the sum.
    In a ring each block's product but the first is written and read besides, and the layer so far read and written.
    """
    adam = _ADAM * entries(scale)
    if scale.model == "mf":
        return adam
    own = scale.interactions // scale.devices
    read = sum(min(own, rows) for rows in table_rows(scale)) * scale.dim * _FLOAT
    passes = 2 * scale.layers
    written = exchanged(scale)["tables"]  # of all products
    matrix, slabs = 2 * own * (_FLOAT + _NUMBER), -(-scale.dim // SLAB)
    times_layer = 2
    if scale.exchange == "ring":
        matrix += _NUMBER * sum(table_rows(scale))
        times_layer += 4 * (scale.devices - 1)
    return adam + written + passes * (read + matrix * slabs + times_layer * _FLOAT * entries(scale))


def on_host(scale: Scale) -> dict[str, int]:
    """Bytes that each process of one device holds in its host's memory: its part of a ticket, and of interactions.

    Of a ticket, weights, the weights that it is rewound to, and masks: its device's rows. Of the training interactions
    as pairs those of its device's run of users, of its items and, for LightGCN, of its rows of users, which are drawn
    from all alike; with data that are not read in pieces, all. Seen items are its own items' alone.
    """
    reasons = 2 if scale.model == "mf" else 3
    pairs = 2 * _NUMBER * scale.interactions
    return {
        "ticket": (2 * _FLOAT + _MASK) * entries(scale),
        "all pairs": pairs,
        "pairs": round(pairs * (1 - (1 - 1 / scale.devices) ** reasons)),
        "seen": _TASKS * _NUMBER * (scale.interactions // scale.devices + scale.users),
        "ids": 2 * _ID * (scale.users + scale.items),
    }
