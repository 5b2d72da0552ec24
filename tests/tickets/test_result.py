"""A result is what a row of results.csv says, and a ticket's result what the ticket says."""

import dataclasses

import jax
import numpy as np
import pytest

from lthjax.evaluation.verdict import Verdict
from lthjax.settings import Settings
from lthjax.tickets.result import Result, from_row, in_words, is_cut_short
from lthjax.tickets.ticket import made_with, result, whole

RESULT = Result(
    level=2,
    sparsity=0.19,
    num_kept=81,
    metrics={"recall@20": 0.2, "valid_recall@20": 0.3},
    per_user={"recall@20": np.array([0.1, 0.3])},
    best_epoch=5,
    epochs=9,
    seconds=1.5,
    verdict=Verdict("wins", 0.01, -0.1, 0.1),
    selection="valid",
    settings="defaults",
    tied_users=1,
    dead_users=0,
    dead_items=2,
    cut_short=True,
)


@pytest.mark.parametrize(
    "changes", [{}, {"level": None, "method": "PEP", "note": "rounded", "dead_users": None, "dead_items": None}]
)
def test_a_row_and_back(changes):
    before = dataclasses.replace(RESULT, **changes)
    after = from_row(before.row(), before.metrics, before.per_user)
    for field in dataclasses.fields(Result):
        assert getattr(after, field.name) == getattr(before, field.name) or field.name == "per_user"
    assert ("method" in before.row(), "note" in before.row()) == ("method" in changes, "note" in changes)


def test_a_row_of_an_older_version_has_no_counts():
    newer = ("tied_users", "dead_users", "dead_items", "cut_short")
    row = {name: value for name, value in RESULT.row().items() if name not in newer}
    after = from_row(row, RESULT.metrics, RESULT.per_user)
    assert [getattr(after, name) for name in newer] == [None, None, None, False]


def test_without_a_validation_part_its_column_is_empty():
    assert dataclasses.replace(RESULT, metrics={"recall@20": 0.2}).row()["valid_recall@20"] == ""


def test_what_was_given_in_code_stands_beside_the_settings():
    assert in_words(Settings(levels=3)) == {"selection": "valid", "settings": "defaults but for levels 3"}
    assert in_words(Settings(), ["loss", "optimizer"])["settings"] == "defaults; given in code: loss, optimizer"
    settings = Settings(levels=3, learning_rate=0.5, l2=0.5)
    assert in_words(settings, ["optimizer"], "lion, 1e-3")["settings"] == (
        "defaults but for levels 3, l2 0.5; given in code: optimizer (lion, 1e-3)"
    )
    assert in_words(settings, ["loss"])["settings"].startswith("defaults but for levels 3, learning_rate 0.5; ")


@pytest.mark.parametrize(
    ("best_epoch", "epochs", "changes", "short"),
    [
        (10, 40, {"patience": 30, "epochs": 60}, False),  # stopped by its patience
        (40, 60, {"patience": 30, "epochs": 60}, True),  # met the limit before
        (30, 60, {"patience": 30, "epochs": 60}, False),  # both at once
        (60, 60, {"patience": 0, "epochs": 60, "eval_every": 5}, True),  # never stops early, best at the end
        (50, 60, {"patience": 0, "epochs": 60, "eval_every": 5}, False),
    ],
)
def test_what_is_cut_short(best_epoch, epochs, changes, short):
    assert is_cut_short(best_epoch, epochs, Settings(**changes)) == short


def test_the_result_of_a_ticket(make_ticket, tiny_split, some_masks, tiny):
    ticket = make_ticket(tiny_split, Settings(dim=tiny.embedding_dim), some_masks, level=1)
    ticket = dataclasses.replace(ticket, optimizer="given, 0123", given={"loss": "given, 4567"})
    row = result(ticket).row()
    kept = sum(int(np.sum(mask)) for mask in some_masks)
    assert (row["level"], row["num_kept"], row["sparsity"]) == (1, kept, pytest.approx(1 - kept / 90))
    assert (row["recall@20"], row["verdict"], row["best_epoch"]) == (0.25, "wins", 2)
    assert (row["dead_users"], row["dead_items"]) == (1, 1)  # row 3 of each
    assert row["settings"].endswith("; given in code: loss, optimizer")
    assert made_with(ticket)["optimizer"] == "given, 0123"
    assert made_with(ticket)["dim"] == tiny.embedding_dim
    assert whole(ticket) is ticket
    assert f"{ticket.sparsity:.1%} pruned, recall@20 0.2500" in repr(ticket)
    empty = jax.tree.map(lambda mask: mask & False, some_masks)
    assert result(dataclasses.replace(ticket, masks=empty)).dead_items == tiny.num_items
