"""The loop around the steps: evaluates, stops early, keeps the best epoch; for one ticket, or several as one program.

    trainer = Trainer(program, graph, selection, Plan(epochs=200, patience=30, eval_every=5))
    (state,) = fit(trainer, [Member("dense", masks, key, begin(program.start(params, masks), 0))])

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

from lthjax import metric_names
from lthjax.errors import TrainingError
from lthjax.evaluation.ranking import RankingMetrics, RankingTask
from lthjax.evaluation.sharded import evaluate
from lthjax.graph.graph import Graph
from lthjax.pruning import masks as masking
from lthjax.runtime import interrupts, processes
from lthjax.sharding.layout import Layout
from lthjax.training.step import LossMeter, Program, TrainState

_SECONDS_PER_DISPATCH = 0.5  # between two dispatches the host can stop, save, and move the progress bar


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long a level trains and how its best epoch is chosen."""

    epochs: int  # at most
    patience: int  # epochs without a better selection value before it stops; 0 = never stop early
    eval_every: int | None  # epochs between evaluations; the last epoch is always evaluated; None = none is
    ks: tuple[int, ...] = (20,)  # list lengths
    keep_epoch: int | None = None  # keep the state of this epoch for later levels to rewind to
    metrics: tuple[str, ...] = metric_names.DEFAULT  # the first, of users, selects at ks[0]

    @property
    def main_metric(self) -> str:
        """The metric that chooses the best epoch, "recall@20"."""
        return f"{self.metrics[0]}@{self.ks[0]}"


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
    # All metrics of `best` on the part that selected it; empty before the first evaluation. No arrays: snapshots of
    # older versions are without them.
    best_means: dict[str, float] = struct.field(pytree_node=False, default_factory=dict)


class Evaluation(NamedTuple):
    """What a person wants to see of an evaluated epoch."""

    epoch: int
    loss: float  # mean over the steps since the evaluation before
    means: dict[str, float]  # of the selection part
    is_best: bool
    seconds: float  # spent on the level so far


def begin(state: TrainState, epoch: int, sum_gradients: bool = False) -> FitState:
    """A level about to train.

    Args:
      state: where it starts.
      epoch: at which that stands (0, or the epoch it was rewound to).
      sum_gradients: sum the gradients of all entries, up to the first evaluation.
    """
    return FitState(
        train=_copy(state),
        meter=LossMeter.zero(state, sum_gradients),
        best=_copy(state),
        kept=None,
        best_value=np.asarray(-np.inf),
        best_epoch=np.asarray(epoch),
        evaluated_epoch=np.asarray(epoch),
        seconds=np.asarray(0.0),
    )


class Trainer(NamedTuple):
    """What all members of a fit share."""

    program: Program
    graph: Graph
    selection: RankingTask  # the part whose `plan.main_metric` chooses the best epoch
    plan: Plan
    layout: Layout | None = None  # of tables on several devices


class Member(NamedTuple):
    """A ticket to train, alone or beside others."""

    name: str  # for errors
    masks: masking.Masks  # True where kept
    key: jax.Array  # of its batches
    state: FitState  # from `begin`, or a saved one to go on with


@dataclasses.dataclass(frozen=True)
class Hooks:
    """What happens beside training."""

    # Called with the number of the member, epoch, mean loss and the evaluation, if one was made, after every evaluation
    # and every dispatch.
    report: Callable[[int, int, float, Evaluation | None], None] = lambda member, epoch, loss, evaluation: None
    # Called with all states every `save_seconds`, and before a KeyboardInterrupt goes on its way.
    save: Callable[[list[FitState]], None] = lambda states: None
    save_seconds: float = 30.0  # 0 saves after every evaluation and every dispatch


