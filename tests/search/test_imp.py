"""The loop as a user calls it from Python."""

import dataclasses
import itertools

import jax
import numpy as np
import optax
import pytest
from scipy import sparse

import lthjax
from lthjax.data import interactions as data
from lthjax.data import split as splits
from lthjax.errors import SettingsError
from lthjax.pruning import masks
from lthjax.pruning import rules as prune
from lthjax.search import imp

TINY = {"dim": 4, "epochs": 3, "batch_size": 64, "levels": 3, "prune_rate": 0.2, "show_progress": False}


@pytest.fixture(scope="module")
def split():
    """30 users, 40 items, 400 interactions in two loose groups of taste."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, 30, 700)
    items = (rng.integers(0, 20, 700) + 20 * (users % 2) * (rng.random(700) < 0.8)).astype(int) % 40
    pairs = np.unique(np.stack([users, items], axis=1), axis=0)
    return splits.split(data.load(sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(30, 40))))


@pytest.fixture(scope="module")
def found(split):
    return list(lthjax.find_tickets(split, **TINY))


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_bit_equal(one, other):
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_levels_counts_nesting_and_rewinding(found):
    size = kept = found[0].num_kept
    assert size == masks.num_entries(found[0].masks)
    assert [ticket.level for ticket in found] == [0, 1, 2, 3]
    assert [ticket.parent for ticket in found] == [None, 0, 1, 2]
    for parent, ticket in itertools.pairwise(found):
        kept -= round(0.2 * kept)
        assert ticket.num_kept == kept
        assert ticket.sparsity == pytest.approx(1 - kept / size)
        assert masks.are_nested(ticket.masks, parent.masks)
        assert_bit_equal(ticket.start, masks.apply(ticket.masks, found[0].start))
        assert_bit_equal(ticket.trained, masks.apply(ticket.masks, ticket.trained))
        smallest = prune.prune(prune.magnitude(parent.trained), parent.masks, 0.2)
        assert_bit_equal(ticket.masks, smallest)


def test_every_level_trains_and_is_measured(found, split):
    users_with_test_items = len(np.unique(split.test[:, 0]))
    for ticket in found:
        assert not np.array_equal(ticket.start.user, ticket.trained.user)
        assert set(ticket.metrics) == {"recall@20", "ndcg@20", "valid_recall@20", "valid_ndcg@20"}
        assert len(ticket.users) == len(ticket.per_user["recall@20"]) == users_with_test_items
        assert ticket.metrics["recall@20"] == pytest.approx(ticket.per_user["recall@20"].mean())
        assert 1 <= ticket.best_epoch <= ticket.epochs <= 3
    assert found[0].verdict.name == "dense"
    assert all(ticket.verdict.name in ("better", "wins", "slower", "matches", "worse") for ticket in found[1:])


def test_the_same_seed_gives_the_same_tickets_and_another_seed_others(found, split):
    again = list(lthjax.find_tickets(split, **TINY))
    for ticket, repeated in zip(found, again, strict=True):
        assert_bit_equal((ticket.masks, ticket.trained), (repeated.masks, repeated.trained))
    other = next(lthjax.find_tickets(split, seed=1, **TINY))
    assert not np.array_equal(other.start.user, found[0].start.user)


@pytest.mark.parametrize("rewind", ["reinit", "none", "lr", "epoch:1"])
def test_rewind_modes_start_where_they_say(split, rewind):
    found = list(lthjax.find_tickets(split, rewind=rewind, **(TINY | {"levels": 2})))
    dense, first, second = found
    for ticket in (first, second):
        assert_bit_equal(ticket.start, masks.apply(ticket.masks, ticket.start))
    if rewind == "reinit":
        assert not np.array_equal(first.start.user, masks.apply(first.masks, dense.start).user)
    elif rewind in ("none", "lr"):
        assert_bit_equal(first.start, masks.apply(first.masks, dense.trained))
        assert_bit_equal(second.start, masks.apply(second.masks, first.trained))
    else:
        assert dense.origin is not None
        assert_bit_equal(first.start, masks.apply(first.masks, dense.origin.params))
        assert_bit_equal(second.start, masks.apply(second.masks, dense.origin.params))
        assert min(first.best_epoch, second.best_epoch) >= 1


def test_pruning_from_the_last_epoch(split):
    dense, first = lthjax.find_tickets(split, prune_from="last", **(TINY | {"levels": 1, "learning_rate": 0.3}))
    assert dense.final is not None
    assert_bit_equal(first.masks, prune.prune(prune.magnitude(dense.final.params), dense.masks, 0.2))


def test_random_pruning_and_scopes(split):
    by_chance = list(lthjax.find_tickets(split, prune_by="random", **TINY))
    assert [ticket.num_kept for ticket in by_chance] == [280, 224, 179, 143]
    by_row = list(lthjax.find_tickets(split, prune_scope="row", **(TINY | {"levels": 1, "prune_rate": 0.25})))
    assert set(np.asarray(by_row[1].masks.user).sum(axis=1).tolist()) == {3}


def test_lightgcn_and_any_optimizer(split):
    found = list(lthjax.find_tickets(split, model="lightgcn", layers=2, optimizer=optax.lion(1e-2), **TINY))
    for ticket in found:
        assert_bit_equal(ticket.trained, masks.apply(ticket.masks, ticket.trained))
    assert found[0].settings["optimizer"].startswith("given")


def test_retraining_a_ticket_gives_it_again(found, split):
    again = lthjax.retrain(found[2], split, show_progress=False)
    assert_bit_equal(again.trained, found[2].trained)
    assert again.metrics == found[2].metrics
    assert again.parent == 2
    assert again.verdict.difference == 0
    other = lthjax.retrain(found[2], split, optimizer=optax.sgd(0.1), show_progress=False)
    assert not np.array_equal(other.trained.user, found[2].trained.user)
    assert_bit_equal(other.start, found[2].start)


def test_retraining_on_other_users_is_refused(found):
    with pytest.raises(lthjax.DataError, match="wanted the ticket's users and items"):
        lthjax.retrain(found[1], "ml-latest-small", show_progress=False)


def test_data_given_in_code_are_named_and_not_taken_for_others(split):
    import pandas as pd

    frame = pd.DataFrame(np.concatenate([split.train, split.valid, split.test]), columns=["user", "item"])
    ticket = next(lthjax.find_tickets(frame, **TINY))
    assert ticket.settings["data"] == "<DataFrame>"
    with pytest.raises(lthjax.DataError, match="was found on a <DataFrame> that was given in code"):
        lthjax.retrain(ticket, show_progress=False)
    assert lthjax.retrain(ticket, frame, show_progress=False).metrics == ticket.metrics
    assert next(lthjax.find_tickets(split, **TINY)).settings["data"] == "<matrix>"


def test_what_no_machine_can_do_is_refused(split):
    for changes, wanted in (
        ({"dim": 10**10}, "--dim: wanted a table that can be trained in this machine's"),
        ({"epochs": 2**30}, r"--epochs: wanted fewer than 2\^31 steps"),
        ({"layers": 17}, "--layers: wanted at most 16"),
        ({"seed": 2**31}, "--seed: wanted at most"),
        ({"batch_size": 2**25}, "--batch-size: wanted at most"),
    ):
        with pytest.raises(lthjax.SettingsError, match=wanted):
            lthjax.find_tickets(split, **(TINY | changes))


def test_numbers_of_numpy_are_numbers(split):
    ticket = next(lthjax.find_tickets(split, **(TINY | {"seed": np.int64(0), "dim": np.int32(4)})))
    assert type(ticket.settings["seed"]) is int


def test_the_rewind_point_does_not_depend_on_where_dispatches_are_cut(split, monkeypatch):
    options = TINY | {"rewind": "epoch:2", "patience": 1, "epochs": 8, "prune_from": "last", "levels": 1}
    options["learning_rate"] = 0.5  # it soon gets no better: patience runs out before or at the rewind epoch
    whole = list(lthjax.find_tickets(split, **options))
    monkeypatch.setattr("lthjax.training.fit._SECONDS_PER_DISPATCH", 1e-9)
    cut = list(lthjax.find_tickets(split, **options))
    assert int(whole[0].final.step) == int(cut[0].final.step)
    assert_bit_equal(whole[1].masks, cut[1].masks)


def test_selection_on_test_is_the_test_value(split):
    ticket = next(lthjax.find_tickets(split, selection="test", **TINY))
    assert ticket.settings["selection"] == "test"
    best = max(
        next(lthjax.find_tickets(split, selection="test", **(TINY | {"epochs": epochs}))).metrics["recall@20"]
        for epochs in (1, 2, 3)
    )
    assert ticket.metrics["recall@20"] == best


def test_bad_settings_are_refused_before_anything_runs(split):
    for changes, wanted in (
        ({"prune_rate": 1.0}, "--prune-rate"),
        ({"levels": 100}, "--levels: wanted at most"),
        ({"dim": 0}, "--dim"),
        ({"learning_rate": -1.0}, "--learning-rate"),
        ({"rewind": "epoch:3"}, "--rewind: wanted epoch:K with K from 1 to 2"),
        ({"model": "lightgnc"}, "did you mean lightgcn"),
    ):
        with pytest.raises(lthjax.SettingsError, match=wanted):
            lthjax.find_tickets(split, **(TINY | changes))


def test_a_split_without_validation_part_says_what_to_do(split):
    bare = dataclasses.replace(split, valid=split.valid[:0])
    with pytest.raises(lthjax.DataError, match="--split cut"):
        lthjax.find_tickets(bare, **TINY)
    ticket = next(lthjax.find_tickets(bare, selection="test", **TINY))
    assert set(ticket.metrics) == {"recall@20", "ndcg@20"}


def test_a_loss_that_leaves_the_numbers_names_level_and_epoch(split):
    with pytest.raises(lthjax.TrainingError, match=r"level 0 of seed 0, epoch \d: the loss is no longer finite"):
        list(lthjax.find_tickets(split, optimizer=optax.sgd(1e30), **TINY))


@pytest.mark.parametrize("rewind", ["init", "epoch:1"])
def test_seeds_together_are_seeds_in_turn(split, tmp_path, rewind):
    options = TINY | {"levels": 2, "rewind": rewind}
    together = list(lthjax.find_tickets(split, seeds=2, together=True, out=tmp_path / "run", **options))
    assert [(ticket.level, ticket.settings["seed"]) for ticket in together] == [
        (level, seed) for level in range(3) for seed in range(2)
    ]
    in_turn = list(lthjax.find_tickets(split, seeds=[0, 1], together=False, **options))
    assert [ticket.settings["seed"] for ticket in in_turn] == [0, 0, 0, 1, 1, 1]
    in_turn.sort(key=lambda ticket: (ticket.level, ticket.settings["seed"]))
    for ticket, other in zip(together, in_turn, strict=True):
        assert ticket.metrics == pytest.approx(other.metrics, rel=1e-5)
        assert (ticket.best_epoch, ticket.verdict.name) == (other.best_epoch, other.verdict.name)
        np.testing.assert_allclose(ticket.trained.item, other.trained.item, rtol=1e-3, atol=1e-5)
    again = list(lthjax.find_tickets(split, seeds=2, together=True, out=tmp_path / "run", **options))
    for ticket, read in zip(together, again, strict=True):
        assert_bit_equal((ticket.masks, ticket.trained), (read.masks, read.trained))


def test_seeds_together_go_on_after_an_interrupt(split, tmp_path, monkeypatch):
    options = TINY | {"levels": 1, "eval_every": 1, "seeds": 2, "together": True}
    whole = list(lthjax.find_tickets(split, **options))
    real = imp.fit_together

    def interrupted(*args, report, **kwargs):
        def stop(member, epoch, loss, evaluation):
            report(member, epoch, loss, evaluation)
            if evaluation and member == 1 and epoch == 2:
                raise KeyboardInterrupt

        return real(*args, report=stop, **kwargs)

    monkeypatch.setattr(imp, "fit_together", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(lthjax.find_tickets(split, out=tmp_path / "run", **options))
    monkeypatch.setattr(imp, "fit_together", real)
    found = list(lthjax.find_tickets(split, out=tmp_path / "run", **options))
    assert [ticket.metrics for ticket in found] == [ticket.metrics for ticket in whole]
    lines = [(tmp_path / "run" / f"seed_{seed}" / "log.jsonl").read_text().splitlines() for seed in range(2)]
    assert [len(of_seed) for of_seed in lines] == [
        sum(t.epochs for t in found if t.settings["seed"] == s) for s in (0, 1)
    ]


@pytest.mark.parametrize("seeds", [0, [], [3, 3], iter(())])
def test_seeds_must_be_some_and_differ(split, seeds):
    with pytest.raises(SettingsError, match="seeds: wanted at least one, and each once"):
        lthjax.find_tickets(split, seeds=seeds, **TINY)


def test_one_shot_jumps_from_the_dense_model_to_the_same_sizes(split, found):
    """OMP: level 1 is that of iterative pruning, the later ones are pruned from the dense model as well."""
    one_shot = list(lthjax.find_tickets(split, prune_parent="dense", **TINY))
    assert [ticket.num_kept for ticket in one_shot] == [ticket.num_kept for ticket in found]
    assert [ticket.parent for ticket in one_shot] == [None, 0, 0, 0]
    assert_bit_equal((one_shot[1].masks, one_shot[1].trained), (found[1].masks, found[1].trained))
    size, scores = one_shot[0].num_kept, prune.magnitude(one_shot[0].trained)
    for ticket in one_shot[1:]:
        assert_bit_equal(ticket.masks, prune.prune(scores, one_shot[0].masks, 1 - ticket.num_kept / size))
        assert_bit_equal(ticket.start, masks.apply(ticket.masks, one_shot[0].start))
    assert not np.array_equal(one_shot[2].masks.user, found[2].masks.user)


def test_random_pruning_draws_every_level_anew(split, found):
    """RP: random masks of each level's exact size, over first values."""
    random = list(lthjax.find_tickets(split, prune_parent="dense", prune_by="random", **TINY))
    assert [ticket.num_kept for ticket in random] == [ticket.num_kept for ticket in found]
    assert not masks.are_nested(random[2].masks, random[1].masks)
    assert_bit_equal(random[2].start, masks.apply(random[2].masks, found[0].start))


