"""A table that was trained elsewhere is level 0: measured as it ranks, pruned as it is, and never taken for our own."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from scipy import sparse

import lthjax
from lthjax.baselines import records, simple
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation.verdict import DENSE
from lthjax.pruning import masks as masking
from lthjax.search.problem import prepare
from lthjax.search.steps import Request, dense, prune, rewind
from lthjax.settings import Settings
from lthjax.tickets import report, seeds
from lthjax.tickets.effort import Cost, Effort
from lthjax.tickets.ticket import result

DIM = 4


@pytest.fixture(scope="module")
def svd(tastes):
    """PureSVD's table of the tastes, by NumPy alone: users [30, 4] and items [40, 4]."""
    matrix = tastes.matrix().toarray()
    _, _, transposed = np.linalg.svd(matrix)
    return matrix @ transposed[:DIM].T, transposed[:DIM].T


@pytest.fixture(scope="module")
def given(svd, tastes):
    """It as a ticket."""
    return lthjax.from_dense(*svd, tastes)


@pytest.fixture(scope="module")
def prune_it(given, find):
    """A search for tickets of the table: changes of settings -> tickets."""
    return lambda **changes: list(find(**({"dense": given, "rewind": "lr"} | changes)))


def test_it_is_measured_and_says_what_it_is(svd, given, tastes):
    for side, values in zip(given.trained, svd, strict=True):
        np.testing.assert_array_equal(side, values.astype(np.float32))
    assert given.start is given.trained
    assert (given.level, given.sparsity, given.best_epoch, given.epochs) == (0, 0, 0, 0)
    assert (given.verdict, given.cost) == (DENSE, Cost(Effort(), Effort(), 0))
    assert given.given.keys() == {"dense"}
    assert (given.settings.dim, given.settings.rewind) == (DIM, "lr")
    model = simple.pure_svd(sparse.csr_array(tastes.matrix()), DIM)  # the baseline, which ranks scores
    problem = prepare(tastes, Settings(dim=DIM, levels=0))
    baseline = simple._ranked_by(model, tastes.num_items)(problem.test, problem.plan).means()
    assert given.metrics["recall@20"] == pytest.approx(baseline["recall@20"], abs=1e-6)
    assert set(given.metrics) == {"recall@20", "ndcg@20", "valid_recall@20", "valid_ndcg@20"}


@pytest.mark.parametrize("model", [{}, {"model": "lightgcn", "layers": 2}])
def test_our_own_table_measures_as_before(model, find, tastes):
    """Layer 0 of LightGCN is propagated, if it is said to be LightGCN's."""
    own = next(find(**model))
    again = lthjax.from_dense(own.trained.user, own.trained.item, tastes, **model)
    assert again.metrics == own.metrics
    assert (again.verdict.name, again.settings.model) == ("dense", model.get("model", "mf"))
    if model:
        assert lthjax.from_dense(*map(np.asarray, own.trained), tastes).metrics != own.metrics


def test_rows_come_in_any_order_under_ids_of_numbers_or_text(svd, given, tastes, assert_same):
    user, item = svd
    order = np.random.default_rng(0).permutation(len(item))
    for kind in (int, str, lambda one: f" {one}.0"):  # as in files
        ids = [kind(one) for one in tastes.item_ids[order].tolist()]
        found = lthjax.from_dense(user, item[order], tastes, item_ids=ids)
        assert_same(found.trained, given.trained)
        assert found.given == given.given
    other = lthjax.from_dense(user, item[order], tastes)  # in another order it is another table
    assert other.given != given.given


def test_ids_of_text_are_told_from_numbers_by_their_text(svd, tastes, assert_same, given):
    named = dataclasses.replace(tastes, user_ids=np.array(sorted(f"{n:02}" for n in range(30))))
    ids = named.user_ids.tolist()
    assert_same(lthjax.from_dense(*svd, named, user_ids=ids).trained, given.trained)
    with pytest.raises(
        DataError, match=r"user_ids: wanted all 30 users .*; got none of 10: 00, 01, 02, 03, 04 and 5 more"
    ):
        lthjax.from_dense(*svd, named, user_ids=range(30))  # 0 is not "00"


def test_rows_that_the_split_lacks_are_left_out_and_counted(svd, given, tastes, assert_same):
    user, item = svd
    more = np.concatenate([user, np.full((2, DIM), 9.0)])
    with pytest.warns(UserWarning, match="^2 rows of users that matrix does not have are left out.$"):
        found = lthjax.from_dense(more, item, tastes, user_ids=[*range(30), 30, 31])
    assert_same(found.trained, given.trained)


