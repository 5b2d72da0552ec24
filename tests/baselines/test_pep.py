"""PEP: the cut and its gradients, the pull, the search for masks."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lthjax.baselines import pep
from lthjax.baselines.pep import Looks, Thresholded
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError, TrainingError
from lthjax.model import backbones, tables
from lthjax.model.tables import xavier_uniform
from lthjax.pruning import masks
from lthjax.training import sampling
from lthjax.training.step import LossMeter, make_program

L2, PULL, RATE, KEY = 0.1, 0.3, 0.2, jax.random.key(5)
GRANULARITIES = ("global", "dimension", "row", "entry")
LIGHTGCN = functools.partial(backbones.lightgcn, num_layers=2)


def logit(t):
    return float(np.log(t / (1 - t)))


def with_thresholds(user, item, t):
    return Thresholded(Embeddings(jnp.asarray(user), jnp.asarray(item)), jnp.full((1, 1), logit(t)))


@pytest.fixture(scope="module")
def make(tiny, make_parts):
    def program(optimizer=None, granularity="global", start=-4.0, backbone=backbones.mf, pull=PULL):
        parts = make_parts(optimizer or optax.adam(0.05), backbone, L2)
        thresholds = pep.table(tables.normal(0.5), granularity, start)
        return make_program(pep.search_parts(parts, thresholds, pull), tiny.shape, len(tiny.train))

    return program


def begin(program):
    params = program.init(jax.random.key(3))
    return program.start(params, masks.all_kept(params))


@pytest.fixture(scope="module")
def program(make):
    return make()


@pytest.fixture(scope="module")
def trace(program, tiny_graph):
    """The states after steps 0, 1, ..., 200."""
    state = begin(program)
    states = [jax.tree.map(np.asarray, state)]
    for _ in range(200):
        kept = masks.all_kept(state.params)
        state, _ = program.run_steps(state, LossMeter.zero(), kept, tiny_graph, KEY, jnp.int32(1))
        states.append(jax.tree.map(np.array, state))
    return states


def sparsity_of(params):
    """Independent of the module's: float64 NumPy."""
    t = 1 / (1 + np.exp(-np.asarray(params.thresholds, np.float64)))
    values = np.concatenate([np.asarray(part, np.float64) for part in params.values])
    return np.mean(np.abs(values) <= t)


def test_cut_by_hand():
    params = with_thresholds([[0.5, -0.5], [0.1, -0.1]], [[0.0, 3.0]], 0.2)
    got = pep.cut(params)
    np.testing.assert_allclose(got.user, [[0.3, -0.3], [0.0, 0.0]], atol=1e-7)
    np.testing.assert_allclose(got.item, [[0.0, 2.8]], atol=1e-6)
    np.testing.assert_array_equal(pep.kept(params).user, [[True, True], [False, False]])
    np.testing.assert_array_equal(pep.kept(params).item, [[False, True]])
    assert pep.num_kept(params) == 3


def test_gradients_by_hand():
    """1 to surviving values, 0 to cut ones and to 0; the threshold gets -sign(v) sigmoid'(s) of each survivor."""
    params = with_thresholds([[0.5, -0.5, 0.1]], [[0.0, 3.0, -3.0]], 0.2)
    weight = Embeddings(jnp.asarray([[1.0, 2.0, 4.0]]), jnp.asarray([[8.0, 16.0, 32.0]]))

    def total(params):
        return sum(jnp.sum(w * x) for w, x in zip(weight, pep.cut(params), strict=True))

    got = jax.grad(total)(params)
    np.testing.assert_array_equal(got.values.user, [[1, 2, 0]])
    np.testing.assert_array_equal(got.values.item, [[0, 16, 32]])
    np.testing.assert_allclose(got.thresholds, [[-(1 - 2 + 16 - 32) * 0.2 * 0.8]], rtol=1e-6)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_thresholds_of_every_granularity(granularity):
    table = pep.table(tables.normal(0.5), granularity, start=-1.5)
    params = table.init(KEY, 4, 6, 3)
    shapes = {
        "global": [(1, 1)],
        "dimension": [(1, 3)],
        "row": [(4, 1), (6, 1)],
        "entry": [(4, 3), (6, 3)],
    }
    assert [s.shape for s in jax.tree.leaves(params.thresholds)] == shapes[granularity]
    assert all((s == -1.5).all() for s in jax.tree.leaves(params.thresholds))
    rng = np.random.default_rng(0)
    params = params._replace(
        thresholds=jax.tree.map(lambda s: jnp.asarray(rng.normal(-1, 1, s.shape), jnp.float32), params.thresholds)
    )
    for side, values, got in zip(Embeddings._fields, params.values, table.lookup(params), strict=True):
        s = params.thresholds
        t = 1 / (1 + np.exp(-np.asarray(getattr(s, side) if isinstance(s, Embeddings) else s, np.float64)))
        v = np.asarray(values, np.float64)
        np.testing.assert_allclose(got, np.where(np.abs(v) > t, v - np.sign(v) * t, 0), atol=1e-6)


