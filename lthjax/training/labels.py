"""What an optimizer given in code is called where people read: by its transformations and their numbers.

    chain(adam(1e-3), ...) -> "scale_by_adam + scale(step_size -0.001)"

A label is for the eye; whether a run goes on is decided by `fingerprint`. It is as good as what closures tell: Optax
keeps the name of each transformation, and the numbers that it was made with.
"""

import inspect
import numbers
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

_MOST = 160  # characters


def of_optimizer(optimizer: optax.GradientTransformation) -> str:
    """Its transformations, each with the numbers in which it differs from Optax's defaults; "" where nothing tells."""
    label = " + ".join(_transformations(optimizer.update, optimizer.init))
    return label if len(label) <= _MOST else label[: _MOST - 3] + "..."


def _transformations(update: Callable, init: Callable | None = None) -> Iterator[str]:
    """The words of each link of a chain, in order; some keep their numbers in `init`."""
    update = inspect.unwrap(update)
    name, closure = _name(update), _closure(update)
    if name == "chain" and "update_fns" in closure:
        for link in closure["update_fns"]:
            yield from _transformations(link)
    elif name == "with_extra_args_support" and "tx" in closure:
        yield from _transformations(closure["tx"].update, closure["tx"].init)
    elif name not in ("", "identity"):
        yield _words(name, _closure(init) | closure)


def _name(function: Any) -> str:
    """Of the function that made this one: `scale_by_adam.<locals>.update_fn` -> scale_by_adam."""
    return getattr(function, "__qualname__", "").split(".<locals>")[0].split(".")[-1].removeprefix("<lambda>")


def _closure(function: Any) -> dict[str, Any]:
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    told = {}
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        try:
            told[name] = cell.cell_contents
        except ValueError:  # nothing was put there yet
            continue
    return told


def _words(name: str, closure: dict[str, Any]) -> str:
    """A name, and what it was made with where that tells something: numbers, and functions such as schedules."""
    if name == "scale_by_learning_rate" and callable(inner := closure.get("learning_rate")):  # a schedule's sign
        return _words(_name(inner), _closure(inner))
    usual, parts = _defaults(name), []
    for key, value in closure.items():
        told = value if isinstance(value, dict) else {key: value}
        parts += [
            f"{key} {number:g}" for key, x in told.items() if (number := _number(x)) not in (None, usual.get(key))
        ]
        if inspect.isfunction(value) and _name(value) not in ("", name):
            parts.append(_words(_name(value), _closure(value)))
    return f"{name}({', '.join(parts)})" if parts else name


def _defaults(name: str) -> dict[str, Any]:
    maker = getattr(optax, name, None)
    if not inspect.isfunction(maker):
        return {}
    return {key: parameter.default for key, parameter in inspect.signature(maker).parameters.items()}


def _number(value: Any) -> float | None:
    """A number, and a scalar of NumPy or JAX, as a float; None of anything else."""
    is_scalar = isinstance(value, np.generic | np.ndarray | jax.Array) and np.shape(value) == ()
    is_number = isinstance(value, numbers.Real) or (is_scalar and jnp.issubdtype(value.dtype, jnp.number))
    return float(value) if is_number and not isinstance(value, bool) else None
