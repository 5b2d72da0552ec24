"""LCM: layer-0 embeddings as two linear maps of a trained model's table, which stays as it is.

The linear compression model that the lottery ticket paper compares with (section 4.4) is `LightEmb` of
`gusye1234/KD_on_Ranking:code/model.py`: a teacher of width T is trained and frozen, and only the maps to width F, one
for users and one for items, each with a bias, are trained; no nonlinearity. Backbone, loss and L2 see rows of width F
like any others. To deploy it, (M + N) F numbers are stored: with F = T / 2 half of the teacher's, dense.

Letters: M users, N items, T dimensions of the teacher, F dimensions of the student.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lthjax.embeddings import Embeddings
from lthjax.model.tables import Table
from lthjax.pruning import schedule as counts


class LinearMap(NamedTuple):
    """x -> x weight + bias."""

    weight: jax.Array  # [T, F]
    bias: jax.Array  # [1, F]


class Mapped(NamedTuple):
    """The parameters; the teacher is one, so that it reaches the compiled step as an argument, but nothing moves it."""

    user: LinearMap
    item: LinearMap
    teacher: Embeddings  # [M, T] and [N, T]


class Sizes(NamedTuple):
    """What counts as a parameter depends on the question."""

    deployed: int  # (M + N) F, stored to recommend: what sparsities speak of
    trained: int  # 2 (T F + F), the two maps
    frozen: int  # (M + N) T, needed while it trains


def table(teacher: Embeddings) -> Table:
    """Two fresh maps of `teacher`'s layer-0 table; to be trained with `only_maps`."""
    return Table(init=lambda key, num_users, num_items, dim: first_values(key, teacher, dim), lookup=lookup)


def first_values(key: jax.Array, teacher: Embeddings, embedding_dim: int) -> Mapped:
    """Weights and biases uniform in +-1 / sqrt(T), as PyTorch's linear layers have it.

    A program that was made for one teacher serves every teacher of its shape, with parameters from here.
    """
    width = teacher.user.shape[1]

    def draw(key: jax.Array) -> LinearMap:
        numbers = jax.random.uniform(key, (width + 1, embedding_dim), jnp.float32, -(width**-0.5), width**-0.5)
        return LinearMap(numbers[:width], numbers[width:])

    user_key, item_key = jax.random.split(key)
    return Mapped(draw(user_key), draw(item_key), teacher)


def lookup(params: Mapped) -> Embeddings:
    """Both tables mapped; the teacher gets a gradient of exactly 0."""
    teacher = jax.lax.stop_gradient(params.teacher)

    def apply(linear: LinearMap, rows: jax.Array) -> jax.Array:
        return jnp.dot(rows, linear.weight, precision="highest") + linear.bias  # TF32 would reorder near ties

    return Embeddings(apply(params.user, teacher.user), apply(params.item, teacher.item))


def only_maps(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimizer` for the maps alone: it keeps no moments of the teacher, and weight decay or noise cannot reach it.

    Masks cannot say this: what they leave out is 0, and the teacher is not.
    """

    def label(params: Mapped) -> Mapped:
        return params._replace(user="trained", item="trained", teacher="frozen")

    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, label)


def student_dim(teacher_dim: int, sparsity: float) -> counts.Count:
    """F at a sparsity, `kept` of T dimensions: 50% of 64 leave 32, 75% leave 16 (paper, table 3).

    Where the share is no whole number of dimensions, `note` says what it is rounded to.
    """
    return counts.at_sparsity(sparsity, teacher_dim, "dimensions")


def sizes(params: Mapped) -> Sizes:
    """How many numbers are stored, trained and frozen."""
    (num_users, teacher_dim), num_items = params.teacher.user.shape, params.teacher.item.shape[0]
    dim = params.user.weight.shape[1]
    num_rows = num_users + num_items
    return Sizes(deployed=num_rows * dim, trained=2 * (teacher_dim * dim + dim), frozen=num_rows * teacher_dim)
