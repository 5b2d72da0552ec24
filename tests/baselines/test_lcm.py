"""LCM: the maps, the teacher that stays as it is, what is counted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.baselines import lcm
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.evaluation import ranking
from lthjax.model import backbones, losses, tables
from lthjax.pruning import masks
from lthjax.training import fit as fitting
from lthjax.training import sampling
from lthjax.training.fit import Hooks, Member, Plan, Trainer
from lthjax.training.step import LossMeter, make_program

TEACHER_DIM, DIM, L2, RATE, KEY = 5, 3, 0.1, 0.2, jax.random.key(5)
LIGHTGCN = functools.partial(backbones.lightgcn, num_layers=2)


@pytest.fixture(scope="module")
def teacher(tiny):
    return tables.normal(0.5)(jax.random.key(1), tiny.num_users, tiny.num_items, TEACHER_DIM)


@pytest.fixture(scope="module")
def make(tiny, teacher, make_parts):
    def program(optimizer, backbone=backbones.mf, teacher=teacher):
        parts = make_parts(lcm.only_maps(optimizer), backbone, L2)._replace(table=lcm.table(teacher))
        return make_program(parts, (tiny.num_users, tiny.num_items, DIM), len(tiny.train))

    return program


def begin(program):
    params = program.init(jax.random.key(3))
    return program.start(params, masks.all_kept(params))


def steps(program, state, graph, num_steps):
    state = jax.tree.map(jnp.copy, state)
    state, meter = program.run_steps(
        state, LossMeter.zero(), masks.all_kept(state.params), graph, KEY, jnp.int32(num_steps)
    )
    assert int(meter.first_bad_step) == -1
    return state


def test_first_values(teacher, assert_same):
    params = lcm.first_values(KEY, teacher, 40)
    assert_same(params.teacher, teacher)
    for linear in (params.user, params.item):
        assert linear.weight.shape == (TEACHER_DIM, 40)
        assert linear.bias.shape == (1, 40)
        for numbers in linear:
            assert 0.8 * TEACHER_DIM**-0.5 < np.abs(numbers).max() <= TEACHER_DIM**-0.5
    assert not np.array_equal(params.user.weight, params.item.weight)


def test_lookup_against_float64_numpy(teacher):
    params = lcm.first_values(KEY, teacher, DIM)
    for side, got in zip(Embeddings._fields, lcm.lookup(params), strict=True):
        weight, bias = (np.asarray(part, np.float64) for part in getattr(params, side))
        np.testing.assert_allclose(got, np.asarray(getattr(teacher, side), np.float64) @ weight + bias, atol=1e-6)


def test_the_identity_is_the_teacher(teacher):
    identity = lcm.LinearMap(jnp.eye(TEACHER_DIM), jnp.zeros((1, TEACHER_DIM)))
    got = lcm.lookup(lcm.Mapped(identity, identity, teacher))
    jax.tree.map(np.testing.assert_array_equal, got, teacher)


@pytest.mark.parametrize("backbone", [backbones.mf, LIGHTGCN], ids=["mf", "lightgcn"])
def test_both_maps_get_a_gradient_and_the_teacher_none(teacher, tiny_graph, backbone):
    batch = sampling.every_interaction(4).sample(KEY, jnp.int32(0), tiny_graph)

    def loss(params):
        layer0 = lcm.lookup(params)
        return losses.bpr(backbone(layer0, tiny_graph), layer0, batch, L2)

    gradient = jax.grad(loss)(lcm.first_values(KEY, teacher, DIM))
    for part in jax.tree.leaves((gradient.user, gradient.item)):
        assert (np.abs(part) > 1e-6).mean() > 0.9
    for part in gradient.teacher:
        assert not np.asarray(part).any()


def test_steps_against_float64_numpy(make, teacher, tiny, tiny_graph):
    program = make(optax.sgd(RATE))
    state = begin(program)
    table = np.concatenate([np.asarray(part, np.float64) for part in teacher])
    is_user = np.arange(len(table)) < tiny.num_users
    first = {side: [np.asarray(part, np.float64) for part in getattr(state.params, side)] for side in ("user", "item")}
    maps, sample = dict(first), jax.jit(sampling.every_interaction(tiny.batch_size).sample)
    for step in range(10):
        rows = {"user": is_user, "item": ~is_user}
        z = np.zeros((len(table), DIM))
        for side, (weight, bias) in maps.items():
            z[rows[side]] = table[rows[side]] @ weight + bias
        dz = np.zeros_like(z)
        batch = jax.tree.map(np.asarray, sample(KEY, jnp.int32(step), tiny_graph))
        for u, i, j, weight in zip(*batch[:4], strict=True):
            i, j = i + tiny.num_users, j + tiny.num_users
            share = weight / batch.weight.sum()
            dp = -share / (1 + np.exp(z[u] @ (z[i] - z[j])))
            dz[u] += dp * (z[i] - z[j])
            dz[i] += dp * z[u]
            dz[j] -= dp * z[u]
            for row in (u, i, j):
                dz[row] += share * L2 * z[row]
        maps = {
            side: [w - RATE * table[rows[side]].T @ dz[rows[side]], b - RATE * dz[rows[side]].sum(0)]
            for side, (w, b) in maps.items()
        }
    state = steps(program, state, tiny_graph, 10)
    for side, wanted in maps.items():
        for got, numbers, before in zip(getattr(state.params, side), wanted, first[side], strict=True):
            np.testing.assert_allclose(got, numbers, atol=1e-5)
            assert not np.allclose(numbers, before, atol=1e-3)


@pytest.mark.parametrize("backbone", [backbones.mf, LIGHTGCN], ids=["mf", "lightgcn"])
@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam(0.05),
        optax.adamw(0.05, weight_decay=0.5),
        optax.noisy_sgd(0.05, key=jax.random.key(0)),
        optax.sgd(0.1, momentum=0.9),
    ],
    ids=["adam", "adamw", "noisy_sgd", "momentum"],
)
def test_the_teacher_stays_bit_equal_and_has_no_moments(make, teacher, tiny_graph, assert_same, backbone, optimizer):
    program = make(optimizer, backbone)
    start = begin(program)
    state = steps(program, start, tiny_graph, 20)
    assert_same(state.params.teacher, teacher)
    for before, after in zip(jax.tree.leaves(start.params[:2]), jax.tree.leaves(state.params[:2]), strict=True):
        assert (before != after).mean() > 0.9
    shapes = {part.shape for part in teacher}
    assert not [leaf for leaf in jax.tree.leaves(state.opt_state) if jnp.shape(leaf) in shapes]


def test_one_program_serves_all_teachers(make, teacher, tiny_graph):
    """The teacher is an argument of the compiled step, not a constant in it."""
    program = make(optax.adam(0.05))
    other = jax.tree.map(lambda x: -2 * x, teacher)
    ends = []
    for given in (teacher, other):
        params = lcm.first_values(jax.random.key(3), given, DIM)
        state = steps(program, program.start(params, masks.all_kept(params)), tiny_graph, 5)
        ends.append((state.params.user.weight, program.embed(state.params, tiny_graph).user))
        fresh = steps(
            make(optax.adam(0.05), teacher=given), begin(make(optax.adam(0.05), teacher=given)), tiny_graph, 5
        )
        np.testing.assert_array_equal(state.params.user.weight, fresh.params.user.weight)
    assert program.run_steps._cache_size() == program.embed._cache_size() == 1
    assert all(not np.allclose(one, two) for one, two in zip(*ends, strict=True))


def test_fit_trains_it(make, teacher, tiny_graph, selection, assert_same):
    program = make(optax.adam(0.05))
    state, seen = begin(program), []
    trainer = Trainer(program, tiny_graph, selection, Plan(epochs=6, patience=0, eval_every=1, ks=(3,)))
    member = Member("LCM", masks.all_kept(state.params), KEY, fitting.begin(state, 0))
    hooks = Hooks(report=lambda member, epoch, loss, evaluation: seen.append(evaluation) if evaluation else None)
    (fitted,) = fitting.fit(trainer, [member], hooks)
    assert seen[-1].loss < seen[0].loss
    assert_same(fitted.best.params.teacher, teacher)
    measured = ranking.evaluate(program.embed(fitted.best.params, tiny_graph), selection, (3,))
    assert measured.means()["recall@3"] == float(fitted.best_value)


def test_the_paper_s_sizes():
    for teacher_dim, sparsity, dim in [(64, 0.5, 32), (64, 0.75, 16), (128, 0.5, 64), (128, 0.75, 32)]:
        assert lcm.student_dim(teacher_dim, sparsity) == (dim, sparsity, "")


def test_a_width_without_a_half_says_what_it_rounds_to():
    count = lcm.student_dim(33, 0.5)
    assert (count.kept, count.sparsity) == (17, pytest.approx(16 / 33))
    assert count.note == "50.0% of 33 dimensions is no whole number (16.5): 16 fall, 48.4848%"
    with pytest.raises(SettingsError, match="leaves some of 1 dimensions"):
        lcm.student_dim(1, 0.9)


def test_what_counts_as_a_parameter(teacher, tiny):
    params = lcm.first_values(KEY, teacher, DIM)
    num_rows = tiny.num_users + tiny.num_items
    wanted = (num_rows * DIM, 2 * (TEACHER_DIM * DIM + DIM), num_rows * TEACHER_DIM)
    assert lcm.sizes(params) == wanted
    assert lcm.sizes(params).trained == sum(part.size for part in jax.tree.leaves((params.user, params.item)))