def test_first_values_are_the_plain_table_s(assert_same):
    draw = xavier_uniform
    assert_same(pep.table(draw, "row").init(KEY, 4, 6, 3).values, draw(KEY, 4, 6, 3))


def test_unknown_granularity():
    with pytest.raises(SettingsError, match="wanted thresholds global, dimension, row or entry; got 'field'"):
        pep.table(xavier_uniform, "field")


def test_higher_thresholds_cut_more(tiny):
    params = pep.table(tables.normal(0.5)).init(KEY, tiny.num_users, tiny.num_items, tiny.embedding_dim)
    kept = [pep.kept(params._replace(thresholds=jnp.full((1, 1), s))) for s in (-30.0, -3.0, -1.0, 0.0, 3.0)]
    assert masks.sparsity(kept[0]) == 0
    for lower, higher in itertools.pairwise(kept):
        assert masks.are_nested(higher, lower)
        assert masks.sparsity(higher) > masks.sparsity(lower)


def test_the_pull_is_the_gradient_of_l2_on_thresholds_alone():
    params = pep.table(tables.normal(0.5), "row").init(KEY, 4, 6, 3)
    zeros = jax.tree.map(jnp.zeros_like, params)
    optimizer = pep.with_pull(optax.identity(), 0.01)
    got, _ = optimizer.update(zeros, optimizer.init(params), params)
    wanted = jax.grad(lambda p: sum(0.01 / 2 * jnp.sum(s**2) for s in p.thresholds))(params)
    jax.tree.map(np.testing.assert_array_equal, got, wanted)
    long = jax.tree.map(lambda x: jnp.full_like(x, 1e3), params)
    clipped, _ = optimizer.update(long, optimizer.init(params), params)
    assert float(optax.tree.norm(clipped)) == pytest.approx(100, rel=1e-5)


def test_steps_against_float64_numpy(make, tiny, tiny_graph):
    """Gradient descent of MF with one threshold: BPR on the cut rows, L2 on the values, the pull on the threshold."""
    program = make(optax.sgd(RATE), start=-2.0)
    state = begin(program)
    x = np.concatenate([np.asarray(part, np.float64) for part in state.params.values])
    s, sample = -2.0, jax.jit(sampling.every_interaction(tiny.batch_size).sample)
    for step in range(10):
        t, slope = 1 / (1 + np.exp(-s)), np.exp(-s) / (1 + np.exp(-s)) ** 2
        alive = np.abs(x) > t
        z = np.where(alive, x - np.sign(x) * t, 0)
        dz, dx = np.zeros_like(x), np.zeros_like(x)
        batch = jax.tree.map(np.asarray, sample(KEY, jnp.int32(step), tiny_graph))
        for u, i, j, weight in zip(*batch[:4], strict=True):
            i, j = i + tiny.num_users, j + tiny.num_users
            share = weight / batch.weight.sum()
            dp = -share / (1 + np.exp(z[u] @ (z[i] - z[j])))
            dz[u] += dp * (z[i] - z[j])
            dz[i] += dp * z[u]
            dz[j] -= dp * z[u]
            for row in (u, i, j):
                dx[row] += share * L2 * x[row]
        ds = -slope * np.sum(dz * np.sign(x) * alive) + PULL * s
        x, s = x - RATE * (dz * alive + dx), s - RATE * ds
    kept = masks.all_kept(state.params)
    state, _ = program.run_steps(state, LossMeter.zero(), kept, tiny_graph, KEY, jnp.int32(10))
    np.testing.assert_allclose(np.concatenate(state.params.values), x, atol=1e-5)
    np.testing.assert_allclose(state.params.thresholds, [[s]], atol=1e-5)
    assert 0.05 < 1 - np.mean(np.abs(x) > 1 / (1 + np.exp(-s))) < 0.95


