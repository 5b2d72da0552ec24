"""Iterative magnitude pruning: train, prune, rewind, again (paper, algorithm 1).

`find_tickets` is the whole of it; `retrain` trains one ticket by itself.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optax

from lthjax import checkpoint, evaluate, interrupts, jobs, progress, prune, rewind, runs, tickets, verdict
from lthjax import masks as masking
from lthjax.errors import DataError
from lthjax.jobs import Job
from lthjax.settings import Settings
from lthjax.splits import Split
from lthjax.tickets import Ticket
from lthjax.train import FitState, TrainState, begin, fit


def find_tickets(
    data: Any = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
    out: str | Path | None = None,
    settings: Settings | None = None,
    show_progress: bool | None = None,
    save_seconds: float = 30.0,
    **changes: Any,
) -> Iterator[Ticket]:
    """Find winning tickets: yields the dense model as level 0, then one ticket a pruning.

        for ticket in lthjax.find_tickets("ml-latest-small", model="mf", levels=10):
            print(ticket)

    Args:
      data: name, path, SciPy sparse matrix, pandas DataFrame, Interactions or Split; by default `settings.data`.
      optimizer: any Optax transformation; by default Adam with `settings.learning_rate`.
      out: run folder. With one, the same call again goes on where it was stopped; without one nothing is written.
      settings: where to start from; by default `Settings()`.
      show_progress: progress bars; None shows them on a terminal.
      save_seconds: time between two snapshots of the level in work.
      **changes: single settings, such as `dim=64`.

    Raises:
      LthjaxError: one line that says what was wanted, what came, and where. Settings and data are checked at the call,
        the run folder when the first ticket is asked for.
    """
    if isinstance(data, Split) and settings is None:
        changes.setdefault("data", f"<{data.name}>")
    settings, split = jobs.settle(data, settings or Settings(), changes)
    job = jobs.prepare(split, settings, optimizer)
    return _levels(job, None if out is None else Path(out), show_progress, save_seconds)


def _levels(job: Job, out: Path | None, show_progress: bool | None, save_seconds: float) -> Iterator[Ticket]:
    """The plain loop. Every ticket is saved before it is yielded."""
    settings = job.settings
    template = job.program.start(*_dense_start(job))
    with contextlib.ExitStack() as stack:
        folder = None
        if out is not None:
            config = runs.describe(settings, job.optimizer_name, job.split)
            folder = stack.enter_context(runs.open_folder(out, config))
        bars = stack.enter_context(progress.bars(settings.levels + 1, job.plan, show_progress, settings.selection))
        dense, parent, rows = None, None, []
        for level in range(settings.levels + 1):
            with interrupts.held_back():  # a level that has trained is saved before Ctrl-C is heard
                ticket = folder and folder.load_ticket(level, template, parent)
                if ticket is None:
                    state, masks = _first(job) if parent is None else _next(job, parent)
                    ticket = _train(job, level, state, masks, dense, folder, bars, save_seconds)
                    if folder:
                        folder.save_ticket(ticket)
                bars.level_done()
                rows.append(tickets.row(ticket))
                if folder:
                    folder.write_results(rows)
            dense, parent = dense or ticket, ticket
            yield ticket


def _dense_start(job: Job) -> tuple[Any, masking.Masks]:
    params = job.program.init(job.key(0))
    return params, masking.all_kept(params)


def _first(job: Job) -> tuple[TrainState, masking.Masks]:
    params, masks = _dense_start(job)
    return job.program.start(params, masks), masks


def _next(job: Job, parent: Ticket) -> tuple[TrainState, masking.Masks]:
    """Prune the parent, then rewind."""
    settings, program = job.settings, job.program
    level = parent.level + 1
    final = parent.final or program.start(parent.trained, parent.masks)
    scores = jobs.SCORES[settings.prune_by](final.params, job.key(2, level))
    masks = prune.prune(scores, parent.masks, settings.prune_rate, settings.prune_scope, count=settings.prune_count)
    state = rewind.next_state(
        settings.rewind,
        program,
        masks,
        origin=parent.origin or program.start(parent.start, parent.masks),
        final=final,
        reinit_key=job.key(3, level),
    )
    return state, masks


def _train(
    job: Job,
    level: int,
    state: TrainState,
    masks: masking.Masks,
    dense: Ticket | None,
    folder: runs.RunFolder | None,
    bars: progress.Bars,
    save_seconds: float,
) -> Ticket:
    """Train one level, going on from its snapshot if there is one, and measure it."""
    settings, program = job.settings, job.program
    start_epoch = int(state.step) // program.steps_per_epoch
    fitting = begin(state, start_epoch)
    if folder:
        fitting = folder.load_snapshot(level, fitting) or fitting
        folder.trim_log(level, int(fitting.evaluated_epoch))
    show = bars.level(level, masking.sparsity(masks), int(fitting.train.step) // program.steps_per_epoch)

    def report(epoch, loss, evaluation):
        show(epoch, loss, evaluation)
        if folder and evaluation:
            folder.log(level, evaluation, settings.selection)

    def save(fitting: FitState) -> None:
        if folder:
            folder.save_snapshot(level, fitting)

    plan = dataclasses.replace(job.plan, keep_epoch=settings.rewind_epoch if level == 0 else None)
    fitting = fit(
        program,
        fitting,
        masks,
        job.graph,
        job.selection,
        job.key(1, level),
        plan,
        name=f"level {level}",
        report=report,
        save=save,
        save_seconds=save_seconds,
    )
    return _measure(job, level, state, masks, fitting, dense)


def _measure(
    job: Job, level: int, state: TrainState, masks: masking.Masks, fitting: FitState, dense: Ticket | None
) -> Ticket:
    """The trained level as a ticket: its best epoch on the test part, and the verdict against the dense model."""
    settings, ks = job.settings, job.plan.ks
    final_embeddings = job.program.embed(fitting.best.params, job.graph)
    measured = evaluate.evaluate(final_embeddings, job.test, ks)
    metrics = measured.means()
    if job.valid is not None:
        on_valid = evaluate.evaluate(final_embeddings, job.valid, ks).means()
        metrics |= {f"valid_{name}": value for name, value in on_valid.items()}
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
        parent=level - 1 if level else None,
        settings=dataclasses.asdict(settings) | {"optimizer": job.optimizer_name},
        fingerprint=job.split.fingerprint,
        origin=origin,
        final=final,
    )


def load_ticket(path: str | Path) -> Ticket:
    """A ticket by itself, from its folder (`RUN/tickets/level_03`); the rest of its run is not needed.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    return tickets.from_checkpoint(*checkpoint.load(Path(path)))


def retrain(
    ticket: Ticket,
    data: Any = None,
    *,
    optimizer: optax.GradientTransformation | None = None,
    show_progress: bool | None = None,
    **changes: Any,
) -> Ticket:
    """Train a ticket again from where it started; the same settings and device give the same weights.

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
    settings, split = jobs.settle(data, tickets.settings_of(ticket), changes)
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
        made = _train(job, ticket.level, state, ticket.masks, ticket if same_data else None, None, bars, 30.0)
    return dataclasses.replace(made, parent=ticket.level)
