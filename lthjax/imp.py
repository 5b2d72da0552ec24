"""Iterative magnitude pruning: train, prune, rewind, again (paper, algorithm 1).

`find_tickets` is the whole of it; `retrain` trains one ticket by itself.
"""

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from lthjax import (
    backbones,
    checkpoint,
    embeddings,
    evaluate,
    graph,
    losses,
    progress,
    prune,
    rewind,
    runs,
    sampling,
    tables,
    tickets,
    verdict,
)
from lthjax import data as loading
from lthjax import masks as masking
from lthjax import splits as splitting
from lthjax.errors import DataError
from lthjax.evaluate import RankingTask
from lthjax.graph import Graph
from lthjax.settings import Settings, check_entries
from lthjax.splits import Split
from lthjax.tickets import Ticket
from lthjax.train import FitState, Plan, Program, TrainState, begin, fit, make_program

DRAWS = {
    "xavier": embeddings.xavier_uniform,
    "xavier-each": embeddings.xavier_uniform_each,
    "xavier-normal-each": embeddings.xavier_normal_each,
    "normal-0.1": embeddings.normal(0.1),
    "normal-0.01": embeddings.normal(0.01),
    "normal-1": embeddings.normal(1.0),
}
SAMPLERS = {
    "interactions": sampling.every_interaction,
    "users": sampling.users_with_replacement,
    "distinct-users": sampling.distinct_users,
}
SCORES = {"magnitude": prune.magnitude, "random": prune.uniform}


