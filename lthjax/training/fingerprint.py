"""Names for what was given in code: a run folder must not go on with another function than it was begun with.

Functions cannot be compared. An optimizer, a score, a backbone and a loss are named by what they do to a small table,
rounded to five digits, so that another version or device gives the same function the same name; two that differ nowhere
there have one name. A search is a generator that does more than one can try, and is named by its code.
"""

import functools
import hashlib
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.graph import graph as graphs
from lthjax.model.backbones import Backbone
from lthjax.model.losses import Loss, Triples
from lthjax.pruning.rules import Score
from lthjax.runtime import checkpoint

_USERS, _ITEMS, _DIM = 5, 7, 4
_PLAIN = (str, bytes, int, float, complex, type(None), np.generic, np.dtype, range, slice)  # their repr tells them


def of_optimizer(optimizer: optax.GradientTransformation) -> str:
    """The name of an optimizer: its updates early and late, for small and large gradients.

    Raises:
      SettingsError: it is no Optax transformation, or cannot update a plain table.
    """
    try:
        return _name(_numbers(_updates_of(optimizer)))
    except (TypeError, AttributeError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise SettingsError(
            f"optimizer: wanted an Optax transformation for a plain table; got {optimizer!r:.60} ({reason:.200})."
        ) from error


def _updates_of(optimizer: optax.GradientTransformation) -> list[Embeddings]:
    params = Embeddings(jnp.linspace(-1, 1, 8).reshape(2, 4), jnp.linspace(-0.9, 1.1, 12).reshape(3, 4))
    optimizer = optax.with_extra_args_support(optimizer)
    seen = []

    @jax.jit
    def update(gradients, state, params):
        def value_fn(params):
            return sum(jnp.sum(p * p) for p in params)

        extra = {"value": value_fn(params), "grad": gradients, "value_fn": value_fn}
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(gradients, state, params, **extra)

    for step in (0, 10, 100, 1_000, 10_000, 100_000):
        state = jax.tree.map(lambda x, step=step: _at_step(x, step), optimizer.init(params))
        for scale in (1e-3, 1.0, 1e3):
            gradients = jax.tree.map(lambda p, scale=scale: scale * jnp.cos(3 * p + 1), params)
            updates, state = update(gradients, state, params)
            seen.append(updates)
    return seen


def of_score(score: Score) -> str:
    """The name of a pruning score: its values for small, middling and large weights."""
    return _by_values(score, [(_table(scale), jax.random.key(0)) for scale in (1e-2, 1.0, 1e2)])


def of_backbone(backbone: Backbone) -> str:
    """The name of a backbone: its final embeddings on a small graph."""
    pairs = np.argwhere((np.arange(_USERS)[:, None] * 3 + np.arange(_ITEMS) * 2) % 5 < 2)
    graph = graphs.from_pairs(pairs, _USERS, _ITEMS)
    return _by_values(backbone, [(_table(scale), graph) for scale in (0.1, 1.0)])


def of_loss(loss: Loss, num_negatives: int = 1) -> str:
    """The name of a loss: its values on small batches, with as many negatives as it will get."""
    final, layer0, users = _table(1.0), _table(0.3), jnp.arange(_USERS)
    negative = (users + 3) % _ITEMS
    if num_negatives > 1:
        negative = (negative[:, None] + jnp.arange(num_negatives)[None]) % _ITEMS
    batch = Triples(users, users, negative, jnp.ones(_USERS))
    return _by_values(loss, [(final, layer0, batch), (layer0, final, batch)])


def of_table(table: Embeddings) -> str:
    """The name of a table that was trained elsewhere: it changes with any value."""
    digest = hashlib.sha256()
    for side in table:
        digest.update(f"{side.shape}".encode())
        digest.update(np.ascontiguousarray(side, "<f4").tobytes())
    return f"given, {digest.hexdigest()[:12]}"


def of_code(function: Callable) -> str:
    """The name of a function by its code: that of helpers in its module and values that it holds too.

    Code differs between versions of Python, which therefore stands in the name.

    Raises:
      SettingsError: it has no code that can be read.
    """
    digest = hashlib.sha256()
    for part in _code(function, set()):
        digest.update(part)
    return f"given, Python {sys.version_info.major}.{sys.version_info.minor}, {digest.hexdigest()[:12]}"


of_search = of_code


def _by_values(function: Callable, calls: list[tuple]) -> str:
    """A name by what a function gives; by its code where it holds arrays of other shapes than those of these calls."""
    try:
        return _name(_numbers([function(*arguments) for arguments in calls]))
    except (TypeError, ValueError, IndexError):
        return of_code(function)


def _table(scale: float) -> Embeddings:
    def values(num_rows: int, shift: float) -> jax.Array:
        return scale * jnp.cos(jnp.arange(num_rows * _DIM, dtype=jnp.float32).reshape(num_rows, _DIM) + shift)

    return Embeddings(values(_USERS, 0.5), values(_ITEMS, 2.0))


def _numbers(tree: Any) -> Iterator[str]:
    for leaf in jax.tree.leaves(tree):
        yield from (f"{x:.4e}" for x in np.ravel(leaf).tolist())


def _name(words: Iterator[str]) -> str:
    return "given, " + hashlib.sha256(" ".join(words).encode()).hexdigest()[:12]


def _at_step(leaf: Any, step: int) -> Any:
    """Counters of an optimizer's state, set to a step; everything else as it is."""
    is_counter = jnp.shape(leaf) == () and jnp.issubdtype(leaf.dtype, jnp.integer)
    return jnp.full((), step, leaf.dtype) if is_counter else leaf


def _code(value: Any, seen: set[int]) -> Iterator[bytes]:
    """Whatever makes a function what it is, in one order."""
    yield type(value).__qualname__.encode()
    if value is ... or isinstance(value, _PLAIN):
        yield repr(value).encode()
    elif isinstance(value, np.ndarray | jax.Array):
        (array,) = checkpoint.named_leaves(value).values()  # of a random key, the numbers
        yield f"{array.dtype.str} {array.shape}".encode()
        yield array.tobytes()
    elif isinstance(value, types.ModuleType | types.BuiltinFunctionType | type):
        yield value.__name__.encode()
    elif id(value) not in seen:
        seen.add(id(value))
        for part in _parts(value):
            yield from _code(part, seen)


def _parts(value: Any) -> list[Any]:
    """What a value is made of."""
    if isinstance(value, functools.partial):
        return [value.func, value.args, value.keywords]
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.FunctionType):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        read = {name: value.__globals__[name] for name in sorted(_names(value.__code__) & value.__globals__.keys())}
        own = [
            part for part in read.values() if not callable(part) or getattr(part, "__module__", "") == value.__module__
        ]
        return [value.__code__, value.__defaults__, value.__kwdefaults__, *cells, *own]
    if isinstance(value, types.CodeType):
        return [value.co_code, value.co_names, value.co_consts]
    if isinstance(value, dict):
        return [part for item in sorted(value.items(), key=lambda item: repr(item[0])) for part in item]
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if isinstance(value, tuple | list):
        return list(value)
    if hasattr(value, "__wrapped__"):  # jax.jit, functools.cache
        return [value.__wrapped__]
    if hasattr(value, "__dict__"):
        return [vars(value)]
    raise SettingsError(f"wanted a function whose code can be read; got {value!r:.60}.")


def _content(cell: types.CellType) -> Any:
    """What a variable around a function holds; Ellipsis where nothing was put there yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return ...


def _names(code: types.CodeType) -> set[str]:
    """Global names that a function may read, those of functions within it too."""
    return set(code.co_names).union(*(_names(part) for part in code.co_consts if isinstance(part, types.CodeType)))
