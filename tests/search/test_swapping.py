"""Search, score, backbone, loss and optimizer given in code: used, recorded, asked for again."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lthjax
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.evaluation import ranking
from lthjax.graph import graph as graphs
from lthjax.graph.propagate import propagate
from lthjax.model import backbones, losses
from lthjax.pruning import rules
from lthjax.pruning.rules import prune as prune_by
from lthjax.search.steps import Request, dense, prune, rewind
from lthjax.search.tasks import test_task as task_of_test  # else it is taken for a test

RATE = 0.01


# Each is made anew at every call, as in a second process; `given` keeps one, whose program is compiled once.


def make_search(level=2):
    def search(problem):
        (ticket,) = yield [dense(problem)]
        masks = prune(problem, ticket, level)
        yield [Request(level, masks, rewind(problem, ticket, masks, level), parent=0)]

    return search


def make_score(sign=-1.0):
    def score(params, key):
        return jax.tree.map(lambda w: sign * jnp.abs(w), params)  # the largest fall

    return score


def make_backbone(num_layers=1):
    def backbone(layer0, graph):
        return Embeddings(layer0.user, 2 * propagate(graph, layer0, num_layers).item)

    return backbone


def make_loss(weight=1.0):
    def loss(final, layer0, batch):
        return weight * layer0.user.sum()  # Adam goes down at its rate, wherever there is a gradient

    return loss


def make_optimizer(rate=RATE):
    return optax.sgd(rate, momentum=0.5)


MAKERS = {
    "search": (make_search, 1),
    "score": (make_score, 1.0),
    "backbone": (make_backbone, 2),
    "loss": (make_loss, 2.0),
    "optimizer": (make_optimizer, 0.02),
}
EVERY = pytest.mark.parametrize("kind", MAKERS)


def make(kind):
    return {kind: MAKERS[kind][0]()}


given = functools.cache(make)


def make_other(kind):
    maker, other = MAKERS[kind]
    return {kind: maker(other)}


def name_of(ticket, kind):
    return ticket.optimizer if kind == "optimizer" else ticket.given[kind]


@pytest.fixture(scope="module")
def graph(tastes):
    return graphs.from_pairs(tastes.train, tastes.num_users, tastes.num_items)


@pytest.fixture(scope="module")
def swapped(find, tmp_path_factory):
    """kind -> the folder and the tickets of a run with a function of that kind."""
    made = {}

    def run(kind):
        if kind not in made:
            out = tmp_path_factory.mktemp("runs") / kind
            made[kind] = out, list(find(out=out, levels=2, **given(kind)))
        return made[kind]

    return run


def test_a_search_is_used(swapped, found):
    _, tickets = swapped("search")
    assert [(ticket.level, ticket.parent) for ticket in tickets] == [(0, None), (2, 0)]
    assert tickets[1].num_kept == found[2].num_kept


def test_a_score_is_used(swapped, found, assert_same):
    _, tickets = swapped("score")
    assert_same(tickets[0].trained, found[0].trained)
    assert_same(tickets[1].masks, prune_by(make_score()(found[0].trained, None), found[0].masks, 0.2))


def test_a_backbone_is_used(swapped, tastes, graph):
    _, tickets = swapped("backbone")
    for ticket in tickets:
        final = make_backbone()(ticket.trained, graph)
        measured = ranking.evaluate(final, task_of_test(tastes, ticket.settings)).means()
        assert measured["recall@20"] == pytest.approx(ticket.metrics["recall@20"], abs=1e-7)


def test_a_loss_is_used(swapped, found, assert_same):
    """Items have no gradient: they stay as they were. Users fall by the learning rate at each of 6 steps an epoch."""
    _, (ticket, *_) = swapped("loss")
    assert_same(ticket.start, found[0].start)
    assert_same(ticket.trained.item, ticket.start.item)
    fall = np.asarray(ticket.start.user - ticket.trained.user)
    np.testing.assert_allclose(fall, 0.003 * 6 * ticket.best_epoch, rtol=1e-4)


def test_an_optimizer_is_used(swapped, found, assert_same):
    """Its steps are as large as the gradients, which are small; Adam's are as large as its learning rate."""
    _, (ticket, *_) = swapped("optimizer")
    assert_same(ticket.start, found[0].start)
    own, adam = (np.abs(np.asarray(of.trained.item - of.start.item)).max() for of in (ticket, found[0]))
    assert 0 < own < adam / 2