@pytest.mark.parametrize("parent", ["previous", "dense"])
def test_a_schedule_is_hit_exactly(split, parent):
    options = TINY | {"epochs": 1, "sparsities": "0.5,0.75,0.9"}
    found = list(lthjax.find_tickets(split, prune_parent=parent, **options))
    assert [ticket.num_kept for ticket in found] == [280, 140, 70, 28]


def test_one_table_or_rows_with_a_minimum(split):
    options = TINY | {"levels": 2, "epochs": 1, "prune_rate": 0.5}
    *_, ticket = lthjax.find_tickets(split, prune_scope="item", **options)
    assert (int(ticket.masks.user.sum()), int(ticket.masks.item.sum())) == (30 * 4, 40)
    *_, ticket = lthjax.find_tickets(split, prune_scope="row", min_per_row=2, **options)
    assert set(np.concatenate([part.sum(axis=1) for part in ticket.masks]).tolist()) == {2}


@pytest.mark.parametrize("prune_by", ["magnitude", "random"])
def test_levels_together_are_levels_in_turn(split, tmp_path, prune_by):
    options = TINY | {"prune_parent": "dense", "prune_by": prune_by, "seeds": 2}
    together = list(lthjax.find_tickets(split, together=True, out=tmp_path / "run", **options))
    assert [(ticket.level, ticket.settings["seed"]) for ticket in together] == [
        (level, seed) for level in range(4) for seed in range(2)
    ]
    in_turn = sorted(
        lthjax.find_tickets(split, together=False, **options),
        key=lambda ticket: (ticket.level, ticket.settings["seed"]),
    )
    for ticket, other in zip(together, in_turn, strict=True):
        assert_bit_equal(ticket.masks, other.masks)
        assert ticket.metrics == pytest.approx(other.metrics, rel=1e-5)
        assert (ticket.best_epoch, ticket.verdict.name, ticket.parent) == (
            other.best_epoch,
            other.verdict.name,
            other.parent,
        )
    rows = (tmp_path / "run" / "seed_1" / "results.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["level", "0", "1", "2", "3"]
    again = list(lthjax.find_tickets(split, together=False, out=tmp_path / "run", **options))
    assert [ticket.metrics for ticket in sorted(again, key=lambda t: (t.level, t.settings["seed"]))] == [
        ticket.metrics for ticket in together
    ]


def test_a_dense_model_may_be_shared(split, found, tmp_path):
    options = TINY | {"prune_parent": "dense", "dense": found[0], "levels": 2}
    shared = list(lthjax.find_tickets(split, out=tmp_path / "run", **options))
    assert shared[0].seconds == found[0].seconds  # it was not trained again
    assert shared[0].settings["prune_parent"] == "dense"
    alone = list(lthjax.find_tickets(split, **(options | {"dense": ()})))
    for ticket, other in zip(shared, alone, strict=True):
        assert_bit_equal((ticket.masks, ticket.trained), (other.masks, other.trained))
    again = list(lthjax.find_tickets(split, out=tmp_path / "run", **(options | {"dense": ()})))
    assert [ticket.metrics for ticket in again] == [ticket.metrics for ticket in shared]
    of_seeds = list(lthjax.find_tickets(split, seeds=2, **(options | {"levels": 0})))
    assert [ticket.seconds == found[0].seconds for ticket in of_seeds] == [True, False]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 0.1}, "learning_rate 0.1; got 0.003"),
        ({"dim": 5}, "dim 5; got 4"),
        ({"rewind": "epoch:1"}, "kept what --rewind epoch:1 .* got one of --rewind init"),
        ({"prune_from": "last"}, "--prune-from last need"),
    ],
)
def test_another_dense_model_is_refused(split, found, changes, said):
    with pytest.raises(SettingsError, match=said):
        lthjax.find_tickets(split, dense=found[0], **(TINY | changes))


def test_a_ticket_is_no_dense_model(split, found):
    with pytest.raises(SettingsError, match="wanted level 0 on"):
        lthjax.find_tickets(split, dense=found[1], **TINY)
