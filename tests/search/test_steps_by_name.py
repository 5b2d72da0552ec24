"""Losses, negatives, weights, dislikes and optimizers by name: whole searches, resumed and alone or together."""

import dataclasses
import functools
import json

import jax
import numpy as np
import optax
import pytest

import lthjax
from lthjax.errors import DataError, SettingsError
from lthjax.model import losses
from lthjax.search.problem import prepare
from lthjax.settings import Settings
from lthjax.training.optimizer import OPTIMIZERS

EVERYTHING = {
    **{"loss": "sampled-softmax", "temperature": 0.3, "negatives": 3, "negative_sampling": "popularity"},
    **{"weights": "log", "dislikes": True, "optimizer": "adagrad", "learning_rate": 0.1},
}


@pytest.fixture(scope="module")
def valued(tastes):
    """The tastes with a value for each training interaction, and two dislikes for each of ten users."""
    rng = np.random.default_rng(1)
    taken = {tuple(pair) for part in (tastes.train, tastes.valid, tastes.test) for pair in part.tolist()}
    free = [(user, item) for user in range(10) for item in range(40) if (user, item) not in taken]
    dislikes = [pair for user in range(10) for pair in [p for p in free if p[0] == user][:2]]
    values = rng.integers(1, 9, len(tastes.train)).astype(np.float32)
    return dataclasses.replace(tastes, train_values=values, dislikes=np.array(dislikes, np.int32))


@pytest.fixture(scope="module")
def find(valued, quick):
    return lambda **changes: lthjax.find_tickets(valued, **(quick | {"levels": 1} | changes))


def program_of(valued, quick, **changes):
    settings = {name: value for name, value in quick.items() if name != "show_progress"} | changes
    return prepare(valued, Settings(data=None, **settings)).parts


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_by_name_is_optax_s(find, name, assert_same):
    by_name = next(find(optimizer=name, learning_rate=0.02))
    given = next(find(optimizer=getattr(optax, name)(0.02)))
    assert_same(by_name.trained, given.trained)
    assert (by_name.optimizer, by_name.settings.optimizer, by_name.optimizer_label) == (name, name, "")
    assert given.optimizer.startswith("given, ")


@pytest.mark.parametrize("name", losses.LOSSES)
def test_a_loss_by_name_is_the_function(find, name, assert_same):
    options = {"negatives": 2} | ({"temperature": 0.5} if name != "bpr" else {})
    by_name = next(find(loss=name, l2=0.02, **options))
    function = functools.partial(losses.LOSSES[name], l2=0.02, **({"temperature": 0.5} if name != "bpr" else {}))
    assert_same(by_name.trained, next(find(loss=function, negatives=2)).trained)


def test_each_changes_what_is_trained(find):
    plain = next(find()).trained.item
    for name, value in EVERYTHING.items():
        if name in ("temperature", "learning_rate"):
            continue
        other = next(find(**{name: value})).trained.item
        assert np.abs(np.asarray(plain - other)).max() > 1e-4, name


@pytest.mark.parametrize(
    "search",
    [
        {"search": "imp", "prune_by": "movement"},
        {"search": "dynamic", "search_epochs": 2},
        {"search": "gradual", "search_epochs": 2},
        {"search": "short", "rewind": "lr"},
        {"search": "imp", "rewind": "none"},
        {"search": "one-shot", "model": "lightgcn", "layers": 2},
    ],
)
def test_searches_go_on_where_they_were_stopped(find, search, tmp_path, interrupting, rows_of):
    whole = list(find(out=tmp_path / "whole", **EVERYTHING, **search))
    assert whole[1].sparsity > 0
    for ticket in whole:
        assert not any(
            np.asarray(part)[~np.asarray(mask)].any() for part, mask in zip(ticket.trained, ticket.masks, strict=True)
        )
    with interrupting(lambda name, epoch: name == "level 1 of seed 0"), pytest.raises(KeyboardInterrupt):
        list(find(out=tmp_path / "cut", **EVERYTHING, **search))
    list(find(out=tmp_path / "cut", **EVERYTHING, **search))
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")


