"""The smallest table: what is tried within a budget, the frontier, and that what is named is what is exported."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

import lthjax
from experiments import smallest, smallest_tables
from experiments.smallest import Candidate, Config, Stored
from experiments.smallest_tables import Account, Workspace
from lthjax.baselines import pep
from lthjax.errors import SettingsError
from lthjax.settings import Settings
from lthjax.tickets.effort import Cost, Effort

TINY = {"dims": (4, 2), "sparsities": (0.5,), "epochs": 4, "patience": 0, "budget": 30.0}


@pytest.fixture
def config(data, tmp_path):
    return lambda **changes: Config(**{"data": data, "out": str(tmp_path / "out")} | TINY | changes)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_everything_is_tried_stored_and_the_smallest_exported(config, model, tmp_path, capsys, forbid_training):
    rows = smallest.main(config(model=model))
    shown = capsys.readouterr().out
    tried = [(row["kind"], row["dim"]) for row in rows[::3]]
    best_first = sorted((4, 2), key=lambda dim: -max(r["valid_recall@20"] for r in rows if is_dense(r, dim)))
    sparse = [("ticket", best_first[0]), ("random-by-degree", best_first[0]), ("ticket", best_first[1])]
    half = [("dense", best_first[0]), ("MagPrune", best_first[0])]
    assert tried == [("dense", 4), ("MagPrune", 4), ("dense", 2), ("MagPrune", 2), *half, *sparse]
    assert [row["form"] for row in rows] == list(smallest.FORMS) * 9
    for row in rows:
        assert row["sparsity"] == pytest.approx(0 if row["kind"] == "dense" else 0.5, abs=0.01)
    bound = 0.99 * max(row["valid_recall@20"] for row in rows if row["kind"] == "dense" and row["form"] == "float32")
    wanted = min((row for row in rows if row["valid_recall@20"] >= bound), key=lambda row: row["bytes"])
    served = lthjax.load_compressed(tmp_path / "out" / "smallest.npz")
    assert served.sizes()["tables"] == wanted["bytes"]
    assert f"The smallest is {wanted['kind']}, F = {wanted['dim']}" in shown
    assert f"Test Recall@20 {wanted['recall@20']:.4f} against" in shown
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    forbid_training()
    assert smallest.main(config(model=model)) == rows


def is_dense(row, dim):
    return (row["kind"], row["dim"], row["form"]) == ("dense", dim, "float32")


def test_a_budget_of_one_is_one_dense_table_and_what_costs_nothing(config, tmp_path, capsys):
    rows = smallest.main(config(budget=1.0, picture="svg"))
    assert [path.name for path in (tmp_path / "out").glob("figure.*")] == ["figure.svg"]
    assert [row["kind"] for row in rows] == ["dense"] * 3 + ["MagPrune"] * 3
    assert [row["spent"] for row in rows] == [1.0] * 3 + [0.0] * 3
    shown = capsys.readouterr().out
    left_out = ("dense, F = 2", "dense, F = 4, half the rate", "ticket, F = 4, 50%", "random-by-degree, F = 4, 50%")
    assert f"Left out: {'; '.join(left_out)}; PEP, F = 4." in shown
    assert "1.0 dense trainings of" in shown
    more = smallest.main(config(budget=30.0))  # goes on in the same folder
    assert more[:6] == rows


def test_other_widths_have_an_l2_of_their_own(config):
    """The best on validation of three, each after a tenth of a training."""
    rows = smallest.main(config(sparsities=()))
    first, other = (next(row for row in rows if row["dim"] == dim) for dim in (4, 2))
    assert (first["l2"], first["learning_rate"], first["spent"]) == (0.01, 0.003, 1.0)
    assert any(other["l2"] == pytest.approx(0.01 * factor) for factor in (1, 1 / 3, 3))
    assert other["learning_rate"] == 0.003
    assert other["spent"] == pytest.approx(1 + 3 / 4)  # a tenth of 4 epochs is 1 epoch


def test_the_best_width_is_trained_at_half_its_rate_too_and_the_better_of_the_two_pruned(config):
    half_is_better = []
    for rate in (0.003, 0.3, 30.0):
        rows = smallest.main(config(dims=(4,), learning_rate=rate, out=f"{config().out}-{rate}"))
        dense = [row for row in rows if is_dense(row, 4)]
        assert [row["learning_rate"] for row in dense] == [rate, rate / 2]
        better = max(dense, key=lambda row: row["valid_recall@20"])
        sparse = [row for row in rows if row["kind"] in ("ticket", "random-by-degree")]
        assert {row["learning_rate"] for row in sparse} == {better["learning_rate"]}
        half_is_better.append(better is dense[1])
    assert set(half_is_better) == {True, False}, "this test wants a case of each"


@pytest.fixture
def pep_searches(monkeypatch):
    """The sparsities that each search of PEP looked for, of 40 epochs at most."""
    looked_for, search = [], pep.search

    def told(program, state, targets, *rest):
        looked_for.append(list(targets))
        yield from search(program, state, targets, *rest)

    monkeypatch.setattr(pep, "search", told)
    monkeypatch.setattr(smallest_tables, "_PEP_EPOCHS", 40)
    return looked_for


def test_pep_is_tried_where_the_budget_allows_it(config, pep_searches, forbid_training):
    """Its cost is counted, asked for again it lies on disk, and other sparsities are another search beside it."""
    wide = {"dims": (4,), "budget": 100.0}
    rows = smallest.main(config(**wide, sparsities=(0.4,)))
    assert [(row["kind"], row["form"]) for row in rows[-3:]] == [("PEP", form) for form in smallest.FORMS]
    assert all(0.4 <= row["sparsity"] < 1 and row["dim"] == 4 for row in rows[-3:])
    assert 1 < rows[-1]["spent"] <= 1 + 40 / 4, "a training of 4 epochs, and the search"
    other = smallest.main(config(**wide, sparsities=(0.3,)))
    assert [row["kind"] for row in other[-3:]] == ["PEP"] * 3
    assert all(0.3 <= row["sparsity"] < 1 for row in other[-3:])
    assert pep_searches == [[0.4], [0.3]]
    forbid_training()
    assert smallest.main(config(**wide, sparsities=(0.4,))) == rows
    assert pep_searches == [[0.4], [0.3]]


def test_what_pep_does_not_reach_is_told_and_not_looked_for_again(tastes, tmp_path, pep_searches):
    settings = Settings(data=None, dim=4, epochs=4, levels=0)
    (dense,) = lthjax.find_tickets(tastes, settings=settings, show_progress=False)

    def tried():
        workspace = Workspace(tastes, tmp_path, Account(100.0), left_out=[])
        tables = smallest_tables.pep_tables(dense, (0.95, 0.3), workspace)
        shares = [(table.kind, table.ticket.sparsity, table.spent) for table in tables]
        return shares, workspace.account.steps, workspace.left_out

    first = tried()
    ((kind, sparsity, _),), steps, (left_out,) = first
    assert kind == "PEP"
    assert 0.3 <= sparsity < 0.95
    assert steps == 40 + 4, "the whole search, and the training of a ticket"
    assert left_out.startswith("PEP, F = 4, from 95% on (wanted 95.0% of the entries at 0 within 40 epochs; got ")
    assert left_out.endswith("on the way)")
    assert tried() == first
    assert pep_searches == [[0.3, 0.95]]


def test_the_first_table_has_the_settings_that_are_given(config, capsys):
    given = {"l2": 0.02, "learning_rate": 0.005, "batch_size": 64}
    (row, *_) = smallest.main(config(budget=1.0, **given))
    assert (row["l2"], row["learning_rate"]) == (0.02, 0.005)
    assert smallest.settings_of(config(**given)).batch_size == 64
    assert "tuned on" not in capsys.readouterr().out
    smallest.main(config(budget=1.0, l2=0.02))
    assert "--learning-rate 0.003: tuned on ml-latest-small, not on your data" in capsys.readouterr().out
    smallest.main(config(budget=1.0))
    assert "--l2 0.01 and --learning-rate 0.003: tuned on ml-latest-small, not on your data" in capsys.readouterr().out


@pytest.fixture
def try_all(monkeypatch, tmp_path):
    """What is tried within a budget where nothing trains: budget, widths, sparsities, settings -> what came of it.

    Tables train 100 epochs of 7 steps, at half the rate 200 and to a better Recall; sparse ones 60.
    """
    asked = []

    def run(settings, workspace, dense=None):
        asked.append(settings)
        epochs = 60 if dense else min(settings.epochs, round(0.3 / settings.learning_rate))
        cost, metrics = Cost(Effort(), Effort(7 * epochs), 700), {"valid_recall@20": epochs / 1000}
        ticket = SimpleNamespace(settings=settings, epochs=epochs, metrics=metrics, cost=cost, parent=None)
        return [dense, ticket] if dense else [ticket]

    def pep_tables(dense, sparsities, workspace):
        yield Candidate("PEP", dense, 0.0)

    monkeypatch.setattr(smallest_tables, "_run", run)
    monkeypatch.setattr(smallest_tables, "pep_tables", pep_tables)
    monkeypatch.setattr(smallest_tables, "pruned_tables", lambda *arguments: ())

    def try_all(budget, dims, sparsities=(), **changes):
        asked.clear()
        base = Settings(dim=dims[0], learning_rate=0.003, **changes)
        workspace = Workspace(None, tmp_path, Account(budget), left_out=[])
        how = {"search": "one-shot", "prune_by": "magnitude"}
        tables = list(smallest_tables.candidates(base, dims, sparsities, how, workspace))
        tried = [(table.kind, table.ticket.settings.dim) for table in tables]
        account = workspace.account
        return SimpleNamespace(
            tried=tried, asked=asked, left_out=workspace.left_out, spent=account.of(account.steps), tables=tables
        )

    return try_all


def test_the_budget_lasts_for_the_tuning_of_another_width_too(try_all):
    narrow = try_all(2.2, (32, 64))
    assert narrow.tried == [("dense", 32)]
    assert narrow.left_out[0] == "dense, F = 64"
    wide = try_all(2.35, (32, 64))
    assert wide.tried == [("dense", 32), ("dense", 64)]
    assert wide.spent == pytest.approx(2.3)


def test_without_l2_there_is_none_to_choose(try_all):
    got = try_all(2.2, (32, 64), l2=0.0)
    assert [settings.dim for settings in got.asked] == [32, 64]
    assert [table.spent for table in got.tables] == [1, 1]


def test_all_widths_are_tuned_beside_the_first_table(try_all):
    """Also where the first width has a better one at half the rate by then, which trained twice as long."""
    got = try_all(20.0, (32, 64, 16, 128))
    assert [table.spent for table in got.tables] == pytest.approx([1, 1.3, 1.3, 2, 1.3])
    assert got.tables[3].ticket.settings == dataclasses.replace(got.tables[0].ticket.settings, learning_rate=0.0015)
    for dim in (64, 16, 128):
        *short, whole = (settings for settings in got.asked if settings.dim == dim)
        assert [settings.epochs for settings in short] == [10] * 3
        assert [settings.learning_rate for settings in (*short, whole)] == [0.003] * 4


def test_pep_is_priced_in_trainings_of_the_first_table(try_all):
    """150 epochs are one and a half, also where the best table trained 200."""
    before = 1 + 2 + 2 * 0.6  # dense tables, and sparse ones
    assert ("PEP", 32) in try_all(before + 2.15, (32,), (0.5,)).tried
    got = try_all(before + 2.05, (32,), (0.5,))
    assert ("PEP", 32) not in got.tried
    assert got.left_out == ["PEP, F = 32"]


def stored(kind, form, num_bytes, valid, dim=32, sparsity=0.0, best_epoch=100):
    settings = Settings(dim=dim, epochs=200, patience=60)
    ticket = SimpleNamespace(
        settings=settings, sparsity=sparsity, best_epoch=best_epoch, epochs=min(best_epoch + 60, 200)
    )
    return Stored(Candidate(kind, ticket, 1.0), form, num_bytes, valid, valid / 2)


TABLES = [
    stored("dense", "float32", 400, 0.200),
    stored("dense", "int8", 110, 0.199),
    stored("ticket", "float32", 220, 0.201, sparsity=0.5),
    stored("ticket", "int8", 60, 0.1981, sparsity=0.5),
    stored("MagPrune", "int8", 60, 0.18, sparsity=0.5),
    stored("ticket", "int8", 30, 0.19, sparsity=0.9),
]


def test_the_frontier_and_the_smallest_by_hand():
    assert [item.num_bytes for item in smallest.frontier(TABLES)] == [30, 60, 110, 220]
    assert smallest.best_dense(TABLES) is TABLES[0]
    assert smallest.smallest(TABLES, 0.01) is TABLES[3]
    assert smallest.smallest(TABLES, 0.05) is TABLES[5]
    assert smallest.smallest(TABLES, 0.001) is TABLES[2]


@pytest.mark.parametrize(("best_epoch", "is_cut_short"), [(140, False), (145, True)])
def test_a_best_dense_table_that_was_still_learning_is_told(best_epoch, is_cut_short, tmp_path):
    tables = [stored("dense", "float32", 400, 0.2, best_epoch=best_epoch), *TABLES[1:]]
    tables.append(stored("dense", "float32", 300, 0.1, best_epoch=200))  # nothing is compared with this one
    text = smallest.text_of(Config(), tables, Workspace(None, tmp_path, Account(5.0), left_out=[]))
    told = "CUT SHORT: a dense model was still learning when its epochs ended"
    assert (told in text) == is_cut_short
    assert [table.row()["cut_short"] for table in tables] == [is_cut_short, *[False] * 5, True]


def test_every_row_says_whether_its_table_was_cut_short(config, capsys):
    alone = {"dims": (4,), "budget": 1.0}
    rows = smallest.main(config(**alone))
    assert [row["cut_short"] for row in rows] == [True] * 6
    assert "CUT SHORT" in capsys.readouterr().out
    rows = smallest.main(config(**alone, epochs=100, patience=10, learning_rate=0.3))
    assert [row["cut_short"] for row in rows] == [False] * 6
    assert "CUT SHORT" not in capsys.readouterr().out


def test_the_picture_marks_the_smallest():
    ax = Figure().add_subplot()
    smallest.draw(TABLES, 0.01, ax)
    star = next(line for line in ax.lines if line.get_marker() == "*")
    np.testing.assert_allclose([star.get_xdata()[0], star.get_ydata()[0]], [60 / 1024, 0.1981])


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"within": 0}, "--within: wanted a share between 0 and 1; got 0"),
        ({"budget": 0.5}, "--budget: wanted a finite number from 1, for one dense table; got 0.5"),
        ({"budget": float("inf")}, "--budget: wanted a finite number from 1, for one dense table; got inf"),
        ({"budget": float("nan")}, "--budget: wanted a finite number from 1, for one dense table; got nan"),
        ({"dims": (16, 16)}, "--dims: wanted at least one width, from 1 and each once; got .16, 16."),
        ({"dims": (32, 0)}, "--dims: wanted at least one width, from 1 and each once; got .32, 0."),
        ({"dims": ()}, "--dims: wanted at least one width"),
        ({"search": "imp"}, "--search: wanted one of one-shot, short, early, gradual, dynamic; got imp"),
        ({"search": "dynamic"}, "--prune-by: wanted magnitude with --search dynamic; got movement"),
        ({"sparsities": (0.5, 1.0)}, "--sparsities: wanted shares between 0 and 1"),
        (
            {"sparsities": (0.5, 0.75, 0.5)},
            "--sparsities: wanted shares between 0 and 1, each once; got .0.5, 0.75, 0.5.",
        ),
    ],
)
def test_flags_that_cannot_be(changes, wanted):
    with pytest.raises(SettingsError, match=wanted):
        dataclasses.replace(Config(), **changes)
