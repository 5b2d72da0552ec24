"""Which row stands where; a device's draws are those of the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry2x32_p

from lthjax.errors import SettingsError
from lthjax.sharding import devices, draws, layout, stripes

KEY = jax.random.key(3)


@pytest.mark.parametrize("num_rows", [1, 7, 255, 256, 257, 10_000])
def test_every_row_has_a_place_of_its_own_and_is_found_there(num_rows):
    ids = np.arange(num_rows)
    height = stripes.heights(num_rows, 1).user
    places = stripes.position(ids, height)
    assert len(set(places.tolist())) == num_rows
    assert places.min() >= 0
    assert places.max() < stripes.STRIPES * height
    np.testing.assert_array_equal(stripes.id_at(places, height), ids)
    others = np.setdiff1d(np.arange(stripes.STRIPES * height), places)
    assert (stripes.id_at(others, height) >= num_rows).all()  # those that only fill up


@pytest.mark.parametrize("num_devices", [2, 8, 64])
@pytest.mark.parametrize("num_rows", [64, 671, 9066])
def test_shards_have_as_many_rows_whatever_a_file_is_sorted_by(num_rows, num_devices):
    height = stripes.heights(num_rows, 1).user
    size = stripes.STRIPES * height // num_devices
    runs = np.split(np.arange(num_rows), [num_rows // 3, num_rows // 2])  # such as the most popular ones first
    for run in [np.arange(num_rows), *runs]:
        shards = np.bincount(stripes.position(run, height) // size, minlength=num_devices)
        assert shards.max() - shards.min() <= stripes.STRIPES // num_devices
        assert shards.max() <= 1.3 * len(run) / num_devices + 2


@pytest.mark.parametrize("draw", ["uniform", "normal"])
@pytest.mark.parametrize("shape", [(1000, 7), (300, 32)])
def test_drawn_rows_are_those_of_the_whole(draw, shape):
    rows = jnp.array([5, 2, 299, 0, 17], jnp.int32)
    bounds = (-0.3, 0.7) if draw == "uniform" else ()
    whole = getattr(draws, draw)(KEY, shape, *bounds)
    np.testing.assert_array_equal(getattr(draws, draw)(KEY, shape, *bounds, rows=rows), whole[rows])
    drawn = jax.random.uniform(KEY, shape, jnp.float32, *bounds) if bounds else jax.random.normal(KEY, shape)
    np.testing.assert_array_equal(whole, drawn)


def test_rows_beyond_2_to_the_32_numbers_are_drawn_by_64_bits():
    dim, rows = 64, np.array([2**31 - 5, 70_000_000, 2**26], np.int64)
    place = (rows[:, None] * dim + np.arange(dim)).astype(np.uint64)
    halves = (place >> np.uint64(32)).astype(np.uint32), place.astype(np.uint32)
    data = jax.random.key_data(KEY)
    wanted = np.bitwise_xor(*threefry2x32_p.bind(*(jnp.full(place.shape, word) for word in data), *halves))
    unit = ((wanted >> 9) | np.array(1.0, np.float32).view(np.uint32)).view(np.float32) - 1
    np.testing.assert_array_equal(draws.uniform(KEY, (2**31 - 1, dim), rows=jnp.asarray(rows, jnp.int32)), unit)


def test_other_generators_are_refused():
    with jax.default_prng_impl("rbg"), pytest.raises(SettingsError, match=r"wanted JAX's default random numbers.*rbg"):
        draws.check_generator()


@pytest.mark.parametrize("number", [0, 3, 12, 512])
def test_rows_are_dealt_to_powers_of_two(number):
    with pytest.raises(SettingsError, match=rf"--devices: wanted 1, 2, 4, \.\.\. or 256 devices; got {number}"):
        devices.mesh(number)


def test_more_devices_than_there_are_are_refused():
    jax.devices()
    with pytest.raises(SettingsError, match=r"wanted 256; this process has \d+ \(cpu\).*JAX_NUM_CPU_DEVICES"):
        devices.mesh(256)


@pytest.mark.parametrize(
    ("axes", "types"), [(("data",), jax.sharding.AxisType.Auto), (("rows",), jax.sharding.AxisType.Explicit)]
)
def test_other_meshes_are_refused(axes, types):
    mesh = jax.make_mesh((1,), axes, axis_types=(types,))
    with pytest.raises(SettingsError, match=r"^mesh: wanted"):
        layout.make(mesh, 3, 4)
