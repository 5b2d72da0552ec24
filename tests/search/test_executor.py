"""What carries searches out: any generator of requests gets its tickets, from disk or trained, alone or together."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import lthjax
from lthjax.errors import SettingsError
from lthjax.events import LevelBegun
from lthjax.pruning import masks as masking
from lthjax.runtime import checkpoint
from lthjax.search.steps import Request, Stretch, dense, first_state, prune, rewind
from lthjax.settings import Settings
from lthjax.tickets.extension import trains_on
from lthjax.tickets.places import ticket_place
from lthjax.tickets.ticket import to_checkpoint
from lthjax.training.keys import Purpose


def ask(problem, ticket, level, **changes):
    """The request of a level that is pruned from a ticket."""
    masks = prune(problem, ticket, level)
    return Request(level, masks, rewind(problem, ticket, masks, level), parent=ticket.level)._replace(**changes)


def tournament(problem):
    """A search of a test's own: two children of the dense model, and a child of the better of the two."""
    (ticket,) = yield [dense(problem)]
    children = yield [ask(problem, ticket, level) for level in (1, 2)]
    winner = max(children, key=lambda child: child.metrics["valid_recall@20"])
    yield [ask(problem, winner, 3)]


@pytest.fixture(scope="module")
def played(find):
    return list(find(search=tournament))


def by_level(tickets):
    return sorted(tickets, key=lambda ticket: (ticket.level, ticket.settings.seed))


def assert_same_tickets(assert_same, tickets, wanted):
    for ticket, other in zip(tickets, wanted, strict=True):
        assert (ticket.level, ticket.parent, ticket.best_epoch) == (other.level, other.parent, other.best_epoch)
        assert (ticket.metrics, ticket.verdict) == (other.metrics, other.verdict)
        assert_same((ticket.masks, ticket.start, ticket.trained), (other.masks, other.start, other.trained))


def assert_close_tickets(assert_same, tickets, wanted):
    """The same to rounding, as trained together and alone."""
    for ticket, other in zip(tickets, wanted, strict=True):
        assert (ticket.level, ticket.parent, ticket.settings) == (other.level, other.parent, other.settings)
        assert_same(ticket.masks, other.masks)
        assert ticket.metrics == pytest.approx(other.metrics, rel=1e-5)
        assert (ticket.best_epoch, ticket.verdict.name) == (other.best_epoch, other.verdict.name)
        np.testing.assert_allclose(ticket.trained.item, other.trained.item, rtol=1e-3, atol=1e-5)


def test_a_search_gets_the_tickets_it_asks_for_in_their_order(played):
    assert [ticket.level for ticket in played] == [0, 1, 2, 3]
    assert [ticket.num_kept for ticket in played] == [280, 224, 179, 143]
    first, second = played[1:3]
    winner = second if second.metrics["valid_recall@20"] > first.metrics["valid_recall@20"] else first
    assert [ticket.parent for ticket in played] == [None, 0, 0, winner.level]
    assert masking.are_nested(played[3].masks, winner.masks)
    assert [ticket.verdict.name == "dense" for ticket in played] == [True, False, False, False]


def test_a_folder_is_written_and_read_not_trained_again(find, played, tmp_path, monkeypatch, assert_same, rows_of):
    assert_same_tickets(assert_same, find(search=tournament, out=tmp_path), played)
    assert [row["level"] for row in rows_of(tmp_path)] == ["0", "1", "2", "3"]
    assert [ticket.parent for ticket in map(lthjax.load_ticket, sorted((tmp_path / "tickets").iterdir()))] == [
        ticket.parent for ticket in played
    ]
    monkeypatch.setattr("lthjax.search.executor.fit", None)
    assert_same_tickets(assert_same, find(search=tournament, out=tmp_path), played)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_search_that_is_stopped_between_tickets_goes_on(find, played, tmp_path, number, assert_same, rows_of, log_of):
    tickets = find(search=tournament, out=tmp_path / "run")
    for _ in range(number):
        next(tickets)
    tickets.close()
    assert len(rows_of(tmp_path / "run")) == number
    assert_same_tickets(assert_same, find(search=tournament, out=tmp_path / "run"), played)
    list(find(search=tournament, out=tmp_path / "whole"))
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")


