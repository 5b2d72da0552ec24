"""A data set of seven users and eleven items, small enough to check by hand, and one compiled model on it."""

import dataclasses
import functools
import os

import hypothesis
import jax
import numpy as np
import optax
import pytest

from lthjax import embeddings
from lthjax.evaluation import ranking as evaluate
from lthjax.evaluation.verdict import Verdict
from lthjax.graph import graph
from lthjax.model import backbones, losses, tables
from lthjax.tickets.ticket import Ticket
from lthjax.training import sampling
from lthjax.training import step as train

os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # of processes that tests start: the user's cache stays as it is
jax.config.update("jax_enable_compilation_cache", False)  # of this one
jax.config.update("jax_numpy_rank_promotion", "raise")  # [U] against [U, K] is nearly always a mistake
hypothesis.settings.register_profile("lthjax", deadline=None, derandomize=True, database=None)  # compiling is slow once
hypothesis.settings.load_profile("lthjax")

NUM_USERS, NUM_ITEMS = 7, 11
_TRAIN = {
    0: [0, 3, 4],
    1: [0, 1, 2, 3, 4, 5, 6, 8, 9, 10],  # all but item 7, which nobody has
    2: [],
    3: [10],
    4: [1, 2, 3, 5, 8],
    5: [0, 9],
    6: [2, 6, 9, 10],
}
_VALID = {0: [1], 1: [7], 4: [0, 9], 6: [7]}  # with it, user 1 has seen every item
_TEST = {0: [2, 9], 2: [5], 4: [4], 5: [1, 2, 3, 4], 6: [0]}


def _pairs(rows):
    return np.array([(user, item) for user in rows for item in rows[user]], np.int32)


class Tiny:
    """Training, validation and test pairs, sorted."""

    num_users, num_items = NUM_USERS, NUM_ITEMS
    train, valid, test = _pairs(_TRAIN), _pairs(_VALID), _pairs(_TEST)
    crowded = _pairs(_TRAIN | {1: list(range(NUM_ITEMS)), 4: [1, 2, 3, 5]})  # user 1 has no negative left
    batch_size = 4  # 7 steps an epoch, the last with one interaction
    embedding_dim = 5


@pytest.fixture(scope="session")
def tiny():
    return Tiny


@pytest.fixture(scope="session")
def tiny_graph():
    return graph.from_pairs(Tiny.train, NUM_USERS, NUM_ITEMS)


@pytest.fixture(scope="session")
def selection():
    return evaluate.ranking_task(Tiny.train, Tiny.valid, NUM_USERS)


@pytest.fixture(scope="session")
def make_program():
    """A program for the tiny data: optimizer, backbone -> Program."""

    def make(optimizer, backbone=backbones.mf):
        return train.make_program(
            table=tables.dense(tables.normal(0.5)),
            backbone=backbone,
            optimizer=optimizer,
            sampler=sampling.every_interaction(Tiny.batch_size),
            shape=(NUM_USERS, NUM_ITEMS, Tiny.embedding_dim),
            num_interactions=len(Tiny.train),
            loss=functools.partial(losses.bpr, l2=1e-3),
        )

    return make


@pytest.fixture(scope="session")
def program(make_program):
    """MF with Adam, compiled once for all tests that train."""
    return make_program(optax.adam(0.05))


@pytest.fixture(scope="session")
def some_masks():
    """About a third pruned; one whole row of each table."""
    rng = np.random.default_rng(0)
    masks = [rng.random((rows, Tiny.embedding_dim)) < 0.7 for rows in (NUM_USERS, NUM_ITEMS)]
    for mask in masks:
        mask[3] = False
    return embeddings.Embeddings(*map(jax.numpy.asarray, masks))


@pytest.fixture(scope="session")
def assert_same():
    """Two pytrees have the same structure, dtypes and bits."""

    def check(got, wanted):
        assert jax.tree.structure(got) == jax.tree.structure(wanted)
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
            assert g.dtype == w.dtype
            if jax.dtypes.issubdtype(g.dtype, jax.dtypes.prng_key):
                g, w = jax.random.key_data(g), jax.random.key_data(w)
            np.testing.assert_array_equal(g, w)

    return check


@pytest.fixture(scope="session")
def make_ticket():
    """A ticket with random values, trained by nobody: split, settings, masks, level -> Ticket."""

    def make(split, settings, masks, level=0):
        rng = np.random.default_rng(level)
        values = jax.tree.map(lambda mask: jax.numpy.asarray(rng.standard_normal(mask.shape, np.float32)) * mask, masks)
        return Ticket(
            level=level,
            masks=masks,
            start=values,
            trained=values,
            metrics={"recall@20": 0.25, "ndcg@20": 0.5},
            users=np.unique(split.test[:, 0]),
            per_user={},
            best_epoch=2,
            epochs=4,
            seconds=1.0,
            verdict=Verdict("wins", 0.1, 0.0, 0.2),
            parent=None,
            settings=dataclasses.asdict(settings),
            fingerprint=split.fingerprint,
        )

    return make