def fit(trainer: Trainer, members: Sequence[Member], hooks: Hooks | None = None) -> list[FitState]:
    """Train T tickets, each until the epochs or its patience are used up; returns their last states.

    Several are one program: each has its own masks, weights, optimizer state (and a learning rate kept in there),
    batches, early stop and best epoch, and ends as it would alone, to rounding. Those furthest behind go on first,
    until all stand at one step. Those that are done leave.

    Steps run on the device for half a second at a time, however many or few epochs that is, and a batch depends on the
    key and the step alone: the result does not depend on where the dispatches were cut, nor on interruptions. For one
    ticket that holds to the bit; for several to rounding, since another number of them is another program.

    Args:
      trainer: program, graph, selection part and plan.
      members: the tickets.
      hooks: what is told and saved on the way; nothing by default.

    Raises:
      TrainingError: the loss of a ticket is no longer finite; names it and the epoch, and ends the others too.
      KeyboardInterrupt: after the states were saved; a second Ctrl-C within a dispatch leaves what was saved before.
    """
    hooks = hooks or Hooks()
    work = _Work(trainer, members, [member.state for member in members], _Pace())
    states = work.states
    saved_at = clock = time.monotonic()
    try:
        with interrupts.held_back() as stop_if_asked:
            while numbers := _furthest_behind(states, trainer.plan):
                stop_if_asked()
                numbers, evaluation = _advance(work, numbers, stop_if_asked)
                now = time.monotonic()
                for number in numbers:
                    states[number] = _after(states[number], (now - clock) / len(numbers))
                    try:
                        _tell(hooks, number, states[number], evaluation, trainer.program.steps_per_epoch)
                    except Exception:
                        hooks.save(states)  # whoever is told may fail, and nothing be lost
                        raise
                clock = now
                if processes.of_first(now - saved_at >= hooks.save_seconds):
                    hooks.save(states)
                    saved_at = time.monotonic()
    except KeyboardInterrupt:
        if not any(leaf.is_deleted() for leaf in jax.tree.leaves(states) if isinstance(leaf, jax.Array)):
            hooks.save(states)  # a dispatch that was broken off has given its state away
        raise
    return states


class _Work(NamedTuple):
    """A fit under way."""

    trainer: Trainer
    members: Sequence[Member]
    states: list[FitState]  # of each member, changed in place
    pace: "_Pace"


def _advance(work: _Work, numbers: list[int], stop_if_asked: Callable[[], None]) -> tuple[list[int], Evaluation | None]:
    """Evaluate the first member that is due, or run a dispatch of all; returns whose state changed."""
    trainer, members, states, _ = work
    steps_per_epoch = trainer.program.steps_per_epoch
    for number in numbers:
        check_finite(states[number].meter, steps_per_epoch, members[number].name)
    due = next((number for number in numbers if _is_due(states[number], steps_per_epoch, trainer.plan)), None)
    if due is None:
        _run(work, numbers)
        return numbers, None
    states[due], evaluation = _settle(trainer, states[due], stop_if_asked)
    return [due], evaluation


def _after(state: FitState, seconds: float) -> FitState:
    return state.replace(seconds=state.seconds + seconds)