def test_rows_that_are_missing_are_refused_or_zeros_and_counted(svd, tastes):
    user, item = svd
    fewer = {"user_ids": range(3, 30), "item_ids": range(40)}
    with pytest.raises(
        DataError, match=r'user_ids: wanted all 30 users of matrix; got none of 3: 0, 1, 2. missing="zer'
    ):
        lthjax.from_dense(user[3:], item, tastes, **fewer)
    with pytest.warns(UserWarning, match="^3 of the 30 users of matrix have rows of zeros.$"):
        found = lthjax.from_dense(user[3:], item, tastes, missing="zeros", **fewer)
    np.testing.assert_array_equal(found.trained.user[:3], np.zeros((3, DIM)))
    np.testing.assert_array_equal(found.trained.user[3:], user[3:].astype(np.float32))


def test_biases_are_columns(tastes):
    draws = np.random.default_rng(0)
    user, item, b_user, b_item = (draws.standard_normal(shape) for shape in ((30, 3), (40, 3), 30, 40))
    wanted = user @ item.T + b_item
    one = lthjax.from_dense(user, item, tastes, item_bias=b_item)
    both = lthjax.from_dense(user, item, tastes, user_bias=b_user, item_bias=b_item)
    np.testing.assert_allclose(one.trained.user @ one.trained.item.T, wanted, atol=1e-5)
    np.testing.assert_allclose(both.trained.user @ both.trained.item.T, wanted + b_user[:, None], atol=1e-5)
    assert (one.settings.dim, both.settings.dim) == (4, 5)
    assert both.metrics == pytest.approx(one.metrics)  # users' biases change no ranking
    wanted[tuple(np.concatenate([tastes.train, tastes.valid]).T)] = -np.inf
    ranked = lthjax.explore(one, tastes).recommend(tastes.user_ids, k=5)
    np.testing.assert_array_equal(ranked.found, tastes.item_ids[np.argsort(-wanted, axis=1)[:, :5]])


GOOD = np.zeros((30, 2)), np.zeros((40, 2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"user": GOOD[0][:29]},
            "user: wanted a row for each of the 30 users of matrix, in its order, or user_ids; got 29",
        ),
        ({"item": GOOD[0]}, "item: wanted a row for each of the 40 items of matrix, .*; got 30 rows"),
        ({"item": np.zeros((40, 3))}, r"wanted the same F; got user \(30, 2\) and item \(40, 3\)"),
        ({"user": np.zeros(30)}, r"user: wanted a table \[R, F\]; got shape \(30,\)"),
        ({"user": np.zeros((30, 0))}, r"got shape \(30, 0\)"),
        ({"user": np.full((30, 2), np.nan)}, "user: wanted finite float32 numbers; got 60 that are not"),
        ({"item": np.full((40, 2), 1e300)}, "item: wanted finite float32 numbers; got 80"),
        ({"item": [["a", "b"]] * 40}, "item: wanted an array of numbers; got list of <U1"),
        ({"item": [[1.0], [1.0, 2.0]]}, r"item: wanted an array of numbers; got list \("),
        ({"user": None}, "user: wanted an array of numbers; got NoneType"),
        ({"user": GOOD[0] * 1j}, "of complex128"),
        ({"user_bias": np.zeros(3)}, r"user_bias: wanted a vector \[R\] with R = 30; got shape \(3,\)"),
        ({"item_bias": np.full(40, np.inf)}, "item_bias: wanted finite"),
        ({"user_ids": range(29)}, "user_ids: wanted one for each of 30 rows; got 29"),
        ({"user_ids": [*range(29), 0]}, "user_ids: wanted each once; got 0 again"),
        ({"user_ids": [*range(29), "5"]}, "user_ids: wanted each once; got 5 again"),
        ({"user_ids": np.arange(30.0)}, "user_ids: wanted whole numbers or text, one for each row; got 0.0"),
        ({"item_ids": [None] * 40}, "item_ids: wanted whole numbers or text, one for each row; got None"),
        (
            {"item_ids": range(100, 140)},
            "item_ids: wanted items of matrix, such as 0, 1, 2, 3, 4 and 35 more; got none",
        ),
        ({"missing": "zero"}, "missing: wanted refuse or zeros; got 'zero'"),
        ({"dim": 3}, "dim: wanted 2, which the table has, its biases too; got 3"),
        ({"model": "lightgnc"}, "did you mean lightgcn"),
    ],
)
def test_what_is_no_table_of_the_split_is_refused(changes, said, tastes):
    options = {"user": GOOD[0], "item": GOOD[1], "split": tastes} | changes
    with pytest.raises((DataError, SettingsError), match=said):
        lthjax.from_dense(**options)