@pytest.mark.parametrize("level", [0, 2, 3])
def test_a_search_that_is_stopped_within_a_level_goes_on(
    find, played, tmp_path, level, interrupting, assert_same, log_of
):
    options = {"search": tournament, "eval_every": 1, "out": tmp_path / "run"}
    whole = list(find(**options | {"out": tmp_path / "whole"}))
    with (
        interrupting(lambda name, epoch: (name, epoch) == (f"level {level} of seed 0", 2)),
        pytest.raises(KeyboardInterrupt),
    ):
        list(find(**options))
    (snapshot,) = (tmp_path / "run" / "snapshots").iterdir()
    assert snapshot.name == f"level_0{level}-epoch_0000002-step_0000000012"
    assert_same_tickets(assert_same, find(**options), whole)
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")


def test_a_ticket_that_is_gone_is_made_again_and_the_others_are_read(find, played, tmp_path, assert_same):
    list(find(search=tournament, out=tmp_path))
    shutil.rmtree(ticket_place(tmp_path, 2))
    before = ticket_place(tmp_path, 1).stat().st_mtime_ns
    assert_same_tickets(assert_same, find(search=tournament, out=tmp_path), played)
    assert ticket_place(tmp_path, 1).stat().st_mtime_ns == before


def test_a_snapshot_of_other_masks_is_told_and_made_again(find, tmp_path, interrupting, assert_same):
    """The level before it was made anew meanwhile, with other values: its masks are others now."""
    with interrupting(lambda name, epoch: name.startswith("level 1") and epoch == 2), pytest.raises(KeyboardInterrupt):
        list(find(out=tmp_path, levels=1, eval_every=1))
    assert list((tmp_path / "snapshots").glob("level_01-*"))
    before = lthjax.load_ticket(ticket_place(tmp_path, 0))
    other = dataclasses.replace(before, trained=jax.tree.map(lambda w: np.roll(w, 1, axis=1), before.trained))
    shutil.rmtree(ticket_place(tmp_path, 0))
    checkpoint.save(ticket_place(tmp_path, 0), *to_checkpoint(other))
    with pytest.warns(UserWarning, match="snapshot of level 1 has weights that its masks prune now"):
        _, ticket = find(out=tmp_path, levels=1, eval_every=1)
    _, wanted = find(dense=other, levels=1, eval_every=1)
    assert_same((ticket.masks, ticket.trained), (wanted.masks, wanted.trained))
    assert not (tmp_path / "snapshots").exists()


@pytest.mark.parametrize("together", [False, True])
def test_all_levels_that_a_limit_ended_train_on(find, tmp_path, together):
    """Levels 0 and 1 ended by their patience; what levels 2 and 3 go on from stands beside one another."""
    options = {"search": "one-shot", "prune_from": "last", "eval_every": 1, "patience": 2, "learning_rate": 0.5}
    ended = list(find(out=tmp_path, epochs=4, **options))
    longer = Settings(epochs=10, patience=2, eval_every=1)
    assert [trains_on(t.best_epoch, t.epochs, longer) for t in ended] == [False, False, True, True], (
        "what this case wants"
    )
    begun = []

    def tell(event):
        if isinstance(event, LevelBegun):
            begun.append((event.level, event.epoch))

    list(find(out=tmp_path, epochs=10, together=together, on_event=tell, **options))
    assert sorted(begun)[2:] == [(2, 4), (3, 4)]  # the others are read


def test_seeds_of_a_search_together_and_in_turn(find, played, tmp_path, assert_same, rows_of):
    options = {"search": tournament, "seeds": 2}
    together = list(find(together=True, out=tmp_path, **options))
    assert [(ticket.level, ticket.settings.seed) for ticket in together] == [
        (level, seed) for level in range(4) for seed in range(2)
    ]
    in_turn = list(find(together=False, **options))
    assert [ticket.settings.seed for ticket in in_turn] == [0] * 4 + [1] * 4
    assert_same_tickets(assert_same, in_turn[:4], played)
    assert_close_tickets(assert_same, together, by_level(in_turn))
    assert_same_tickets(assert_same, find(together=True, out=tmp_path, **options), together)  # read
    for seed in range(2):
        assert [row["level"] for row in rows_of(tmp_path / f"seed_{seed}")] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("rewind", ["init", "epoch:1"])