def test_together_is_as_alone(find):
    alone = {(t.settings.seed, t.level): t for t in find(seeds=2, together=False, **EVERYTHING)}
    for ticket in find(seeds=2, together=True, **EVERYTHING):
        wanted = alone[ticket.settings.seed, ticket.level].trained
        for ours, theirs in zip(ticket.trained, wanted, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "came"),
    [
        ({"loss": "bpr", "temperature": 0.2}, "--loss: .* was made with 'sampled-softmax'; got 'bpr'"),
        ({"negatives": 2}, "--negatives: .* was made with 3; got 2"),
        ({"weights": "linear"}, "--weights: .* was made with 'log'; got 'linear'"),
        ({"optimizer": "lion"}, "optimizer: .* was made with adagrad; got lion"),
        ({"optimizer": optax.lion(1e-3)}, "optimizer: .* was made with adagrad; got given, "),
    ],
)
def test_a_folder_knows_what_it_was_made_with(find, tmp_path, changes, came):
    (ticket,) = find(out=tmp_path, levels=0, **EVERYTHING)
    loaded = lthjax.load_ticket(tmp_path / "tickets" / "level_00")
    assert (loaded.settings, loaded.optimizer) == (ticket.settings, "adagrad")
    with pytest.raises(SettingsError, match=f"^{came}") as caught:
        next(find(out=tmp_path, levels=0, **(EVERYTHING | changes)))
    assert "\n" not in str(caught.value)


def test_a_dense_model_of_another_loss_or_optimizer_is_refused(find):
    (dense,) = find(levels=0)
    for name, value in (("loss", "cosine-bpr"), ("negatives", 2), ("optimizer", "sgd"), ("dislikes", True)):
        with pytest.raises(SettingsError, match=f"^dense: wanted a model with {name} {value}; got "):
            find(dense=dense, **{name: value})


def test_a_ticket_retrains_with_what_its_settings_name(find, valued, assert_same):
    *_, ticket = find(rewind="none", **EVERYTHING)
    again = lthjax.retrain(ticket, valued, show_progress=False)
    assert_same(again.trained, ticket.trained)
    other = lthjax.retrain(ticket, valued, optimizer="sgd", loss="bpr", temperature=0.2, show_progress=False)
    assert (other.settings.optimizer, other.optimizer, other.settings.loss) == ("sgd", "sgd", "bpr")


# Labels of optimizers that are given in code.


def test_a_label_is_told_wherever_a_run_is(find, valued, tmp_path, rows_of):
    options = {"levels": 0, "learning_rate": 0.7, "out": tmp_path}
    (ticket,) = find(optimizer=optax.lion(1e-3), optimizer_name="lion, 1e-3", **options)
    assert ticket.optimizer_label == "lion, 1e-3"
    assert lthjax.load_ticket(tmp_path / "tickets" / "level_00").optimizer_label == "lion, 1e-3"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["optimizer_label"] == "lion, 1e-3"
    assert config["optimizer"] == ticket.optimizer
    (row,) = rows_of(tmp_path)
    assert row["settings"].endswith("; given in code: optimizer (lion, 1e-3)")
    assert "learning_rate" not in row["settings"]  # 0.7 was not used
    run = lthjax.load_run(tmp_path, valued)
    assert "optimizer lion, 1e-3" in repr(run)
    assert run.table()["settings"][0] == row["settings"]
    # The function decides about going on, not what it is called.
    (same,) = find(optimizer=optax.lion(1e-3), **options)
    assert same.optimizer_label == "lion, 1e-3"
    with pytest.raises(SettingsError, match=r"^optimizer: .* was made with given, .*; got given, "):
        next(find(optimizer=optax.lion(2e-3), optimizer_name="lion, 1e-3", **options))