SEARCHES = [("imp", "lr"), ("imp", "none"), ("one-shot", "lr")]
CHEAP = ["short", "early", "gradual", "dynamic"]


@pytest.mark.parametrize(("search", "rewind"), SEARCHES)
def test_the_table_is_pruned_and_trained_on(search, rewind, prune_it, given, assert_same):
    """Level 1 are its largest values, as they were."""
    first, second, *_ = prune_it(search=search, rewind=rewind)
    assert_same(first.trained, given.trained)
    values = np.concatenate([np.asarray(side).ravel() for side in given.trained])
    kept = np.concatenate([np.asarray(side).ravel() for side in second.masks])
    assert np.abs(values[kept]).min() >= np.abs(values[~kept]).max()
    assert second.sparsity == pytest.approx(0.2, abs=0.01)
    assert_same(second.start, masking.apply(second.masks, given.trained))
    assert not np.array_equal(second.trained.user, second.start.user)


@pytest.mark.parametrize("rewind", ["lr", "none"])
@pytest.mark.parametrize("search", CHEAP)
def test_searches_that_train_start_from_it(search, rewind, prune_it, given, assert_same):
    """With a step size of nearly nothing they find what a jump from the table finds; dynamic draws its masks."""
    still = {"search": search, "search_epochs": 1, "learning_rate": 1e-12, "levels": 1, "rewind": rewind, "epochs": 1}
    _, ticket = prune_it(**still)
    jump = prune_it(search="one-shot", levels=1, epochs=1)[1]
    if search != "dynamic":
        assert_same(ticket.masks, jump.masks)
        np.testing.assert_allclose(ticket.start.user, jump.start.user, atol=1e-9)
    at_start = [np.isclose(s, g) | (s == 0) for s, g in zip(ticket.start, given.trained, strict=True)]
    assert all(side.all() for side in at_start)


def test_fresh_values_under_masks_of_the_table(prune_it, given, assert_same):
    _, ticket = prune_it(search="one-shot", rewind="reinit", levels=1)
    assert_same(ticket.masks, prune_it(search="one-shot", levels=1)[1].masks)
    assert not np.isclose(ticket.start.user, given.trained.user)[np.asarray(ticket.masks.user)].any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rewind": "init"}, "--rewind: wanted lr, none or reinit with a table that was trained elsewhere.*; got init"),
        ({"rewind": "epoch:1"}, "whose first values are not known; got epoch:1"),
        ({"settings": Settings(dim=DIM, levels=1, data=None), "rewind": "init"}, "got init"),
        ({"prune_by": "movement"}, "--prune-by: wanted another than movement"),
        ({"prune_by": "movement", "search": lambda problem: iter(())}, "--prune-by: wanted another than movement"),
        ({"dim": 5}, "dense: wanted a model with dim 5; got 4"),
        ({"settings": Settings(rewind="lr"), "dim": 32}, "dense: wanted a model with dim 32; got 4"),
        ({"test_mask": "train"}, r"dense: wanted a model with test_mask train; got train\+valid"),
        ({"model": "lightgcn"}, "dense: wanted a model with model lightgcn; got mf"),
        ({"backbone": lambda layer0, graph: layer0}, "dense: wanted a model with backbone given, .*; got None"),
    ],
)
def test_what_it_cannot_serve_is_refused_at_the_call(changes, said, find, given):
    with pytest.raises(SettingsError, match=said):
        find(**({"dense": given, "rewind": "lr"} | changes))


def test_movement_after_some_epochs_from_the_table_is_known(prune_it):
    assert len(prune_it(search="short", prune_by="movement", search_epochs=1, levels=1)) == 2


def test_how_it_is_trained_on_is_free(prune_it, given):
    tickets = prune_it(learning_rate=0.1, l2=0.5, epochs=1, batch_size=32, init="normal-1", levels=1)
    assert tickets[1].settings.learning_rate == 0.1
    assert tickets[0].metrics == given.metrics


