"""What `compact` times: tickets in training as masked dense tables, and as vectors of their kept entries.

Letters: M users, N items, F dimensions, B batch, S' kept entries of a table and some zeros.
"""

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from experiments.speed import compact_table, stepping
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.pruning import masks as masking
from lthjax.pruning import rules
from lthjax.search.problem import Problem
from lthjax.training import optimizer as optim
from lthjax.training.keys import Purpose
from lthjax.training.step import LossMeter, TrainState

_AGREE = 1e-6  # of values and moments: XLA may add the gradients of a batch in another order


class Form(NamedTuple):
    """A ticket before its first step, in one of the two forms, and its compiled steps."""

    state: TrainState  # of tables [M, F] and [N, F], or of vectors [S']
    where: Any  # masks; or of each table a `Bitmap` (MF) or `Places` (LightGCN)
    compiled: Callable[..., tuple[TrainState, LossMeter]]  # (state, meter, where, graph, key, number of steps)
    seconds: float  # that compiling took


class Memory(NamedTuple):
    """Bytes of one form of a ticket, on one device."""

    state: int  # values, moments and where they stand
    peak: int  # all that is there while a step runs, by the compiled program: state, graph, temporaries
    graph: int  # of the peak, the arguments that are no state


def ticket_of(problem: Problem, sparsity: float) -> tuple[TrainState, masking.Masks]:
    """First values without the smallest, by magnitude, and their masks.

    Args:
      problem: with the program and the seed.
      sparsity: share that is pruned of both tables together.
    """
    params = stepping.first_values(problem)
    masks = rules.prune(rules.magnitude(params), masking.all_kept(params), sparsity)
    return problem.program.start(params, masks), masks


def masked_dense(problem: Problem, state: TrainState, masks: masking.Masks) -> Form:
    """The ticket in the form that runs train it in.

    Args:
      problem: with the program.
      state: before the first step.
      masks: of the ticket.
    """
    return _compiled(problem, problem.program.run_steps, state, masks)


def compact(problem: Problem, state: TrainState, masks: masking.Masks) -> Form:
    """The same ticket in compact form.

    Args:
      problem: with the parts of the model; its optimizer treats every entry by itself.
      state: before the first step, of the masked dense form.
      masks: of the ticket.
    """
    find = compact_table.bitmap_of if problem.settings.model == "mf" else compact_table.places_of
    where = Embeddings(*map(find, masks))
    return _compiled(problem, compact_steps(problem), compress_state(problem, state, masks), where)


def _compiled(problem: Problem, run_steps: Callable[..., Any], state: TrainState, where: Any) -> Form:
    began = time.perf_counter()
    arguments = LossMeter.zero(), where, problem.graph, problem.key(Purpose.BATCHES), jnp.int32(0)
    compiled = run_steps.lower(state, *arguments).compile()
    return Form(state, where, compiled, time.perf_counter() - began)


def compress_state(problem: Problem, state: TrainState, masks: masking.Masks) -> TrainState:
    """The compact form of a masked dense state: vectors of values and moments.

    Args:
      problem: with the optimizer.
      state: with tables.
      masks: of the ticket.
    """
    optimizer = optim.masked(problem.parts.optimizer)
    opt_state = optax.tree.map_params(optimizer, compact_table.compress, state.opt_state, masks)
    return TrainState(jnp.copy(state.step), jax.tree.map(compact_table.compress, state.params, masks), opt_state)


def compact_steps(problem: Problem) -> Callable[..., tuple[TrainState, LossMeter]]:
    """Compiled steps of vectors, as `Program.run_steps` of tables; state and meter are given away.

    MF reads the rows of its batch alone. LightGCN makes the whole tables, as temporaries of a step. The optimizer is
    masked as that of tables is: padding stays 0, and sums are rounded alike.

    Args:
      problem: with the parts of the model.
    """
    _, backbone, loss, sampler, optimizer = problem.parts
    masked_optimizer = optim.masked(optimizer)

    def one_step(state, meter, where, graph, key):
        batch = sampler.sample(key, state.step, graph)

        def loss_of(params):
            layer0 = Embeddings(*map(compact_table.table_of, params, where))
            return loss(backbone(layer0, graph), layer0, batch)

        value, gradients = jax.value_and_grad(loss_of)(state.params)
        masks = Embeddings(*map(compact_table.is_value, state.params, where))
        updates, opt_state = masked_optimizer.update(gradients, state.opt_state, state.params, masks=masks)
        params = optax.apply_updates(state.params, updates)
        return TrainState(state.step + 1, params, opt_state), meter.add(value, state.step, gradients)

    @functools.partial(jax.jit, donate_argnames=("state", "meter"))
    def run_steps(state, meter, where, graph, key, num_steps):
        def step(_, carry):
            return one_step(*carry, where, graph, key)

        return jax.lax.fori_loop(0, num_steps, step, (state, meter))

    return run_steps


def steps_of(problem: Problem, form: Form) -> Callable[[int], TrainState]:
    """A copy of the ticket in training, that goes on by so many steps.

    Args:
      problem: with graph and seed.
      form: of the ticket.
    """
    state, key = jax.tree.map(jnp.copy, form.state), problem.key(Purpose.BATCHES)

    def run(num_steps: int) -> TrainState:
        nonlocal state
        state, _ = form.compiled(state, LossMeter.zero(), form.where, problem.graph, key, jnp.int32(num_steps))
        return jax.block_until_ready(state)

    return run


def check_equal(problem: Problem, dense: Form, compacted: Form, num_steps: int = 10) -> float:
    """Largest difference of a kept value or its moments between the two forms after some steps.

    It is 0 where gradients are added in one order. On a CPU that is where XLA makes one scatter of those onto a table,
    which it does not onto a vector with fewer entries than are added.

    Args:
      problem: that both train on.
      dense: masked dense.
      compacted: the same ticket.
      num_steps: how many.

    Raises:
      SettingsError: it is more than rounding.
    """
    wanted = compress_state(problem, steps_of(problem, dense)(num_steps), dense.where)
    got = steps_of(problem, compacted)(num_steps)
    pairs = zip(jax.tree.leaves(wanted), jax.tree.leaves(got), strict=True)
    difference = max(float(jnp.max(jnp.abs(a - b))) for a, b in pairs)
    if not difference <= _AGREE:
        raise SettingsError(
            f"wanted the values of masked dense within {_AGREE:.0e} after {num_steps} steps in compact form; "
            f"got {difference:.1e} between them ({problem.settings.model})."
        )
    return difference


def memory_of(form: Form) -> Memory:
    """What a form takes, its vectors' padding included.

    Args:
      form: compiled.
    """
    analysis = form.compiled.memory_analysis()
    state = sum(leaf.nbytes for leaf in jax.tree.leaves((form.state, form.where)))
    arguments = analysis.argument_size_in_bytes
    added = analysis.output_size_in_bytes - analysis.alias_size_in_bytes + analysis.temp_size_in_bytes
    return Memory(state, arguments + added, arguments - state)
