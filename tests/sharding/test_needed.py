"""What each of several processes needs of the interactions: together all, and its devices' parts are the same."""

import jax
import numpy as np
import pytest

from lthjax.data import id_lists
from lthjax.embeddings import Embeddings
from lthjax.evaluation import breakdown
from lthjax.evaluation import sharded as ranking
from lthjax.graph import popularity, sharded
from lthjax.sharding import stripes
from lthjax.sharding.layout import Layout

NUM_USERS, NUM_ITEMS, NUM_DEVICES = 301, 97, 8
DEALT = [(number, process) for number in (1, 2, 4) for process in range(number)]


class OnPaper(Layout):
    """Of eight devices that this process does not have."""

    num_devices = property(lambda self: NUM_DEVICES)


LAYOUT = OnPaper(None, NUM_USERS, NUM_ITEMS)


@pytest.fixture(scope="module")
def training():
    """Interactions of which the first users and the last items have none."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(9, NUM_USERS, 3000), (rng.random(3000) ** 2 * (NUM_ITEMS - 8)).astype(int)
    pairs = np.unique(np.stack([users, items], axis=1), axis=0).astype(np.int32)
    dislikes = id_lists.from_pairs(np.array([[20, 1], [20, 90], [300, 3]]), NUM_USERS)
    degrees = breakdown.degrees(pairs, NUM_USERS, NUM_ITEMS)
    return sharded.Training(pairs, degrees, dislikes=dislikes, by_popularity=True)


def devices_of(process, number):
    each = NUM_DEVICES // number
    return range(process * each, (process + 1) * each)


def held_by(training, process, number, multiplies):
    marked = sharded.needed(training.degrees, devices_of(process, number), NUM_DEVICES, multiplies)
    return marked.user[training.pairs[:, 0]] | marked.item[training.pairs[:, 1]]


@pytest.mark.parametrize("multiplies", [False, True])
@pytest.mark.parametrize(("number", "process"), DEALT)
def test_what_is_needed_is_held_and_no_more(training, number, process, multiplies):
    devices = devices_of(process, number)
    starts = np.concatenate([[0], np.cumsum(training.degrees.user)])
    runs = [sharded._cuts(starts, NUM_DEVICES)[device] for device in devices]
    sizes = [size // NUM_DEVICES for size in LAYOUT.padded]

    def is_needed(user, item):
        stand = [stripes.position(*row) // size for *row, size in zip((user, item), LAYOUT.heights, sizes, strict=True)]
        is_drawn = any(first <= user < last for first, last in runs)
        return is_drawn or stand[1] in devices or (multiplies and stand[0] in devices)

    held = held_by(training, process, number, multiplies)
    assert held.tolist() == [is_needed(user, item) for user, item in training.pairs.tolist()]
    assert held.all() if number == 1 else not held.all()


@pytest.mark.parametrize("number", [1, 2, 4])
def test_processes_hold_all_together(training, number):
    held = [held_by(training, process, number, False) for process in range(number)]
    assert np.any(held, axis=0).all()
    items = [sharded.own_rows(LAYOUT.rows, devices_of(process, number), NUM_DEVICES).item for process in range(number)]
    np.testing.assert_array_equal(np.sum(items, axis=0), 1)  # seen items are left out once


@pytest.mark.parametrize(("number", "process"), DEALT)
def test_parts_are_those_of_the_whole(training, number, process):
    devices, of_ids = devices_of(process, number), popularity.weights_by_degree(training.degrees.item)
    own = training._replace(pairs=training.pairs[held_by(training, process, number, True)])
    runs = sharded._cuts(np.concatenate([[0], np.cumsum(training.degrees.user)]), NUM_DEVICES)

    def parts(training):
        drawn_from = {device: sharded._part(training, of_ids, *runs[device]) for device in devices}
        return drawn_from, [sharded._own_rows(training, LAYOUT, side, devices) for side in Embeddings._fields]

    came, wanted = parts(own), parts(training)
    assert jax.tree.structure(came) == jax.tree.structure(wanted)
    for one, other in zip(*map(jax.tree.leaves, (came, wanted)), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_blocks_of_seen_items_are_as_wide_in_every_process(training):
    users, pairs = np.arange(20, 60), training.pairs
    whole = ranking._rows(id_lists.from_pairs(pairs, NUM_USERS), users, None, LAYOUT)
    came = []
    for process in range(4):
        own = sharded.own_rows(LAYOUT.rows, devices_of(process, 4), NUM_DEVICES).item
        lists = id_lists.from_pairs(pairs[own[pairs[:, 1]]], NUM_USERS)
        came.append(ranking._rows(lists, users, None, LAYOUT, training.degrees.user))
        assert came[-1].shape == whole.shape
    for user in range(len(users)):
        seen = np.concatenate([block[user] for block in came])
        assert sorted(seen[seen != ranking._NOWHERE]) == sorted(whole[user][whole[user] != ranking._NOWHERE])


def test_too_few_interactions_are_refused(training):
    own = training._replace(pairs=training.pairs[held_by(training, 0, 4, True)])
    runs = sharded._cuts(np.concatenate([[0], np.cumsum(training.degrees.user)]), NUM_DEVICES)
    with pytest.raises(ValueError, match=r"wanted the [0-9]+ interactions that this process's devices need; got"):
        sharded._part(own, None, *runs[7])
    with pytest.raises(ValueError, match=r"wanted the [0-9]+ interactions that this process's devices need; got"):
        sharded._own_rows(own, LAYOUT, "item", [7])