def test_seeds_together_are_seeds_in_turn(find, tmp_path, rewind, assert_same):
    options = {"levels": 2, "rewind": rewind}
    together = list(find(seeds=2, together=True, out=tmp_path, **options))
    assert [(ticket.level, ticket.settings.seed) for ticket in together] == [
        (level, seed) for level in range(3) for seed in range(2)
    ]
    in_turn = list(find(seeds=[0, 1], together=False, **options))
    assert [ticket.settings.seed for ticket in in_turn] == [0, 0, 0, 1, 1, 1]
    assert_close_tickets(assert_same, together, by_level(in_turn))
    again = find(seeds=2, together=True, out=tmp_path, **options)
    for ticket, read in zip(together, again, strict=True):
        assert_same((ticket.masks, ticket.trained), (read.masks, read.trained))


@pytest.mark.parametrize("prune_by", ["magnitude", "random"])
def test_levels_together_are_levels_in_turn(find, tmp_path, prune_by, assert_same, rows_of):
    options = {"prune_parent": "dense", "prune_by": prune_by, "seeds": 2}
    together = list(find(together=True, out=tmp_path, **options))
    assert [(ticket.level, ticket.settings.seed) for ticket in together] == [
        (level, seed) for level in range(4) for seed in range(2)
    ]
    in_turn = by_level(find(together=False, **options))
    assert_close_tickets(assert_same, together, in_turn)
    assert [row["level"] for row in rows_of(tmp_path / "seed_1")] == ["0", "1", "2", "3"]
    again = by_level(find(together=False, out=tmp_path, **options))
    assert [ticket.metrics for ticket in again] == [ticket.metrics for ticket in together]


def test_seeds_together_go_on_after_an_interrupt(find, tmp_path, interrupting, log_of):
    options = {"levels": 1, "eval_every": 1, "seeds": 2, "together": True}
    whole = list(find(**options))
    with interrupting(lambda name, epoch: name.endswith("of seed 1") and epoch == 2), pytest.raises(KeyboardInterrupt):
        list(find(out=tmp_path, **options))
    tickets = list(find(out=tmp_path, **options))
    assert [ticket.metrics for ticket in tickets] == [ticket.metrics for ticket in whole]
    for seed in range(2):
        epochs = sum(ticket.epochs for ticket in tickets if ticket.settings.seed == seed)
        assert len(log_of(tmp_path / f"seed_{seed}")) == epochs


def plans(problem):
    """Requests of three plans in one list; the first and the last have the same."""
    (ticket,) = yield [dense(problem)]
    short, rare = (dataclasses.replace(problem.plan, **changes) for changes in ({"epochs": 1}, {"eval_every": 2}))
    yield [ask(problem, ticket, level, plan=plan) for level, plan in ((1, short), (2, None), (3, rare), (4, short))]


@pytest.mark.parametrize("together", [False, True])
def test_requests_of_different_plans_in_one_list(find, tmp_path, together, assert_same, log_of):
    options = {"search": plans, "levels": 4, "eval_every": 1, "out": tmp_path}
    tickets = list(find(together=together, **options))
    assert [ticket.level for ticket in tickets] == [0, 1, 2, 3, 4]
    assert [ticket.epochs for ticket in tickets] == [3, 1, 3, 3, 1]
    evaluated = [(line["level"], line["epoch"]) for line in log_of(tmp_path)]
    assert evaluated == [(0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 1)]
    for ticket, other in zip(tickets, find(prune_parent="dense", levels=4, eval_every=1), strict=True):
        assert_same((ticket.masks, ticket.start), (other.masks, other.start))
        if ticket.epochs == other.epochs and ticket.best_epoch == other.best_epoch:
            np.testing.assert_allclose(ticket.trained.item, other.trained.item, rtol=1e-3, atol=1e-5)


def test_a_search_need_not_begin_with_the_dense_model(find, found, tmp_path):
    def sparse_alone(problem):
        masks, request = found[2].masks, dense(problem)
        start = problem.program.mask_state(request.start, masks)
        yield [request._replace(level=7, masks=masks, start=start, plan=None)]

    (ticket,) = find(search=sparse_alone, out=tmp_path)
    assert (ticket.level, ticket.verdict.name) == (7, "unjudged")
    assert lthjax.load_run(tmp_path).tickets[0].masks.user.sum() == found[2].masks.user.sum()


