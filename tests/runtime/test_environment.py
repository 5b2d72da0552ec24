"""What JAX owes to the machine is told apart from faults in a program."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from lthjax.runtime import environment


def error_of(action):
    """What an action raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        action()
    return caught.value


def test_types_that_may_not_mix_and_memory_that_is_not_there_are_failures_of_jax():
    with jax.numpy_dtype_promotion("strict"):
        error = error_of(lambda: jnp.ones(3, jnp.int32) + jnp.ones(3, jnp.float32))
    assert environment.failure_of_jax(error).startswith("JAX: Input dtypes")

    def ask_too_much():
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    assert environment.failure_of_jax(error_of(ask_too_much)) == "JAX: RESOURCE_EXHAUSTED: Out of memory"


def test_faults_in_a_program_are_not():
    for fault in (lambda: jnp.ones(3) + jnp.ones(4), lambda: [][0], lambda: jax.jit(bool)(1.0)):
        assert environment.failure_of_jax(error_of(fault)) is None
    assert environment.failure_of_jax(ValueError("never raised")) is None


def test_a_device_that_is_not_there_is(monkeypatch):
    code = (
        "import sys; from lthjax.runtime import environment\n"
        "try: import jax; jax.devices()\n"
        "except Exception as error: print(environment.failure_of_jax(error))"
    )
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    for name, value in (("JAX_PLATFORMS", "abacus"), ("JAX_ENABLE_X64", "maybe")):
        process = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | path | {name: value}, capture_output=True, text=True
        )
        assert process.stdout.startswith("JAX cannot start: ")
        assert f"{name}={value}" in process.stdout
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    without_a_word = error_of(lambda: exec("assert False", {"__name__": "jax._src.xla_bridge"}))
    assert "no such device" in environment.failure_of_jax(without_a_word)
    assert "JAX_PLATFORMS=cuda" in environment.failure_of_jax(without_a_word)
