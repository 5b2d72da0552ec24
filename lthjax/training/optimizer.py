"""Optimizers by name; any Optax transformation, made to leave pruned entries alone."""

from typing import Any

import jax
import optax

from lthjax.pruning import masks as masking

OPTIMIZERS = {  # by the names of --optimizer; learning rate -> optimizer
    "adam": optax.adam,
    "adamw": optax.adamw,
    "sgd": optax.sgd,
    "lion": optax.lion,
    "adagrad": optax.adagrad,
}


def masked(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`optimizer` with masks before and after it; `update` takes `masks=`.

    Before: the moments of pruned entries stay 0. After: so do weight decay, noise and sign updates. The masks are data,
    so one compiled step serves every ticket (`optax.masked` takes one static bool per leaf and cannot). Other extra
    arguments go to the optimizer; the masks do not: a line search would hand them to its function.
    """
    optimizer = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> optax.OptState:
        return optax.EmptyState(), optimizer.init(params), optax.EmptyState()  # as saved states have it

    def update(updates, state, params=None, *, masks, **extra_args):
        with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes dtypes, which a user's "strict" would refuse
            updates, inner = optimizer.update(masking.apply(masks, updates), state[1], params, **extra_args)
        return masking.apply(masks, updates), (state[0], inner, state[2])

    return optax.GradientTransformationExtraArgs(init, update)


def mask_state(
    optimizer: optax.GradientTransformation, opt_state: optax.OptState, masks: masking.Masks
) -> optax.OptState:
    """`opt_state` with 0 for the pruned entries wherever it holds a copy of the parameters' shape.

    Args:
      optimizer: of the state.
      opt_state: with moments and traces.
      masks: True where an entry is kept.
    """

    def mask(leaf, m):
        # Muon and optax.partition leave MaskedNode where another of their optimizers holds the state.
        return leaf if isinstance(leaf, optax.MaskedNode) else masking.apply(m, leaf)

    return optax.tree.map_params(
        optimizer, mask, opt_state, masks, is_leaf=lambda leaf: isinstance(leaf, optax.MaskedNode)
    )
