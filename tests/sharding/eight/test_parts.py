"""Tables, batches, products, prunings and rankings on eight devices are those of one, to the bit."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.data import id_lists
from lthjax.embeddings import Embeddings
from lthjax.evaluation import breakdown, ranking, sharded
from lthjax.graph import graph as graphs
from lthjax.graph import id_sets, popularity
from lthjax.graph import sharded as sharded_graphs
from lthjax.graph.propagate import propagate
from lthjax.model import tables as model_tables
from lthjax.pruning import rules
from lthjax.sharding import layout as layouts
from lthjax.sharding import stripes
from lthjax.training.sampling import SAMPLERS

from .conftest import NUM_ITEMS, NUM_USERS

KEY = jax.random.key(5)


def same(tree, on_devices, place):
    for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(place.gather(on_devices)), strict=True):
        np.testing.assert_array_equal(np.asarray(one), other)


def test_what_is_placed_is_gathered(place, tables):
    state = {"weights": tables(5), "step": np.int32(3), "key": KEY}
    back = place.gather(place.place(state))
    np.testing.assert_array_equal(jax.random.key_data(back.pop("key")), jax.random.key_data(state.pop("key")))
    same(state, place.place(state), place)
    assert {part.data.shape for part in place.place(state)["weights"].user.addressable_shards} == {(64, 5)}


def test_what_fills_up_is_never_kept(place):
    masks = place.all_kept(5)
    assert [int(mask.sum()) for mask in masks] == [5 * NUM_USERS, 5 * NUM_ITEMS]
    assert all(mask.all() for mask in place.gather(masks))


@pytest.mark.parametrize("name", model_tables.DRAWS)
def test_first_values_do_not_depend_on_the_number_of_devices(place, name):
    shape, draw = (NUM_USERS, NUM_ITEMS, 12), model_tables.DRAWS[name]
    drawn = jax.jit(lambda key: model_tables.dense(draw, place).init(key, *shape))(KEY)
    same(draw(KEY, *shape), drawn, place)


@pytest.fixture(scope="module")
def make_graph(pairs):
    """With weights, dislikes or a popularity of negatives: name -> Graph, and what the sharded one is made of."""

    @functools.cache
    def make(name):
        graph, training = graphs.from_pairs(pairs, NUM_USERS, NUM_ITEMS), training_of(pairs)
        rng = np.random.default_rng(1)
        if name == "weights":
            weights = rng.random(len(pairs), np.float32)
            return graph.replace(weights=jnp.asarray(weights)), training._replace(weights=weights)
        if name == "dislikes":
            dislikes = id_lists.from_pairs(np.array([[20, 1], [20, 90], [300, 3]]), NUM_USERS)
            return graph.replace(dislikes=id_sets.on_device(dislikes)), training._replace(dislikes=dislikes)
        if name == "popularity":
            by_degree = popularity.by_degree(training.degrees.item, graph.positives)
            return graph.replace(popularity=by_degree), training._replace(by_popularity=True)
        return graph, training

    return make


def training_of(pairs):
    return sharded_graphs.Training(pairs, breakdown.degrees(pairs, NUM_USERS, NUM_ITEMS))


@pytest.mark.parametrize(
    ("kind", "sampler", "number", "batch_size"),
    [("plain", sampler, number, size) for sampler, number, size in itertools.product(SAMPLERS, (1, 3), (64, 512))]
    + [(kind, "interactions", 3, 64) for kind in ("weights", "dislikes", "popularity")],
)
def test_batches_are_the_same(place, make_graph, kind, sampler, number, batch_size):
    (graph, training), sample = make_graph(kind), jax.jit(SAMPLERS[sampler](batch_size, number).sample)
    for step in (0, 7):
        wanted = sample(KEY, jnp.int32(step), graph)
        batch = sample(place.place(KEY), np.int32(step), sharded_graphs.shard(training, place))
        heights = place.heights
        for name, height in {"user": heights.user, "positive": heights.item, "negative": heights.item}.items():
            ids = np.asarray(getattr(wanted, name))
            np.testing.assert_array_equal(stripes.position(ids, height), getattr(batch, name), err_msg=name)
        np.testing.assert_array_equal(wanted.weight, batch.weight)
        assert (wanted.log_q is None) == (batch.log_q is None)
        if wanted.log_q is not None:
            np.testing.assert_array_equal(wanted.log_q, batch.log_q)


def test_a_device_without_interactions_draws_and_multiplies_too(mesh, tables):
    place = layouts.make(mesh, NUM_USERS, NUM_ITEMS)
    few = np.array([[4, 1], [4, 2], [7, 2]])
    graph, shards = graphs.from_pairs(few, NUM_USERS, NUM_ITEMS), sharded_graphs.shard(training_of(few), place)
    assert np.count_nonzero(np.asarray(shards.parts.num_interactions)) < 8
    wanted, batch = (jax.jit(SAMPLERS["interactions"](8).sample)(KEY, np.int32(0), g) for g in (graph, shards))
    np.testing.assert_array_equal(stripes.position(np.asarray(wanted.negative), place.heights.item), batch.negative)
    x = tables(4)
    same(propagate(graph, x, 2), jax.jit(propagate, static_argnums=2)(shards, place.place(x), 2), place)


@pytest.mark.parametrize("dim", [8, 48])
def test_propagation_and_its_gradient_are_the_same(place, make_graph, tables, dim):
    (graph, training), x, weights = make_graph("plain"), tables(dim), tables(dim, seed=1)

    def total(graph, x, weights):
        products = jax.tree.map(jnp.multiply, propagate(graph, x, 3), weights)
        return sum(jnp.sum(part) for part in products)

    gradient = jax.jit(jax.grad(total, argnums=1))
    shards = sharded_graphs.shard(training, place)
    same(gradient(graph, x, weights), gradient(shards, *place.place((x, weights))), place)
    same(
        jax.jit(propagate, static_argnums=2)(graph, x, 3),
        jax.jit(propagate, static_argnums=2)(shards, place.place(x), 3),
        place,
    )


@pytest.mark.parametrize("per_unit", [0, 2], ids=["no ties", "many ties"])
@pytest.mark.parametrize(
    ("scope", "count"),
    [("joint", "exact"), ("joint", "threshold"), ("table", "exact"), ("row", "exact"), ("item", "threshold")],
)
def test_the_same_entries_fall(place, tables, per_unit, scope, count):
    scores = rules.magnitude(jax.tree.map(jnp.asarray, tables(12, per_unit)))
    rng = np.random.default_rng(2)
    masks = jax.tree.map(lambda x: jnp.asarray(rng.random(x.shape) < 0.8), scores)
    on_devices = place.place((scores, masks))
    for rate in (0.0002, 0.5, 0.97):
        wanted = rules.prune(scores, masks, rate, scope, 2, count)
        same(wanted, rules.prune(*on_devices, rate, scope, 2, count, layout=place), place)


def test_zeros_of_both_signs_tie_and_what_is_no_number_stays_longest(place, tables):
    scores = tables(4)
    scores.user[:30] = 0.0
    scores.user[30:60] = -0.0
    scores.item[:5] = np.nan
    scores = jax.tree.map(jnp.asarray, scores)
    masks = jax.tree.map(lambda x: jnp.ones(x.shape, bool), scores)
    for rate in (0.1, 0.5, 0.99):
        same(
            rules.prune(scores, masks, rate),
            rules.prune(*place.place((scores, masks)), rate, layout=place),
            place,
        )


def test_the_same_entries_are_exchanged(place, tables):
    weights, gains = (jax.tree.map(jnp.asarray, tables(6, seed=seed)) for seed in (0, 1))
    masks = jax.tree.map(lambda x: x > 0, weights)
    wanted = rules.exchange(masks, weights, gains, 200)
    same(wanted, rules.exchange(*place.place((masks, weights, gains)), 200, place), place)


@pytest.mark.parametrize("rule", ["random", "random-by-degree"])
def test_random_scores_do_not_depend_on_the_number_of_devices(place, tables, rule):
    params, rng = tables(6), np.random.default_rng(3)
    degrees = Embeddings(rng.integers(0, 50, NUM_USERS), rng.integers(0, 50, NUM_ITEMS))
    score = rules.uniform if rule == "random" else functools.partial(rules.by_degree, degrees)
    same(score(jax.tree.map(jnp.asarray, params), KEY), score(place.place(params), place.place(KEY), place), place)


@pytest.mark.parametrize("metrics", [("recall", "ndcg", "map", "hit"), ("ndcg", "coverage", "gini", "popularity")])
@pytest.mark.parametrize("per_unit", [0, 1, 0.5], ids=["no ties", "ties", "many ties"])
def test_rankings_are_the_same(place, pairs, tables, metrics, per_unit):
    shuffled = np.random.default_rng(4).permutation(pairs)
    seen, held_out = shuffled[::2], shuffled[1::2]
    counts = np.bincount(seen[:, 1], minlength=NUM_ITEMS) if "coverage" in metrics else None
    task = ranking.ranking_task(seen, held_out, NUM_USERS, counts)
    final = tables(12, per_unit)
    wanted = ranking.evaluate(jax.tree.map(jnp.asarray, final), task, (5, 20), metrics=metrics)
    host = ranking.on_host(task)
    assert isinstance(host.seen.ids, np.ndarray)
    got = sharded.evaluate(place.place(final), host, (5, 20), metrics=metrics, layout=place)
    assert got.of_catalog == wanted.of_catalog
    for name, values in wanted.per_user.items():
        np.testing.assert_array_equal(got.per_user[name], values, err_msg=name)
    for k, tied in wanted.tied.items():
        np.testing.assert_array_equal(got.tied[k], tied)


def test_lists_longer_than_the_items_end(place, pairs, tables):
    task = ranking.ranking_task(pairs[::2], pairs[1::2], NUM_USERS)
    final = tables(6)
    wanted = ranking.evaluate(jax.tree.map(jnp.asarray, final), task, (5, NUM_ITEMS + 10))
    got = sharded.evaluate(place.place(final), ranking.on_host(task), (5, NUM_ITEMS + 10), layout=place)
    for name, values in wanted.per_user.items():
        np.testing.assert_array_equal(got.per_user[name], values, err_msg=name)
