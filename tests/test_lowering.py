"""Every compiled program can be built for GPUs and TPUs: no kernel that only a CPU has is left in what they are given.

Lowering for a platform needs no such device.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.evaluation import ranking
from lthjax.graph.propagate import propagate
from lthjax.model import backbones
from lthjax.pruning import masks as masking
from lthjax.training.step import LossMeter

NUM_TICKETS = 3
BACKBONES = {"mf": backbones.mf, "lightgcn": functools.partial(backbones.lightgcn, num_layers=2)}
ELSEWHERE = pytest.mark.parametrize("platform", ["cuda", "tpu"])


def kernels(function, arguments, platform):
    """Names of the calls that a function makes out of XLA, lowered for a platform."""
    text = function.trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    assert "func.func public @main" in text
    return set(re.findall(r"custom_call\s+@(\w+)", text))


def of_a_cpu(names):
    return {name for name in names if name.startswith(("cpu_", "lapack_", "__onednn"))}


@pytest.fixture(scope="module")
def calls(make_program, tiny_graph, selection):
    """(model, what) -> a compiled function and arguments for it."""

    def stacked(tree):
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * NUM_TICKETS), tree)

    made = {}
    for model, backbone in BACKBONES.items():
        program = make_program(optax.adam(0.05), backbone)
        params = program.init(jax.random.key(0))
        masks = masking.all_kept(params)
        one = program.start(params, masks), LossMeter.zero(), masks
        key, num_steps = jax.random.key(1), jnp.int32(2)
        final = jax.eval_shape(program.embed, params, tiny_graph)
        blocks = np.resize(selection.users, (2, 3)), final, selection, np.ones(2, np.int32)
        made |= {
            (model, "step"): (program.run_steps, (*one, tiny_graph, key, num_steps)),
            (model, "population"): (
                program.run_together,
                (*stacked(one), tiny_graph, jax.random.split(key, NUM_TICKETS), num_steps),
            ),
            (model, "embed"): (program.embed, (params, tiny_graph)),
            (model, "evaluate"): (jax.jit(functools.partial(ranking._rank_blocks, asked=ranking.Asked((3,)))), blocks),
            (model, "recommend"): (jax.jit(functools.partial(ranking._top_blocks, k=3)), blocks),
        }
    many = jax.vmap(functools.partial(propagate, num_layers=2), in_axes=(None, 0))
    made["lightgcn", "propagate"] = jax.jit(propagate, static_argnums=2), (tiny_graph, params, 2)
    made["lightgcn", "propagate many"] = jax.jit(many), (tiny_graph, stacked(params))
    return made


PROGRAMS = [(model, what) for model in BACKBONES for what in ("step", "population", "embed", "evaluate", "recommend")]
PROGRAMS += [("lightgcn", "propagate"), ("lightgcn", "propagate many")]
PROPAGATING = [("lightgcn", what) for what in ("step", "population", "embed", "propagate", "propagate many")]


@ELSEWHERE
@pytest.mark.parametrize(("model", "what"), PROGRAMS)
def test_nothing_of_a_cpu_is_left(calls, model, what, platform):
    assert of_a_cpu(kernels(*calls[model, what], platform)) == set()


@pytest.mark.parametrize(("model", "what"), PROPAGATING)
def test_on_a_cpu_it_would_be_seen(calls, model, what):
    """The check of the check: LightGCN's product is a kernel of jaxlib there."""
    assert "cpu_csr_sparse_dense_ffi" in of_a_cpu(kernels(*calls[model, what], "cpu"))
