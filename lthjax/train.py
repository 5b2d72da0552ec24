"""Training one ticket: the state, the compiled steps, and the loop that evaluates, stops early and keeps the best.

Letters: M users, N items, F dimensions, B batch.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from lthjax import interrupts, losses, optim, sampling
from lthjax import masks as masking
from lthjax.embeddings import Embeddings
from lthjax.errors import TrainingError
from lthjax.evaluate import RankingMetrics, RankingTask, evaluate
from lthjax.graph import Graph
from lthjax.tables import Table

Backbone = Callable[[Embeddings, Graph], Embeddings]
Loss = Callable[[Embeddings, Embeddings, losses.Triples], jax.Array]
_SECONDS_PER_DISPATCH = 0.5  # between two dispatches the host can stop, save, and move the progress bar


@struct.dataclass
class TrainState:
    """What the next step needs."""

    step: jax.Array  # [] int32, updates done in this level
    params: Any  # pruned entries are exactly 0
    opt_state: optax.OptState


@struct.dataclass
class LossMeter:
    """The loss since the last evaluation, summed on the device."""

    total: jax.Array  # [] float32
    num_steps: jax.Array  # [] int32
    first_bad_step: jax.Array  # [] int32, number of the first step with a non-finite loss, or -1

    @classmethod
    def zero(cls) -> "LossMeter":
        """An empty meter."""
        return cls(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32))

    def mean(self) -> float:
        """Mean loss a step; 0 before the first."""
        return float(self.total) / max(int(self.num_steps), 1)

    def add(self, loss: jax.Array, step: jax.Array) -> "LossMeter":
        """The meter after one more step."""
        bad = (self.first_bad_step < 0) & ~jnp.isfinite(loss)
        return LossMeter(self.total + loss, self.num_steps + 1, jnp.where(bad, step, self.first_bad_step))


class Program(NamedTuple):
    """The compiled functions of a model; masks, graph and weights are arguments, so one program serves all tickets."""

    init: Callable[[jax.Array], Any]  # key -> first parameters
    start: Callable[[Any, Any], TrainState]  # (parameters, masks) -> state before the first step
    run_steps: Callable[..., tuple[TrainState, LossMeter]]  # (state, meter, masks, graph, key, num_steps); donates two
    embed: Callable[[Any, Graph], Embeddings]  # (parameters, graph) -> final embeddings
    mask_state: Callable[[TrainState, Any], TrainState]  # state with pruned weights and moments at 0
    steps_per_epoch: int


def make_program(
    *,
    table: Table,
    backbone: Backbone,
    optimizer: optax.GradientTransformation,
    sampler: sampling.Sampler,
    shape: tuple[int, int, int],
    num_interactions: int,
    loss: Loss,
) -> Program:
    """Build the program of a model.

    Args:
      table: how parameters are drawn and read.
      backbone: layer-0 embeddings and graph -> final embeddings.
      optimizer: any Optax transformation; it is masked here.
      sampler: where batches come from.
      shape: (M, N, F).
      num_interactions: training interactions, for the steps of an epoch.
      loss: (final embeddings, layer-0 embeddings, batch) -> loss.
    """
    masked_optimizer = optim.masked(optimizer)

    def loss_of(params, graph, batch):
        layer0 = table.lookup(params)
        return loss(backbone(layer0, graph), layer0, batch)

    def one_step(state, masks, graph, key):
        batch = sampler.sample(key, state.step, graph)
        value, gradients = jax.value_and_grad(loss_of)(state.params, graph, batch)
        updates, opt_state = masked_optimizer.update(gradients, state.opt_state, state.params, masks=masks)
        return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state), value

    # Only state and meter are donated: masks and rewind weights outlive the call.
    @functools.partial(jax.jit, donate_argnames=("state", "meter"))
    def run_steps(state, meter, masks, graph, key, num_steps):
        def body(_, carry):
            state, meter = carry
            step = state.step
            state, loss = one_step(state, masks, graph, key)
            return state, meter.add(loss, step)

        return jax.lax.fori_loop(0, num_steps, body, (state, meter))

    def start(params, masks):
        params = masking.apply(masks, params)  # a copy: the caller's weights are not given away with the state
        return TrainState(jnp.zeros((), jnp.int32), params, masked_optimizer.init(params))

    def mask_state(state, masks):
        return state.replace(
            params=masking.apply(masks, state.params),
            opt_state=optim.mask_state(masked_optimizer, state.opt_state, masks),
        )

    return Program(
        init=lambda key: table.init(key, *shape),
        start=start,
        run_steps=run_steps,
        embed=jax.jit(lambda params, graph: backbone(table.lookup(params), graph)),
        mask_state=mask_state,
        steps_per_epoch=sampler.steps_per_epoch(num_interactions),
    )


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
    """Train until the epochs or the patience are used up; returns the last state, with the best one in it.

    Steps run on the device for half a second at a time, however many or few epochs that is, and a batch depends on the
    key and the step alone: the result does not depend on where the dispatches were cut, nor on interruptions.

    Args:
      program: of the model.
      fitting: from `begin`, or a saved one to go on with.
      masks: True where kept.
      graph: training interactions.
      selection: the part whose Recall@ks[0] chooses the best epoch.
      key: of this level's batches.
      plan: epochs, patience, evaluations.
      name: of the level, for the error message.
      report: called with epoch, mean loss and the evaluation, if one was made, after every dispatch.
      save: called every `save_seconds`, and before a KeyboardInterrupt goes on its way.
      save_seconds: 0 saves after every dispatch.

    Raises:
      TrainingError: the loss is no longer finite; names the level and the epoch.
      KeyboardInterrupt: after the state was saved.
    """
    pace = _Pace()
    saved_at = clock = time.monotonic()
    try:
        with interrupts.held_back() as stop_if_asked:
            while not _is_finished(fitting, plan):
                stop_if_asked()
                _check_finite(fitting.meter, program.steps_per_epoch, name)
                fitting, evaluation = _advance(
                    program, fitting, masks, graph, selection, key, plan, pace, stop_if_asked
                )
                now = time.monotonic()
                fitting, clock = fitting.replace(seconds=fitting.seconds + (now - clock)), now
                if evaluation is not None:
                    evaluation = evaluation._replace(seconds=float(fitting.seconds))
                loss = evaluation.loss if evaluation else fitting.meter.mean()
                report(int(fitting.train.step) // program.steps_per_epoch, loss, evaluation)
                if now - saved_at >= save_seconds:
                    save(fitting)
                    saved_at = time.monotonic()
    except KeyboardInterrupt:
        save(fitting)
        raise
    return fitting


def _advance(
    program: Program,
    fitting: FitState,
    masks: masking.Masks,
    graph: Graph,
    selection: RankingTask,
    key: jax.Array,
    plan: Plan,
    pace: "_Pace",
    stop_if_asked: Callable[[], None],
) -> tuple[FitState, "Evaluation | None"]:
    """One thing that is due: an evaluation, the state to keep, or a dispatch of steps up to the next of these."""
    steps = program.steps_per_epoch
    step = int(fitting.train.step)
    epoch, step_in_epoch = divmod(step, steps)
    if step_in_epoch == 0 and epoch == plan.keep_epoch and fitting.kept is None:
        return fitting.replace(kept=_copy(fitting.train)), None
    if step_in_epoch == 0 and _is_due(epoch, fitting, plan):
        final = jax.block_until_ready(program.embed(fitting.train.params, graph))
        return _record(fitting, evaluate(final, selection, plan.ks, between_dispatches=stop_if_asked), epoch, plan)
    stops = [e * steps for e in (_next_evaluation(epoch, plan), plan.keep_epoch) if e is not None]
    num_steps = min(pace.num_steps, min(stop for stop in stops if stop > step) - step)
    began = time.monotonic()
    train, meter = program.run_steps(fitting.train, fitting.meter, masks, graph, key, jnp.int32(num_steps))
    jax.block_until_ready(meter)
    pace.learn(num_steps, time.monotonic() - began)
    return fitting.replace(train=train, meter=meter), None


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


def _check_finite(meter: LossMeter, steps_per_epoch: int, name: str) -> None:
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


def _is_due(epoch: int, fitting: FitState, plan: Plan) -> bool:
    return epoch > fitting.evaluated_epoch and (epoch % plan.eval_every == 0 or epoch == plan.epochs)


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
