"""Searches that train by themselves: exact masks, first values, what they cost, going on where they stopped."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest

import lthjax
from lthjax.errors import SettingsError
from lthjax.pruning import masks as masking
from lthjax.pruning.rules import magnitude, prune
from lthjax.search import early as early_cut
from lthjax.search import executor
from lthjax.search.fixed import fixed
from lthjax.search.gradual import gradual
from lthjax.search.steps import Stretch, dense
from lthjax.tickets.effort import Cost, Effort
from lthjax.training import fit as fitting
from lthjax.training.keys import Purpose

SEARCHES = ("short", "early", "gradual", "dynamic")
KEPT = [280, 140, 70, 28]  # of 70 rows of 4
STEPS = {  # of the searches for the three levels, 6 steps an epoch, 2 epochs a level or 4 in all
    "short": [2 * 6 * rung for rung in (3, 6, 10)],  # 20% at a time: 3 prunings to a half, 3 more, 4 more
    "early": [4 * 6] * 3,
    "gradual": [1 * 6, 2 * 6, 4 * 6],  # cubic: 52% after 1 epoch of 4, 79% after 2, 89% after 3
    "dynamic": [4 * 6] * 3,
}


@pytest.fixture(scope="session")
def seek(find):
    """A search for half, three quarters and nine tenths pruned: name -> iterator over tickets."""

    def call(search, **changes):
        epochs = {"short": 2}.get(search, 4)
        return find(**{"search": search, "search_epochs": epochs, "sparsities": "0.5,0.75,0.9"} | changes)

    return call


@pytest.fixture(scope="module")
def sought(seek):
    return {name: list(seek(name)) for name in SEARCHES}


@pytest.fixture
def stretches(monkeypatch):
    """What every stretch ended with, as (masks, state): filled while searches run."""
    ended = []

    def fit(trainer, members, hooks):
        states = fitting.fit(trainer, members, hooks)
        if trainer.plan.eval_every is None:
            ended.extend((member.masks, state) for member, state in zip(members, states, strict=True))
        return states

    monkeypatch.setattr(executor, "fit", fit)
    return ended


@pytest.mark.parametrize("search", SEARCHES)
def test_tickets_of_exact_size_from_first_values(search, sought, found, assert_same):
    tickets = sought[search]
    assert [ticket.num_kept for ticket in tickets] == KEPT
    assert [ticket.parent for ticket in tickets] == [None] * 4
    assert_same(tickets[0].trained, found[0].trained)  # the dense model of every search
    for ticket in tickets[1:]:
        assert_same(ticket.start, masking.apply(ticket.masks, tickets[0].start))
        assert_same(ticket.trained, masking.apply(ticket.masks, ticket.trained))
    if search != "dynamic":
        assert all(masking.are_nested(after.masks, before.masks) for before, after in itertools.pairwise(tickets))


@pytest.mark.parametrize("search", SEARCHES)
def test_what_it_costs(search, sought):
    dense_model, *tickets = sought[search]
    assert dense_model.cost == Cost(Effort(), Effort(18, 1, dense_model.seconds), 18)
    assert [ticket.cost.search.steps for ticket in tickets] == STEPS[search]
    for ticket in tickets:
        assert ticket.cost.own == Effort(18, 1, ticket.seconds)
        assert ticket.cost.search.evaluations == 0
        assert ticket.cost.columns()["search_cost"] == ticket.cost.search.steps / 18


@pytest.mark.parametrize("search", SEARCHES)
def test_pruned_entries_are_0_in_every_stretch(search, seek, stretches, assert_same):
    list(seek(search))
    assert stretches
    for masks, state in stretches:
        assert_same(state.train.params, masking.apply(masks, state.train.params))
        for moments in jax.tree.leaves(state.train.opt_state):
            if moments.ndim == 2:
                mask = next(mask for mask in masks if mask.shape == moments.shape)
                assert not np.any(np.asarray(moments)[~np.asarray(mask)])


@pytest.mark.parametrize("search", SEARCHES)
def test_it_sees_neither_test_nor_validation_part(search, seek, tastes, quick, assert_same):
    """Other test and validation items of every user lead to the same masks."""
    rng = np.random.default_rng(0)
    others = {}
    for name in ("valid", "test"):
        pairs = getattr(tastes, name).copy()
        pairs[:, 1] = rng.permutation(pairs[:, 1])
        taken = {tuple(pair) for part in (tastes.train, *others.values()) for pair in part.tolist()}
        others[name] = np.unique([pair for pair in pairs.tolist() if tuple(pair) not in taken], axis=0).astype(np.int32)
    assert not np.array_equal(others["test"], tastes.test)
    split = dataclasses.replace(tastes, **others)
    options = quick | {"search": search, "search_epochs": 2, "sparsities": "0.5,0.75,0.9", "epochs": 1}
    for ticket, other in zip(
        seek(search, search_epochs=2, epochs=1), lthjax.find_tickets(split, **options), strict=True
    ):
        assert_same(ticket.masks, other.masks)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("save_seconds", [0.0, 1e6])
def test_a_search_that_is_stopped_goes_on(search, save_seconds, seek, sought, tmp_path, monkeypatch, assert_same):
    """Ctrl-C in a stretch, whether progress is saved each time or only then: no stretch before is trained again."""
    numbers = []

    def fit(trainer, members, hooks):
        if trainer.plan.eval_every is None:
            numbers.append(len(numbers))
            if len(numbers) == stops_at:
                raise KeyboardInterrupt
        return fitting.fit(trainer, members, hooks)

    monkeypatch.setattr(executor, "fit", fit)
    stops_at, options = None, {"out": tmp_path / "run", "save_seconds": save_seconds}
    list(seek(search))
    num_stretches = len(numbers)
    numbers.clear()
    stops_at = num_stretches  # the last one
    with pytest.raises(KeyboardInterrupt):
        list(seek(search, **options))
    numbers.clear()
    stops_at = None
    tickets = list(seek(search, **options))
    assert len(numbers) == 1
    for ticket, other in zip(tickets, sought[search], strict=True):
        assert_same((ticket.masks, ticket.trained), (other.masks, other.trained))
        assert ticket.cost.search.steps == other.cost.search.steps
    numbers.clear()
    assert [ticket.cost for ticket in seek(search, **options)] == [ticket.cost for ticket in tickets]
    assert numbers == []  # the masks of a finished run are read


def test_progress_that_is_damaged_is_told_and_made_again(seek, sought, tmp_path, assert_same):
    list(seek("short", out=tmp_path, save_seconds=0))
    (progress,) = (tmp_path / "snapshots").glob("search-*")
    (progress / "facts.json").write_text("{")
    with pytest.warns(UserWarning, match="The search begins anew"):
        tickets = list(seek("short", out=tmp_path, save_seconds=0))
    for ticket, other in zip(tickets, sought["short"], strict=True):
        assert_same(ticket.masks, other.masks)


def test_another_run_s_progress_is_refused(seek, tmp_path):
    list(seek("short", out=tmp_path / "one", save_seconds=0))
    list(seek("short", out=tmp_path / "two", save_seconds=0, search_epochs=3))
    (progress,) = (tmp_path / "two" / "snapshots").glob("search-*")
    (own,) = (tmp_path / "one" / "snapshots").glob("search-*")
    progress.rename(own.with_name("search-999999"))
    with pytest.raises(SettingsError, match="--search-epochs 2; got one with 3"):
        list(seek("short", out=tmp_path / "one"))


@pytest.mark.parametrize("search", SEARCHES)
def test_seeds_together_are_seeds_in_turn(search, seek, assert_same):
    together = list(seek(search, seeds=2, together=True))
    in_turn = list(seek(search, seeds=2, together=False))
    in_turn.sort(key=lambda ticket: (ticket.level, ticket.settings.seed))
    for ticket, other in zip(together, in_turn, strict=True):
        assert (ticket.level, ticket.settings) == (other.level, other.settings)
        assert masking.overlap(ticket.masks, other.masks).overlap > 0.95  # near ties may fall either way
        assert ticket.cost.search.steps == other.cost.search.steps


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("rewind", ["reinit", "lr", "none"])
def test_where_tickets_start(search, rewind, seek, sought, assert_same):
    for ticket, other in zip(seek(search, rewind=rewind), sought[search], strict=True):
        assert_same(ticket.masks, other.masks)
        is_first = bool((np.asarray(ticket.start.user) == np.asarray(other.start.user)).all())
        assert is_first == (ticket.level == 0)
        assert_same(ticket.start, masking.apply(ticket.masks, ticket.start))
        assert (ticket.origin is not None) == (rewind == "none" and ticket.level > 0)


def test_an_early_cut_is_the_dense_model_s_own(seek, find):
    (model,) = find(levels=0, epochs=4, prune_from="last")
    scores = magnitude(model.final.params)
    for ticket in list(seek("early"))[1:]:
        masks = prune(scores, model.masks, ticket.sparsity)
        assert masking.are_equal(ticket.masks, masks)


def test_an_early_cut_waits_until_masks_stand_still(seek, monkeypatch):
    """Fewer levels with more kept are found sooner; the bound ends what never stands still."""
    monkeypatch.setattr(early_cut, "MOST_EPOCHS", 7)
    monkeypatch.setattr(early_cut, "STILL", 1.0)
    assert [ticket.cost.search.steps for ticket in seek("early", search_epochs=0)] == [0, 36, 36, 36]
    monkeypatch.setattr(early_cut, "STILL", -1.0)
    assert [ticket.cost.search.steps for ticket in seek("early", search_epochs=0)] == [0, 42, 42, 42]


def test_masks_stand_still_by_what_they_keep():
    kept = np.zeros((1, 100), bool)
    kept[0, :20] = True
    moved = np.roll(kept, 2)  # 2 of 20 differ, 4% of all entries
    assert early_cut._stand_still([moved, kept])
    assert not early_cut._stand_still([np.roll(kept, 3), kept])
    assert not early_cut._stand_still([kept, np.roll(kept, 3), kept])


def test_short_by_hand(problem, sought, assert_same):
    """Each rung trained and pruned by itself, at the sizes that equal shares give."""
    first = problem.program.init(problem.key(Purpose.FIRST_VALUES))
    masks, plan = masking.all_kept(first), fitting.Plan(epochs=2, patience=0, eval_every=None)
    sizes = [222, 176, 140, 111, 88, 70, 56, 44, 35, 28]
    for rung, size in enumerate(sizes):
        start = fitting.begin(problem.program.start(first, masks), 0)
        member = fitting.Member("", masks, problem.key(Purpose.SEARCH_BATCHES, rung), start)
        (state,) = fitting.fit(problem.trainer._replace(plan=plan), [member])
        masks = prune(magnitude(state.train.params), masks, 1 - size / masking.num_kept(masks))
        if size in KEPT:
            assert_same(masks, sought["short"][KEPT.index(size)].masks)


def test_pruned_by_movement(find, seek, found, assert_same):
    """|w - w0| of what is kept, w0 where training began: as a score that is given the first values in code."""
    first = found[0].start

    def movement(params, key):
        return jax.tree.map(lambda w, w0: abs(w - w0), params, first)

    for how in ({}, {"search": "one-shot"}, {"search": "early", "search_epochs": 2}):
        named, given = find(prune_by="movement", **how), find(score=movement, **how)
        for ticket, other in zip(named, given, strict=True):
            assert_same(ticket.masks, other.masks)
    by_both = zip(seek("short", prune_by="movement"), seek("short"), strict=True)
    assert [masking.are_equal(ticket.masks, other.masks) for ticket, other in by_both] == [True] + [False] * 3
    moved = list(find(prune_by="movement", rewind="reinit"))  # its level 2 is pruned by what level 1 began with
    change = jax.tree.map(lambda w, w0: abs(w - w0), moved[1].trained, moved[1].start)
    assert_same(moved[2].masks, prune(change, moved[1].masks, 0.2))


@pytest.mark.parametrize("side", ["user", "item"])
@pytest.mark.parametrize("search", ["short", "early", "gradual"])
def test_one_table_alone_is_pruned_by_its_share(search, side, seek):
    """However many prunings lead there: what the other table keeps is not to be caught up on."""
    rows = {"user": 30, "item": 40}
    for ticket, sparsity in zip(seek(search, prune_scope=side), (0, 0.5, 0.75, 0.9), strict=True):
        kept = {name: masking.num_kept(getattr(ticket.masks, name)) for name in rows}
        assert kept == {name: round(4 * rows[name] * (1 - (sparsity if name == side else 0))) for name in rows}


def test_a_linear_schedule_prunes_later(seek):
    tickets = list(seek(lambda problem: gradual(problem, power=1.0), search_epochs=0))
    assert [ticket.num_kept for ticket in tickets] == KEPT
    epochs = [ticket.cost.search.steps // 6 for ticket in tickets]
    assert epochs == [0, 23, 34, 40]  # of 40: .9 t / 40 >= .5, .75, .9


def test_iterative_pruning_costs_all_that_was_trained_before(found):
    steps = [ticket.cost.own.steps for ticket in found]
    assert [ticket.cost.search.steps for ticket in found] == [0, steps[0], sum(steps[:2]), sum(steps[:3])]
    assert [ticket.cost.search.evaluations for ticket in found] == [0, 1, 2, 3]
    assert found[3].cost.columns()["search_cost"] == 3.0


def test_one_shot_costs_a_dense_model_and_random_masks_nothing(find):
    assert [ticket.cost.search.steps for ticket in find(search="one-shot")] == [0, 18, 18, 18]
    for prune_by in ("random", "random-by-degree"):
        assert [ticket.cost.search.steps for ticket in find(search="one-shot", prune_by=prune_by)] == [0] * 4
    trained_on = find(search="one-shot", prune_by="random", rewind="lr")
    assert [ticket.cost.search.steps for ticket in trained_on] == [0, 18, 18, 18]


def test_one_shot_by_both_of_its_names(find, assert_same):
    for ticket, other in zip(find(search="one-shot"), find(prune_parent="dense"), strict=True):
        assert_same(ticket.trained, other.trained)


def test_costs_of_tickets_that_do_not_tell_are_worked_out(find, found, tmp_path):
    """Folders of older versions: their tickets do not say, but what was trained is known."""
    list(find(out=tmp_path))
    for facts in tmp_path.glob("tickets/*/facts.json"):
        record = json.loads(facts.read_text())
        del record["facts"]["cost"]
        arrays = facts.parent
        facts.write_text(json.dumps(record))
        _seal(arrays)
    again = list(find(out=tmp_path))
    assert [t.cost.search.steps for t in again] == [t.cost.search.steps for t in found]


def _seal(folder):
    """Make a changed checkpoint whole again."""
    from lthjax.runtime import array_files, checkpoint

    record = json.loads((folder / "facts.json").read_text())
    empty = {name: checkpoint._empty(dtype, shape) for name, (dtype, shape) in record["empty"].items()}
    record["digest"] = checkpoint._digest(array_files.read(folder / "arrays") | empty, record["facts"])
    (folder / "facts.json").write_text(json.dumps(record))


def test_masks_that_are_given(find, found, assert_same):
    masks_of = {level: found[level].masks for level in (1, 3)}
    tickets = list(find(search=fixed(masks_of, {3: Effort(5)})))
    assert [ticket.level for ticket in tickets] == [0, 1, 3]
    for ticket in tickets:
        assert_same((ticket.masks, ticket.trained), (found[ticket.level].masks, found[ticket.level].trained))
    assert [ticket.cost.search.steps for ticket in tickets] == [0, 0, 5]
    with pytest.raises(SettingsError, match="--rewind: wanted init or reinit with given masks; got lr"):
        list(find(search=fixed(masks_of), rewind="lr"))


@pytest.mark.parametrize(
    ("epochs", "wanted"), [(0, "at least 1 epoch; got 0"), (True, "got True"), ("2", "got '2'"), (1, "masks of shapes")]
)
def test_stretches_that_cannot_be(find, epochs, wanted):
    def search(problem):
        (ticket,) = yield [dense(problem)]
        start = problem.program.start(ticket.start, ticket.masks)
        yield [Stretch(None if epochs == 1 else ticket.masks, start, problem.key(1), epochs)]

    with pytest.raises(SettingsError, match=wanted):
        list(find(search=search))


def test_a_score_decides_what_falls_or_is_refused(seek, sought):
    def smallest_first(params, key):
        return jax.tree.map(lambda w: -abs(w), params)

    for name in ("short", "early", "gradual"):
        ticket = list(seek(name, score=smallest_first))[1]
        assert masking.overlap(ticket.masks, sought[name][1].masks).overlap < 0.7
    with pytest.raises(SettingsError, match="score: wanted none with --search dynamic"):
        list(seek("dynamic", score=smallest_first))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (
            {"search": "short", "prune_parent": "dense"},
            "--prune-parent: wanted previous with --search short; got dense",
        ),
        ({"search": "imp", "search_epochs": 3}, "--search-epochs: wanted one of --search short, early, .*; got imp"),
        ({"search": "early", "prune_by": "random"}, "--prune-by: wanted magnitude or movement with --search early"),
        ({"search": "dynamic", "rewind": "epoch:1"}, "--rewind: wanted init, reinit, lr or none with --search dynamic"),
        ({"search": "dynamic", "prune_by": "movement"}, "--prune-by: wanted magnitude with --search dynamic"),
        ({"search": "dynamic", "prune_scope": "row"}, "--prune-scope: wanted joint with --search dynamic; got row"),
        ({"search": "one-shot", "rewind": "none"}, "--prune-parent: wanted previous, since --rewind none"),
        ({"search": "shrt"}, "--search: wanted one of imp, one-shot, .*; got 'shrt'.*short"),
        ({"search": "short", "search_epochs": -1}, "--search-epochs: wanted 0 or more; got -1"),
    ],
)
def test_settings_that_do_not_go_together(changes, wanted):
    with pytest.raises(SettingsError, match=wanted):
        lthjax.Settings(**changes)
