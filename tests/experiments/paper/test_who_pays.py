"""Who pays: the numbers of the runs of figure 2 beside what can be counted by hand."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest

from experiments.paper import who_pays
from experiments.paper.runs import runs_of
from lthjax.embeddings import Embeddings
from lthjax.errors import SettingsError
from lthjax.evaluation.breakdown import groups_of_equal_mass
from lthjax.search.problem import prepare
from lthjax.settings import Settings


@pytest.fixture
def measured(trained, forbid_training):
    """All rows of IMP and RP, as a table."""
    forbid_training()
    rows = who_pays.main(who_pays.Payers(**dataclasses.asdict(trained), variants=("IMP", "RP")))
    return pd.DataFrame(rows)


def number_of(measured, ticket):
    """(quantity, side, place) -> value of a ticket of IMP."""
    is_ticket = (measured.seed == ticket.settings.seed) & (measured.level == ticket.level)
    rows = measured[(measured.variant == "IMP") & is_ticket]
    return rows.set_index(["quantity", "side", "place"])["value"].to_dict()


def test_it_leaves_table_and_picture(capsys, measured, tmp_path):
    assert measured.groupby(["variant", "seed", "level"]).ngroups == 2 * 2 * 3
    text = (tmp_path / "who_pays" / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert "### few, MF, RP" in text
    assert f"At {measured.sparsity.max():.1%} pruned, users keep" in text
    assert (tmp_path / "who_pays" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_kept(measured, trained, data):
    for ticket in runs_of(trained, data, "mf").tickets():
        number = number_of(measured, ticket)
        sides = (("user", 30, ticket.masks.user), ("item", 40, ticket.masks.item))
        kept = sum(number["density", side, 0] * count * 4 for side, count, _ in sides)
        assert kept == pytest.approx(ticket.num_kept)
        for side, _, mask in sides:
            of_dimensions = [number["density of dimension", side, place] for place in range(1, 5)]
            np.testing.assert_allclose(of_dimensions, np.asarray(mask).mean(axis=0))
            ends = number["emptiest dimension", side, 0], number["fullest dimension", side, 0]
            assert ends == (min(of_dimensions), max(of_dimensions))
            assert number["dead rows", side, 0] == sum(not row.any() for row in np.asarray(mask))


def test_who_is_served(measured, trained, data):
    """Hits of the same lists, by user and over all items of each group."""
    runs = runs_of(trained, data, "mf")
    train, test = runs.split.train, runs.split.test
    of_users = groups_of_equal_mass(np.bincount(train[:, 0], minlength=30))
    of_pairs = groups_of_equal_mass(np.bincount(train[:, 1], minlength=40))[test[:, 1]]
    untied = [ticket for ticket in runs.tickets() if not ticket.tied_users]  # lists of equal scores are one of many
    assert untied
    for ticket in untied:
        number, groups = number_of(measured, ticket), of_users[ticket.users]
        for group in set(groups.tolist()):
            wanted = ticket.per_user["recall@20"][groups == group].mean(dtype=np.float64)
            assert number["recall of group", "user", group + 1] == pytest.approx(wanted)
        num_test = np.bincount(test[:, 0], minlength=30)[ticket.users]
        hits = sum(
            number["recall of group", "item", group + 1] * (of_pairs == group).sum() for group in set(of_pairs.tolist())
        )
        assert hits == pytest.approx((ticket.per_user["recall@20"] * num_test).sum(), rel=1e-5)


def test_the_summary():
    """Two seeds by hand: means, deviations, and changes against each seed's own dense model; one seed has no spread."""
    labels = {"data": "x", "model": "mf", "variant": "IMP", "side": "user", "place": 1, "quantity": "recall of group"}
    values = {(0, 0): 0.5, (0, 1): 0.25, (1, 0): 0.25, (1, 1): 0.5}
    rows = [labels | {"seed": s, "level": n, "sparsity": n / 2, "value": value} for (s, n), value in values.items()]
    (panel,) = who_pays.summary(rows).values()
    assert panel.loc[("recall of group", "user", 1), ("mean", 0.5)] == 0.375
    change = panel.loc[("change of recall", "user", 1)]
    assert change["mean", 0.5] == 0
    assert change["std", 0.5] == pytest.approx(0.5**1.5)
    assert change["std", 0.0] == 0
    (alone,) = who_pays.summary(rows[:2]).values()
    assert alone.loc[("change of recall", "user", 1), ("mean", 0.5)] == -0.25
    assert alone["std"].isna().all(axis=None)


def test_a_few_sparsities_are_picked():
    assert who_pays.picked([0.0, 0.1, 0.26, 0.31, 0.55, 0.9]) == [0.0, 0.31, 0.55, 0.9]
    assert who_pays.picked([0.0, 0.5]) == [0.0, 0.5]
    assert who_pays.picked([0.0]) == [0.0]


def test_no_variant_is_refused():
    wanted = "--variants: wanted at least one of IMP, OMP, RP and RP by degree; got none"
    with pytest.raises(SettingsError, match=wanted):
        who_pays.Payers(variants=())


def test_lists_of_equal_scores_are_as_they_are_served(tastes):
    """Dead rows: everybody gets the unseen items with the most interactions."""
    problem = prepare(tastes, Settings(data=None, dim=4))
    degree = np.bincount(tastes.train[:, 1], minlength=tastes.num_items)
    nothing = Embeddings(np.zeros((tastes.num_users, 4), np.float32), np.zeros((tastes.num_items, 4), np.float32))
    top = who_pays.served(jax.tree.map(jax.numpy.asarray, nothing), problem)
    for user, items in zip(top.users, top.items, strict=True):
        pairs = np.concatenate([tastes.train, tastes.valid])
        unseen = np.setdiff1d(np.arange(tastes.num_items), pairs[pairs[:, 0] == user, 1])
        wanted = sorted(unseen, key=lambda item: (-degree[item], item))[:20]
        assert items[items >= 0].tolist() == wanted