def _tell(hooks: Hooks, number: int, state: FitState, evaluation: Evaluation | None, steps_per_epoch: int) -> None:
    if evaluation is not None:
        evaluation = evaluation._replace(seconds=float(state.seconds))
    loss = evaluation.loss if evaluation else state.meter.mean()
    hooks.report(number, int(state.train.step) // steps_per_epoch, loss, evaluation)


def _furthest_behind(states: Sequence[FitState], plan: Plan) -> list[int]:
    """Numbers of the unfinished members that stand at the lowest step."""
    steps = {number: int(state.train.step) for number, state in enumerate(states) if not _is_finished(state, plan)}
    return [number for number, step in steps.items() if step == min(steps.values())]


def _is_due(state: FitState, steps_per_epoch: int, plan: Plan) -> bool:
    """Is there something to do between two epochs, before it may go on?"""
    epoch, step_in_epoch = divmod(int(state.train.step), steps_per_epoch)
    return step_in_epoch == 0 and (_is_to_keep(epoch, state, plan) or _is_to_evaluate(epoch, state, plan))


def _is_to_keep(epoch: int, state: FitState, plan: Plan) -> bool:
    return epoch == plan.keep_epoch and state.kept is None


def _is_to_evaluate(epoch: int, state: FitState, plan: Plan) -> bool:
    is_due = plan.eval_every is not None and epoch % plan.eval_every == 0
    return epoch > state.evaluated_epoch and (is_due or epoch == plan.epochs)


def _settle(trainer: Trainer, state: FitState, stop_if_asked: Callable[[], None]) -> tuple[FitState, Evaluation | None]:
    """Keep the state, or evaluate it (or, in a plan without evaluations, end it): whichever is due first."""
    program, graph, selection, plan, layout = trainer
    epoch = int(state.train.step) // program.steps_per_epoch
    if _is_to_keep(epoch, state, plan):
        return state.replace(kept=_copy(state.train)), None
    if plan.eval_every is None:
        return state.replace(evaluated_epoch=np.asarray(epoch)), None
    final = jax.block_until_ready(program.embed(state.train.params, graph))
    measured = evaluate(final, selection, plan.ks, stop_if_asked, plan.metrics, layout)
    return _record(state, measured, epoch, plan)


def _run(work: _Work, numbers: list[int]) -> None:
    """A dispatch of steps, up to the next thing that is due or the next member that waits."""
    (program, graph, _, plan, _), members, states, pace = work
    num_steps = min(
        processes.of_first(pace.num_steps), _steps_to_next_stop(states, numbers[0], program.steps_per_epoch, plan)
    )
    chosen = [(states[i].train, states[i].meter, members[i].masks, members[i].key) for i in numbers]
    began = time.monotonic()
    if len(chosen) == 1:
        train, meter, mask, key = chosen[0]
        after = [program.run_steps(train, meter, mask, graph, key, np.int32(num_steps))]
    else:
        chosen += chosen[:1] * (_width(len(chosen), len(states)) - len(chosen))
        train, meter, mask, key = _stack(chosen)
        after = _unstack(program.run_together(train, meter, mask, graph, key, np.int32(num_steps)), len(numbers))
    jax.block_until_ready(after)
    pace.learn(num_steps, time.monotonic() - began)
    for number, (train, meter) in zip(numbers, after, strict=True):
        states[number] = states[number].replace(train=train, meter=meter)


def _steps_to_next_stop(states: Sequence[FitState], number: int, steps_per_epoch: int, plan: Plan) -> int:
    """Steps of a member until an evaluation, an epoch to keep, or a member that waits."""
    step = int(states[number].train.step)
    epochs = [_next_evaluation(step // steps_per_epoch, plan), plan.keep_epoch]
    stops = [epoch * steps_per_epoch for epoch in epochs if epoch is not None]
    stops += [int(state.train.step) for state in states if not _is_finished(state, plan)]
    return min(stop for stop in stops if stop > step) - step


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
    return (
        plan.epochs if plan.eval_every is None else min((epoch // plan.eval_every + 1) * plan.eval_every, plan.epochs)
    )


def _is_finished(state: FitState, plan: Plan) -> bool:
    evaluated = int(state.evaluated_epoch)
    if plan.keep_epoch is not None and state.kept is None:
        return False  # the rewind point is still ahead
    out_of_patience = plan.patience > 0 and evaluated - int(state.best_epoch) >= plan.patience
    return evaluated >= plan.epochs or out_of_patience


def _record(state: FitState, measured: RankingMetrics, epoch: int, plan: Plan) -> tuple[FitState, Evaluation]:
    """The state after an evaluation; a value that only equals the best does not replace it."""
    means = measured.means()
    value = means[plan.main_metric]
    is_best = bool(value > state.best_value)
    evaluation = Evaluation(epoch=epoch, loss=state.meter.mean(), means=means, is_best=is_best, seconds=0.0)
    state = state.replace(meter=LossMeter.zero(state.train), evaluated_epoch=np.asarray(epoch))
    if is_best:
        best = {"best": _copy(state.train), "best_value": np.asarray(value), "best_means": means}
        state = state.replace(**best, best_epoch=np.asarray(epoch))
    return state, evaluation