@dataclasses.dataclass(frozen=True)
class Job:
    """What every level of a run shares."""

    settings: Settings
    split: Split
    optimizer_name: str
    program: Program
    graph: Graph
    selection: RankingTask  # the part whose Recall@20 chooses the best epoch
    valid: RankingTask | None  # None where the split has no validation part
    test: RankingTask
    plan: Plan

    def key(self, purpose: int, level: int = 0) -> jax.Array:
        """One key a purpose (0 first values, 1 batches, 2 random pruning, 3 fresh values) and level, from the seed."""
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(self.settings.seed), purpose), level)


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
      LthjaxError: one line that says what was wanted, what came, and where; before anything is trained or written.
    """
    settings, split = _settle(data, settings or Settings(), changes)
    job = prepare(split, settings, optimizer)
    return _levels(job, None if out is None else Path(out), show_progress, save_seconds)


def load_split(data: Any, settings: Settings) -> Split:
    """Load and split the data that the settings name (or `data`, in any form that `find_tickets` takes)."""
    if isinstance(data, Split):
        return data
    interactions = loading.load(
        settings.data if data is None else data,
        format=settings.format,
        columns=settings.columns,
        min_rating=settings.min_rating,
        items_after_users=settings.items_after_users,
    )
    return splitting.split(interactions, method=settings.split, seed=settings.split_seed)


def _settle(data: Any, settings: Settings, changes: dict[str, Any]) -> tuple[Settings, Split]:
    if isinstance(data, str | Path):
        data, changes = None, changes | {"data": str(data)}  # so that config and tickets name it
    settings = dataclasses.replace(settings, **changes)
    return settings, load_split(data, settings)


def prepare(split: Split, settings: Settings, optimizer: optax.GradientTransformation | None = None) -> Job:
    """Build graph, tasks and program of a run."""
    num_users, num_items = split.num_users, split.num_items
    check_entries(settings, (num_users + num_items) * settings.dim)
    if len(split.test) == 0:
        raise DataError(f"{split.name}: wanted interactions in the test part; it is empty.")
    if len(split.valid) == 0 and settings.selection == "valid":
        raise DataError(
            f"{split.name}: wanted a validation part to choose the best epoch on; it is empty. "
            "--split cut takes one from the training part."
        )
    train_graph = graph.from_pairs(split.train, num_users, num_items)
    seen = split.train if settings.test_mask == "train" else np.concatenate([split.train, split.valid])
    valid = evaluate.ranking_task(split.train, split.valid, num_users) if len(split.valid) else None
    test = evaluate.ranking_task(seen, split.test, num_users)
    program = _program(_of_program(settings), optimizer, (num_users, num_items), len(split.train))
    return Job(
        settings=settings,
        split=split,
        optimizer_name="adam" if optimizer is None else fingerprint_of(optimizer),
        program=program,
        graph=train_graph,
        selection=test if settings.selection == "test" else valid,
        valid=valid,
        test=test,
        plan=Plan(epochs=settings.epochs, patience=settings.patience, eval_every=settings.eval_every),
    )


_PROGRAM_SETTINGS = (
    "model", "layers", "combine", "dim", "init", "sampler", "batch_size", "learning_rate", "l2", "l2_form", "l2_on",
)  # fmt: skip


def _of_program(settings: Settings) -> Settings:
    """The settings that make the program; the others at their defaults, so that runs that differ there share one."""
    return Settings(**{name: getattr(settings, name) for name in _PROGRAM_SETTINGS})


@functools.lru_cache(maxsize=8)
def _program(
    settings: Settings,
    optimizer: optax.GradientTransformation | None,
    num_users_items: tuple[int, int],
    num_interactions: int,
) -> Program:
    """The program of these settings; kept, so that a second run or a retrained ticket does not compile again."""
    backbone: Callable = backbones.mf
    if settings.model == "lightgcn":
        backbone = functools.partial(backbones.lightgcn, num_layers=settings.layers, combine=settings.combine)
    return make_program(
        table=tables.dense(DRAWS[settings.init]),
        backbone=backbone,
        optimizer=optax.adam(settings.learning_rate) if optimizer is None else optimizer,
        sampler=SAMPLERS[settings.sampler](settings.batch_size),
        shape=(*num_users_items, settings.dim),
        num_interactions=num_interactions,
        loss=functools.partial(losses.bpr, l2=settings.l2, l2_form=settings.l2_form, l2_on=settings.l2_on),
    )


def fingerprint_of(optimizer: optax.GradientTransformation) -> str:
    """A name for an optimizer given in code: what it does to a fixed tiny problem for three steps.

    Functions cannot be compared, but a run folder must not go on with another optimizer than it was begun with.
    Rounded to five digits, so that another version or device of the same optimizer has the same name.
    """
    params = {"weights": np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)}
    params = jax.tree.map(jax.numpy.asarray, params)
    optimizer = optax.with_extra_args_support(optimizer)
    state, seen = optimizer.init(params), []
    for step in range(3):
        gradients = jax.tree.map(lambda p, step=step: jax.numpy.cos(3 * p + step), params)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        seen += [f"{x:.5e}" for x in np.ravel(updates["weights"]).tolist()]
    return "given, " + hashlib.sha256(" ".join(seen).encode()).hexdigest()[:12]


def _levels(job: Job, out: Path | None, show_progress: bool | None, save_seconds: float) -> Iterator[Ticket]:
    """The plain loop. Every ticket is saved before it is yielded."""
    settings = job.settings
    template = job.program.start(*_dense_start(job))
    with contextlib.ExitStack() as stack:
        folder = None if out is None else stack.enter_context(runs.open_folder(out, _config(job)))
        bars = stack.enter_context(progress.bars(settings.levels + 1, job.plan, show_progress))
        dense, parent, rows = None, None, []
        for level in range(settings.levels + 1):
            ticket = folder and folder.load_ticket(level, template)
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
    scores = SCORES[settings.prune_by](final.params, job.key(2, level))
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
            folder.log(level, evaluation)

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
    try:
        return _measure(job, level, state, masks, fitting, dense)
    except KeyboardInterrupt:
        save(fitting)
        raise


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


def _config(job: Job) -> dict[str, Any]:
    split = job.split
    return {
        "settings": dataclasses.asdict(job.settings),
        "optimizer": job.optimizer_name,
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
    """Train a ticket again from its first values; the same settings and device give the same weights.

    Args:
      ticket: what is kept and where it starts.
      data: as in `find_tickets`; by default what the ticket was found on.
      optimizer: any Optax transformation; by default Adam. A ticket found with a given optimizer does not know it.
      show_progress: progress bars; None shows them on a terminal.
      **changes: single settings, such as `model="lightgcn"` or `epochs=200`.

    Returns:
      A ticket whose verdict compares it with the one it was made from.

    Raises:
      DataError: the data do not have the ticket's users and items.
    """
    settings, split = _settle(data, tickets.settings_of(ticket), changes)
    job = prepare(split, settings, optimizer)
    wanted = tuple(part.shape for part in ticket.masks)
    came = ((job.split.num_users, settings.dim), (job.split.num_items, settings.dim))
    if wanted != came:
        raise DataError(f"{job.split.name}: wanted the ticket's users and items, {wanted}; got {came}.")
    with progress.bars(1, job.plan, show_progress) as bars:
        state = ticket.origin if ticket.origin and ticket.level else job.program.start(ticket.start, ticket.masks)
        reference = ticket if ticket.fingerprint == job.split.fingerprint else None
        made = _train(job, ticket.level, state, ticket.masks, reference, None, bars, 30.0)
    return dataclasses.replace(made, parent=ticket.level)
