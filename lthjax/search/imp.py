"""Iterative magnitude pruning: train, prune, rewind, again (paper, algorithm 1).

`find_tickets` is the whole of it; `retrain` trains one ticket by itself.
"""

import contextlib
import dataclasses
import operator
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from lthjax import presets
from lthjax.data import resolve
from lthjax.data.split import Split
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import verdict
from lthjax.pruning import masks as masking
from lthjax.pruning import rules as prune
from lthjax.pruning.schedule import rate_of
from lthjax.runtime import interrupts
from lthjax.search import problem as jobs
from lthjax.search import rewind
from lthjax.search.problem import Job
from lthjax.settings import Settings
from lthjax.tickets import folder as runs
from lthjax.tickets import ticket as tickets
from lthjax.tickets.ticket import Ticket
from lthjax.training import progress
from lthjax.training.fit import FitState, begin, fit_together
from lthjax.training.step import TrainState

_MOST_TOGETHER = 16  # tickets in one program; each brings its table, gradient, moments and best epoch


def find_tickets(
    data: Any = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
    out: str | Path | None = None,
    settings: Settings | None = None,
    seeds: int | Iterable[int] | None = None,
    dense: Ticket | Iterable[Ticket] = (),
    together: bool | None = None,
    show_progress: bool | None = None,
    save_seconds: float = 30.0,
    **changes: Any,
) -> Iterator[Ticket]:
    """Find winning tickets: yields the dense model as level 0, then one ticket a pruning.

        for ticket in lthjax.find_tickets("ml-latest-small", model="mf", levels=10):
            print(ticket)

    With several seeds every ticket tells its own (`ticket.settings["seed"]`); its verdict is against the dense model
    of that seed. Trained together they come level by level, in turn they come seed by seed.

    Args:
      data: name, path, SciPy sparse matrix, pandas DataFrame, Interactions or Split; by default `settings.data`.
      optimizer: any Optax transformation; by default Adam with `settings.learning_rate`.
      out: run folder; with `seeds` each has its own in there, `seed_0` and so on. With one, the same call again goes on
        where it was stopped; without one nothing is written.
      settings: where to start from; by default `Settings()`, or `presets.lightgcn` with `model="lightgcn"`.
      seeds: a number of runs that start from `settings.seed` and count up, or the seeds themselves.
      dense: finished dense models (level 0), each for the run with its seed, which then trains none of its own: runs
        that differ in how they prune can share it.
      together: train as one program what does not wait for one another: seeds, and levels that are all pruned from the
        dense model; None does so but on a CPU, where it is not faster (`experiments.speed.population`).
      show_progress: progress bars; None shows them on a terminal.
      save_seconds: time between two snapshots of the level in work.
      **changes: single settings, such as `dim=64`.

    Raises:
      LthjaxError: one line that says what was wanted, what came, and where. Settings and data are checked at the call,
        a run folder when the first ticket that goes there is asked for.
    """
    if isinstance(data, Split) and settings is None:
        changes.setdefault("data", f"<{data.name}>")
    of_model = presets.for_model("none", changes.get("model", "mf"))
    settings, split = resolve.settle(data, settings or presets.find(of_model), changes)
    job = jobs.prepare(split, settings, optimizer)
    if together is None:
        together = jax.default_backend() != "cpu"
    given = {ticket.settings["seed"]: ticket for ticket in ([dense] if isinstance(dense, Ticket) else dense)}
    for ticket in given.values():
        _check_dense(ticket, job)
    options = (given, show_progress, save_seconds, together)
    out = None if out is None else Path(out)
    if seeds is None:
        return _levels([job], [out], *options)
    several = [jobs.with_seed(job, seed) for seed in _seeds(seeds, settings.seed)]
    folders = [None if out is None else out / f"seed_{one.settings.seed}" for one in several]
    if together:
        return _levels(several, folders, *options)
    return _in_turn(several, folders, *options)


def _in_turn(several: Sequence[Job], folders: Sequence[Path | None], *options: Any) -> Iterator[Ticket]:
    for job, folder in zip(several, folders, strict=True):
        yield from _levels([job], [folder], *options)


