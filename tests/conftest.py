"""Seven users and eleven items, small enough to check by hand; and thirty users to search tickets on."""

import contextlib
import csv
import dataclasses
import functools
import json
import os

import hypothesis
import jax
import numpy as np
import optax
import pytest
from scipy import sparse

from lthjax.data import interactions
from lthjax.data import split as splitting
from lthjax.data.split import Split
from lthjax.embeddings import Embeddings
from lthjax.evaluation import ranking
from lthjax.evaluation.verdict import Verdict
from lthjax.graph import graph
from lthjax.model import backbones, losses, tables
from lthjax.search import executor
from lthjax.tickets.ticket import Ticket
from lthjax.training import fit as fitting
from lthjax.training import sampling
from lthjax.training import step as stepping
from lthjax.training.step import Parts

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
    shape = (num_users, num_items, embedding_dim)


@pytest.fixture(scope="session")
def tiny():
    return Tiny


@pytest.fixture(scope="session")
def tiny_graph():
    return graph.from_pairs(Tiny.train, NUM_USERS, NUM_ITEMS)


@pytest.fixture(scope="session")
def tiny_split(tiny):
    """The tiny data under ids of their own: users from 100, items from 50."""
    return Split("tiny", np.arange(100, 107), np.arange(50, 61), (), tiny.train, tiny.valid, tiny.test)


@pytest.fixture(scope="session")
def selection():
    return ranking.ranking_task(Tiny.train, Tiny.valid, NUM_USERS)


@pytest.fixture(scope="session")
def make_parts():
    """Parts of a program for the tiny data: optimizer, backbone, weight of L2 -> Parts."""

    def make(optimizer, backbone=backbones.mf, l2=1e-3):
        return Parts(
            table=tables.dense(tables.normal(0.5)),
            backbone=backbone,
            loss=functools.partial(losses.bpr, l2=l2),
            sampler=sampling.every_interaction(Tiny.batch_size),
            optimizer=optimizer,
        )

    return make


@pytest.fixture(scope="session")
def make_program(make_parts):
    """A program for the tiny data: optimizer, backbone -> Program."""

    def make(optimizer, backbone=backbones.mf):
        return stepping.make_program(make_parts(optimizer, backbone), Tiny.shape, len(Tiny.train))

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
    return Embeddings(*map(jax.numpy.asarray, masks))


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
            settings=settings,
            fingerprint=split.fingerprint,
        )

    return make


@pytest.fixture(scope="session")
def tastes():
    """30 users, 40 items, 473 interactions in two loose groups of taste, split."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, 30, 700)
    items = (rng.integers(0, 20, 700) + 20 * (users % 2) * (rng.random(700) < 0.8)).astype(int) % 40
    pairs = np.unique(np.stack([users, items], axis=1), axis=0)
    return splitting.split(interactions.load(sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(30, 40))))


@pytest.fixture(scope="session")
def data_file(tastes, tmp_path_factory):
    """The interactions of `tastes` as a file of pairs."""
    pairs = np.concatenate([tastes.train, tastes.valid, tastes.test])
    place = tmp_path_factory.mktemp("data") / "tastes.txt"
    place.write_text("".join(f"{user} {item}\n" for user, item in pairs[np.lexsort(pairs.T[::-1])].tolist()))
    return place


@pytest.fixture(scope="session")
def quick():
    """Settings of a search on the tastes that takes a second; all that keep dim and batch size share a program."""
    return {"dim": 4, "epochs": 3, "batch_size": 64, "levels": 3, "prune_rate": 0.2, "show_progress": False}


@pytest.fixture(scope="session")
def rows_of():
    """The rows of a run folder's results.csv as text, without the time that they took."""

    def read(out):
        with open(out / "results.csv", newline="") as file:
            return [
                {name: cell for name, cell in row.items() if not name.endswith("seconds")}
                for row in csv.DictReader(file)
            ]

    return read


@pytest.fixture(scope="session")
def log_of():
    """The lines of a run folder's log.jsonl, without the time that they took."""

    def read(out):
        lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
        return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]

    return read


@pytest.fixture
def interrupting(monkeypatch):
    """Ctrl-C in the middle of training, within a context: (name of a ticket, epoch -> is it time?) -> the context."""

    @contextlib.contextmanager
    def until(is_time):
        def fit(trainer, members, hooks):
            def report(number, epoch, loss, evaluation):
                hooks.report(number, epoch, loss, evaluation)
                if evaluation and is_time(members[number].name, epoch):
                    raise KeyboardInterrupt

            return fitting.fit(trainer, members, dataclasses.replace(hooks, report=report))

        with monkeypatch.context() as patch:
            patch.setattr(executor, "fit", fit)
            yield

    return until
