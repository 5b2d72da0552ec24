"""What a run tells: every event in order, the earlier sitting's too; an error of who is told ends it, nothing lost."""

import collections

import pytest

import lthjax
from lthjax.errors import SettingsError
from lthjax.events import Evaluated, LevelBegun, RunBegun, RunEnded, TicketFound, Trained


@pytest.fixture
def told(find):
    """Runs a search and keeps its events: keywords -> (tickets, events)."""

    def run(**changes):
        events = []
        return list(find(on_event=events.append, **changes)), events

    return run


def of_kind(events, *kinds):
    return [event for event in events if isinstance(event, kinds)]


def untimed(event):
    """What does not differ between two runs, and between an evaluation and its line in the log."""
    fields = event._asdict()
    for name in ("left", "seconds", "resumed", "ticket", "row", "folder"):
        fields.pop(name, None)
    if "loss" in fields:
        fields["loss"] = round(fields["loss"], 6)
        fields["metrics"] = {name: round(value, 6) for name, value in fields["metrics"].items()}
    return type(event).__name__, fields


def test_every_level_is_told_from_its_beginning_to_its_ticket(told, tmp_path):
    tickets, events = told(out=tmp_path / "run")
    assert events[0] == RunBegun(0, tickets[0].settings, "matrix", 4, tmp_path / "run")
    assert events[-1] == RunEnded(0, is_finished=True)
    kinds = of_kind(events, LevelBegun, Evaluated, TicketFound)
    wanted = [(LevelBegun, level) for level in range(4)]
    assert [(type(e), e.level) for e in of_kind(events, LevelBegun)] == wanted
    for ticket in tickets:
        begun, *evaluated, found = [event for event in kinds if event.level == ticket.level]
        assert (begun.sparsity, begun.epoch, begun.resumed) == (ticket.sparsity, 0, False)
        assert [(event.epoch, event.part, event.resumed) for event in evaluated] == [(3, "valid", False)]
        assert evaluated[0].metrics["recall@20"] == pytest.approx(ticket.metrics["valid_recall@20"])
        assert evaluated[0].is_best
        assert found.ticket is ticket
        assert (found.verdict, found.resumed) == (ticket.verdict, False)
        assert found.row["recall@20"] == ticket.metrics["recall@20"]
    epochs = [event.epoch for event in of_kind(events, Trained) if event.level == 1]
    assert epochs == sorted(set(epochs))
    assert str(found.left) == ""
    assert [found.left.is_most for found in of_kind(events, TicketFound)] == [False] * 4


def test_it_changes_no_number(told, found, assert_same):
    for ticket, other in zip(told()[0], found, strict=True):
        assert ticket.metrics == other.metrics
        assert_same(ticket.trained, other.trained)


def test_what_was_there_is_told_again_and_marked(told, tmp_path):
    _, first = told(out=tmp_path)
    _, again = told(out=tmp_path)
    kinds = (LevelBegun, Evaluated, TicketFound)
    assert [untimed(event) for event in of_kind(first, *kinds)] == [untimed(event) for event in of_kind(again, *kinds)]
    assert all(event.resumed for event in of_kind(again, *kinds))
    assert not of_kind(again, Trained)


@pytest.mark.parametrize("kind", [RunBegun, LevelBegun, Evaluated, Trained, TicketFound, RunEnded])
def test_an_error_of_who_is_told_ends_the_run_and_what_was_trained_is_saved(kind, find, told, tmp_path, log_of):
    """Its own error comes out; it is not called again; the same call goes on, to the numbers of an unbroken run."""
    calls = []

    def fail(event):
        calls.append(event)
        if isinstance(event, kind) and getattr(event, "level", 1) == 1:
            raise ZeroDivisionError("of the tracker")

    def run(**changes):
        return find(epochs=6, eval_every=2, **changes)

    with pytest.raises(ZeroDivisionError, match="of the tracker"):
        list(run(out=tmp_path / "cut", on_event=fail))
    assert isinstance(calls[-1], kind)
    levels = 0 if kind is RunBegun else 4 if kind is RunEnded else 2 if kind is TicketFound else 1
    assert len(list(tmp_path.glob("cut/tickets/level_*"))) == levels
    assert len(list(tmp_path.glob("cut/snapshots/level_01-*"))) == (kind in (Evaluated, Trained))
    events = []
    tickets = list(run(out=tmp_path / "cut", on_event=events.append))
    whole = list(run(out=tmp_path / "whole"))
    assert [ticket.metrics for ticket in tickets] == [ticket.metrics for ticket in whole]
    assert log_of(tmp_path / "cut") == log_of(tmp_path / "whole")
    told_epochs = [event.epoch for event in of_kind(events, Evaluated) if event.level == 1]
    assert told_epochs == [2, 4, 6]


def test_a_level_that_is_stopped_is_told_whole(find, told, tmp_path, interrupting):
    def run(**changes):
        return find(epochs=6, eval_every=2, out=tmp_path, save_seconds=1e9, **changes)

    first, again = [], []
    with interrupting(lambda name, epoch: name.startswith("level 1") and epoch == 4), pytest.raises(KeyboardInterrupt):
        list(run(on_event=first.append))
    assert first[-1] == RunEnded(0, is_finished=False)
    list(run(on_event=again.append))
    of_level = [event for event in of_kind(again, LevelBegun, Evaluated) if event.level == 1]
    assert (of_level[0].epoch, of_level[0].resumed) == (4, True)
    assert [(event.epoch, event.resumed) for event in of_level[1:]] == [(2, True), (4, True), (6, False)]
    assert of_level[3].left.has_ranked


def test_a_caller_who_takes_no_more_tickets_ends_the_run(find):
    events = []
    tickets = find(on_event=events.append)
    next(tickets)
    tickets.close()
    assert events[-1] == RunEnded(0, is_finished=False)


@pytest.mark.parametrize("together", [False, True])
def test_seeds_are_told_apart(find, together):
    events = []
    tickets = list(find(seeds=2, levels=1, together=together, on_event=events.append))
    found = collections.Counter((event.seed, event.level) for event in of_kind(events, TicketFound))
    assert found == {(seed, level): 1 for seed in (0, 1) for level in (0, 1)}
    assert all(event.ticket.settings.seed == event.seed for event in of_kind(events, TicketFound))
    assert [event.seed for event in of_kind(events, RunEnded)] == ([1, 0] if together else [0, 1])
    lefts = [str(event.left) for event in of_kind(events, TicketFound)]
    assert lefts[0].startswith("about")
    assert (lefts[-1], len(tickets)) == ("", 4)


def test_a_dense_model_that_is_given_is_told_as_one_that_was_there(find, found):
    events = []
    list(find(dense=found[0], on_event=events.append))
    assert [event.resumed for event in of_kind(events, TicketFound)] == [True, False, False, False]
    assert not [event for event in of_kind(events, Evaluated) if event.level == 0]


def test_a_search_that_trains_besides_its_tickets_tells_of_these(told):
    tickets, events = told(search="short", search_epochs=1)
    assert [event.level for event in of_kind(events, TicketFound)] == [ticket.level for ticket in tickets]


@pytest.mark.parametrize("wrong", [[], "print", 3])
def test_who_is_told_is_a_function(find, wrong):
    with pytest.raises(SettingsError, match="on_event: wanted a function of one event; got"):
        find(on_event=wrong)


def test_names_are_found_in_the_package():
    assert lthjax.events.TicketFound is TicketFound
