"""A training step: the state, and the compiled functions of a model.

Letters: M users, N items, F dimensions, B batch, T tickets.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from lthjax.embeddings import Embeddings
from lthjax.graph.graph import Graph
from lthjax.model.backbones import Backbone
from lthjax.model.lookups import loss_of_rows
from lthjax.model.losses import Loss, is_named
from lthjax.model.tables import Table
from lthjax.pruning import masks as masking
from lthjax.sharding.layout import Layout
from lthjax.training import optimizer as optim
from lthjax.training.sampling import Sampler


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
    gradients: Any = None  # sums of all entries' gradients, pruned ones too, for searches that grow; None sums none

    @classmethod
    def zero(cls, state: TrainState | None = None, sum_gradients: bool = False) -> "LossMeter":
        """An empty meter.

        Args:
          state: that the steps begin with, on whose devices it then is.
          sum_gradients: sum the gradients of all its entries too.
        """
        sums = jax.tree.map(jnp.zeros_like, state.params) if sum_gradients else None
        step = jnp.zeros((), jnp.int32) if state is None else state.step
        return cls(jnp.zeros_like(step, jnp.float32), jnp.zeros_like(step), jnp.full_like(step, -1), sums)

    def mean(self) -> float:
        """Mean loss a step; 0 before the first."""
        return float(self.total) / max(int(self.num_steps), 1)

    def add(self, loss: jax.Array, step: jax.Array, gradients: Any) -> "LossMeter":
        """The meter after one more step.

        Args:
          loss: of the step.
          step: its number.
          gradients: of all entries.
        """
        bad = (self.first_bad_step < 0) & ~jnp.isfinite(loss)
        first_bad_step = jnp.where(bad, step, self.first_bad_step)
        sums = None if self.gradients is None else jax.tree.map(jnp.add, self.gradients, gradients)
        return LossMeter(self.total + loss, self.num_steps + 1, first_bad_step, sums)


class Program(NamedTuple):
    """The compiled functions of a model; masks, graph and weights are arguments, so one program serves all tickets."""

    init: Callable[[jax.Array], Any]  # key -> first parameters
    start: Callable[[Any, Any], TrainState]  # (parameters, masks) -> state before the first step
    run_steps: Callable[..., tuple[TrainState, LossMeter]]  # (state, meter, masks, graph, key, num_steps); donates two
    run_together: Callable[..., tuple[TrainState, LossMeter]]  # the same for T tickets: all but graph and num_steps [T]
    embed: Callable[[Any, Graph], Embeddings]  # (parameters, graph) -> final embeddings
    mask_state: Callable[[TrainState, Any], TrainState]  # state with pruned weights and moments at 0
    steps_per_epoch: int


class Parts(NamedTuple):
    """What a program is made of; each part may be any function of its kind."""

    table: Table  # how parameters are drawn and read
    backbone: Backbone
    loss: Loss
    sampler: Sampler  # where batches come from
    optimizer: optax.GradientTransformation  # any Optax transformation; `make_program` masks it


def make_program(
    parts: Parts, shape: tuple[int, int, int], num_interactions: int, layout: Layout | None = None
) -> Program:
    """Build the program of a model.

    On several devices the step is the same code: rows of the batch are looked up where they lie (`model.lookups`; for a
    loss that was given in code, which may read others, XLA does it), and all else is done row by row.

    Args:
      parts: what it is made of.
      shape: (M, N, F).
      num_interactions: training interactions, for the steps of an epoch.
      layout: of tables on several devices.
    """
    table, backbone, loss, sampler, optimizer = parts
    masked_optimizer = optim.masked(optimizer)
    constrain = (lambda tree: tree) if layout is None else layout.constrain

    reads_rows_only = layout is not None and is_named(loss)

    def loss_of(params, graph, batch):
        layer0 = table.lookup(params)
        if reads_rows_only:
            return loss_of_rows(loss, backbone, layer0, graph, batch)
        return loss(backbone(layer0, graph), layer0, batch)

    def one_step(state, meter, masks, graph, key):
        batch = sampler.sample(key, state.step, graph)

        def value_fn(params):
            return loss_of(params, graph, batch)

        value, gradients = jax.value_and_grad(value_fn)(state.params)
        # Plateaus and line searches want more than gradients (optax.contrib.reduce_on_plateau, optax.lbfgs).
        extra = {"value": value, "grad": masking.apply(masks, gradients), "value_fn": value_fn}
        updates, opt_state = masked_optimizer.update(gradients, state.opt_state, state.params, masks=masks, **extra)
        params = optax.apply_updates(state.params, updates)
        return constrain((TrainState(state.step + 1, params, opt_state), meter.add(value, state.step, gradients)))

    # Only state and meter are donated: masks and rewind weights outlive the call.
    @functools.partial(jax.jit, donate_argnames=("state", "meter"))
    def run_steps(state, meter, masks, graph, key, num_steps):
        def step(_, carry):
            return one_step(*carry, masks, graph, key)

        return jax.lax.fori_loop(0, num_steps, step, (state, meter))

    @functools.partial(jax.jit, donate_argnames=("state", "meter"))
    def run_together(state, meter, masks, graph, key, num_steps):
        def step(_, carry):
            return jax.vmap(one_step, in_axes=(0, 0, 0, None, 0))(*carry, masks, graph, key)

        return jax.lax.fori_loop(0, num_steps, step, (state, meter))

    def begin(params, masks):
        params = masking.apply(masks, params)  # a copy: the caller's weights are not given away with the state
        return constrain(TrainState(jnp.zeros((), jnp.int32), params, masked_optimizer.init(params)))

    def mask_state(state, masks):
        return state.replace(
            params=masking.apply(masks, state.params),
            opt_state=optim.mask_state(masked_optimizer, state.opt_state, masks),
        )

    def init(key):
        return table.init(key, *shape)

    return Program(
        init=init if layout is None else jax.jit(init),
        start=begin if layout is None else jax.jit(begin),
        run_steps=run_steps,
        run_together=run_together,
        embed=jax.jit(lambda params, graph: backbone(table.lookup(params), graph)),
        mask_state=mask_state,
        steps_per_epoch=sampler.steps_per_epoch(num_interactions),
    )