_ABOUT_PRUNING = ("preset", "levels", "sparsities", "rewind", "min_per_row")  # and all that begins with "prune_"


def _check_dense(ticket: Ticket, job: Job) -> None:
    """Raise SettingsError where a dense model is not the one that the job would train."""
    wanted = dataclasses.asdict(job.settings) | {"optimizer": job.optimizer_name}
    for name, value in wanted.items():
        if name not in (*_ABOUT_PRUNING, "seed") and not name.startswith("prune_") and ticket.settings[name] != value:
            raise SettingsError(f"dense: wanted a model with {name} {value}; got {ticket.settings[name]}.")
    if ticket.level or ticket.fingerprint != job.split.fingerprint:
        raise SettingsError(f"dense: wanted level 0 on {job.split.name}; got level {ticket.level}, or other data.")
    kept, before = job.settings.rewind, ticket.settings["rewind"]
    needs_final = "last" in (job.settings.prune_from, ticket.settings["prune_from"]) or kept == "none"
    if (job.settings.rewind_epoch is not None and kept != before) or (needs_final and ticket.final is None):
        raise SettingsError(
            f"dense: wanted a model that kept what --rewind {kept} and --prune-from {job.settings.prune_from} need; "
            f"got one of --rewind {before} and --prune-from {ticket.settings['prune_from']}."
        )


def _seeds(seeds: int | Iterable[int], first: int) -> list[int]:
    if isinstance(seeds, Iterable):
        found = [operator.index(seed) for seed in seeds]
    else:
        found = list(range(first, first + operator.index(seeds)))
    if not found or len(set(found)) < len(found):
        raise SettingsError(f"seeds: wanted at least one, and each once; got {found}.")
    return found


@dataclasses.dataclass
class _Run:
    """A run in work: one seed, its folder, and what its next level needs to know."""

    job: Job
    folder: runs.RunFolder | None = None
    template: TrainState | None = None  # a state of its model and optimizer, for the structure of saved ones
    dense: Ticket | None = None
    last: Ticket | None = None
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def _levels(
    several: Sequence[Job],
    folders: Sequence[Path | None],
    given: dict[int, Ticket],
    show_progress: bool | None,
    save_seconds: float,
    together: bool,
) -> Iterator[Ticket]:
    """The plain loop, for one run or several that differ in their seed. Every ticket is saved before it is yielded.

    Levels that do not wait for one another (all children of the dense model) go through it in one step if `together`.
    """
    settings, plan = several[0].settings, several[0].plan
    levels = range(1, settings.num_levels + 1)
    at_once = together and settings.prune_parent == "dense"
    with contextlib.ExitStack() as stack:
        work = []
        for job, place in zip(several, folders, strict=True):
            folder = None
            if place is not None:
                config = runs.describe(job.settings, job.optimizer_name, job.split)
                folder = stack.enter_context(runs.open_folder(place, config))
            work.append(_Run(job, folder, job.program.start(*_dense_start(job))))
        bars = stack.enter_context(progress.bars(settings.num_levels + 1, plan, show_progress, settings.selection))
        for step in [[0], list(levels)] if at_once and levels else [[level] for level in (0, *levels)]:
            with interrupts.held_back():  # a level that has trained is saved before Ctrl-C is heard
                places = [(run, level) for level in step for run in work]
                loaded = [_load(run, level) for run, level in places]
                found = [ticket or _take(*place, given) for place, ticket in zip(places, loaded, strict=True)]
                waiting = [place for place, ticket in zip(places, found, strict=True) if ticket is None]
                trained = iter(_train(waiting, bars, save_seconds))
                found = [ticket or next(trained) for ticket in found]
                for (run, _), ticket in zip(places, found, strict=True):
                    run.rows.append(tickets.row(ticket))
                    run.dense, run.last = run.dense or ticket, ticket
                # What was there already has its rows: to write them one by one would cut the table of later levels.
                is_new = None in loaded or levels.stop - 1 in step
                for run in work:
                    if run.folder and is_new:
                        run.folder.write_results(run.rows)
                bars.levels_done(len(step))
            yield from found


