"""Lines of log.jsonl, of which a kill may have damaged some."""

import json
import warnings
from pathlib import Path
from typing import Any


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run folder's log.jsonl, none before the first evaluation; damaged ones are left out, and told."""
    lines, num_damaged = parse(folder / "log.jsonl")
    if num_damaged:
        warnings.warn(f"{folder / 'log.jsonl'}: {num_damaged} damaged lines are left out.", stacklevel=2)
    return lines


def parse(path: Path) -> tuple[list[dict[str, Any]], int]:
    """What can be read of a log, and how many lines cannot, but for the last, which a kill may have cut short."""
    lines, damaged = [], []
    written = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(written):
        try:
            record = json.loads(line)
            if not all(isinstance(part, int) for part in place_in_log(record)):
                raise TypeError
            lines.append(record)
        except (ValueError, TypeError, KeyError, RecursionError):
            damaged.append(number)
    return lines, len([number for number in damaged if number < len(written) - 1])


def place_in_log(line: dict[str, Any]) -> tuple[int, int]:
    """By which lines are sorted."""
    return line["level"], line["epoch"]
