"""Names of functions that were given in code: the same function has one name, another function another."""

import functools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.graph.propagate import propagate
from lthjax.model import backbones, losses
from lthjax.pruning.rules import magnitude, uniform
from lthjax.training import fingerprint


def helper(x):
    return x + 1


def with_helper(x):
    return helper(x)


def with_numpy(x):
    return np.sum(x)


def with_an_index(x):
    return x[..., 0], x[1:]


def closing_over(value):
    return lambda x: (x, value)


def with_default(value):
    def function(x, y=value):
        return x, y

    return function


def with_keyword_default(value):
    def function(x, *, y=value):
        return x, y

    return function


def calling(constant):
    def inner(x):
        return x * constant

    def function(x):
        return inner(x) + 1

    return function


def nested(constant):
    """The constant stands in a function within the function."""
    return compiled(f"def function(x):\n    def inner(y):\n        return y + {constant}\n    return inner(x)\n")


def compiled(text, **names):
    """The function of a text, in a module of its own."""
    module = types.ModuleType("of_a_user")
    module.__dict__.update(names, __name__="of_a_user")
    exec(text, module.__dict__)
    return module.function


class Rule:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, x):
        return x * self.rate

    def method(self, x):
        return x - self.rate


def wrapping(constant):
    @functools.wraps(helper)
    def function(x):
        return x + constant

    return function


