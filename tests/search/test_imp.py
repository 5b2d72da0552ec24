"""Iterative magnitude pruning: exact counts, nested masks, everything rewound."""

import itertools

import numpy as np
import pytest

from lthjax.pruning import masks
from lthjax.pruning.rules import magnitude, prune
from lthjax.search.imp import imp


def test_levels_counts_nesting_and_rewinding(found, assert_same):
    size = kept = found[0].num_kept
    assert size == masks.num_entries(found[0].masks)
    assert [ticket.level for ticket in found] == [0, 1, 2, 3]
    assert [ticket.parent for ticket in found] == [None, 0, 1, 2]
    for parent, ticket in itertools.pairwise(found):
        kept -= round(0.2 * kept)
        assert ticket.num_kept == kept
        assert ticket.sparsity == pytest.approx(1 - kept / size)
        assert masks.are_nested(ticket.masks, parent.masks)
        assert_same(ticket.start, masks.apply(ticket.masks, found[0].start))
        assert_same(ticket.trained, masks.apply(ticket.masks, ticket.trained))
        assert_same(ticket.masks, prune(magnitude(parent.trained), parent.masks, 0.2))


def test_what_it_asks_for_is_what_it_was_sent_pruned(found, problem, assert_same):
    """The generator by hand, without the executor."""
    search = imp(problem)
    (request,) = next(search)
    for ticket in found:
        assert (request.level, request.parent) == (ticket.level, ticket.parent)
        assert_same((request.masks, request.start.params), (ticket.masks, ticket.start))
        if ticket is not found[-1]:
            (request,) = search.send([ticket])
    with pytest.raises(StopIteration):
        search.send(found[-1:])


@pytest.mark.parametrize("rewind", ["reinit", "none", "lr", "epoch:1"])
def test_rewind_modes_start_where_they_say(find, assert_same, rewind):
    dense, first, second = find(rewind=rewind, levels=2)
    for ticket in (first, second):
        assert_same(ticket.start, masks.apply(ticket.masks, ticket.start))
    if rewind == "reinit":
        assert not np.array_equal(first.start.user, masks.apply(first.masks, dense.start).user)
    elif rewind in ("none", "lr"):
        assert_same(first.start, masks.apply(first.masks, dense.trained))
        assert_same(second.start, masks.apply(second.masks, first.trained))
    else:
        assert dense.origin is not None
        assert_same(first.start, masks.apply(first.masks, dense.origin.params))
        assert_same(second.start, masks.apply(second.masks, dense.origin.params))
        assert min(first.best_epoch, second.best_epoch) >= 1


def test_pruning_from_the_last_epoch(find, assert_same):
    dense, first = find(prune_from="last", levels=1, learning_rate=0.3)
    assert dense.final is not None
    assert_same(first.masks, prune(magnitude(dense.final.params), dense.masks, 0.2))


def test_random_pruning_and_scopes(find):
    by_chance = list(find(prune_by="random"))
    assert [ticket.num_kept for ticket in by_chance] == [280, 224, 179, 143]
    by_row = list(find(prune_scope="row", levels=1, prune_rate=0.25))
    assert set(np.asarray(by_row[1].masks.user).sum(axis=1).tolist()) == {3}


def test_one_table_or_rows_with_a_minimum(find):
    options = {"levels": 2, "epochs": 1, "prune_rate": 0.5}
    *_, ticket = find(prune_scope="item", **options)
    assert (int(ticket.masks.user.sum()), int(ticket.masks.item.sum())) == (30 * 4, 40)
    *_, ticket = find(prune_scope="row", min_per_row=2, **options)
    assert set(np.concatenate([part.sum(axis=1) for part in ticket.masks]).tolist()) == {2}


def test_a_schedule_is_hit_exactly(find):
    assert [ticket.num_kept for ticket in find(epochs=1, sparsities="0.5,0.75,0.9")] == [280, 140, 70, 28]
