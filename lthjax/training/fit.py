"""The loop around the steps: evaluates, stops early, keeps the best epoch; for one ticket, or several as one program.

Letters: T tickets.
"""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lthjax.errors import TrainingError
from lthjax.evaluation.ranking import RankingMetrics, RankingTask, evaluate
from lthjax.graph.graph import Graph
from lthjax.pruning import masks as masking
from lthjax.runtime import interrupts
from lthjax.training.step import LossMeter, Program, TrainState

_SECONDS_PER_DISPATCH = 0.5  # between two dispatches the host can stop, save, and move the progress bar


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a level trains and how its best epoch is chosen."""

    epochs: int  # at most
    patience: int  # epochs without a better selection value before it stops; 0 = never stop early
    eval_every: int  # epochs between evaluations; the last epoch is always evaluated
    ks: tuple[int, ...] = (20,)  # Recall@ks[0] selects
    keep_epoch: int | None = None  # keep the state of this epoch for later levels to rewind to


@struct.dataclass
class FitState:
    """A level in training: all that is needed to go on with it, as one pytree."""

    train: TrainState
    meter: LossMeter
    best: TrainState  # of the best epoch so far
    kept: TrainState | None  # of Plan.keep_epoch, once reached
    best_value: np.ndarray  # [] float64, selection value of `best`; -inf before the first evaluation
    best_epoch: np.ndarray  # [] int64
    evaluated_epoch: np.ndarray  # [] int64, last epoch that was evaluated
    seconds: np.ndarray  # [] float64, time spent on this level, over all sittings


class Evaluation(NamedTuple):
    """What a person wants to see of an evaluated epoch."""

    epoch: int
    loss: float  # mean over the steps since the evaluation before
    means: dict[str, float]  # of the selection part
    is_best: bool
    seconds: float  # spent on the level so far


def begin(state: TrainState, epoch: int) -> FitState:
    """A level about to train from `state`, which stands at `epoch` (0, or the epoch it was rewound to)."""
    return FitState(
        train=_copy(state),
        meter=LossMeter.zero(),
        best=_copy(state),
        kept=None,
        best_value=np.asarray(-np.inf),
        best_epoch=np.asarray(epoch),
        evaluated_epoch=np.asarray(epoch),
        seconds=np.asarray(0.0),
    )


def fit(
    program: Program,
    fitting: FitState,
    masks: masking.Masks,
    graph: Graph,
    selection: RankingTask,
    key: jax.Array,
    plan: Plan,
    *,
    name: str = "training",
    report: Callable[[int, float, Evaluation | None], None] = lambda epoch, loss, evaluation: None,
    save: Callable[[FitState], None] = lambda fitting: None,
    save_seconds: float = 30.0,
) -> FitState:
    """Train one ticket until the epochs or the patience are used up; returns the last state, with the best one in it.

    As `fit_together` with one ticket.
    """
    (fitted,) = fit_together(
        program,
        [fitting],
        [masks],
        graph,
        selection,
        [key],
        plan,
        names=[name],
        report=lambda member, *what: report(*what),
        save=lambda fittings: save(fittings[0]),
        save_seconds=save_seconds,
    )
    return fitted


def fit_together(
    program: Program,
    fittings: Sequence[FitState],
    masks: Sequence[masking.Masks],
    graph: Graph,
    selection: RankingTask,
    keys: Sequence[jax.Array],
    plan: Plan,
    *,
    names: Sequence[str],
    report: Callable[[int, int, float, Evaluation | None], None] = lambda member, epoch, loss, evaluation: None,
    save: Callable[[list[FitState]], None] = lambda fittings: None,
    save_seconds: float = 30.0,
) -> list[FitState]:
    """Train T tickets as one program, each until the epochs or its patience are used up; returns their last states.

    Each has its own masks, weights, optimizer state (and a learning rate kept in there), batches, early stop and best
    epoch, and ends as it would alone, to rounding. Those furthest behind go on first, until all stand at one step.
    Those that are done leave.

    Steps run on the device for half a second at a time, however many or few epochs that is, and a batch depends on the
    key and the step alone: the result does not depend on where the dispatches were cut, nor on interruptions. For one
    ticket that holds to the bit; for several to rounding, since another number of them is another program.

    Args:
      program: of the model.
      fittings: T states from `begin`, or saved ones to go on with.
      masks: of each ticket, True where kept.
      graph: training interactions, the same for all.
      selection: the part whose Recall@ks[0] chooses the best epoch.
      keys: of each ticket's batches.
      plan: epochs, patience, evaluations.
      names: of each ticket, for the error message.
      report: called with number of the ticket, epoch, mean loss and the evaluation, if one was made, after every
        evaluation and every dispatch.
      save: called with all states every `save_seconds`, and before a KeyboardInterrupt goes on its way.
      save_seconds: 0 saves after every evaluation and every dispatch.

    Raises:
      TrainingError: the loss of a ticket is no longer finite; names it and the epoch, and ends the others too.
      KeyboardInterrupt: after the states were saved; a second Ctrl-C within a dispatch leaves what was saved before.
    """
    fittings, pace = list(fittings), _Pace()
    saved_at = clock = time.monotonic()
    try:
        with interrupts.held_back() as stop_if_asked:
            while members := _furthest_behind(fittings, plan):
                stop_if_asked()
                for member in members:
                    check_finite(fittings[member].meter, program.steps_per_epoch, names[member])
                evaluation = None
                due = [member for member in members if _is_due(fittings[member], program.steps_per_epoch, plan)]
                if due:
                    members = due[:1]
                    fitting, evaluation = _settle(program, fittings[members[0]], graph, selection, plan, stop_if_asked)
                    fittings[members[0]] = fitting
                else:
                    _run(program, fittings, members, masks, graph, keys, plan, pace)
                now = time.monotonic()
                for member in members:
                    fitting = fittings[member]
                    fitting = fitting.replace(seconds=fitting.seconds + (now - clock) / len(members))
                    fittings[member] = fitting
                    if evaluation is not None:
                        evaluation = evaluation._replace(seconds=float(fitting.seconds))
                    loss = evaluation.loss if evaluation else fitting.meter.mean()
                    report(member, int(fitting.train.step) // program.steps_per_epoch, loss, evaluation)
                clock = now
                if now - saved_at >= save_seconds:
                    save(fittings)
                    saved_at = time.monotonic()
    except KeyboardInterrupt:
        if not any(leaf.is_deleted() for leaf in jax.tree.leaves(fittings) if isinstance(leaf, jax.Array)):
            save(fittings)  # a dispatch that was broken off has given its state away
        raise
    return fittings


def _furthest_behind(fittings: list[FitState], plan: Plan) -> list[int]:
    """Numbers of the unfinished tickets that stand at the lowest step."""
    steps = {number: int(one.train.step) for number, one in enumerate(fittings) if not _is_finished(one, plan)}
    return [number for number, step in steps.items() if step == min(steps.values())]


def _is_due(fitting: FitState, steps_per_epoch: int, plan: Plan) -> bool:
    """Is there something to do between two epochs, before it may go on?"""
    epoch, step_in_epoch = divmod(int(fitting.train.step), steps_per_epoch)
    return step_in_epoch == 0 and (_is_to_keep(epoch, fitting, plan) or _is_to_evaluate(epoch, fitting, plan))


def _is_to_keep(epoch: int, fitting: FitState, plan: Plan) -> bool:
    return epoch == plan.keep_epoch and fitting.kept is None


def _is_to_evaluate(epoch: int, fitting: FitState, plan: Plan) -> bool:
    return epoch > fitting.evaluated_epoch and (epoch % plan.eval_every == 0 or epoch == plan.epochs)


def _settle(
    program: Program,
    fitting: FitState,
    graph: Graph,
    selection: RankingTask,
    plan: Plan,
    stop_if_asked: Callable[[], None],
) -> tuple[FitState, Evaluation | None]:
    """Keep the state, or evaluate it: whichever is due first."""
    epoch = int(fitting.train.step) // program.steps_per_epoch
    if _is_to_keep(epoch, fitting, plan):
        return fitting.replace(kept=_copy(fitting.train)), None
    final = jax.block_until_ready(program.embed(fitting.train.params, graph))
    return _record(fitting, evaluate(final, selection, plan.ks, between_dispatches=stop_if_asked), epoch, plan)


def _run(
    program: Program,
    fittings: list[FitState],
    members: list[int],
    masks: Sequence[masking.Masks],
    graph: Graph,
    keys: Sequence[jax.Array],
    plan: Plan,
    pace: "_Pace",
) -> None:
    """A dispatch of steps for the members, in place, up to the next thing that is due or the next ticket that waits."""
    steps, step = program.steps_per_epoch, int(fittings[members[0]].train.step)
    stops = [e * steps for e in (_next_evaluation(step // steps, plan), plan.keep_epoch) if e is not None]
    stops += [int(one.train.step) for one in fittings if not _is_finished(one, plan)]
    num_steps = min(pace.num_steps, min(stop for stop in stops if stop > step) - step)
    chosen = [(fittings[i].train, fittings[i].meter, masks[i], keys[i]) for i in members]
    began = time.monotonic()
    if len(chosen) == 1:
        train, meter, mask, key = chosen[0]
        after = [program.run_steps(train, meter, mask, graph, key, jnp.int32(num_steps))]
    else:
        chosen += chosen[:1] * (_width(len(chosen), len(fittings)) - len(chosen))
        train, meter, mask, key = _stack(chosen)
        after = _unstack(program.run_together(train, meter, mask, graph, key, jnp.int32(num_steps)), len(members))
    jax.block_until_ready(after)
    pace.learn(num_steps, time.monotonic() - began)
    for member, (train, meter) in zip(members, after, strict=True):
        fittings[member] = fittings[member].replace(train=train, meter=meter)


def _width(num_members: int, num_tickets: int) -> int:
    """T, T/2, T/4, ... whichever just holds the members: so few programs are compiled as tickets leave one by one."""
    while num_tickets > 1 and (half := -(-num_tickets // 2)) >= num_members:
        num_tickets = half
    return num_tickets


@jax.jit
def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@functools.partial(jax.jit, static_argnames="number")
def _unstack(tree: Any, number: int) -> list[Any]:
    return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(number)]


class _Pace:
    """How many steps fill a dispatch: none the first time (that compiles), then as measured."""

    def __init__(self):
        self.num_steps = 0

    def learn(self, num_steps: int, seconds: float) -> None:
        if num_steps == 0:
            self.num_steps = 4
        elif seconds < _SECONDS_PER_DISPATCH / 2:
            self.num_steps = min(4 * num_steps, 2**20)
        elif seconds > _SECONDS_PER_DISPATCH * 2:
            self.num_steps = max(num_steps // 2, 1)


def check_finite(meter: LossMeter, steps_per_epoch: int, name: str) -> None:
    """Raise TrainingError, with the name and the epoch, where the loss is no longer finite."""
    first_bad = int(meter.first_bad_step)
    if first_bad >= 0:
        raise TrainingError(
            f"{name}, epoch {first_bad // steps_per_epoch + 1}: the loss is no longer finite; "
            "wanted a finite loss at every step. A smaller learning rate usually helps."
        )


def _copy(state: TrainState) -> TrainState:
    return jax.tree.map(jnp.copy, state)


def _next_evaluation(epoch: int, plan: Plan) -> int:
    return min((epoch // plan.eval_every + 1) * plan.eval_every, plan.epochs)


def _is_finished(fitting: FitState, plan: Plan) -> bool:
    evaluated = int(fitting.evaluated_epoch)
    if plan.keep_epoch is not None and fitting.kept is None:
        return False  # the rewind point is still ahead
    out_of_patience = plan.patience > 0 and evaluated - int(fitting.best_epoch) >= plan.patience
    return evaluated >= plan.epochs or out_of_patience


def _record(fitting: FitState, measured: RankingMetrics, epoch: int, plan: Plan) -> tuple[FitState, Evaluation]:
    """The state after an evaluation; a value that only equals the best does not replace it."""
    means = measured.means()
    value = means[f"recall@{plan.ks[0]}"]
    is_best = bool(value > fitting.best_value)
    evaluation = Evaluation(epoch=epoch, loss=fitting.meter.mean(), means=means, is_best=is_best, seconds=0.0)
    fitting = fitting.replace(meter=LossMeter.zero(), evaluated_epoch=np.asarray(epoch))
    if is_best:
        fitting = fitting.replace(best=_copy(fitting.train), best_value=np.asarray(value), best_epoch=np.asarray(epoch))
    return fitting, evaluation