@pytest.mark.parametrize("granularity", ["dimension", "row", "entry"])
def test_lightgcn_raises_thresholds_and_sparsity(make, tiny_graph, granularity):
    program = make(granularity=granularity, backbone=LIGHTGCN)
    state = begin(program)
    before, kept = pep.num_kept(state.params), masks.all_kept(state.params)
    state, meter = program.run_steps(state, LossMeter.zero(), kept, tiny_graph, KEY, jnp.int32(60))
    assert int(meter.first_bad_step) == -1
    assert all((s > -4).all() for s in jax.tree.leaves(state.params.thresholds))
    assert pep.num_kept(state.params) < before


@pytest.mark.parametrize("check_every", [1, 6])
def test_a_target_s_masks_are_the_first_that_reach_it(program, tiny_graph, trace, check_every):
    targets = (0.5, 0.2)
    start = begin(program)
    found = list(pep.search(program, start, targets, tiny_graph, KEY, Looks(28, check_every)))
    assert [at.target for at in found] == [0.2, 0.5]
    for at in found:
        sparsities = [sparsity_of(state.params) for state in trace]
        step = next(n for n, s in enumerate(sparsities) if n % check_every == 0 and s >= at.target)
        assert at.epochs * program.steps_per_epoch == pytest.approx(step)
        assert at.sparsity == pytest.approx(sparsities[step])
        assert masks.sparsity(at.masks) == at.sparsity
        assert int(at.state.step) == step
        np.testing.assert_allclose(at.state.params.thresholds, trace[step].params.thresholds, rtol=1e-6)
    assert int(start.step) == 0  # the caller's state is not given away


def test_a_search_goes_on_from_where_it_was(program, tiny_graph, assert_same):
    first, second = pep.search(program, begin(program), (0.2, 0.5), tiny_graph, KEY, Looks(28))
    (resumed,) = pep.search(program, first.state, (0.5,), tiny_graph, KEY, Looks(28))
    assert_same(resumed.masks, second.masks)
    assert_same(resumed.state, second.state)


def test_one_state_may_serve_two_targets(program, tiny_graph, assert_same):
    both = list(pep.search(program, begin(program), (0.2, 0.21), tiny_graph, KEY, Looks(28, check_every=150)))
    assert_same(both[0].masks, both[1].masks)
    (resumed,) = pep.search(program, both[0].state, (0.21,), tiny_graph, KEY, Looks(28))
    assert_same(resumed.masks, both[1].masks)


def test_a_target_that_is_not_reached_says_what_was(program, tiny_graph, trace):
    reports = []
    looks = Looks(28, report=lambda *seen: reports.append(seen))
    search = pep.search(program, begin(program), (0.2, 0.99), tiny_graph, KEY, looks)
    assert next(search).target == 0.2  # what was reached is not lost
    with pytest.raises(
        TrainingError, match=r"wanted 99.0% of the entries at 0 within 28 epochs; got (\S+)%, "
    ) as caught:
        next(search)
    sparsities = [sparsity_of(state.params) for state in trace[: 28 * 7 + 1]]
    assert f"got {sparsities[-1]:.1%}, at most {max(sparsities):.1%} on the way" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(reports) == 28 * 7
    assert reports[-1][0] == 28
    np.testing.assert_allclose([sparsity for _, _, sparsity in reports], sparsities[1:])


def test_thresholds_that_start_too_high(make, tiny_graph):
    program = make(start=3.0)
    with pytest.raises(
        SettingsError, match=r"cut fewer than 20.0% of the first values; got \d+.\d%. Lower their start"
    ):
        next(pep.search(program, begin(program), (0.2,), tiny_graph, KEY, Looks(1)))


def test_a_loss_that_leaves_the_numbers(make, tiny_graph):
    program = make(optax.sgd(1e30))
    with pytest.raises(TrainingError, match=r"^PEP, epoch 1: the loss is no longer finite"):
        next(pep.search(program, begin(program), (0.9,), tiny_graph, KEY, Looks(2, check_every=7)))
