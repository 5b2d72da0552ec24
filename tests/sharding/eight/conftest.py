"""Collected only where JAX has eight devices: see `test_eight_devices`."""

import json

import jax
import numpy as np
import pytest

import lthjax
from lthjax.embeddings import Embeddings
from lthjax.sharding import layout

collect_ignore_glob = ["test_*.py"] if jax.device_count() < 8 else []

NUM_USERS, NUM_ITEMS = 301, 97  # no number of devices divides them


@pytest.fixture(scope="session")
def mesh():
    return lthjax.mesh(8)


@pytest.fixture(scope="session")
def place(mesh):
    return layout.make(mesh, NUM_USERS, NUM_ITEMS)


@pytest.fixture(scope="session")
def pairs():
    """Interactions of which the first users and the last items have none."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(9, NUM_USERS, 3000), (rng.random(3000) ** 2 * (NUM_ITEMS - 8)).astype(int)
    return np.unique(np.stack([users, items], axis=1), axis=0)


@pytest.fixture
def read_config(tmp_path):
    """What config.json says of the run in `tmp_path`."""
    return lambda: json.loads((tmp_path / "config.json").read_text())


@pytest.fixture
def tables():
    """Random tables: dimensions, numbers per unit (0 = as they are drawn: no ties) -> Embeddings."""

    def make(dim, per_unit=0, seed=0):
        rng = np.random.default_rng(seed)
        drawn = (rng.standard_normal((rows, dim), np.float32) for rows in (NUM_USERS, NUM_ITEMS))
        return Embeddings(*(np.round(x * per_unit) / np.float32(per_unit) if per_unit else x for x in drawn))

    return make