# makers of a function of one number: another number is another function
MAKERS = {
    "closure": closing_over,
    "closure of a tuple": lambda number: closing_over((1, (2, number))),
    "closure of a dict": lambda number: closing_over({"a": 1, "b": [number]}),
    "closure of a set": lambda number: closing_over(frozenset({"a", "b", number})),
    "closure of an array": lambda number: closing_over(np.arange(4) * number),
    "closure of a device's array": lambda number: closing_over(jnp.arange(4) * number),
    "closure of an array of a dtype": lambda number: closing_over(np.zeros(4, {2: "i4", 3: "f4"}[number])),
    "closure of an array of a shape": lambda number: closing_over(np.zeros((number, 6 // number))),
    "closure of a key": lambda number: closing_over(jax.random.key(number)),
    "default": with_default,
    "keyword default": with_keyword_default,
    "helper in a closure": calling,
    "function within": nested,
    "partial argument": lambda number: functools.partial(helper, number),
    "partial keyword": lambda number: functools.partial(with_default(1), y=number),
    "jitted": lambda number: jax.jit(calling(number)),
    "jitted with an array": lambda number: jax.jit(closing_over(jnp.full(3, number))),
    "cached": lambda number: functools.cache(calling(number)),
    "wrapping another": wrapping,
    "object": Rule,
    "method": lambda number: Rule(number).method,
    "generator": lambda number: compiled(f"def function(x):\n    y = yield {number}\n    yield x, y\n"),
    "constant of its module": lambda number: compiled("def function(x):\n    return x + RATE\n", RATE=number),
    "array of its module": lambda number: compiled("def function(x):\n    return x + a\n", a=np.full(3, number)),
    "device's array of its module": lambda number: compiled(
        "def function(x):\n    return x + a\n", a=jnp.full(3, number)
    ),
    "dict of its module": lambda number: compiled("def function(x):\n    return a[x]\n", a={"x": number}),
    "helper of its module": lambda number: compiled(
        f"def other(x):\n    return x - {number}\ndef function(x):\n    return other(x)\n"
    ),
    "helper of its module, called from within": lambda number: compiled(
        f"def other(x):\n    return x - {number}\ndef function(x):\n    return [other(y) for y in x]\n"
    ),
}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_the_same_code_has_one_name_and_another_number_another(maker):
    name = fingerprint.of_code(maker(2))
    assert name == fingerprint.of_code(maker(2))
    assert name.startswith(f"given, Python {sys.version_info.major}.{sys.version_info.minor}, ")
    assert name != fingerprint.of_code(maker(3))


def test_code_of_other_words_has_another_name():
    functions = [
        compiled(f"def function(x):\n    return {words}\n")
        for words in ("x", "-x", "x + x", "x.a", "x.b", "x(1)", "lambda: x", "lambda: -x", "[x for y in x]")
    ]
    assert len({fingerprint.of_code(function) for function in functions}) == len(functions)


def test_a_helper_of_the_module_is_part_of_a_function(monkeypatch):
    before = fingerprint.of_code(with_helper), fingerprint.of_code(with_numpy)
    monkeypatch.setitem(globals(), "helper", with_helper_of_other_code)
    assert fingerprint.of_code(with_helper) != before[0]
    assert fingerprint.of_code(with_numpy) == before[1]


def with_helper_of_other_code(x):
    return x - 1


def test_comments_lines_and_names_of_arguments_do_not_count():
    plain = compiled("def function(x):\n    return x + 1\n")
    spaced = compiled("\n\ndef function(y):  # the same\n\n    return y + 1\n")
    assert fingerprint.of_code(plain) == fingerprint.of_code(spaced)


def test_ellipses_and_slices_have_a_name():
    assert fingerprint.of_code(with_an_index) == fingerprint.of_code(with_an_index)


@pytest.mark.parametrize("value", [np.float32(2), np.int64(2), range(2), np.dtype("int32"), slice(1, 2)], ids=repr)
def test_plain_values_in_closures_have_a_name(value):
    assert fingerprint.of_code(closing_over(value)) == fingerprint.of_code(closing_over(value))
    assert fingerprint.of_code(closing_over(value)) != fingerprint.of_code(closing_over(3))


def test_functions_that_call_one_another_end():
    assert fingerprint.of_code(even) == fingerprint.of_code(even) != fingerprint.of_code(odd)


def even(x):
    return x == 0 or odd(x - 1)


def odd(x):
    return x != 0 and even(x - 1)


def test_a_variable_that_is_not_there_yet_has_a_name():
    def function(x):
        return later(x)

    before = fingerprint.of_code(function)

    def later(x):
        return x

    assert fingerprint.of_code(function) != before


def test_what_has_no_code_is_refused():
    with pytest.raises(SettingsError, match="wanted a function whose code can be read; got <") as caught:
        fingerprint.of_code(closing_over(iter([1])))
    assert "\n" not in str(caught.value)


# What a function does to a small table: however it is written.


def test_a_score_is_named_by_its_values():
    name = fingerprint.of_score(magnitude)
    same = [lambda params, key: jax.tree.map(abs, params), jax.jit(magnitude)]
    assert {fingerprint.of_score(score) for score in same} == {name}
    others = [uniform, lambda params, key: jax.tree.map(lambda w: w**2, params), lambda params, key: params]
    assert len({name, *map(fingerprint.of_score, others)}) == 4


def test_a_backbone_is_named_by_its_values():
    def own(layer0, graph):
        total = propagate(graph, layer0, 2)
        return Embeddings(total.user / 3, total.item / 3)

    named = functools.partial(backbones.lightgcn, num_layers=2)
    assert fingerprint.of_backbone(own) == fingerprint.of_backbone(named) == fingerprint.of_backbone(jax.jit(own))
    others = [functools.partial(named, combine="sum"), functools.partial(named, num_layers=3), backbones.mf]
    assert len({fingerprint.of_backbone(backbone) for backbone in (own, *others)}) == 4


def test_a_loss_is_named_by_its_values():
    def own(final, layer0, batch):
        user, item, other = final.user[batch.user], final.item[batch.positive], final.item[batch.negative]
        return jnp.mean(jax.nn.softplus(jnp.sum(user * (other - item), axis=1)))

    assert fingerprint.of_loss(own) == fingerprint.of_loss(functools.partial(losses.bpr, l2=0.0))
    others = [functools.partial(losses.bpr, l2=l2, l2_on=on) for l2 in (0.1, 0.2) for on in ("layer0", "propagated")]
    assert len({fingerprint.of_loss(loss) for loss in (own, *others)}) == 5


@pytest.mark.parametrize("kind", ["score", "backbone", "loss"])
def test_what_holds_arrays_of_its_own_data_is_named_by_its_code_and_they(kind):
    def make(number):
        weights = np.full((30, 1), number, np.float32)

        def scaled(table):
            return table._replace(user=table.user * weights)

        functions = {
            "score": lambda params, key: scaled(params),
            "backbone": lambda layer0, graph: scaled(layer0),
            "loss": lambda final, layer0, batch: scaled(final).user.sum(),
        }
        return functions[kind]

    name_of = getattr(fingerprint, f"of_{kind}")
    assert name_of(make(1)) == name_of(make(1)) != name_of(make(2))
    assert ", Python " in name_of(make(1))


def test_an_optimizer_is_named_by_its_updates():
    same = [optax.adam(0.1), optax.chain(optax.scale_by_adam(), optax.scale(-0.1))]
    assert len({fingerprint.of_optimizer(optimizer) for optimizer in same}) == 1
    late = optax.sgd(optax.piecewise_constant_schedule(0.1, {10_000: 0.5}))
    clipped = optax.chain(optax.clip_by_global_norm(10.0), optax.sgd(0.1))
    others = [optax.sgd(0.1), optax.sgd(0.1, momentum=0.9), late, clipped]
    assert len({fingerprint.of_optimizer(optimizer) for optimizer in (*same, *others)}) == 5


def test_an_optimizer_may_want_the_loss():
    """Line searches, and what watches the loss for a plateau."""
    optimizers = [optax.lbfgs(), optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau())]
    assert len({fingerprint.of_optimizer(optimizer) for optimizer in optimizers}) == 2


@pytest.mark.parametrize(
    "optimizer", ["adam", None, 0.1, optax.adam, optax.partition({"a": optax.sgd(0.1)}, {"x": "a"})]
)
def test_what_is_no_optimizer_is_refused(optimizer):
    with pytest.raises(SettingsError, match=r"^optimizer: wanted an Optax transformation for a plain table") as caught:
        fingerprint.of_optimizer(optimizer)
    assert "\n" not in str(caught.value)
