"""The loop as a user calls it from Python."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pandas as pd
import pytest

import lthjax
from lthjax.errors import SettingsError
from lthjax.pruning import masks
from lthjax.training.time_left import TimeLeft


def test_every_level_trains_and_is_measured(found, tastes):
    users_with_test_items = len(np.unique(tastes.test[:, 0]))
    for ticket in found:
        assert not np.array_equal(ticket.start.user, ticket.trained.user)
        assert set(ticket.metrics) == {"recall@20", "ndcg@20", "valid_recall@20", "valid_ndcg@20"}
        assert len(ticket.users) == len(ticket.per_user["recall@20"]) == users_with_test_items
        assert ticket.metrics["recall@20"] == pytest.approx(ticket.per_user["recall@20"].mean())
        assert 1 <= ticket.best_epoch <= ticket.epochs <= 3
        assert (ticket.optimizer, ticket.given, ticket.settings.levels) == ("adam", {}, 3)
    assert found[0].verdict.name == "dense"
    assert all(ticket.verdict.name in ("better", "wins", "slower", "matches", "worse") for ticket in found[1:])


def test_the_same_seed_gives_the_same_tickets_and_another_seed_others(find, found, assert_same):
    for ticket, repeated in zip(found, find(), strict=True):
        assert_same((ticket.masks, ticket.trained), (repeated.masks, repeated.trained))
    other = next(find(seed=1))
    assert not np.array_equal(other.start.user, found[0].start.user)


def test_lightgcn_and_any_optimizer(find, assert_same):
    tickets = list(find(model="lightgcn", layers=2, optimizer=optax.lion(1e-2)))
    for ticket in tickets:
        assert_same(ticket.trained, masks.apply(ticket.masks, ticket.trained))
    assert tickets[0].optimizer.startswith("given")


def test_data_given_in_code_have_no_name_and_are_not_taken_for_others(find, tastes, quick):
    pairs = np.concatenate([tastes.train, tastes.valid, tastes.test])
    frame = pd.DataFrame(pairs, columns=["user", "item"])
    ticket = next(lthjax.find_tickets(frame, **quick))
    assert ticket.settings.data is None
    with pytest.raises(lthjax.DataError, match=r"wanted the data, as data=.*these were given in code"):
        lthjax.retrain(ticket, show_progress=False)
    assert lthjax.retrain(ticket, frame, show_progress=False).metrics == ticket.metrics
    assert next(find()).settings.data is None


def test_what_no_machine_can_do_is_refused(find):
    for changes, wanted in (
        ({"dim": 10**10}, "--dim: wanted a table that can be trained in this machine's"),
        ({"epochs": 2**30}, r"--epochs: wanted fewer than 2\^31 steps"),
        ({"layers": 17}, "--layers: wanted at most 16"),
        ({"seed": 2**31}, "--seed: wanted at most"),
        ({"batch_size": 2**25}, "--batch-size: wanted at most"),
    ):
        with pytest.raises(SettingsError, match=wanted):
            find(**changes)


def test_numbers_of_numpy_are_numbers(find):
    ticket = next(find(seed=np.int64(0), dim=np.int32(4)))
    assert type(ticket.settings.seed) is int


def test_the_rewind_point_does_not_depend_on_where_dispatches_are_cut(find, monkeypatch, assert_same):
    options = {"rewind": "epoch:2", "patience": 1, "epochs": 8, "prune_from": "last", "levels": 1}
    options["learning_rate"] = 0.5  # it soon gets no better: patience runs out before or at the rewind epoch
    whole = list(find(**options))
    monkeypatch.setattr("lthjax.training.fit._SECONDS_PER_DISPATCH", 1e-9)
    cut = list(find(**options))
    assert int(whole[0].final.step) == int(cut[0].final.step)
    assert_same(whole[1].masks, cut[1].masks)


def test_selection_on_test_is_the_test_value(find):
    ticket = next(find(selection="test"))
    assert ticket.settings.selection == "test"
    best = max(next(find(selection="test", epochs=epochs)).metrics["recall@20"] for epochs in (1, 2, 3))
    assert ticket.metrics["recall@20"] == best


def test_bad_settings_are_refused_before_anything_runs(find):
    for changes, wanted in (
        ({"prune_rate": 1.0}, "--prune-rate"),
        ({"levels": 100}, "--levels: wanted at most"),
        ({"dim": 0}, "--dim"),
        ({"learning_rate": -1.0}, "--learning-rate"),
        ({"rewind": "epoch:3"}, "--rewind: wanted epoch:K with K from 1 to 2"),
        ({"model": "lightgnc"}, "did you mean lightgcn"),
    ):
        with pytest.raises(SettingsError, match=wanted):
            find(**changes)


def test_a_split_without_validation_part_says_what_to_do(tastes, quick):
    bare = dataclasses.replace(tastes, valid=tastes.valid[:0])
    with pytest.raises(lthjax.DataError, match="--split cut"):
        lthjax.find_tickets(bare, **quick)
    ticket = next(lthjax.find_tickets(bare, selection="test", **quick))
    assert set(ticket.metrics) == {"recall@20", "ndcg@20"}


def test_a_loss_that_leaves_the_numbers_names_level_and_epoch(find):
    with pytest.raises(lthjax.TrainingError, match=r"level 0 of seed 0, epoch \d: the loss is no longer finite"):
        list(find(optimizer=optax.sgd(1e30)))


def test_seeds_have_a_bound(find):
    with pytest.raises(SettingsError, match="seeds: wanted at most 1,000; got 1,000,000,000"):
        find(seeds=10**9)


@pytest.mark.parametrize("seeds", [0, [], [3, 3], iter(())])
def test_seeds_must_be_some_and_differ(find, seeds):
    with pytest.raises(SettingsError, match="seeds: wanted at least one, and each once"):
        find(seeds=seeds)


def test_a_dense_model_may_be_shared(find, found, tmp_path, assert_same):
    options = {"prune_parent": "dense", "dense": found[0], "levels": 2}
    shared = list(find(out=tmp_path / "run", **options))
    assert shared[0].seconds == found[0].seconds  # it was not trained again
    assert shared[0].settings.prune_parent == "dense"
    alone = list(find(**(options | {"dense": ()})))
    for ticket, other in zip(shared, alone, strict=True):
        assert_same((ticket.masks, ticket.trained), (other.masks, other.trained))
    again = list(find(out=tmp_path / "run", **(options | {"dense": ()})))
    assert [ticket.metrics for ticket in again] == [ticket.metrics for ticket in shared]
    of_seeds = list(find(seeds=2, **(options | {"levels": 0})))
    assert [ticket.seconds == found[0].seconds for ticket in of_seeds] == [True, False]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 0.1}, "learning_rate 0.1; got 0.003"),
        ({"dim": 5}, "dim 5; got 4"),
        ({"epochs": 2}, "epochs 2; got 3"),
        ({"optimizer": optax.sgd(0.1)}, "optimizer given, .*; got adam"),
        ({"rewind": "epoch:1"}, "kept what --rewind epoch:1 .* got one of --rewind init"),
        ({"prune_from": "last"}, "--prune-from last need"),
    ],
)
def test_another_dense_model_is_refused(find, found, changes, said):
    with pytest.raises(SettingsError, match=said):
        find(dense=found[0], **changes)


HOT = {"learning_rate": 0.5, "epochs": 12, "eval_every": 1, "levels": 1}  # the last epoch is not the best


def test_a_shared_dense_model_is_pruned_from_the_state_that_is_wanted(find, assert_same):
    """It may have kept another one, for the settings that it was trained with."""
    last, best, none = (list(find(**HOT, **how)) for how in ({"prune_from": "last"}, {}, {"rewind": "none"}))
    assert not np.array_equal(last[1].masks.user, best[1].masks.user), "this case wants two states that differ"
    for dense in (last[0], none[0]):
        assert_same(list(find(dense=dense, **HOT))[1].masks, best[1].masks)
    assert_same(list(find(dense=last[0], **HOT, prune_from="last"))[1].masks, last[1].masks)
    for dense, how in ((none[0], {"prune_from": "last"}), (last[0], {"rewind": "none"}), (best[0], {"rewind": "none"})):
        with pytest.raises(SettingsError, match="wanted a model that kept what"):
            find(dense=dense, **HOT, **how)


def test_a_dense_model_that_was_trained_again_is_the_dense_model(find, found, tastes):
    again = lthjax.retrain(found[0], tastes)
    assert again.verdict.name != "dense", "it is judged beside what it was made of"
    dense, _ = find(dense=again, levels=1)
    assert (dense.verdict.name, dense.parent) == ("dense", None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"dense": "runs/x"},
            r"dense: wanted tickets, such as lthjax\.load_ticket\('RUN/tickets/level_00'\); got 'runs/x'",
        ),
        ({"dense": None}, "dense: wanted tickets, .*; got None"),
        ({"seeds": 2.5}, r"seeds: wanted a whole number, or several; got 2\.5"),
        ({"seeds": "2"}, "seeds: wanted a whole number, or several; got '2'"),
        ({"out": 3}, "out: wanted a path; got 3"),
        ({"sparsities": [0.5, 0.75]}, r"--sparsities: wanted text, such as '0\.5,0\.75'; got \[0\.5, 0\.75\]"),
        ({"sparsities": 0.5}, r"--sparsities: wanted text, such as '0\.5,0\.75'; got 0\.5"),
        ({"sparsities": "0.9999"}, r"wanted one that leaves some of 280 entries; got 0\.9999"),
        ({"rewind": None}, "--rewind: wanted text; got None"),
    ],
)
def test_what_is_of_another_kind_is_one_line(find, changes, said):
    with pytest.raises(SettingsError, match=said):
        find(**changes)


def test_a_dense_model_of_another_seed_is_refused(find, found):
    with pytest.raises(SettingsError, match=r"dense: wanted models of the seeds \[3\] too; got \[0\]"):
        find(dense=found[0], seed=3)
    list(find(dense=found[0], seeds=2, levels=0))  # the others train their own


def test_runs_of_seeds_in_one_folder_have_the_same_settings(find, tmp_path):
    list(find(out=tmp_path, seeds=1, levels=1))
    with pytest.raises(
        SettingsError, match=r"differ in their seed alone; that of seed 0 has --prune-rate 0\.2, got 0\.7"
    ):
        list(find(out=tmp_path, seeds=[5], levels=1, prune_rate=0.7))
    with pytest.raises(SettingsError, match="wanted a folder for one run; it holds runs of seeds"):
        list(find(out=tmp_path, levels=1))
    list(find(out=tmp_path, seeds=[5], levels=1))
    list(find(out=tmp_path, seeds=[5], levels=2))  # one of them may have grown
    assert len(lthjax.load_run(tmp_path).table()) == 2
    list(find(out=tmp_path / "alone", levels=0))
    with pytest.raises(SettingsError, match="wanted a folder for several seeds; it holds a run"):
        list(find(out=tmp_path / "alone", seeds=2, levels=0))
    (tmp_path / "seed_0" / "config.json").write_text("{}")
    with pytest.raises(lthjax.CheckpointError, match=r"seed_0.config\.json is damaged"):
        list(find(out=tmp_path, seeds=[6], levels=1))


def test_a_score_that_is_no_number_is_refused(find):
    def of_signs(params, key):
        return jax.tree.map(jnp.log, params)  # NaN below 0

    with pytest.raises(
        SettingsError, match=r"score: wanted a number for each entry that is kept; got \d+ that are NaN"
    ):
        list(find(score=of_signs))


def test_a_ticket_is_no_dense_model(find, found):
    with pytest.raises(SettingsError, match="wanted level 0 on"):
        find(dense=found[1])


def test_a_dense_model_on_other_data_is_refused(find, found, tastes, quick):
    swapped = dataclasses.replace(tastes, valid=tastes.test, test=tastes.valid)
    with pytest.raises(SettingsError, match="wanted level 0 on matrix; got level 0, or other data"):
        lthjax.find_tickets(swapped, dense=found[0], **quick)


def test_epochs_of_a_cheap_search_are_foreseen(tastes, quick, monkeypatch):
    made = []

    def time_left(num_levels, search_epochs):
        made.append((num_levels, search_epochs))
        return TimeLeft(num_levels, search_epochs=search_epochs)

    monkeypatch.setattr(importlib.import_module("lthjax.search.find_tickets"), "TimeLeft", time_left)
    settings = quick | {"levels": 2, "search": "short", "search_epochs": 3}
    list(lthjax.find_tickets(tastes, **settings, seeds=[4, 5]))
    assert made == [(6, {4: 6, 5: 6})]  # a tenth at a time, a level each