@EVERY
def test_it_is_recorded(swapped, kind):
    out, tickets = swapped(kind)
    config = json.loads((out / "config.json").read_text())
    for ticket in (*tickets, lthjax.load_ticket(out / "tickets" / "level_02")):
        assert name_of(ticket, kind).startswith("given, ")
        assert ticket.given == config["given"] == ({} if kind == "optimizer" else {kind: name_of(ticket, kind)})
        assert ticket.optimizer == config["optimizer"] == ("adam" if kind != "optimizer" else name_of(ticket, kind))


@EVERY
def test_the_same_function_goes_on(swapped, find, kind, monkeypatch, assert_same):
    out, tickets = swapped(kind)
    monkeypatch.setattr("lthjax.search.executor.fit", None)
    for ticket, wanted in zip(find(out=out, levels=2, **make(kind)), tickets, strict=True):
        assert_same((ticket.masks, ticket.trained), (wanted.masks, wanted.trained))
        assert (ticket.given, ticket.optimizer) == (wanted.given, wanted.optimizer)


@EVERY
def test_it_goes_on_where_it_was_stopped(find, kind, swapped, tmp_path, interrupting, rows_of):
    out, _ = swapped(kind)
    with interrupting(lambda name, epoch: name == "level 2 of seed 0"), pytest.raises(KeyboardInterrupt):
        list(find(out=tmp_path, levels=2, **given(kind)))
    list(find(out=tmp_path, levels=2, **given(kind)))
    assert rows_of(tmp_path) == rows_of(out)


@EVERY
def test_another_function_or_none_is_refused(swapped, find, kind):
    out, tickets = swapped(kind)
    for options, came in ((make_other(kind), "given, "), ({}, "adam" if kind == "optimizer" else "None")):
        with pytest.raises(SettingsError) as caught:
            next(find(out=out, levels=2, **options))
        wanted = f"{kind}: {out} was made with {name_of(tickets[0], kind)}; got {came}"
        assert str(caught.value).startswith(wanted)
        assert "\n" not in str(caught.value)


