"""Tickets in compact form: rows by hand and by brute force, the same training, and the bytes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.speed import compact, compact_sides, compact_table, random_data
from experiments.speed.random_data import Size
from lthjax.errors import SettingsError
from lthjax.search.problem import prepare

SIZE = Size(20, 30, 100, 12)
FEW = {**SIZE._asdict(), "batch_size": 16, "steps": 1, "repeats": 2}


@pytest.fixture(scope="module")
def make_forms():
    """Model, share pruned -> problem, masked dense and compact ticket."""

    @functools.cache
    def make(model, share):
        config = compact.Config(**FEW)
        problem = prepare(random_data.random_split(SIZE, 0), config.settings(model=model))
        ticket = compact_sides.ticket_of(problem, share)
        return problem, compact_sides.masked_dense(problem, *ticket), compact_sides.compact(problem, *ticket)

    return make


def test_numbers_by_hand():
    mask = np.zeros((3, 10), bool)
    mask[0, [1, 8]] = True  # numbers 0 and 1, in two bytes
    mask[2, [0, 7, 9]] = True  # 2, 3, 4
    bitmap = compact_table.bitmap_of(mask)
    np.testing.assert_array_equal(bitmap.starts, [0, 2, 2, 5])
    beyond = np.iinfo(np.int32).max
    numbers = np.full((3, 10), beyond)
    numbers[0, [1, 8]] = 0, 1
    numbers[2, [0, 7, 9]] = 2, 3, 4
    np.testing.assert_array_equal(compact_table.numbers_of(bitmap, jnp.array([2, 0, 1, 2])), numbers[[2, 0, 1, 2]])
    np.testing.assert_array_equal(compact_table.numbers_of(bitmap, jnp.array([[2], [0]])), numbers[[[2], [0]]])


@pytest.mark.parametrize("dim", [1, 8, 13, 32])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_rows_and_whole_tables_are_those_of_the_masked_table(dim, density):
    draws = np.random.default_rng(0)
    mask = draws.random((50, dim)) < density
    table = np.where(mask, draws.normal(size=mask.shape), 0).astype(np.float32)
    rows = jnp.asarray(draws.integers(50, size=40, dtype=np.int32))
    weights = jnp.asarray(draws.normal(size=(40, dim)), jnp.float32)
    values = compact_table.compress(table, mask)
    assert len(values) % 1024 == 0
    gradient = np.asarray(jax.grad(lambda x: (x[rows] * weights).sum())(jnp.asarray(table)))[mask]
    for where in (compact_table.bitmap_of(mask), compact_table.places_of(mask)):
        assert int(where.num_kept) == int(compact_table.is_value(values, where).sum()) == mask.sum()

        def weighed(values, where=where):
            return (compact_table.table_of(values, where)[rows] * weights).sum()

        np.testing.assert_array_equal(compact_table.table_of(values, where)[rows], table[rows])
        given = np.asarray(jax.grad(weighed)(values))
        np.testing.assert_allclose(given[: mask.sum()], gradient, rtol=1e-5, atol=1e-6)
        assert not given[mask.sum() :].any()
    np.testing.assert_array_equal(compact_table.expand(values, compact_table.places_of(mask)), table)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_steps_are_those_of_masked_dense(model, make_forms):
    problem, dense, compacted = make_forms(model, 0.75)
    assert compact_sides.check_equal(problem, dense, compacted) < 1e-7
    state = compact_sides.steps_of(problem, compacted)(5)
    assert int(state.step) == 5
    for values, before, where in zip(state.params, compacted.state.params, compacted.where, strict=True):
        assert (values != before).any()
        assert not values[int(where.num_kept) :].any()  # padding stays 0


def test_other_numbers_are_an_error(make_forms):
    problem, dense, compacted = make_forms("mf", 0.75)
    other = compacted._replace(state=jax.tree.map(lambda x: x + 1, compacted.state))
    with pytest.raises(SettingsError, match="wanted the values of masked dense within 1e-06 after 10 steps"):
        compact_sides.check_equal(problem, dense, other)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_bytes_are_as_said(model, make_forms):
    _, dense, compacted = make_forms(model, 0.75)
    num_kept = 150  # of 50 x 12
    small = 3 * 4  # number of the step, Adam's own, and of LightGCN's places how many there are
    state = compact_sides.memory_of(dense).state
    assert 0 <= state - compact.dense_state(50, 12) <= small
    padding = sum(map(len, compacted.state.params)) - num_kept
    memory = compact_sides.memory_of(compacted)
    of_padding = padding * (12 if model == "mf" else 16)
    assert 0 <= memory.state - of_padding - compact.compact_state(50, 12, num_kept, model) <= small + 4
    assert memory.peak > memory.state + memory.graph


def test_bytes_by_hand():
    assert compact.dense_state(1_000, 32) == 32_000 * 13
    assert compact.compact_state(1_000, 32, 3_200, "mf") == 3_200 * 12 + 4_000 + 4 * 1_002
    assert compact.compact_state(1_000, 30, 3_200, "mf") == 3_200 * 12 + 4_000 + 4 * 1_002
    assert compact.compact_state(1_000, 32, 3_200, "lightgcn") == 3_200 * 16


def test_break_even_by_hand():
    assert compact.break_even([0.5, 0.9], [60.0, 20.0], 80.0) == pytest.approx(0.3)
    assert compact.break_even([0.5, 0.9], [60.0, 20.0], 120.0) == 0.0
    assert compact.break_even([0.5, 0.9], [60.0, 20.0], 5.0) is None
    assert compact.break_even([0.5, 0.9], [60.0, 60.0], 50.0) is None


def test_compact(read_json, assert_are_summaries, tmp_path, capsys):
    path = tmp_path / "compact.json"
    content = compact.main(compact.Config(**FEW, pruned=(0.5, 0.75), json=str(path)))
    written = read_json(path, content)["models"]
    assert set(written) == {"mf", "lightgcn"}
    for model in written.values():
        names = {"masked dense", "0.5", "0.75"}
        assert set(model["seconds_a_step"]) == set(model["memory"]) == set(model["seconds_to_compile"]) == names
        assert_are_summaries(model["seconds_a_step"].values(), 2)
        assert model["agreement"] < 1e-7
        assert model["ratios"]["masked dense"]["of_medians"] == 1
        assert set(model["break_even"]) == {"state", "peak", "time"}
    assert capsys.readouterr().out.splitlines()[-1].startswith("break-even: state ")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--pruned 0.5", "--pruned: wanted two or more shares between 0 and 1; got 0.5;"),
        ("--pruned 0.5 1", "--pruned: wanted two or more shares between 0 and 1; got 0.5 1.0;"),
        ("--interactions 999999999", "--interactions: wanted at most 25% of users x items"),
    ],
)
def test_bad_flags_are_one_line(flags, said, error_line):
    assert said in error_line(compact, flags)
