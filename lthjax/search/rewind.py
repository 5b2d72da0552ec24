"""Rewinding: where the next ticket starts, once it is known which entries it keeps.

| mode | weights | optimizer | asks |
|---|---|---|---|
| init | the dense model's first values | afresh | the lottery ticket hypothesis (Frankle and Carbin 2019) |
| epoch:K | the dense model's after K epochs | as it was then | the stabilized hypothesis (Frankle et al. 2019) |
| reinit | freshly drawn | afresh | is it the structure alone? |
| none | as trained | as it was | fine-tuning (the paper's "w/o rewinding") |
| lr | as trained | afresh | learning-rate rewinding (Renda et al. 2020) |
"""

from typing import Any

import jax
import jax.numpy as jnp

from lthjax.pruning.masks import Masks
from lthjax.training.step import Program, TrainState


def next_state(
    mode: str,
    program: Program,
    masks: Masks,
    *,
    origin: TrainState,
    final: TrainState,
    reinit_key: jax.Array,
) -> TrainState:
    """State that a ticket starts from: pruned weights and moments are 0, survivors are bit-equal to their source.

    Args:
      mode: "init", "epoch:K", "reinit", "none" or "lr".
      program: of the model.
      masks: the entries that the ticket keeps.
      origin: state of the dense model before its first step (init) or after epoch K (epoch:K).
      final: state that was pruned.
      reinit_key: of this level's fresh values.
    """
    if mode == "init":
        return program.start(origin.params, masks)
    if mode.startswith("epoch:"):
        return program.mask_state(origin, masks)  # its step stands at epoch K: epochs are counted from there
    if mode == "reinit":
        return program.start(program.init(reinit_key), masks)
    if mode == "lr":
        return program.start(final.params, masks)
    if mode == "none":
        return _at_step_zero(program.mask_state(final, masks))
    raise ValueError(f"wanted init, epoch:K, reinit, none or lr; got {mode!r}.")


def _at_step_zero(state: TrainState) -> Any:
    return state.replace(step=jnp.zeros_like(state.step))
