"""PEP: a table whose small entries are cut off by thresholds that are trained with it (Liu et al. 2021).

An entry v with threshold s is read as sign(v) relu(|v| - sigmoid(s)). The thresholds begin so low that hardly anything
is cut, and a weak pull raises them step by step. When as many entries are 0 as was asked for, their places are kept as
masks, and the survivors are trained once more from their first values with the plain table: from there on a PEP model
is a ticket.

As the lottery ticket paper ran it (`wangyf6891/LTH-MRS:train_pep.py, model/lightgcn_pep.py, model/mf_pep.py`): one s
for the whole table, from -10, pulled by 0.1 / 2 s^2 / B in the loss; gradients clipped to a norm of 100; L2 on the
values v, not on what is left of them. PEP's own code (`ssui-liu/learnable-embed-sizes-for-RecSys`, there
`models/pep_embedding.py` and `engine.py`) has one s an entry by default, from -15, and Adam's weight decay of 1e-5 on
every parameter, which for the thresholds is a pull of 1e-5.

Letters: M users, N items, F dimensions, B batch.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError, TrainingError
from lthjax.graph.graph import Graph
from lthjax.model.tables import Draw, Table
from lthjax.pruning import masks
from lthjax.pruning import schedule as counts
from lthjax.training.fit import check_finite
from lthjax.training.step import LossMeter, Parts, Program, TrainState

Granularity = Literal["global", "dimension", "row", "entry"]


class Thresholded(NamedTuple):
    """The parameters: values, and thresholds whose shape broadcasts to theirs."""

    values: Embeddings  # v: [M, F] and [N, F]
    thresholds: Embeddings | jax.Array  # s: [1, 1] global, [1, F] dimension; [M, 1] and [N, 1] row, [M, F] and [N, F]


class Layer0(NamedTuple):
    """What the backbone reads, and what L2 is on."""

    embeddings: Embeddings  # after the cut
    values: Embeddings  # before


class Found(NamedTuple):
    """The search at the moment when it reached a target."""

    target: float  # sparsity asked for
    masks: Embeddings  # True where the entry is not cut to 0
    sparsity: float  # of these masks: the target or a little beyond
    epochs: float  # trained until then; steps over steps per epoch
    state: TrainState  # to go on from to higher targets


def table(draw: Draw, granularity: Granularity = "global", start: float = -10.0) -> Table:
    """Values drawn like a plain table's, from the same key the same, and thresholds of one granularity at `start`.

    Users and items share the global threshold, and those of the dimensions.
    """
    if granularity not in ("global", "dimension", "row", "entry"):
        raise SettingsError(f"PEP: wanted thresholds global, dimension, row or entry; got {granularity!r}.")

    def init(key: jax.Array, num_users: int, num_items: int, embedding_dim: int) -> Thresholded:
        dim = embedding_dim if granularity in ("dimension", "entry") else 1
        if granularity in ("global", "dimension"):
            thresholds = jnp.full((1, dim), start)
        else:
            thresholds = Embeddings(jnp.full((num_users, dim), start), jnp.full((num_items, dim), start))
        return Thresholded(draw(key, num_users, num_items, embedding_dim), thresholds)

    return Table(init=init, lookup=cut)


def cut(params: Thresholded) -> Embeddings:
    """Every entry drawn towards 0 by its threshold, and 0 if it does not reach so far.

    The gradient of a surviving entry is 1 to its value and -sign(v) sigmoid'(s) to its threshold; that of a cut one is
    0 to both, so that it comes back only when the threshold falls.
    """
    shared = params.thresholds
    thresholds = shared if isinstance(shared, Embeddings) else Embeddings(shared, shared)
    return jax.tree.map(
        lambda v, s: jnp.sign(v) * jax.nn.relu(jnp.abs(v) - jax.nn.sigmoid(s)), params.values, thresholds
    )


def with_pull(
    optimizer: optax.GradientTransformation, pull: float, max_norm: float = 100.0
) -> optax.GradientTransformation:
    """`optimizer`, with `pull` * s added to the gradient of each threshold, as L2 of weight `pull` would.

    Thresholds begin below 0, so the pull raises them, to 0 at most. While sigmoid(s) is tiny they feel little else, and
    Adam makes of the smallest pull a step of its learning rate: from -10 about 5 / learning rate steps pass before
    sigmoid(s) comes near first values of 0.01.

    Args:
      optimizer: any Optax transformation.
      pull: 0.1 / B in `wangyf6891/LTH-MRS`, whose loss has 0.1 / 2 s^2 / B. Its last batch of an epoch is short and
        pulls more; ours all pull alike.
      max_norm: gradients longer than this, all together, are shortened to it.
    """
    pulled = Thresholded(values=False, thresholds=True)
    return optax.chain(optax.add_decayed_weights(pull, mask=pulled), optax.clip_by_global_norm(max_norm), optimizer)


def search_parts(parts: Parts, thresholds: Table, pull: float) -> Parts:
    """The parts of a program that searches masks: with thresholds, the pull, and L2 on the values v.

    With the plain loss, L2 would be on what the cut leaves of the rows: it would reach the thresholds, and not the
    entries that are cut.

    Args:
      parts: of the model whose masks are searched; its table is not used.
      thresholds: from `table`.
      pull: as `with_pull` has it.
    """
    return parts._replace(
        table=thresholds._replace(lookup=lambda params: Layer0(cut(params), params.values)),
        backbone=lambda layer0, graph: parts.backbone(layer0.embeddings, graph),
        loss=lambda final, layer0, batch: parts.loss(final, layer0.values, batch),
        optimizer=with_pull(parts.optimizer, pull),
    )


@jax.jit
def kept(params: Thresholded) -> Embeddings:
    """[M, F] and [N, F] bool, True where an entry is not cut to 0."""
    return jax.tree.map(lambda x: x != 0, cut(params))


def num_kept(params: Thresholded) -> int:
    """Entries that are not cut to 0, exact beyond 2^31."""
    return sum(int(np.asarray(of_rows).sum(dtype=np.int64)) for of_rows in _kept_of_rows(params))


@jax.jit
def _kept_of_rows(params: Thresholded) -> Embeddings:
    return jax.tree.map(lambda x: jnp.count_nonzero(x, axis=1), cut(params))


@dataclasses.dataclass(frozen=True)
class Looks:
    """How long a search goes on, and how often it looks at the sparsity."""

    epochs: int  # at most, counted from step 0
    check_every: int = 1  # steps between two looks
    # Called at each look with epochs, mean loss so far, sparsity.
    report: Callable[[float, float, float], None] = lambda epochs, loss, sparsity: None


def search(
    program: Program, state: TrainState, targets: Sequence[float], graph: Graph, key: jax.Array, looks: Looks
) -> Iterator[Found]:
    """Train values and thresholds, and stop at each target: yields the masks there.

    The state of a target is the first one that has at least its share of entries at 0, round(target * entries) of them,
    among the states after every `check_every` steps; a state beyond two targets serves both. Steps are 1 in PEP's own
    code and 600 in `wangyf6891/LTH-MRS`, where the sparsity can be well beyond the target by then.

    A batch depends on the key and the step alone, so a search goes on from `Found.state` as if it had not stopped.

    Args:
      program: made of `search_parts`.
      state: from `program.start` with all entries kept, or `Found.state`.
      targets: sparsities.
      graph: training interactions.
      key: of the batches.
      looks: how long, and how often it looks at the sparsity.

    Raises:
      TrainingError: a target is not reached within the epochs (says what was), or the loss is no longer finite.
      SettingsError: the start of the thresholds cuts that many entries before the first step.
    """
    all_kept = masks.all_kept(state.params)
    size = masks.num_entries(all_kept.values)
    most = {target: counts.at_sparsity(target, size).kept for target in sorted(targets)}  # refuses before it trains
    last, highest = looks.epochs * program.steps_per_epoch, 0.0
    state, meter = jax.tree.map(jnp.copy, state), LossMeter.zero()  # the caller's state is not given away
    num_left = num_kept(state.params)
    for target, num_most in most.items():
        while num_left > num_most:
            step = int(state.step)
            if step >= last:
                raise TrainingError(
                    f"PEP: wanted {target:.1%} of the entries at 0 within {looks.epochs} epochs; got "
                    f"{1 - num_left / size:.1%}, at most {highest:.1%} on the way. "
                    "More epochs, a higher start or a stronger pull usually help."
                )
            num_steps = jnp.int32(min(looks.check_every, last - step))
            state, meter = program.run_steps(state, meter, all_kept, graph, key, num_steps)
            check_finite(meter, program.steps_per_epoch, "PEP")
            num_left = num_kept(state.params)
            highest = max(highest, 1 - num_left / size)
            looks.report(int(state.step) / program.steps_per_epoch, meter.mean(), 1 - num_left / size)
        if int(state.step) == 0:
            raise SettingsError(
                f"PEP: wanted thresholds so low that they cut fewer than {target:.1%} of the first values; "
                f"got {1 - num_left / size:.1%}. Lower their start."
            )
        yield Found(
            target=target,
            masks=kept(state.params),
            sparsity=1 - num_left / size,
            epochs=int(state.step) / program.steps_per_epoch,
            state=jax.tree.map(jnp.copy, state),
        )