def test_without_a_label_an_optimizer_tells_itself(find, tmp_path, rows_of):
    (ticket,) = find(optimizer=optax.sgd(0.5, momentum=0.9), levels=0, out=tmp_path)
    assert ticket.optimizer_label == "trace(decay 0.9) + scale(step_size -0.5)"
    assert f"optimizer ({ticket.optimizer_label})" in rows_of(tmp_path)[0]["settings"]


def test_by_default_nothing_is_told_that_was_not(find, tmp_path, rows_of):
    next(find(levels=0, out=tmp_path, learning_rate=0.01))
    config = json.loads((tmp_path / "config.json").read_text())
    assert "optimizer_label" not in config
    assert config["optimizer"] == "adam"
    assert "learning_rate 0.01" in rows_of(tmp_path)[0]["settings"]
    assert "given in code" not in rows_of(tmp_path)[0]["settings"]


def test_tickets_of_older_versions_have_the_fingerprint_among_their_settings(find, tmp_path):
    from lthjax.runtime import checkpoint
    from lthjax.tickets import ticket as ticketing

    (ticket,) = find(levels=0, optimizer=optax.sgd(0.1))
    arrays, facts = ticketing.to_checkpoint(ticket)
    name, label = facts.pop("optimizer"), facts.pop("optimizer_label")
    facts["settings"] |= {"optimizer": name}
    checkpoint.save(tmp_path / "old", arrays, facts)
    old = lthjax.load_ticket(tmp_path / "old")
    assert (old.optimizer, old.settings) == (ticket.optimizer, ticket.settings)
    assert label
    assert old.optimizer_label == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer_name": "lion"}, "optimizer_name: wanted optimizer=... that it is the name of; got 'lion' alone"),
        ({"optimizer_name": "lion", "optimizer": "lion"}, "optimizer_name: wanted optimizer=..."),
        ({"optimizer_name": 3, "optimizer": optax.lion(1e-3)}, "optimizer_name: wanted a line of text; got 3"),
        ({"optimizer_name": " ", "optimizer": optax.lion(1e-3)}, "optimizer_name: wanted a line of text; got ' '"),
        ({"optimizer_name": "a\nb", "optimizer": optax.lion(1e-3)}, "optimizer_name: wanted a line of text"),
        ({"optimizer": "adma"}, "--optimizer: wanted one of adam, .*did you mean adam"),
        ({"loss": "bprr"}, "--loss: wanted one of bpr, .*did you mean bpr"),
        ({"negatives": 2**16, "batch_size": 2**24}, "--negatives: wanted rows of a batch that fit this machine's"),
    ],
)
def test_wrong_names_are_refused(find, options, said):
    with pytest.raises(SettingsError, match=f"^{said}") as caught:
        find(**options)
    assert "\n" not in str(caught.value)


def test_values_and_dislikes_that_are_not_there_are_refused(tastes, quick):
    for options in ({"weights": "log"}, {"dislikes": True}):
        with pytest.raises(DataError, match=r"^--(weights log|dislikes): wanted .*; got none"):
            lthjax.find_tickets(tastes, **(quick | options))


@pytest.mark.parametrize("name", ["sampled_softmax", "cosine_bpr"])
def test_a_replaced_loss_is_refused(find, monkeypatch, name):
    monkeypatch.setattr(losses, name, lambda *arguments, **options: 0.0)
    with pytest.raises(SettingsError, match=f"losses.{name}: wanted the function of lthjax that the settings name"):
        find()


def test_all_settings_of_a_step_are_part_of_the_program(valued, quick):
    """Kept programs are found by these."""
    plain = program_of(valued, quick)
    assert program_of(valued, quick) is plain
    for name, value in EVERYTHING.items():
        changes = {name: value} | ({"loss": "cosine-bpr"} if name == "temperature" else {})
        assert program_of(valued, quick, **changes) is not plain, name
    assert jax.tree.leaves(prepare(valued, Settings(data=None)).graph.weights) == []
