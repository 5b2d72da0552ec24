"""A name for what was given in code: what it does, since functions cannot be compared."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lthjax.embeddings import Embeddings


def fingerprint_of(optimizer: optax.GradientTransformation) -> str:
    """A name for an optimizer given in code: what it does to a small table, early and late, gradients small and large.

    Functions cannot be compared, but a run folder must not go on with another optimizer than it was begun with. The
    updates are rounded to five digits, so that another version or device gives the same optimizer the same name. Two
    optimizers that differ at none of these steps and sizes have one name.
    """
    params = Embeddings(jnp.linspace(-1, 1, 8).reshape(2, 4), jnp.linspace(-0.9, 1.1, 12).reshape(3, 4))
    optimizer = optax.with_extra_args_support(optimizer)
    update = jax.jit(optimizer.update)
    seen = []
    for step in (0, 10, 100, 1_000, 10_000, 100_000):
        state = jax.tree.map(lambda x, step=step: _at_step(x, step), optimizer.init(params))
        for scale in (1e-3, 1.0, 1e3):
            gradients = jax.tree.map(lambda p, scale=scale: scale * jnp.cos(3 * p + 1), params)
            updates, state = update(gradients, state, params)
            seen += [f"{x:.4e}" for leaf in jax.tree.leaves(updates) for x in np.ravel(leaf).tolist()]
    return "given, " + hashlib.sha256(" ".join(seen).encode()).hexdigest()[:12]


def _at_step(leaf: Any, step: int) -> Any:
    """Counters of an optimizer's state, set to a step; everything else as it is."""
    is_counter = jnp.shape(leaf) == () and jnp.issubdtype(leaf.dtype, jnp.integer)
    return jnp.full((), step, leaf.dtype) if is_counter else leaf
