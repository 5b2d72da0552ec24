"""Any Optax transformation, made to leave pruned entries alone."""

import optax

from lthjax.pruning import masks as masking


def mask_updates() -> optax.GradientTransformationExtraArgs:
    """Updates with exactly 0 where the extra argument `masks` is False."""

    def update(updates, state, params=None, *, masks, **extra_args):
        del params, extra_args
        return masking.apply(masks, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def masked(optimizer: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """`optimizer` with masks before and after it; `update` takes `masks=`.

    Before: the moments of pruned entries stay 0. After: so do weight decay, noise and sign updates. The masks are data,
    so one compiled step serves every ticket (`optax.masked` takes one static bool a leaf and cannot).
    """
    return optax.chain(mask_updates(), optax.with_extra_args_support(optimizer), mask_updates())


def mask_state(
    optimizer: optax.GradientTransformation, opt_state: optax.OptState, masks: masking.Masks
) -> optax.OptState:
    """`opt_state` with 0 for the pruned entries wherever it holds a copy of the parameters' shape (moments, traces)."""

    def mask(leaf, m):
        # Muon and optax.partition leave MaskedNode where another of their optimizers holds the state.
        return leaf if isinstance(leaf, optax.MaskedNode) else masking.apply(m, leaf)

    return optax.tree.map_params(
        optimizer, mask, opt_state, masks, is_leaf=lambda leaf: isinstance(leaf, optax.MaskedNode)
    )
