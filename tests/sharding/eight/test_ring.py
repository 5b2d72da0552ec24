"""A ring multiplies and trains as one device does, to 1e-5, and holds no more than two devices' rows of a slab."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lthjax
from experiments.speed import collectives
from lthjax.evaluation import breakdown
from lthjax.graph import sharded
from lthjax.graph.propagate import SLAB, propagate
from lthjax.sharding import layout as layouts

from .conftest import NUM_ITEMS, NUM_USERS

CLOSE = 1e-5


def ring_of(number, num_users=NUM_USERS, num_items=NUM_ITEMS, exchange="ring"):
    return layouts.make(lthjax.mesh(number), num_users, num_items, exchange)


def shard(pairs, layout):
    return sharded.shard(sharded.Training(pairs, breakdown.degrees(pairs, *layout.rows)), layout)


def dense_sum(pairs, x, num_layers):
    """x + A' x + ... of a dense A' in float64."""
    counts = np.zeros((NUM_USERS, NUM_ITEMS))
    counts[pairs[:, 0], pairs[:, 1]] = 1
    degrees = (counts.sum(axis=side, keepdims=True).clip(1) for side in (1, 0))
    half = functools.reduce(np.divide, map(np.sqrt, degrees), counts)
    layer = total = tuple(np.asarray(side, np.float64) for side in x)
    for _ in range(num_layers):
        layer = half @ layer[1], half.T @ layer[0]
        total = tuple(map(np.add, total, layer))
    return total


def assert_close(wanted, came):
    for one, other in zip(wanted, came, strict=True):
        np.testing.assert_allclose(other, one, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("number", [2, 4, 8])
@pytest.mark.parametrize("dim", [8, 48])
def test_product_and_gradient_are_those_of_a_dense_matrix(pairs, tables, number, dim):
    ring, x, weights = ring_of(number), tables(dim), tables(dim, seed=1)
    graph = shard(pairs, ring)

    @functools.partial(jax.value_and_grad, has_aux=True)
    def total(x, graph, weights):
        final = propagate(graph, x, 3)
        return sum(jnp.sum(side * weight) for side, weight in zip(final, weights, strict=True)), final

    (_, final), gradient = jax.jit(total)(ring.place(x), graph, ring.place(weights))
    assert_close(dense_sum(pairs, x, 3), ring.gather(final))
    assert_close(dense_sum(pairs, weights, 3), ring.gather(gradient))  # A' is symmetric


def test_devices_without_interactions_multiply_too(tables):
    pairs, ring, x = np.array([[4, 1], [4, 2], [7, 2]]), ring_of(8), tables(4)
    graph = shard(pairs, ring)
    assert not np.asarray(graph.items_of_users.starts[:, :, -1]).any(axis=1).all()
    product = jax.jit(propagate, static_argnums=2)
    assert_close(dense_sum(pairs, x, 2), ring.gather(product(graph, ring.place(x), 2)))


def test_blocks_are_the_rows_of_a_gather_by_the_device_of_their_columns(pairs):
    ring = ring_of(4)
    whole, blocks = (shard(pairs, ring_of(4, exchange=exchange)).users_of_items for exchange in ("gather", "ring"))
    size = ring.padded.user // 4

    def entries(rows, first_column):
        row_of = np.repeat(np.arange(len(rows.starts) - 1), np.diff(rows.starts))
        number = rows.starts[-1]
        return [*zip(row_of, rows.columns[:number] + first_column, rows.values[:number], strict=True)]

    for device in range(4):
        wanted = entries(jax.tree.map(lambda leaf, device=device: np.asarray(leaf[device]), whole), 0)
        of_blocks = []
        for visit in range(4):
            block = jax.tree.map(lambda leaf, where=(device, visit): np.asarray(leaf[where]), blocks)
            of_blocks += entries(block, (device - visit) % 4 * size)
        assert sorted(of_blocks) == sorted(wanted)


@pytest.fixture(scope="module")
def compiled():
    """ "gather" or "ring" -> the propagation of tables of many rows, two slabs wide, on eight devices."""
    num_users, num_items, dim = 20_000, 9_000, 2 * SLAB
    rng = np.random.default_rng(0)
    pairs = np.unique(np.stack([rng.integers(0, num_users, 60_000), rng.integers(0, num_items, 60_000)], 1), axis=0)

    def compile_with(exchange):
        layout = ring_of(8, num_users, num_items, exchange)
        shards = shard(pairs, layout)
        side = functools.partial(jax.ShapeDtypeStruct, dtype=np.float32, sharding=layout.sharding("table"))
        x = type(layout.padded)(*(side((rows, dim)) for rows in layout.padded))
        return layout, jax.jit(propagate, static_argnums=2).lower(shards, x, 3).compile()

    return {exchange: compile_with(exchange) for exchange in ("gather", "ring")}


def test_rows_of_a_device_are_handed_on_and_nothing_is_gathered(compiled):
    layout, program = compiled["ring"]
    exchanged = collectives.operations(program.as_text())
    assert {operation.name for operation in exchanged} == {"collective-permute"}
    assert {shape for operation in exchanged for shape in operation.shapes} == {
        (rows // 8, SLAB) for rows in layout.padded
    }
    gathered = collectives.operations(compiled["gather"][1].as_text())
    assert {operation.name for operation in gathered} == {"all-gather"}
    ring, gather = (sum(operation.num_bytes for operation in operations) for operations in (exchanged, gathered))
    assert ring == gather * 7 // 8  # own rows do not travel


def test_a_ring_needs_less_memory(compiled):
    ring, gather = (compiled[exchange][1].memory_analysis().temp_size_in_bytes for exchange in ("ring", "gather"))
    slab = 4 * SLAB * sum(compiled["ring"][0].padded)
    assert ring < gather - slab / 2


OPTIMIZERS = {"adam": {}, "sgd": {"optimizer": "sgd", "learning_rate": 20.0}}  # Adam hides a gradient of another scale


@pytest.mark.parametrize("changes", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_training_is_that_of_one_device_to_rounding(tastes, quick, mesh, changes):
    settings = quick | {"model": "lightgcn", "l2": 0.01, "levels": 0} | changes
    (alone,) = lthjax.find_tickets(tastes, **settings)
    (ticket,) = lthjax.find_tickets(tastes, **settings, mesh=mesh, exchange="ring")
    assert_close(alone.trained, ticket.trained)
    for start, trained in zip(ticket.start, ticket.trained, strict=True):
        assert np.abs(trained - start).max() > 1_000 * CLOSE


def test_a_run_that_goes_on_with_another_exchange_warns_and_keeps_both(tastes, quick, mesh, tmp_path, read_config):
    def find(levels, **devices):
        settings = quick | {"model": "lightgcn", "levels": levels, "out": tmp_path}
        return list(lthjax.find_tickets(tastes, **settings, **devices))

    find(0, mesh=mesh, exchange="ring")
    assert read_config()["exchange"] == ["ring"]
    find(0, mesh=mesh, exchange="ring")  # no warning
    with pytest.warns(
        UserWarning, match=r"was made with exchange ring \(now gather\); .* may differ in the last digits"
    ):
        find(1, mesh=mesh)
    assert read_config()["exchange"] == ["ring", "gather"]
    assert len(read_config()["extended"]) == 1
    with pytest.warns(UserWarning, match=r"was made with exchange ring and gather \(now ring\)"):
        find(1, mesh=mesh, exchange="ring")
    assert read_config()["exchange"] == ["ring", "gather"]


def test_what_gathers_and_one_device_are_the_same_exchange(tastes, quick, mesh, tmp_path, read_config):
    settings = quick | {"model": "lightgcn", "levels": 0, "out": tmp_path}
    list(lthjax.find_tickets(tastes, **settings))
    list(lthjax.find_tickets(tastes, **settings, mesh=mesh))  # no warning
    assert read_config()["exchange"] == ["gather"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"exchange": "rings"}, r"exchange: wanted gather or ring; got 'rings' \(did you mean ring\?\)"),
        ({"exchange": None}, r"exchange: wanted gather or ring; got None\."),
        ({"exchange": "ring", "number": 1}, r"exchange: wanted several devices for ring, by --devices or mesh"),
        ({"exchange": "ring", "number": None}, r"exchange: wanted several devices for ring, by --devices or mesh"),
        ({"exchange": "ring", "model": "mf"}, r"exchange: wanted --model lightgcn for ring; got mf"),
    ],
)
def test_a_ring_of_nothing_is_refused(tastes, quick, asked, said):
    asked = {"model": "lightgcn", "number": 8} | asked
    number = asked.pop("number")
    mesh = None if number is None else lthjax.mesh(number)
    with pytest.raises(lthjax.SettingsError, match=said):
        lthjax.find_tickets(tastes, **quick, **asked, mesh=mesh)
