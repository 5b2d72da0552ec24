"""What a compiled program exchanges between devices, read from its text. No JAX.

%all_gather.1 = f32[20224,32]{1,0} all-gather(%slice), channel_id=1, replica_groups={{0,1}}, dimensions={0}
"""

import re
from collections import Counter
from typing import NamedTuple

NAMES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
_BITS = {"pred": 8, "bf16": 16}  # of types whose name does not end in them
_LOOP = re.compile(r" while\(.*body=%?([\w.-]+).*\"known_trip_count\":\{\"n\":\"(\d+)\"\}")
_SHAPE = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


class Operation(NamedTuple):
    """An operation of a program, and the arrays that it puts out."""

    name: str
    shapes: tuple[tuple[int, ...], ...]
    num_bytes: int  # of all of them


def operations(text: str, names: tuple[str, ...] = NAMES) -> list[Operation]:
    """The operations of some names, in order, those of a loop of known length as often as it runs, in loops too.

    Of two halves that run beside others the second counts.

    Args:
      text: of a compiled program.
      names: of operations.
    """
    pattern = re.compile(rf"^\s*(?:ROOT )?%?\S+ = (.*?) ({'|'.join(names)})(?:-done)?\(", flags=re.MULTILINE)
    computations = {_first_word(part): part for part in re.split(r"\n(?=\S)", text)}
    loops = {
        body: (computation, int(number))
        for computation, part in computations.items()
        for body, number in _LOOP.findall(part)
    }
    return [
        operation
        for computation, part in computations.items()
        for shapes, name in pattern.findall(part)
        for operation in [_operation(name, shapes)] * _times(computation, loops)
    ]


def _times(computation: str, loops: dict[str, tuple[str, int]]) -> int:
    """How often a computation runs.

    Args:
      computation: its name.
      loops: body of a loop -> the computation that the loop is in, and how often it runs there.
    """
    if computation not in loops:
        return 1
    around, number = loops[computation]
    return number * _times(around, loops)


def _first_word(computation: str) -> str:
    return computation.split(maxsplit=1)[0].removeprefix("%") if computation.strip() else ""


def bytes_by_name(operations: list[Operation]) -> dict[str, int]:
    """Bytes put out by the operations of each name."""
    total: Counter[str] = Counter()
    for operation in operations:
        total[operation.name] += operation.num_bytes
    return dict(total)


def _operation(name: str, text: str) -> Operation:
    shapes, num_bytes = [], 0
    for kind, dims in _SHAPE.findall(text):
        shape = tuple(int(dim) for dim in dims.split(",") if dim)
        shapes.append(shape)
        size = _BITS.get(kind) or int(re.sub(r"\D", "", kind))
        for dim in shape:
            size *= dim
        num_bytes += size // 8
    return Operation(name, tuple(shapes), num_bytes)