def test_other_data_are_refused(svd, given, tastes, quick):
    swapped = dataclasses.replace(tastes, valid=tastes.test, test=tastes.valid)
    with pytest.raises(SettingsError, match="wanted level 0 on matrix; got level 0, or other data"):
        lthjax.find_tickets(swapped, dense=given, **quick | {"dim": DIM})


def test_without_settings_a_run_starts_from_the_table_s(given, tastes):
    ticket = next(lthjax.find_tickets(tastes, dense=given, levels=1, show_progress=False))
    assert (ticket.settings.dim, ticket.settings.rewind, ticket.settings.levels) == (DIM, "lr", 1)


def test_a_search_of_one_s_own_prunes_it(prune_it, given):
    def halve(problem):
        (ticket,) = yield [dense(problem)]
        masks = prune(problem, ticket, 1)
        yield [Request(1, masks, rewind(problem, ticket, masks, 1), parent=0)]

    first, ticket = prune_it(search=halve, sparsities="0.5")
    assert (first.metrics, ticket.sparsity) == (given.metrics, 0.5)
    assert ticket.given.keys() == {"dense", "search"}


def test_no_cost_is_counted_in_trainings_of_it(prune_it):
    for ticket in prune_it():
        columns = ticket.cost.columns()
        assert (ticket.cost.of_dense, columns["search_cost"]) == (0, "")
        assert columns["search_steps"] == 18 * max(ticket.level - 1, 0)  # 6 steps an epoch, 3 epochs a level
    rows = [result(ticket).row() for ticket in prune_it()]
    assert report.table(rows)["search"].tolist() == ["", "", "", ""]


def test_no_ticket_is_later_than_it(given, prune_it):
    tickets = prune_it(learning_rate=1e-12, prune_rate=0.05, levels=1)  # nothing changes but that a few entries fall
    same = dataclasses.replace(result(given), level=1, best_epoch=9, epochs=9, sparsity=0.5)
    assert seeds.combine([[result(given), same]] * 2)[1]["verdict"] == "wins"
    assert seeds.sparsest_winner_interval([[result(given), same]] * 2) == (0.5, 0.5)
    assert {ticket.verdict.name for ticket in tickets[1:]} <= {"better", "wins", "matches", "worse"}
    rows = [result(ticket).row() for ticket in (given, *tickets[1:])]
    table = report.table(rows)
    assert (table["verdict"][0], table["best epoch"][0]) == ("dense, given", "")
    assert report.remarks(rows)[0].startswith(
        "dense, given: a table trained elsewhere; epochs are not compared with it"
    )
    assert "given in code: dense" in report.remarks(rows)[-1]
    recall = f"{given.metrics['recall@20']:.4f}"
    assert report.sentence(rows[:1], 30) == f"Only the given table was measured: test Recall@20 {recall}."
    lost = [rows[0], rows[1] | {"verdict": "worse"}]
    said = f"No ticket wins: none of the 1 is as good as the given table (test Recall@20 {recall})."
    assert report.sentence(lost, 30) == said
    won = [rows[0], rows[1] | {"verdict": "wins"}]
    assert f", the given table {recall} (difference" in report.sentence(won, 30)


def test_a_run_folder_knows_its_table(svd, prune_it, find, given, tastes, tmp_path, assert_same):
    out = tmp_path / "run"
    tickets = prune_it(out=out)
    config = json.loads((out / "config.json").read_text())
    assert config["given"] == given.given
    run = lthjax.load_run(out, tastes)
    assert run.table()["epochs"].tolist()[0] == 0
    assert run.table()["search_cost"].isna().all()
    assert "given" in run._repr_html_()
    for ticket, again in zip(tickets, prune_it(out=out), strict=True):  # read, not trained
        assert_same((again.masks, again.start, again.trained), (ticket.masks, ticket.start, ticket.trained))
        assert (again.seconds, again.given, again.cost) == (ticket.seconds, ticket.given, ticket.cost)
    alone = lthjax.load_ticket(out / "tickets" / "level_00")
    assert_same(alone.trained, given.trained)
    assert (alone.given, alone.best_epoch, alone.metrics) == (given.given, 0, given.metrics)
    assert lthjax.explore(alone, tastes).recommend(3, k=4).found.shape == (1, 4)
    with pytest.raises(
        SettingsError, match=r"dense: .* was made with given, \w+; got given, \w+. Choose another --out"
    ):
        prune_it(out=out, dense=lthjax.from_dense(svd[0] * 2, svd[1], tastes))
    with pytest.raises(SettingsError, match=r"dense: .* was made with given, \w+; got None. Choose another --out"):
        list(find(out=out, rewind="lr"))
    again = list(lthjax.find_tickets(tastes, dense=alone, out=out, settings=alone.settings, show_progress=False))
    assert [ticket.seconds for ticket in again] == [ticket.seconds for ticket in tickets]


