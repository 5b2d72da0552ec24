"""One-shot pruning: every level in one jump from the dense model."""

import numpy as np

from lthjax.pruning import masks
from lthjax.pruning.rules import magnitude, prune
from lthjax.search.one_shot import one_shot


def test_it_jumps_from_the_dense_model_to_the_same_sizes(find, found, assert_same):
    """OMP: level 1 is that of iterative pruning, the later ones are pruned from the dense model as well."""
    tickets = list(find(prune_parent="dense"))
    assert [ticket.num_kept for ticket in tickets] == [ticket.num_kept for ticket in found]
    assert [ticket.parent for ticket in tickets] == [None, 0, 0, 0]
    assert_same((tickets[1].masks, tickets[1].trained), (found[1].masks, found[1].trained))
    size, scores = tickets[0].num_kept, magnitude(tickets[0].trained)
    for ticket in tickets[1:]:
        assert_same(ticket.masks, prune(scores, tickets[0].masks, 1 - ticket.num_kept / size))
        assert_same(ticket.start, masks.apply(ticket.masks, tickets[0].start))
    assert not np.array_equal(tickets[2].masks.user, found[2].masks.user)


def test_random_pruning_draws_every_level_anew(find, found, assert_same):
    """RP: random masks of each level's exact size, over first values."""
    tickets = list(find(prune_parent="dense", prune_by="random"))
    assert [ticket.num_kept for ticket in tickets] == [ticket.num_kept for ticket in found]
    assert not masks.are_nested(tickets[2].masks, tickets[1].masks)
    assert_same(tickets[2].start, masks.apply(tickets[2].masks, found[0].start))


def test_a_schedule_is_hit_exactly(find):
    tickets = find(prune_parent="dense", epochs=1, sparsities="0.5,0.75,0.9")
    assert [ticket.num_kept for ticket in tickets] == [280, 140, 70, 28]


def test_its_levels_do_not_wait_for_one_another(found, problem):
    """All are asked for in one list, each made when it is reached."""
    search = one_shot(problem)
    next(search)
    requests = search.send(found[:1])
    assert iter(requests) is requests
    assert [(request.level, request.parent) for request in requests] == [(1, 0), (2, 0), (3, 0)]