def _parent(run: _Run) -> Ticket | None:
    return run.dense if run.job.settings.prune_parent == "dense" else run.last


def _take(run: _Run, level: int, given: dict[int, Ticket]) -> Ticket | None:
    """The dense model that was given for the run, as its own."""
    if level or run.job.settings.seed not in given:
        return None
    settings = dataclasses.asdict(run.job.settings) | {"optimizer": run.job.optimizer_name}
    ticket = dataclasses.replace(given[run.job.settings.seed], settings=settings)
    if run.folder:
        run.folder.save_ticket(ticket)
    return ticket


def _load(run: _Run, level: int) -> Ticket | None:
    return run.folder.load_ticket(level, run.template, _parent(run)) if run.folder else None


def _dense_start(job: Job) -> tuple[Any, masking.Masks]:
    params = job.program.init(job.key(0))
    return params, masking.all_kept(params)


def _first(job: Job) -> tuple[TrainState, masking.Masks]:
    params, masks = _dense_start(job)
    return job.program.start(params, masks), masks


def _next(job: Job, parent: Ticket, level: int) -> tuple[TrainState, masking.Masks]:
    """Prune the parent, then rewind."""
    settings, program = job.settings, job.program
    final = parent.final or program.start(parent.trained, parent.masks)
    scores = jobs.SCORES[settings.prune_by](final.params, job.key(2, level))
    masks = prune.prune(
        scores,
        parent.masks,
        rate_of(settings, level, masking.num_entries(parent.masks)),
        settings.prune_scope,
        settings.min_per_row,
        settings.prune_count,
    )
    state = rewind.next_state(
        settings.rewind,
        program,
        masks,
        origin=parent.origin or program.start(parent.start, parent.masks),
        final=final,
        reinit_key=job.key(3, level),
    )
    return state, masks


def _train(places: Sequence[tuple[_Run, int]], bars: progress.Bars, save_seconds: float) -> list[Ticket]:
    """Train levels of runs, going on from their snapshots if there are any; measure and save them."""
    found = []
    for first in range(0, len(places), _MOST_TOGETHER):
        members = [_begin(run, level) for run, level in places[first : first + _MOST_TOGETHER]]
        for member, fitted in zip(members, _fit(members, bars, save_seconds), strict=True):
            run = member.run
            ticket = _measure(run.job, member.level, member.start, member.masks, fitted, run.dense)
            if run.folder:
                run.folder.save_ticket(ticket)
            found.append(ticket)
    return found


class _Member(NamedTuple):
    """A level of a run, about to be trained."""

    run: _Run
    level: int
    start: TrainState
    masks: masking.Masks
    fitting: FitState  # from the start, or from where it was stopped