def test_a_run_that_was_stopped_goes_on(prune_it, interrupting, tmp_path, assert_same):
    whole = prune_it(levels=2)
    options = {"levels": 2, "eval_every": 1, "out": tmp_path / "run"}
    with interrupting(lambda name, epoch: name.startswith("level 1") and epoch == 2), pytest.raises(KeyboardInterrupt):
        prune_it(**options)
    resumed = prune_it(**options)
    unbroken = prune_it(levels=2, eval_every=1)
    for ticket, other in zip(resumed, unbroken, strict=True):
        assert_same((ticket.masks, ticket.trained), (other.masks, other.trained))
    assert len(whole) == len(resumed)


def test_one_table_serves_every_seed_or_each_has_its_own(prune_it, svd, given, tastes):
    tickets = prune_it(seeds=2, levels=1)
    assert [(ticket.settings.seed, ticket.level) for ticket in tickets] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert {tuple(ticket.given.items()) for ticket in tickets} == {tuple(given.given.items())}
    assert not np.array_equal(tickets[1].trained.user, tickets[3].trained.user)  # batches differ
    rows = seeds.combine([[result(ticket) for ticket in tickets[:2]], [result(ticket) for ticket in tickets[2:]]])
    assert report.table(rows)["verdict"][0] == "dense, given"
    assert rows[0]["recall@20_sd"] == 0
    other = lthjax.from_dense(svd[0], 2 * svd[1], tastes, seed=1)
    first, _, second, _ = prune_it(seeds=2, levels=1, dense=[given, other])
    assert (first.given, second.given) == (given.given, other.given)
    np.testing.assert_array_equal(second.trained.item, 2 * np.asarray(first.trained.item))
    with pytest.raises(
        SettingsError, match=r"dense: wanted one table for all seeds, or one, .* for each of \[0, 1, 2\]"
    ):
        prune_it(seeds=3, dense=[given, other])


def test_tables_and_our_own_models_do_not_mix(find, given):
    own = next(find(rewind="lr", seed=1))
    with pytest.raises(SettingsError, match=r"got 2 models, 1 of them tables from elsewhere, of the seeds \[0, 1\]"):
        find(rewind="lr", seeds=2, dense=[given, own])


def test_trained_again_it_stays_a_table_from_elsewhere(prune_it, given, tastes, find, assert_same):
    options = {"data": tastes, "show_progress": False, "epochs": 2, "batch_size": 64}
    whole = lthjax.retrain(given, **options)
    assert_same(whole.start, given.trained)
    assert (whole.given, whole.epochs, whole.verdict.name != "slower") == (given.given, 2, True)
    ticket = prune_it(levels=1)[1]
    again = lthjax.retrain(ticket, tastes, show_progress=False)
    assert_same(again.trained, ticket.trained)
    assert again.given == ticket.given
    with pytest.raises(SettingsError, match="whose first values are not known"):
        find(dense=whole, rewind="init", epochs=2)


def test_magprune_and_the_simple_baselines_are_judged_against_it(given, tastes):
    problem = prepare(tastes, dataclasses.replace(given.settings, levels=0))
    (pruned,) = records.magnitude_pruning(problem, given, [0.5])
    assert (pruned.sparsity, pruned.best_epoch, pruned.epochs) == (0.5, 0, 0)
    assert pruned.verdict.name != "slower"
    with pytest.raises(SettingsError, match="PEP: wanted a dense model with first values"):
        next(records.pep(problem, given, [0.5]))
    again = next(one for one in simple.results(problem, given) if one.method == f"PureSVD, F = {DIM}")
    assert again.verdict.difference == pytest.approx(0, abs=1e-6)


def test_jax_arrays_and_matrices_of_scipy(given, svd, tastes, assert_same):
    assert_same(lthjax.from_dense(*map(jax.numpy.asarray, svd), tastes).trained, given.trained)
    with pytest.raises(DataError, match="user: wanted an array of numbers; got csr_array"):
        lthjax.from_dense(sparse.csr_array(svd[0]), svd[1], tastes)