@EVERY
def test_a_folder_without_one_is_not_gone_on_with_one(find, kind, tmp_path):
    list(find(out=tmp_path, levels=0))
    with pytest.raises(SettingsError, match=f"^{kind}: .* was made with (None|adam); got given, ") as caught:
        next(find(out=tmp_path, levels=0, **make(kind)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["backbone", "loss", "optimizer"])
def test_a_dense_model_of_another_one_is_refused(swapped, find, found, kind):
    _, (own, *_) = swapped(kind)
    with pytest.raises(SettingsError, match=f"^dense: wanted a model with {kind} given, .*; got (None|adam)"):
        find(dense=found[0], **make(kind))
    with pytest.raises(SettingsError, match=f"^dense: wanted a model with {kind} given, .*; got given, "):
        find(dense=own, **make_other(kind))
    with pytest.raises(SettingsError, match=f"^dense: wanted a model with {kind} (None|adam); got given, "):
        find(dense=own)


def test_a_dense_model_may_be_shared_by_scores_and_searches(swapped, find, found, assert_same):
    for kind in ("score", "search"):
        _, wanted = swapped(kind)
        tickets = list(find(dense=found[0], levels=2, **given(kind)))
        assert tickets[0].given == {kind: name_of(wanted[0], kind)}
        for ticket, other in zip(tickets, wanted, strict=True):
            assert_same((ticket.masks, ticket.trained), (other.masks, other.trained))


def test_all_of_them_at_once(find, tmp_path, monkeypatch):
    def everything():
        return {name: function for kind in MAKERS for name, function in make(kind).items()}

    tickets = list(find(out=tmp_path, **everything()))
    assert set(tickets[0].given) == {"search", "score", "backbone", "loss"}
    monkeypatch.setattr("lthjax.search.executor.fit", None)
    assert [ticket.metrics for ticket in find(out=tmp_path, **everything())] == [ticket.metrics for ticket in tickets]


# A ticket whose backbone was given in code, looked at and served. Its settings name MF.

ASKED = r"^backbone: wanted the one that the ticket was found with \(given, .*\), as backbone=...; got none"


@pytest.fixture
def ticket(swapped):
    return swapped("backbone")[1][-1]


def test_it_is_explored_with_its_backbone_alone(ticket, tastes, graph, assert_same):
    looked_at = lthjax.explore(ticket, tastes, backbone=make_backbone())
    assert_same(looked_at.embeddings(), jax.jit(make_backbone())(ticket.trained, graph))
    assert looked_at.evaluate().means()["recall@20"] == ticket.metrics["recall@20"]
    for backbone in (None, make_backbone(2)):
        bare = lthjax.explore(ticket, tastes, backbone=backbone)
        for ask in (bare.embeddings, bare.evaluate, lambda bare=bare: bare.recommend([0])):
            with pytest.raises(SettingsError, match=ASKED if backbone is None else "got given, "):
                ask()
    with pytest.raises(SettingsError, match=r"\(mf\), as backbone=...; got given, "):
        lthjax.explore(
            lthjax.retrain(ticket, tastes, epochs=1, show_progress=False), tastes, make_backbone()
        ).evaluate()


def test_its_run_is_loaded_with_its_backbone_alone(swapped, tastes):
    out, tickets = swapped("backbone")
    run = lthjax.load_run(out, data=tastes, backbone=make_backbone())
    for looked_at, ticket in zip(run.tickets, tickets, strict=True):
        assert looked_at.evaluate().means()["recall@20"] == ticket.metrics["recall@20"]
    bare = lthjax.load_run(out, data=tastes)
    assert bare.table()["recall@20"].tolist() == run.table()["recall@20"].tolist()  # no embeddings are needed
    with pytest.raises(SettingsError, match=ASKED):
        bare.tickets[1].evaluate()


def test_its_export_holds_final_tables(ticket, tastes, tmp_path):
    with pytest.raises(SettingsError, match=ASKED):
        lthjax.export(ticket, tastes, tmp_path / "t.npz")
    with pytest.raises(SettingsError, match="store layer0: wanted MF or LightGCN"):
        lthjax.export(ticket, tastes, tmp_path / "t.npz", store="layer0", backbone=make_backbone())
    assert not list(tmp_path.iterdir())
    served = lthjax.load_compressed(lthjax.export(ticket, tastes, tmp_path / "t.npz", backbone=make_backbone()))
    looked_at = lthjax.explore(ticket, tastes, backbone=make_backbone())
    for ours, theirs in zip(served.embeddings(), looked_at.embeddings(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(served.recommend([0, 7], 5).found, looked_at.recommend([0, 7], 5).found)
    assert served.facts["given"] == ticket.given
    again = looked_at.export(tmp_path / "again.npz")
    assert again.read_bytes() == (tmp_path / "t.npz").read_bytes()


def test_it_retrains_with_its_backbone(ticket, tastes, assert_same):
    looked_at = lthjax.explore(ticket, tastes, **given("backbone"))
    for again in (
        lthjax.retrain(ticket, tastes, **given("backbone"), show_progress=False),
        looked_at.retrain(show_progress=False),
    ):
        assert_same(again.trained, ticket.trained)
        assert (again.metrics, again.given) == (ticket.metrics, ticket.given)


def test_a_ticket_of_a_loss_retrains_with_it(swapped, tastes, assert_same):
    ticket = swapped("loss")[1][-1]
    again = lthjax.retrain(ticket, tastes, **given("loss"), show_progress=False)
    assert_same(again.trained, ticket.trained)
    assert (again.metrics, again.given) == (ticket.metrics, ticket.given)


def test_nothing_is_folded_into_it(ticket, swapped, tastes):
    with pytest.raises(SettingsError, match=r"^fold_in: wanted a ticket of MF or LightGCN.*; got one with a backbone"):
        lthjax.fold_in(ticket, tastes, [[0, 3]])
    with pytest.raises(SettingsError, match=r"^fold_in: .*; got one with a loss given in code"):
        lthjax.fold_in(swapped("loss")[1][-1], tastes, [[0, 3]])


@pytest.mark.parametrize(
    ("module", "name"), [(losses, "bpr"), (backbones, "mf"), (backbones, "lightgcn"), (rules.SCORES, "magnitude")]
)
def test_another_function_under_a_name_of_ours_is_refused(find, found, tastes, monkeypatch, module, name):
    """The settings, and so the folder, would say the same of both; and programs are kept by settings."""

    def changed(*arguments, **options):
        raise AssertionError("it was called")

    (monkeypatch.setitem if isinstance(module, dict) else monkeypatch.setattr)(module, name, changed)
    for use in (find, lambda: lthjax.retrain(found[1], tastes, show_progress=False)):
        with pytest.raises(lthjax.SettingsError, match=rf"{name}.*: wanted the function of lthjax that the settings"):
            use()


@pytest.mark.parametrize("kind", ["search", "score", "backbone", "loss"])
def test_what_is_no_function_is_refused(find, kind):
    with pytest.raises(SettingsError, match=f"^{kind}: wanted a function; got 3"):
        find(**{kind: 3})


def test_a_search_of_one_s_own_has_as_many_levels_as_it_likes(swapped):
    out, tickets = swapped("search")
    assert (len(tickets), tickets[0].settings.levels) == (2, 2)
    assert "; 2 levels, " in repr(lthjax.load_run(out))