def _begin(run: _Run, level: int) -> _Member:
    parent = _parent(run)
    start, masks = _first(run.job) if parent is None else _next(run.job, parent, level)
    fitting = begin(start, int(start.step) // run.job.program.steps_per_epoch)
    if run.folder:
        fitting = run.folder.load_snapshot(level, fitting) or fitting
        run.folder.trim_log(level, int(fitting.evaluated_epoch))
    return _Member(run, level, start, masks, fitting)


def _fit(members: Sequence[_Member], bars: progress.Bars, save_seconds: float) -> list[FitState]:
    """Train levels that share everything but seed, masks and batches."""
    job, level = members[0].run.job, members[0].level
    epoch = min(int(member.fitting.train.step) for member in members) // job.program.steps_per_epoch
    show = bars.level(level, masking.sparsity(members[0].masks), epoch)

    def report(number, epoch, loss, evaluation):
        show(epoch, loss, evaluation)
        run, level = members[number][:2]
        if evaluation and run.folder:
            run.folder.log(level, evaluation, job.settings.selection)

    def save(fittings):
        for (run, level, *_), fitting in zip(members, fittings, strict=True):
            if run.folder:
                run.folder.save_snapshot(level, fitting)

    return fit_together(
        job.program,
        [member.fitting for member in members],
        [member.masks for member in members],
        job.graph,
        job.selection,
        [member.run.job.key(1, member.level) for member in members],
        dataclasses.replace(job.plan, keep_epoch=job.settings.rewind_epoch if level == 0 else None),
        names=[f"level {member.level} of seed {member.run.job.settings.seed}" for member in members],
        report=report,
        save=save,
        save_seconds=save_seconds,
    )


def _measure(
    job: Job, level: int, state: TrainState, masks: masking.Masks, fitting: FitState, dense: Ticket | None
) -> Ticket:
    """The trained level as a ticket: its best epoch on the test part, and the verdict against the dense model."""
    settings, ks = job.settings, job.plan.ks
    measured, metrics = jobs.measure(job, job.program, fitting.best.params)
    users = tickets.per_user(measured)
    main = f"recall@{ks[0]}"
    best_epoch = int(fitting.best_epoch)
    judged = verdict.UNJUDGED if level else verdict.DENSE
    if dense is not None:
        judged = verdict.compare(dense.per_user[main], users[main], dense.best_epoch, best_epoch)
    origin = None
    if settings.rewind_epoch is not None:
        origin = fitting.kept if level == 0 else state
    elif settings.rewind == "none" and level:
        origin = state
    final = None
    if settings.prune_from == "last" or settings.rewind == "none":
        final = fitting.train if settings.prune_from == "last" else fitting.best
    return Ticket(
        level=level,
        masks=masks,
        start=state.params,
        trained=fitting.best.params,
        metrics=metrics,
        users=measured.users,
        per_user=users,
        best_epoch=best_epoch,
        epochs=int(fitting.evaluated_epoch),
        seconds=float(fitting.seconds),
        verdict=judged,
        parent=None if level == 0 else 0 if settings.prune_parent == "dense" else level - 1,
        settings=dataclasses.asdict(settings) | {"optimizer": job.optimizer_name},
        fingerprint=job.split.fingerprint,
        origin=origin,
        final=final,
    )


def retrain(
    ticket: Ticket,
    data: Any = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
    show_progress: bool | None = None,
    **changes: Any,
) -> Ticket:
    """Train a ticket again from where it started; the same settings and device give the same weights.

    One that was trained together with others comes out the same to rounding.

    Args:
      ticket: what is kept and where it starts.
      data: as in `find_tickets`; by default what the ticket was found on.
      optimizer: any Optax transformation; by default Adam. A ticket found with a given optimizer does not know it. It
        starts afresh, unless it is Adam again and the ticket started with Adam's moments (rewind epoch:K, none).
      show_progress: progress bars; None shows them on a terminal.
      **changes: single settings, such as `model="lightgcn"` or `epochs=200`.

    Returns:
      A ticket whose verdict compares it with the one it was made from, where the data are the same.

    Raises:
      DataError: the data do not have the ticket's users and items, or are not those that its settings name.
    """
    ticket = tickets.whole(ticket)
    settings, split = resolve.settle(data, tickets.settings_of(ticket), changes)
    job = jobs.prepare(split, settings, optimizer)
    wanted = tuple(part.shape for part in ticket.masks)
    came = ((job.split.num_users, settings.dim), (job.split.num_items, settings.dim))
    if wanted != came:
        raise DataError(f"{job.split.name}: wanted the ticket's users and items, {wanted}; got {came}.")
    same_data = ticket.fingerprint == job.split.fingerprint
    if data is None and not same_data:
        raise DataError(
            f"{job.split.name}: wanted the data that the ticket was found on; got others (fingerprints differ)."
        )
    state = job.program.start(ticket.start, ticket.masks)
    if ticket.level and job.optimizer_name == ticket.settings["optimizer"] == "adam":
        ticket = tickets.with_states(ticket, state)
        state = ticket.origin or state
    with progress.bars(1, job.plan, show_progress, settings.selection) as bars:
        fitting = begin(state, int(state.step) // job.program.steps_per_epoch)
        (fitted,) = _fit([_Member(_Run(job), ticket.level, state, ticket.masks, fitting)], bars, 30.0)
    made = _measure(job, ticket.level, state, ticket.masks, fitted, ticket if same_data else None)
    return dataclasses.replace(made, parent=ticket.level)