def test_a_list_may_be_empty_and_requests_are_made_when_they_are_reached(find):
    made = []

    def lazy(problem):
        assert (yield []) == []
        (ticket,) = yield (dense(problem) for _ in range(1))

        def requests():
            for level in (1, 2):
                made.append(level)
                yield ask(problem, ticket, level)

        yield requests()

    tickets = find(search=lazy)
    seen = []
    for ticket in tickets:
        seen.append((ticket.level, list(made)))
    assert seen == [(0, []), (1, [1]), (2, [1, 2])]


def test_a_given_dense_model_is_the_search_s_level_0(find, found, played, assert_same):
    tickets = list(find(search=tournament, dense=found[0]))
    assert tickets[0].seconds == found[0].seconds
    assert_same_tickets(assert_same, tickets, played)


def a_number(problem):
    yield 3


def a_bare_request(problem):
    yield dense(problem)


def a_ticket(problem):
    tickets = yield [dense(problem)]
    yield tickets


def a_level_again(problem):
    (ticket,) = yield [dense(problem)]
    yield [ask(problem, ticket, 1)]
    yield [ask(problem, ticket, 1)]


def a_level_twice(problem):
    (ticket,) = yield [dense(problem)]
    yield [ask(problem, ticket, 1), ask(problem, ticket, 1)]


def half_a_level(problem):
    yield [dense(problem)._replace(level=0.5)]


def a_level_below_0(problem):
    yield [dense(problem)._replace(level=-1)]


def masks_of_a_wider_table(problem):
    request = dense(problem)
    yield [request._replace(masks=request.masks._replace(item=np.ones((40, 5), bool)))]


def nothing(problem):
    yield [None]


def a_list(problem):
    return [dense(problem)]


def no_masks(problem):
    yield [dense(problem)._replace(masks=None)]


def masks_of_numbers(problem):
    request = dense(problem)
    yield [request._replace(masks=request.masks._replace(user=np.ones((30, 4), np.float32)))]


def no_start(problem):
    yield [dense(problem)._replace(start=None)]


def a_start_that_is_not_masked(problem):
    (ticket,) = yield [dense(problem)]
    masks = prune(problem, ticket, 1)
    yield [Request(1, masks, first_state(problem), parent=0)]


def a_stretch_that_is_not_masked(problem):
    (ticket,) = yield [dense(problem)]
    yield [Stretch(prune(problem, ticket, 1), first_state(problem), problem.key(Purpose.SEARCH_BATCHES), 1)]


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(
    ("search", "said"),
    [
        (nothing, "wanted requests; got NoneType"),
        (a_list, "wanted a generator function, which yields lists of requests; it gave list"),
        (no_masks, r"wanted masks of shapes \[\(30, 4\), \(40, 4\)\] at level 0; got NoneType"),
        (masks_of_numbers, "wanted masks of bool at level 0; got bool, float32"),
        (no_start, "wanted a TrainState as the start at level 0; got NoneType"),
        (a_start_that_is_not_masked, "wanted a start whose pruned entries are 0 at level 1; got 56 that are not"),
        (a_stretch_that_is_not_masked, "wanted a start whose pruned entries are 0 in a stretch; got 56 that are not"),
        (a_number, "wanted lists of requests; got int"),
        (a_bare_request, "wanted requests; got int"),
        (a_ticket, "wanted requests; got Ticket"),
        (a_level_again, "wanted each level once; got level 1 again"),
        (a_level_twice, "wanted each level once; got level 1 again"),
        (half_a_level, r"wanted levels that are whole numbers from 0; got 0\.5"),
        (a_level_below_0, "wanted levels that are whole numbers from 0; got -1"),
        (
            masks_of_a_wider_table,
            r"wanted masks of shapes \[\(30, 4\), \(40, 4\)\] at level 0; got \[\(30, 4\), \(40, 5\)\]",
        ),
    ],
)
def test_what_a_search_yields_wrongly_is_one_line(find, tmp_path, search, said, together):
    with pytest.raises(SettingsError, match=f"^search: {said}") as caught:
        list(find(search=search, out=tmp_path, together=together))
    assert "\n" not in str(caught.value)


def test_what_was_made_before_a_wrong_request_stays(find, tmp_path, rows_of):
    with pytest.raises(SettingsError, match="level 1 again"):
        list(find(search=a_level_again, out=tmp_path))
    assert [row["level"] for row in rows_of(tmp_path)] == ["0", "1"]
    assert lthjax.load_ticket(ticket_place(tmp_path, 1)).parent == 0
