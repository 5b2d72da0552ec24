"""The run folder: settings, log, results, every ticket, and snapshots of the level in work.

    config.json             every setting, versions, device, git commit, data fingerprint
    results.csv             one row per finished level
    log.jsonl               one line per evaluation
    tickets/level_03/       a ticket as an Orbax checkpoint
    snapshots/level_03-.../ the level in work, to go on with; gone when the level is done
    snapshots/search-.../   how far a search is that trains besides its tickets

A run goes on as it was made, or with more of what `extension` allows; config.json then says so under "extended". Other
versions, another device or another way of exchange between devices may change last digits: then a warning says so, and
config.json lists every way of exchange that the run was begun or went on with.
results.csv and log.jsonl are views: what counts are the tickets. Whatever is replaced is written to the side and
renamed; a process killed at any moment leaves a folder that the next one can go on with.
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

import jax
import numpy as np

from lthjax.errors import CheckpointError, SettingsError
from lthjax.pruning import masks as masking
from lthjax.runtime import checkpoint, files, processes
from lthjax.runtime.environment import environment
from lthjax.settings import Settings, from_record
from lthjax.sharding import saved
from lthjax.sharding.layout import Layout
from lthjax.sharding.table import ShardedTable
from lthjax.tickets import extension
from lthjax.tickets import ticket as ticketing
from lthjax.tickets.extension import Change
from lthjax.tickets.identity import changed, changes, check_folder, compared
from lthjax.tickets.log import parse, place_in_log
from lthjax.tickets.places import runs_in, ticket_levels, ticket_place
from lthjax.tickets.ticket import Ticket
from lthjax.training.fit import Evaluation, FitState, begin
from lthjax.training.step import TrainState


def _by_writer(method: Callable[..., None]) -> Callable[..., None]:
    """A method that does nothing in processes that do not write."""

    @functools.wraps(method)
    def of_writer(self: "RunFolder", *arguments: Any) -> None:
        if self.writes:
            method(self, *arguments)

    return of_writer


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """An open, locked run folder."""

    path: Path
    config: dict[str, Any]  # of `describe`: what all that lies in here was made with
    writes: bool = True  # of several processes one does, and the others read after it
    layout: Layout | None = None  # of tables on several devices, as which they are read; None for whole ones

    def load_ticket(self, level: int, masks: masking.Masks, state: TrainState) -> Ticket | None:
        """The finished ticket of a level, or None; a damaged one, or one with other masks, is named and set aside.

        Args:
          level: of the ticket.
          masks: that the search asks for at this level, as the ticket would hold them.
          state: of the run's model and optimizer, for its structure.

        Raises:
          SettingsError: it is another run's, or another level's.
          CheckpointError: something else lies where it should go: better known before training than after.
        """
        path = ticket_place(self.path, level)
        if path.is_symlink() or not path.is_dir():
            checkpoint.check_free(path)
            return None
        try:
            ticket = _read(lambda: ticketing.from_checkpoint(*saved.load(path, self.layout), state), path)
            self._check_own(path, ticket.level, level, ticketing.description(ticket))
            made_with, ticket = ticket.settings, extension.as_of(ticket, self._settings)
            if self.layout is not None:  # of a run on one device tables are whole
                ticket = ticketing.with_tables(ticket, self._cut)
            if not masking.are_equal(ticket.masks, masks):
                raise CheckpointError(f"{path}: its masks are not those that the level before it leads to.")
        except CheckpointError as error:
            aside = _free_name(path, "damaged")
            processes.by_first(lambda: path.rename(aside))
            before = f"level {level - 1}" if level else "the start"
            warnings.warn(f"{error} Going on from {before}; kept as {aside.name}.", stacklevel=2)
            return None
        is_as_long = all(getattr(made_with, name) == getattr(ticket.settings, name) for name in ("epochs", "patience"))
        if not is_as_long and extension.trains_on(ticket.best_epoch, ticket.epochs, ticket.settings):
            self._take_up(path, ticket)
            return None
        self.drop_snapshots(level)
        return ticket

    def save_ticket(self, ticket: Ticket) -> None:
        """Keep a finished ticket and remove the snapshots of its level."""
        saved.save(ticket_place(self.path, ticket.level), *ticketing.to_checkpoint(ticket))
        if not self.writes:
            return
        self.drop_snapshots(ticket.level)
        lines, _ = parse(self.path / "log.jsonl")
        if lines != sorted(lines, key=place_in_log):  # a damaged level was made anew, later ones stood
            self._write_log(sorted(lines, key=place_in_log))

    def save_snapshot(self, level: int, state: FitState) -> None:
        """Keep the state of the level in work; the snapshot before it goes when this one stands."""
        name = f"level_{level:02d}-epoch_{int(state.evaluated_epoch):07d}-step_{int(state.train.step):010d}"
        path, older = self.path / "snapshots" / name, self._snapshots(level)
        if processes.of_first(path in older):
            return
        facts = {"level": level, "kept": state.kept is not None, "best_means": state.best_means}
        self._save_newest(path, older, state, facts)

    def load_snapshot(self, level: int, template: FitState) -> FitState | None:
        """The newest whole snapshot of a level, or None.

        Args:
          level: the level in work.
          template: a state of the same model, for its structure.

        Raises:
          SettingsError: it is another run's, or another level's.
        """

        def read(path: Path) -> FitState:
            arrays, facts = saved.load(path, self.layout)
            made_with = facts.get("made_with", self.config)
            self._check_own(path, facts["level"], level, made_with)
            kept = template.train if facts["kept"] else None
            template_of_all = template.replace(kept=kept, best_means=facts.get("best_means", {}))  # older: without
            state = checkpoint.restore_leaves(template_of_all, arrays)
            before, now = from_record(made_with["settings"]), self._settings
            if before.epochs < now.epochs and int(state.evaluated_epoch) % now.eval_every:
                raise CheckpointError(f"{path} was evaluated for the end of {before.epochs} epochs.")
            return state

        return _read_newest(self._snapshots(level), read, "Going on from before it.")

    def save_progress(self, number: int, carry: Any) -> None:
        """Keep how far a search is; what was kept before goes when this stands.

        Args:
          number: counts up.
          carry: a pytree of arrays.
        """
        path = self.path / "snapshots" / f"search-{number:06d}"
        self._save_newest(path, self._progress(), carry, {"number": number})

    def load_progress(self, template: Any, grows: bool = False) -> tuple[int, Any] | None:
        """The number and the carry that were kept last, or None; a damaged one is told and removed.

        Args:
          template: a carry of the same shapes.
          grows: one that was kept when the run had fewer levels goes on, with those of the template for the others;
            else it is removed.

        Raises:
          SettingsError: it is another run's.
        """

        def read(path: Path) -> tuple[int, Any] | None:
            arrays, facts = saved.load(path, self.layout)
            self._check_own(path, 0, 0, facts["made_with"])
            if from_record(facts["made_with"]["settings"]).num_levels < self._settings.num_levels:
                if not grows:
                    processes.by_first(functools.partial(shutil.rmtree, path, ignore_errors=True))
                    return None
                arrays = extension.filled(arrays, checkpoint.named_leaves(template))
            return facts["number"], checkpoint.restore_leaves(template, arrays)

        return _read_newest(self._progress(), read, "The search begins anew.")

    def _save_newest(self, path: Path, older: list[Path], state: Any, facts: dict[str, Any]) -> None:
        """Keep a pytree of arrays in place of the older ones, which go when it stands, and what it was made with."""
        made_with = {name: self.config[name] for name in ("settings", "optimizer", "given", "data")}
        saved.save(path, checkpoint.named_leaves(state), facts | {"made_with": made_with})
        for snapshot in older if self.writes else []:
            shutil.rmtree(snapshot, ignore_errors=True)

    def _progress(self) -> list[Path]:
        return sorted((self.path / "snapshots").glob("search-*"))

    def logged(self) -> list[dict[str, Any]]:
        """The lines that whole evaluations have in the log."""
        whole = {"loss", "is_best", "seconds"}
        return [line for line in parse(self.path / "log.jsonl")[0] if whole <= line.keys()]

    @_by_writer
    def trim_log(self, level: int, epoch: int) -> None:
        """Drop damaged lines of the log, and a level's from beyond the point where it goes on: they are written again.

        Args:
          level: that goes on.
          epoch: where it stands.
        """
        path = self.path / "log.jsonl"
        lines, _ = parse(path)
        kept = [line for line in lines if line["level"] != level or line["epoch"] <= epoch]
        if path.is_file() and path.stat().st_size:  # with no whole line too: the next would be glued to what is there
            self._write_log(kept)

    @_by_writer
    def log(self, level: int, evaluation: Evaluation, part: str) -> None:
        """Add the line of one evaluation.

        Args:
          level: that was evaluated.
          evaluation: of one epoch.
          part: `Problem.selection_name`, after which its metrics are named.
        """
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

    @_by_writer
    def write_results(self, rows: list[dict[str, Any]]) -> None:
        """Write results.csv anew."""
        files.write_table(self.path / "results.csv", rows)

    @functools.cached_property
    def _settings(self) -> Settings:
        return from_record(self.config["settings"])

    def _take_up(self, path: Path, ticket: Ticket) -> None:
        """Make a snapshot of a finished level's last state, to train on from; the ticket is set aside.

        Raises:
          SettingsError: that state was not kept.
        """
        settings = self._settings
        if settings.prune_from != "last" or ticket.final is None:
            raise SettingsError(
                f"{path}: wanted one of this run, with --epochs {settings.epochs} and --patience {settings.patience}; "
                "got one that ended before. Move it away, or choose another --out."
            )
        value = ticket.metrics[("" if settings.selection == "test" else "valid_") + settings.main_metric]
        last = ticket.final if self.layout is None else self.layout.place(ticket.final)
        best = ticket.trained if self.layout is None else self.layout.place(ticket.trained)
        state = begin(last, ticket.epochs).replace(
            best=last.replace(params=best),  # its moments are not asked for, as the last are pruned
            best_value=np.asarray(value),
            best_epoch=np.asarray(ticket.best_epoch),
            seconds=np.asarray(ticket.seconds),
        )
        state = (state if self.layout is None else self.layout.tables(state)).replace(
            kept=ticket.origin if ticket.level == 0 else None
        )

        def drop_later() -> None:  # of levels that were to be built on it; earlier ones may just have been taken up
            for snapshot in (self.path / "snapshots").glob("level_*"):
                if int(snapshot.name.removeprefix("level_").split("-")[0]) > ticket.level:
                    shutil.rmtree(snapshot, ignore_errors=True)

        processes.by_first(drop_later)
        self.save_snapshot(ticket.level, state)
        aside = _free_name(path, "shorter")
        processes.by_first(lambda: path.rename(aside))

    def _cut(self, tree: Any) -> Any:
        """A pytree with its whole tables cut over the devices; those that are cut stay."""
        is_cut = any(isinstance(leaf, ShardedTable) for leaf in jax.tree.leaves(tree))
        return tree if is_cut else self.layout.tables(self.layout.place(tree))

    def _check_own(self, path: Path, level: int, wanted_level: int, made_with: Mapping[str, Any]) -> None:
        """Raise SettingsError where a ticket or snapshot is not this run's, or not of its level."""
        of_level = [Change("level", level, wanted_level, "")] if level != wanted_level else []
        for change in [*of_level, *changes(made_with, self.config)]:
            if change.obstacle is not None:
                raise SettingsError(
                    f"{path}: wanted one of this run, with {change.name} {change.now}; got one with {change.was}. "
                    "Move it away, or choose another --out."
                )

    def _write_log(self, lines: list[dict[str, Any]]) -> None:
        files.write_text(self.path / "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))

    @_by_writer
    def drop_snapshots(self, level: int) -> None:
        """Remove those of a level, whole or not."""
        folder = self.path / "snapshots"
        for path in [*self._snapshots(level), *folder.glob(f".level_{level:02d}-*.partial")]:
            shutil.rmtree(path, ignore_errors=True)
        with contextlib.suppress(OSError):  # not there, or another level's stand in it
            folder.rmdir()

    def _snapshots(self, level: int) -> list[Path]:
        return sorted((self.path / "snapshots").glob(f"level_{level:02d}-*"))


@contextlib.contextmanager
def open_folder(path: Path, config: dict[str, Any], layout: Layout | None = None) -> Iterator[RunFolder]:
    """Make a run folder, or go on in one that was made with the same settings, functions and data, or with less.

    Args:
      path: the folder.
      config: of `describe`; versions, device and commit are added here.
      layout: of tables on several devices; None for one.

    Raises:
      SettingsError: the folder, or a ticket in it, was made with another setting; names it.
      CheckpointError: it cannot be written, another process works in it, or its config.json is damaged.
    """
    with contextlib.ExitStack() as stack:
        folder = processes.first_then_others(lambda: _open(path, json.loads(json.dumps(config)), stack))
        yield dataclasses.replace(folder, layout=layout)


def _open(path: Path, config: dict[str, Any], stack: contextlib.ExitStack) -> RunFolder:
    """The folder; of several processes the first has made it and locked it before others look.

    Args:
      path: of the folder.
      config: as it is read: tuples are lists.
      stack: that lets go of the lock.
    """
    if not processes.is_first():
        check_folder(path, config)
        return RunFolder(path, config, writes=False)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context(files.open_lock(path / ".lock"))
    except OSError as error:
        reason = str(error) if isinstance(error, CheckpointError) else f"cannot write in {path}: {error.strerror}."
        raise CheckpointError(f"--out: {reason}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # let go of by the system, whatever ends the process
    except OSError as error:
        raise CheckpointError(f"--out: {path} is in use by another process.") from error
    for name in ("config.json", "results.csv", "log.jsonl"):
        files.check_writable(path / name)
    folder = RunFolder(path, config)
    _settle_config(folder, folder.config | environment())
    return folder


def dense_models(folder: Path) -> list[Ticket]:
    """The dense model of a run folder, or those of all its seeds.

    Raises:
      SettingsError: none is finished there.
    """
    places = [ticket_place(place, 0) for place in runs_in(folder)]
    if not (found := [ticketing.load_ticket(place) for place in places if place.is_dir()]):
        raise SettingsError(f"--dense: wanted a run folder with a finished dense model; {folder} has none.")
    return found


def _read(read: Callable[[], Any], path: Path) -> Any:
    """What `read` gives; facts that are missing or of another kind are damage too."""
    try:
        return read()
    except (SettingsError, CheckpointError):
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: something is missing in it ({type(error).__name__}: {error}).") from error


def _read_newest(paths: list[Path], read: Callable[[Path], Any], what_then: str) -> Any:
    """What `read` gives of the last path that is whole, or None; damaged ones are told and removed."""
    for path in reversed(paths):
        try:
            return _read(functools.partial(read, path), path)
        except CheckpointError as error:
            processes.by_first(functools.partial(shutil.rmtree, path, ignore_errors=True))
            warnings.warn(f"{error} {what_then}", stacklevel=3)
    return None


def _settle_config(folder: RunFolder, config: dict[str, Any]) -> None:
    """Write config.json, or compare the one that is there; where it was lost, compare the tickets first."""
    path = folder.path / "config.json"
    if not path.exists():
        if processes.is_several() and ticket_levels(folder.path):
            raise SettingsError(
                f"{path}: wanted it, as there are tickets; it is lost: a run of one process makes it anew."
            )
        for level in ticket_levels(folder.path):
            with contextlib.suppress(CheckpointError):  # a damaged one is set aside when it is its turn
                ticket = ticketing.load_ticket(ticket_place(folder.path, level))
                folder._check_own(ticket_place(folder.path, level), ticket.level, level, ticketing.description(ticket))
        files.write_text(path, json.dumps(config, indent=1) + "\n")
        return
    before, grown = compared(folder.path, config)
    for name in ("versions", "device"):
        if before[name] != config[name]:
            warnings.warn(
                f"{folder.path} was begun with {name} {changed(before[name], config[name])}; "
                "what is trained from here on may differ in the last digits.",
                stacklevel=2,
            )
    now, used = before, before.get("exchange", ["gather"])  # of older versions, which knew no other
    if used != config["exchange"]:
        warnings.warn(
            f"{folder.path} was made with exchange {changed(' and '.join(used), *config['exchange'])}; "
            "what is trained from here on may differ in the last digits.",
            stacklevel=2,
        )
        now = before | {"exchange": list(dict.fromkeys([*used, *config["exchange"]]))}
    if grown:
        now = extension.extended(now, config, grown)
    if now is not before:
        files.write_text(path, json.dumps(now, indent=1) + "\n")


def _free_name(path: Path, suffix: str) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.name}.{suffix}-{number}")).exists():
        number += 1
    return aside
