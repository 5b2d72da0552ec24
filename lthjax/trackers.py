"""Functions for `find_tickets(..., on_event=f)`: lines on a log, TensorBoard, Weights & Biases; `several` joins them.

A function of one's own is as good: `lthjax.events` says what it is given.
"""

import dataclasses
import importlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from lthjax.errors import SettingsError
from lthjax.events import Evaluated, Event, LevelBegun, OnEvent, RunBegun, RunEnded, TicketFound, Trained

_FIRST_SECONDS = 10  # of training, after which a log is told how long all may take


def several(*on_events: OnEvent) -> OnEvent:
    """One function that tells all of them, in this order."""

    def on_event(event: Event) -> None:
        for tell in on_events:
            tell(event)

    return on_event


def lines(write: Callable[[str], Any], clock: Callable[[], float] = time.monotonic) -> OnEvent:
    """A line for each level that is finished, and one after the first seconds, with the time left.

    What an earlier sitting has finished is told in one line.

    Args:
      write: is called with each line, such as `functools.partial(print, flush=True)`.
      clock: seconds from any time on.
    """
    begun: dict[int, float] = {}
    runs: dict[int, RunBegun] = {}
    there: dict[int, int] = {}  # seed -> finished levels that no line tells of yet
    is_told = False

    def on_event(event: Event) -> None:
        nonlocal is_told
        match event:
            case RunBegun():
                runs[event.seed], begun[event.seed], there[event.seed] = event, clock(), 0
            case LevelBegun() if there[event.seed] and (event.epoch or not event.resumed):
                number, there[event.seed] = there[event.seed], 0
                write(f"seed {event.seed}: {number} of {runs[event.seed].num_levels} levels are there already")
            case TicketFound(resumed=True):
                there[event.seed] += 1
            case TicketFound():
                is_told = True
                write(_line(event, runs[event.seed].num_levels - 1))
            case Evaluated(resumed=False) | Trained() if not is_told and str(event.left):
                waited = clock() - begun[event.seed]
                if waited >= _FIRST_SECONDS * (1 if event.left.has_ranked else 3):
                    is_told = True
                    write(f"seed {event.seed}, level {event.level}: epoch {event.epoch}; {event.left}")

    return on_event


def _line(event: TicketFound, last: int) -> str:
    """What a log says of a ticket.

    Args:
      event: tells of it.
      last: level that is asked for.
    """
    ticket, row = event.ticket, event.row
    recall = next(name for name in ticket.metrics if not name.startswith("valid_"))
    name, at = recall.split("@")
    parts = [
        f"{ticket.sparsity:.1%} pruned",
        f"{name.capitalize()}@{at} {ticket.metrics[recall]:.4f}",
        event.verdict.name,
        f"best epoch {ticket.best_epoch} of {ticket.epochs}",
    ]
    if event.level and isinstance(cost := row["search_cost"], float):
        parts.append(f"search {cost:.2g}")
    left = f"; {event.left}" if str(event.left) else ""
    return f"seed {event.seed}, level {event.level} of {last}: {', '.join(parts)}{left}"


def tensorboard(folder: str | Path) -> OnEvent:
    """Event files for `tensorboard --logdir folder`: a curve for each level, and the tickets by level.

    Called again for a run that goes on, each curve is written anew, whole: older points of that name are hidden.

    Args:
      folder: gets `seed_0/level_00` and so on, and `seed_0/tickets`.

    Raises:
      SettingsError: tensorboardX is not installed.
    """
    writer_of = _package("tensorboardX", "tensorboard").SummaryWriter
    writers: dict[tuple[int, str], Any] = {}

    def write(seed: int, name: str, values: dict[str, float], step: int) -> None:
        if (seed, name) not in writers:
            writers[seed, name] = writer_of(str(Path(folder) / f"seed_{seed}" / name), purge_step=0, flush_secs=10)
        for tag, value in values.items():
            writers[seed, name].add_scalar(tag.replace("@", "_at_"), value, step)  # it takes no @

    def on_event(event: Event) -> None:
        match event:
            case Evaluated():
                write(event.seed, f"level_{event.level:02d}", _measured(event), event.epoch)
            case TicketFound():
                write(event.seed, "tickets", _numbers(event), event.level)
                if (done := writers.pop((event.seed, f"level_{event.level:02d}"), None)) is not None:
                    done.close()
            case RunEnded():
                for key in [key for key in writers if key[0] == event.seed]:
                    writers.pop(key).close()

    return on_event


def wandb(
    project: str, mode: Literal["offline", "online", "disabled"] = "offline", folder: str | Path = "."
) -> OnEvent:
    """A run of Weights & Biases for each seed: a curve for each level, and the tickets by sparsity.

    Offline, the default, nothing leaves the machine: `wandb sync FOLDER/wandb/offline-run-...` sends it later. A run
    that goes on is a run of its own there, and whole.

    Args:
      project: its name there.
      mode: offline, online, disabled.
      folder: gets the folder `wandb`.

    Raises:
      SettingsError: wandb is not installed, or there is no such mode.
    """
    if mode not in (modes := ("offline", "online", "disabled")):
        raise SettingsError(f"mode: wanted one of {', '.join(modes)}; got {mode!r}.")
    package = _package("wandb")
    if mode == "offline":  # its own error reports look up their server even so
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    runs: dict[int, Any] = {}

    def on_event(event: Event) -> None:
        match event:
            case RunBegun():
                config = dataclasses.asdict(event.settings) | {"data": event.data}
                Path(folder).mkdir(parents=True, exist_ok=True)  # or wandb takes another one
                quiet = package.Settings(silent=True, console="off")
                options = {"config": config, "dir": str(folder), "settings": quiet, "reinit": "create_new"}
                run = package.init(project=project, mode=mode, name=f"{event.data}, seed {event.seed}", **options)
                run.define_metric("tickets/*", step_metric="tickets/sparsity")
                runs[event.seed] = run
            case LevelBegun():
                group = f"level_{event.level:02d}"
                runs[event.seed].define_metric(f"{group}/*", step_metric=f"{group}/epoch")
            case Evaluated():
                values = {"epoch": event.epoch, **_measured(event)}
                runs[event.seed].log({f"level_{event.level:02d}/{name}": value for name, value in values.items()})
            case TicketFound():
                runs[event.seed].log({f"tickets/{name}": value for name, value in _numbers(event).items()})
            case RunEnded() if event.seed in runs:
                runs.pop(event.seed).finish(exit_code=0 if event.is_finished else 1)

    return on_event


def _measured(event: Evaluated) -> dict[str, float]:
    means = {f"{event.part}_{name}": value for name, value in event.metrics.items()}
    return {"loss": event.loss, **means, "seconds": event.seconds}


def _numbers(event: TicketFound) -> dict[str, float]:
    """The columns of results.csv that are numbers."""
    return {name: value for name, value in event.row.items() if isinstance(value, int | float)}


def _package(name: str, *also: str) -> ModuleType:
    """An optional package; `also` are others that go with it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise SettingsError(f"wanted the package {name}, got none: pip install {' '.join([name, *also])}.") from None
