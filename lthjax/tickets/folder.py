"""The run folder: settings, log, results, every ticket, and snapshots of the level in work.

    config.json             every setting, versions, device, git commit, data fingerprint
    results.csv             one row a finished level
    log.jsonl               one line an evaluation
    tickets/level_03/       a ticket as an Orbax checkpoint
    snapshots/level_03-.../ the level in work, to go on with; gone when the level is done

Whatever is replaced is written to the side and renamed; a process killed at any moment leaves a folder that the next
one can go on with.
"""

import contextlib
import dataclasses
import fcntl
import functools
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lthjax import presets
from lthjax.data.split import Split
from lthjax.errors import CheckpointError, SettingsError
from lthjax.pruning import masks as masking
from lthjax.runtime import checkpoint, files
from lthjax.runtime.environment import environment
from lthjax.settings import Settings, flag
from lthjax.tickets import ticket as tickets
from lthjax.tickets.ticket import Ticket
from lthjax.training.fit import Evaluation, FitState
from lthjax.training.step import TrainState


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """An open, locked run folder."""

    path: Path

    def load_ticket(self, level: int, masks: masking.Masks, state: TrainState) -> Ticket | None:
        """The finished ticket of a level, or None; a damaged one, or one with other masks, is named and set aside.

        Args:
          level: of the ticket.
          masks: that the search asks for at this level.
          state: of the run's model and optimizer, for its structure.
        """
        place = self._ticket(level)
        if not place.exists():
            return None
        try:
            ticket = _read(lambda: tickets.from_checkpoint(*checkpoint.load(place), state), place)
            if not masking.are_equal(ticket.masks, masks):
                raise CheckpointError(f"{place}: its masks are not those that the level before it leads to.")
        except CheckpointError as error:
            aside = _free_name(place, "damaged")
            place.rename(aside)
            before = f"level {level - 1}" if level else "the start"
            warnings.warn(f"{error} Going on from {before}; kept as {aside.name}.", stacklevel=2)
            return None
        self._drop_snapshots(level)
        return ticket

    def save_ticket(self, ticket: Ticket) -> None:
        """Keep a finished ticket and let go of the snapshots of its level."""
        checkpoint.save(self._ticket(ticket.level), *tickets.to_checkpoint(ticket))
        self._drop_snapshots(ticket.level)
        lines = self._log_lines()
        if lines != sorted(lines, key=_place_in_log):  # a damaged level was made anew, later ones stood
            self._write_log(sorted(lines, key=_place_in_log))

    def save_snapshot(self, level: int, fitting: FitState) -> None:
        """Keep the state of the level in work; the snapshot before it goes when this one stands."""
        name = f"level_{level:02d}-epoch_{int(fitting.evaluated_epoch):07d}-step_{int(fitting.train.step):010d}"
        place = self.path / "snapshots" / name
        older = self._snapshots(level)
        if place in older:
            return
        checkpoint.save(place, checkpoint.named_leaves(fitting), {"level": level, "kept": fitting.kept is not None})
        for snapshot in older:
            shutil.rmtree(snapshot, ignore_errors=True)

    def load_snapshot(self, level: int, template: FitState) -> FitState | None:
        """The newest whole snapshot of a level, or None.

        Args:
          level: the level in work.
          template: a state of the same model, for its structure.
        """

        def read(place: Path) -> FitState:
            arrays, facts = checkpoint.load(place)
            kept = template.train if facts["kept"] else None
            return checkpoint.restore_leaves(template.replace(kept=kept), arrays)

        for place in reversed(self._snapshots(level)):
            try:
                return _read(functools.partial(read, place), place)
            except CheckpointError as error:
                shutil.rmtree(place, ignore_errors=True)
                warnings.warn(f"{error} Going on from before it.", stacklevel=2)
        return None

    def trim_log(self, level: int, epoch: int) -> None:
        """Drop a level's log lines from beyond the point where it goes on: they will be written again."""
        lines = self._log_lines()
        kept = [line for line in lines if line["level"] != level or line["epoch"] <= epoch]
        if kept or lines:
            self._write_log(kept)

    def log(self, level: int, evaluation: Evaluation, part: str) -> None:
        """Add the line of one evaluation, its metrics named after the part they were taken on, "valid" or "test"."""
        record = {
            "level": level,
            "epoch": evaluation.epoch,
            "loss": round(evaluation.loss, 6),
            **{f"{part}_{name}": round(value, 6) for name, value in evaluation.means.items()},
            "is_best": evaluation.is_best,
            "seconds": round(evaluation.seconds, 3),
        }
        try:
            with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise CheckpointError(f"cannot write {self.path / 'log.jsonl'}: {error.strerror}.") from error

    def _log_lines(self) -> list[dict[str, Any]]:
        return _parse_log(self.path / "log.jsonl")[0]

    def _write_log(self, lines: list[dict[str, Any]]) -> None:
        files.write_text(self.path / "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    def write_results(self, rows: list[dict[str, Any]]) -> None:
        """Write results.csv anew."""
        files.write_table(self.path / "results.csv", rows)

    def _ticket(self, level: int) -> Path:
        return ticket_place(self.path, level)

    def _drop_snapshots(self, level: int) -> None:
        for place in self._snapshots(level):
            shutil.rmtree(place, ignore_errors=True)
        with contextlib.suppress(OSError):  # not there, or another level's stand in it
            (self.path / "snapshots").rmdir()

    def _snapshots(self, level: int) -> list[Path]:
        return sorted((self.path / "snapshots").glob(f"level_{level:02d}-*"))


@contextlib.contextmanager
def open_folder(path: Path, config: dict[str, Any]) -> Iterator[RunFolder]:
    """Make a run folder, or go on in one that was made with the same settings, optimizer and data.

    Args:
      path: the folder.
      config: of `describe`; versions, device and commit are added here.

    Raises:
      SettingsError: the folder was made with another setting; names it.
      CheckpointError: it cannot be written, another process works in it, or its config.json is damaged.
    """
    with contextlib.ExitStack() as stack:
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context(open(path / ".lock", "w"))
        except OSError as error:
            raise CheckpointError(f"--out: cannot write in {path}: {error.strerror}.") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of by the system, whatever ends the process
        except OSError as error:
            raise CheckpointError(f"--out: {path} is in use by another process.") from error
        _settle_config(path / "config.json", config | environment())
        yield RunFolder(path)


def ticket_place(path: Path, level: int) -> Path:
    """Where the ticket of a level lies in a run folder."""
    return path / "tickets" / f"level_{level:02d}"


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a run folder's log.jsonl; none where nothing was evaluated yet.

    Raises:
      CheckpointError: a line is damaged, other than the last, which a kill may have cut short.
    """
    found, damaged = _parse_log(path / "log.jsonl")
    if damaged and damaged[0] <= len(found):
        raise CheckpointError(f"{path / 'log.jsonl'} is damaged in line {damaged[0]}.")
    return found


def _parse_log(place: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """What can be read of a log, and the numbers of the lines that cannot, from 1."""
    found, damaged = [], []
    for number, line in enumerate(place.read_text(encoding="utf-8").splitlines() if place.exists() else [], 1):
        try:
            found.append(json.loads(line))
        except ValueError:
            damaged.append(number)
    return found, damaged


def describe(
    settings: Settings, split: Split, optimizer: str = "adam", given: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What config.json says of a run, versions and machine aside.

    Args:
      settings: of the run.
      split: that it is found on.
      optimizer: "adam", or the fingerprint of one that was given in code.
      given: fingerprints of other functions that were given in code, by what they are.
    """
    overridden = {name: now for name, (_, now) in presets.overridden(settings).items()}
    return {
        "settings": dataclasses.asdict(settings),
        "preset": {"name": settings.preset, "overridden": overridden},
        "optimizer": optimizer,
        "given": dict(given or {}),
        "data": {
            "name": split.name,
            "fingerprint": split.fingerprint,
            "num_users": split.num_users,
            "num_items": split.num_items,
            "num_train": len(split.train),
            "num_valid": len(split.valid),
            "num_test": len(split.test),
            "notes": list(split.notes),
        },
    }


def _read(read: Callable[[], Any], place: Path) -> Any:
    """What `read` gives; facts that are missing or of another kind are damage too."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{place}: something is missing in it ({type(error).__name__}: {error}).") from error


def _place_in_log(line: dict[str, Any]) -> tuple[int, int]:
    return line["level"], line["epoch"]


def _settle_config(place: Path, config: dict[str, Any]) -> None:
    config = json.loads(json.dumps(config))  # as it will be read: tuples are lists
    if not place.exists():
        files.write_text(place, json.dumps(config, indent=1) + "\n")
        return
    try:
        before = json.loads(place.read_text(encoding="utf-8"))
        _check_same(place, before, config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, SettingsError):
            raise
        raise CheckpointError(f"{place} is damaged ({error}); choose another --out.") from error


def _check_same(place: Path, before: dict[str, Any], config: dict[str, Any]) -> None:
    for name in sorted(before["settings"].keys() | config["settings"].keys()):
        was, now = before["settings"].get(name), config["settings"].get(name)
        if was != now and name != "data":  # the data are told apart by what is in them, below
            raise SettingsError(
                f"{flag(name)}: {place.parent} was made with {was!r}; got {now!r}. Choose another --out."
            )
    given = before.get("given", {})  # folders of older versions do not have it: nothing could be given then
    for name, was, now in (
        ("optimizer", before["optimizer"], config["optimizer"]),
        ("data", before["data"]["fingerprint"], config["data"]["fingerprint"]),
        *((name, given.get(name), config["given"].get(name)) for name in sorted(given | config["given"])),
    ):
        if was != now:
            raise SettingsError(f"{name}: {place.parent} was made with {was}; got {now}. Choose another --out.")
    for name in ("versions", "device"):
        if before[name] != config[name]:
            warnings.warn(
                f"{place.parent} was begun with {name} {_changed(before[name], config[name])}; "
                "what is trained from here on may differ in the last digits.",
                stacklevel=2,
            )


def _changed(before: Any, now: Any) -> str:
    if isinstance(before, dict):
        return ", ".join(f"{k} {before.get(k)} (now {now.get(k)})" for k in now if before.get(k) != now.get(k))
    return f"{before} (now {now})"


def _free_name(place: Path, suffix: str) -> Path:
    number = 1
    while (aside := place.with_name(f"{place.name}.{suffix}-{number}")).exists():
        number += 1
    return aside
