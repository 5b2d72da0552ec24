"""The paper's figures at a tiny size: what they train, share and leave; called again they train nothing."""

import csv
import itertools
import json
import sys
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import lthjax
from experiments import cli
from experiments.paper import (
    claims,
    complexity,
    figure2,
    figure3,
    figure4,
    figure5,
    figure6,
    figure7,
    reproduce,
    studies,
    table2,
    table3,
    who_pays,
)
from experiments.paper import variants as comparison
from lthjax import plots
from lthjax.errors import SettingsError, TrainingError
from lthjax.evaluation import breakdown as diagnostics
from lthjax.search import imp
from lthjax.settings import Settings


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 30 users and 40 items, 12 interactions a user."""
    draws = np.random.default_rng(0)
    lines = [f"{user} " + " ".join(map(str, draws.choice(40, 12, replace=False))) for user in range(30)]
    place = tmp_path_factory.mktemp("data") / "few.txt"
    place.write_text("\n".join(lines) + "\n")
    return str(place)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("paper")


@pytest.fixture(autouse=True)
def tiny_scale(monkeypatch):
    tiny = Settings(dim=4, epochs=2, eval_every=1, levels=2, prune_rate=0.4, batch_size=64)
    monkeypatch.setitem(studies.SCALES, "quick", tiny)


def study(data, out, **changes):
    return studies.Study(**({"data": (data,), "models": ("mf",), "seeds": 2, "out": str(out)} | changes))


def test_figure2_shares_its_dense_models_and_trains_once(data, out, monkeypatch, capsys):
    rows = figure2.main(study(data, out))
    dense = {row["recall@20"] for row in rows if row["level"] == 0}
    assert len(dense) == 1
    assert [row["variant"] for row in rows] == ["IMP"] * 3 + ["OMP"] * 3 + ["RP"] * 3
    assert len({row["num_kept"] for row in rows if row["level"] == 2}) == 1
    folders = sorted(place.name for place in (out / "runs").iterdir())
    assert [name.startswith("dense-") for name in folders].count(True) == 1
    with open(out / "figure2" / "results.csv", newline="") as file:
        assert [row["num_kept"] for row in csv.DictReader(file)] == [str(row["num_kept"]) for row in rows]
    table = (out / "figure2" / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert table.count("| few | mf |") == 3
    assert (out / "figure2" / "figure.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(imp, "fit_together", None)
    assert figure2.main(study(data, out)) == rows


def test_figure5_takes_the_dense_models_of_figure2(data, out):
    before = {place.name for place in (out / "runs").iterdir()}
    rows = figure5.main(study(data, out))
    assert [row["variant"] for row in rows if row["level"] == 0] == ["init", "epoch:1", "reinit", "none", "lr"]
    assert not [
        name for name in {place.name for place in (out / "runs").iterdir()} - before if name.startswith("dense")
    ]


def test_table2_reads_the_runs_of_figure2(data, out, monkeypatch, capsys):
    figure2.main(study(data, out))
    monkeypatch.setattr(imp, "fit_together", None)
    table2.main(study(data, out))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| few | MF | ours | 0."))
    assert (out / "table2" / "figure.png").read_bytes().startswith(b"\x89PNG")
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert [bool(cell) for cell in cells[3:]] == [True, False, False, False] * 2  # 40% and 64% are not asked for


def test_tickets_come_one_by_one_and_are_those_of_the_records(data, out):
    settings = studies.settings_of(study(data, out), data, "mf")
    split = lthjax.load_split(None, settings)
    found = studies.find(study(data, out), split, settings)
    tickets = studies.tickets_of(study(data, out), split, settings)
    assert iter(tickets) is tickets
    for seed, level in itertools.product(range(2), range(3)):
        ticket = next(tickets)
        assert (ticket.settings["seed"], ticket.level) == (seed, level)
        assert ticket.num_kept == found[seed][level].row["num_kept"] == sum(int(mask.sum()) for mask in ticket.masks)
        np.testing.assert_array_equal(ticket.per_user["recall@20"], found[seed][level].per_user["recall@20"])
    assert next(tickets, None) is None


def test_who_pays_measures_the_runs_of_figure2(data, out, monkeypatch, capsys):
    studies.curves(study(data, out), data, "mf", figure2.VARIANTS)
    monkeypatch.setattr(imp, "fit_together", None)
    flags = who_pays.Payers(data=(data,), models=("mf",), seeds=2, out=str(out), variants=("IMP", "RP"))
    rows = who_pays.main(flags)
    table = pd.DataFrame(rows)
    assert table.groupby(["variant", "seed", "level"]).ngroups == 2 * 2 * 3
    settings = studies.settings_of(flags, data, "mf")
    split = lthjax.load_split(None, settings)
    for ticket in studies.tickets_of(flags, split, settings):
        mine = table[(table.variant == "IMP") & (table.seed == ticket.settings["seed"]) & (table.level == ticket.level)]
        number = mine.set_index(["quantity", "side", "place"])["value"].to_dict()
        sides = (("user", 30, ticket.masks.user), ("item", 40, ticket.masks.item))
        kept = sum(number["density", side, 0] * count * 4 for side, count, _ in sides)
        assert kept == pytest.approx(ticket.num_kept)
        for side, _, mask in sides:
            of_dimensions = [number["density of dimension", side, place] for place in range(1, 5)]
            np.testing.assert_allclose(of_dimensions, np.asarray(mask).mean(axis=0))
            ends = number["emptiest dimension", side, 0], number["fullest dimension", side, 0]
            assert ends == (min(of_dimensions), max(of_dimensions))
            assert number["dead rows", side, 0] == sum(not row.any() for row in np.asarray(mask))
        # Of the same lists: hits, by user and over all items of each group.
        degree = np.bincount(split.train[:, 0], minlength=30)
        groups = diagnostics.groups_of_equal_mass(degree)[ticket.users]
        for place in set(groups.tolist()):
            wanted = ticket.per_user["recall@20"][groups == place].mean(dtype=np.float64)
            assert number["recall of group", "user", place + 1] == pytest.approx(wanted)
        num_test = np.bincount(split.test[:, 0], minlength=30)[ticket.users]
        groups = diagnostics.groups_of_equal_mass(np.bincount(split.train[:, 1], minlength=40))[split.test[:, 1]]
        hits = sum(
            number["recall of group", "item", place + 1] * (groups == place).sum() for place in set(groups.tolist())
        )
        assert hits == pytest.approx((ticket.per_user["recall@20"] * num_test).sum(), rel=1e-5)
    said = (out / "who_pays" / "table.md").read_text()
    assert said in capsys.readouterr().out
    assert "### few, MF, RP" in said
    assert f"At {table.sparsity.max():.1%} pruned, users keep" in said
    assert (out / "who_pays" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_the_summary_of_who_pays():
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


def test_complexity_counts_the_runs_of_figure2(data, out, monkeypatch, capsys):
    studies.curves(study(data, out), data, "mf", figure2.VARIANTS)
    monkeypatch.setattr(imp, "fit_together", None)
    rows = complexity.main(study(data, out))
    assert [row["level"] for row in rows] == [0, 1, 2]
    dense, last = rows[0], rows[-1]
    assert (dense["largest_user"], dense["mean_item"], dense["dead_item"], dense["scoring"]) == (4, 4, 0, 160)
    assert dense["scoring_dense"] == dense["scoring_bound"] == 160
    assert (dense["bytes_dense"], dense["bytes_bitmap"], dense["smallest"]) == (4 * 280, 4 * 280 + 70, "dense")
    assert last["bytes_bitmap"] == 4 * last["num_kept"] + 70
    assert 30 * last["mean_user"] + 40 * last["mean_item"] == pytest.approx(last["num_kept"])
    assert last["scoring"] <= last["scoring_bound"]
    assert last["num_seeds"] == 2
    assert not complexity.products_of(last)
    said = (out / "complexity" / "table.md").read_text()
    assert said in capsys.readouterr().out
    assert f"min(F*_u, F*_i) is F = 4 up to {max(r['sparsity'] for r in rows if r['scoring_bound'] == 160):.1%}" in said
    assert (out / "complexity" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_complexity_of_lightgcn(data):
    """Layer 1 multiplies the sparse table; what it makes is fuller, and so are the final embeddings."""
    split = lthjax.load_split(None, Settings(data=data))
    draws = np.random.default_rng(0)
    masks = lthjax.Embeddings(*(draws.random((rows, 4)) < 0.3 for rows in (30, 40)))
    got = complexity.counted(SimpleNamespace(masks=masks, settings={"model": "lightgcn", "layers": 2}), split)
    degree = np.bincount(split.train[:, 0], minlength=30), np.bincount(split.train[:, 1], minlength=40)
    assert got["layer_1"] == sum((mask.sum(axis=1) * count).sum() for mask, count in zip(masks, degree, strict=True))
    assert got["layer_dense"] == 2 * len(split.train) * 4
    assert got["layer_1"] < got["layer_2"] <= got["layer_dense"]
    assert got["nonzero_layer_0"] == sum(mask.sum() for mask in masks) / 280
    assert got["nonzero_layer_0"] < got["nonzero_layer_1"] <= got["nonzero_layer_2"]
    alone = complexity.counted(SimpleNamespace(masks=masks, settings={"model": "mf", "layers": 2}), split)
    assert alone["scoring"] == masks.user.sum(axis=0) @ masks.item.sum(axis=0) / 30 < got["scoring"]
    assert "layer_dense" not in alone


def test_complexity_draws_and_tells_both_models(tmp_path):
    row = {"data": "x", "model": "mf", "sparsity": 0.0, "dim": 4, "smallest": "dense", "bytes_dense": 80}
    row |= dict.fromkeys(("largest_user", "largest_item", "mean_user", "mean_item"), 4.0)
    row |= {"dead_user": 0, "dead_item": 0, "bytes_csr": 90, "bytes_csr_int32": 160, "bytes_bitmap": 85}
    row |= {"scoring": 40, "scoring_dense": 40, "scoring_bound": 40}
    pruned = {"sparsity": 0.5, "largest_user": 3.0, "smallest": "bitmap", "bytes_bitmap": 44, "scoring": 10}
    layers = {"model": "lightgcn", "layer_dense": 200, "layer_1": 50, "layer_2": 190, "nonzero_layer_0": 0.5}
    rows = [row, row | pruned, row | layers, row | layers | pruned]
    text = complexity.text_of(study("x", "y"), rows)
    assert "| x | LightGCN | 50.0% | 3.0 | 4.0 |" in text
    assert "| 25.0% | 100.0% | 25.0% | 95.0% |" in text
    assert "| 25.0% | 100.0% |  |  |" in text  # MF has no layers
    assert "The smallest form is dense from 0.0% on, bitmap + values from 50.0% on; at 50.0% it takes 55.0%" in text
    assert "The products of layers 1 to 2 take 25.0%, 95.0% of theirs." in text
    plots.save(tmp_path / "figure.png", complexity.drawing_of(rows))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_numbers_over_seeds():
    assert studies.over_seeds([{"a": 3}]) == {"a": 3}
    assert studies.over_seeds([{"a": 1, "b": 2}, {"a": 3, "b": 2}]) == {"a": 2, "a_sd": 2**0.5, "b": 2, "b_sd": 0}
    assert studies.same_columns([{"a": 1}, {"b": 2}]) == [{"a": 1, "b": ""}, {"a": "", "b": 2}]


def test_table2_sets_the_papers_values_beside_ours():
    dense = {"recall@20": 0.5, "ndcg@20": 0.5, "sparsity": 0.0, "verdict": "dense", "selection": "valid"}
    rows = [dense, dense | {"sparsity": 0.2710, "recall@20": 0.6, "verdict": "wins"}]
    text = table2.text_of(study("x", "y"), {("kuairand", "mf"): rows, ("some/yelp2018", "lightgcn"): rows})
    assert "| kuairand | MF | ours | 0.5000 | **0.6000** |  |  | 0.5000 | **0.5000** |  |  |" in text
    assert "| Kwai, other data | MF | paper | 0.0411 | 0.0464 |" in text
    assert "| yelp2018 | LightGCN | paper | 0.0600 | 0.0602 |" in text


def test_table2_draws_values_in_percent_of_their_dense_models():
    dense = {"recall@20": 0.5, "recall@20_sd": 0.05, "sparsity": 0.0}
    rows = [dense, dense | {"sparsity": 0.2710, "recall@20": 0.6}, dense | {"sparsity": 0.6513, "recall@20": 0.4}]
    ax = table2.panel(rows, "recall@20", (0.2, 0.3, 0.1, 0.05), "Kwai", Figure().add_subplot())
    (ours,) = ax.containers
    paper = next(line for line in ax.lines if len(line.get_xdata()) == 4)
    np.testing.assert_allclose(ours.lines[0].get_ydata(orig=False), [100, 120, 80])
    np.testing.assert_allclose(paper.get_ydata(), [100, 150, 50, 25])
    (bars,) = ours.lines[2]
    np.testing.assert_allclose(np.asarray(bars.get_segments()[1][:, 1], dtype=float), [110, 130])
    alone = table2.panel(rows, "recall@20", (), "x", Figure().add_subplot())
    assert [text.get_text() for text in alone.get_legend().get_texts()] == ["ours"]


def test_table3_draws_what_is_there_and_names_what_is_not():
    row = {"data": "x", "model": "mf", "dim": 8, "variant": "dense", "sparsity": 0.0, "recall@20": 0.3}
    rows = [row, row | {"variant": "ticket", "sparsity": 0.5, "recall@20_sd": 0.01}]
    ax = table3.panel([*rows, row | {"variant": "LCM", "sparsity": 0.75}], Figure().add_subplot())
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == ["dense, 0.3000", "LCM", "PEP: not reached", "MagPrune: not reached", "ticket"]
    figure = Figure()
    table3.drawing_of([*rows, row | {"dim": 16}, row | {"dim": 32}])(figure)
    assert [ax.get_title() for ax in figure.axes] == ["x, MF, F = 8", "x, MF, F = 16", "x, MF, F = 32"]


def test_table3(data, out, monkeypatch, capsys):
    """First PEP stays out of reach and its cells empty; the same command again trains what is missing, then nothing."""
    from lthjax.baselines.records import Search

    monkeypatch.setitem(table3.DIMS, "quick", (3,))
    monkeypatch.setattr(table3, "searches_of", lambda study, settings: [Search(epochs=1)])
    rows = table3.main(study(data, out, seeds=1))
    found = [(row["variant"], row["num_kept"]) for row in rows]
    assert found == [
        *(("dense", 210), ("ticket", 105), ("ticket", 52)),
        *(("LCM", 70), ("LCM", 70)),  # 1.5 and 2.25 of 3 dimensions fall, that is 2
        *(("MagPrune", 105), ("MagPrune", 52)),  # 22 of 90 and 30 of 120 entries: each table by itself
    ]
    said = capsys.readouterr().out
    assert "few, mf, F = 3: PEP: wanted 50.0% of the entries at 0 within 1 epochs; got 0." in said
    assert "50.0% of 3 dimensions is no whole number" in str([row.get("note") for row in rows])
    assert "| few | MF | 3 | PEP, ours |  |  |  |  |" in said
    assert (out / "table3" / "figure.png").read_bytes().startswith(b"\x89PNG")
    quick = Search(granularity="row", start=-3.0, pull=1.0, learning_rate=0.3, epochs=100, check_every=1)
    monkeypatch.setattr(table3, "searches_of", lambda study, settings: [Search(epochs=1), quick])
    whole = table3.main(study(data, out, seeds=1))
    assert [row["recall@20"] for row in whole if row["variant"] != "PEP"] == [row["recall@20"] for row in rows]
    of_pep = [row["sparsity"] for row in whole if row["variant"] == "PEP"]
    assert len(of_pep) == 2
    assert (of_pep[0] >= 0.5, of_pep[1] >= 0.75) == (True, True)
    monkeypatch.setattr("lthjax.baselines.records.fit", None)
    monkeypatch.setattr(imp, "fit_together", None)
    assert table3.main(study(data, out, seeds=1)) == whole


def test_the_schedule_of_table3_hits_its_sparsities():
    numbers = [float(part) for part in table3.schedule(7).split(",")]
    assert len(numbers) == 14
    assert numbers[6] == 0.5
    assert numbers[13] == 0.75
    assert table3.schedule(1) == "0.5,0.75"


def test_variants():
    assert figure4.variants_of(study("x", "y", scale="paper"), "kuairand") == {
        "IMP-5%": {"prune_rate": 0.05, "levels": 60},
        "IMP-10%": {"prune_rate": 0.1, "levels": 29},
        "IMP-20%": {"prune_rate": 0.2, "levels": 14},
    }
    assert list(figure3.variants_of(study("x", "y", scale="paper"), "kuairand")) == [
        *("IMP-16d", "IMP-32d", "IMP-64d", "IMP-128d"),
    ]


def test_larger_data_have_fewer_variants_at_scale_cpu():
    few = study("kuairand", "y", scale="cpu")
    assert list(figure3.variants_of(few, "kuairand")) == ["IMP-16d", "IMP-32d", "IMP-64d"]
    assert len(figure3.variants_of(few, "ml-latest-small")) == 4
    rates = figure4.variants_of(few, "kuairand").values()
    assert [(rate["prune_rate"], rate["levels"]) for rate in rates] == [(0.2, 7), (0.4, 3), (0.6, 2)]
    assert (table3.dims_of(few, "kuairand"), table3.dims_of(few, "ml-latest-small")) == ((64,), (64, 128))


def test_table3_and_figure3_share_runs_where_levels_are_few():
    few = study("kuairand", "y", scale="cpu")
    settings = table3.settings_of(few, "kuairand", "lightgcn", 64)
    assert settings == studies.settings_of(
        few, "kuairand", "lightgcn", **figure3.variants_of(few, "kuairand")["IMP-64d"]
    )
    assert {*table3.SPARSITIES, *table2.SPARSITIES[1:]} == set(settings.schedule)
    assert [search.l2 for search in table3.searches_of(few, settings)] == [0.002, 0.006, 0.02]
    assert table3.settings_of(few, "ml-latest-small", "mf", 64).sparsities == table3.schedule(7)


def test_runs_are_remembered_when_their_folders_are_gone(tmp_path):
    """What an earlier call wrote down stays, commits of digits too; what is on disk wins, if it is of the report."""
    ledger = tmp_path / "runs.csv"
    report = reproduce.Reproduction(scale="cpu", seeds=2, out=str(tmp_path))
    assert reproduce.remembered(report, ledger) == []
    row = {"folder": "b", "seeds": "0, 1", "settings": "", "commit": "0438638", "device": "1 x cpu"}
    ledger.write_text("folder,seeds,settings,commit,device\n" + 'b,"0, 1",,0438638,1 x cpu\n' + "a,0,dim 8,abc,old\n")
    epochs = studies.SCALES["cpu"].epochs
    for folder, seeds, of_epochs in (("a", 2, epochs), ("one_seed", 1, epochs), ("other_scale", 2, epochs + 1)):
        for seed in range(seeds):
            settings = {"seed": seed, "dim": 8, "epochs": of_epochs}
            file = tmp_path / "runs" / folder / f"seed_{seed}" / "config.json"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"settings": settings, "git_commit": "f" * 40, "device": "new"}))
    rows = reproduce.remembered(report, ledger)
    assert rows == [
        {**row, "folder": "a", "seeds": "0, 1", "settings": "dim 8", "commit": "fffffff", "device": "new"},
        row,
    ]
    elsewhere = reproduce.Reproduction(scale="cpu", seeds=2, out=str(tmp_path / "nowhere"))
    assert reproduce.remembered(elsewhere, ledger) == rows
    assert "| b | 0, 1 |  | 0438638 | 1 x cpu |" in reproduce.runs_table(rows)


def test_a_table_names_what_is_not_there():
    row = {"recall@20": 0.5, "sparsity": 0.0, "best_epoch": 3, "verdict": "dense", "selection": "test"}
    worse = row | {"sparsity": 0.5, "recall@20": 0.25, "verdict": "worse"}
    text = comparison.text_of(study("x", "y"), {("x", "mf"): {"IMP": [row, worse]}}, "title")
    assert "| x | mf | IMP | 0.5000 | 0.2500 | 50.0% | none |  |  | 3 |" in text
    assert "WARNING: best epochs were chosen on the test part" in text
    assert studies.nearest([row, worse], 0.502) is worse
    assert studies.nearest([row, worse], 0.51) is None
    assert studies.value(None, "recall@20") is None


def test_bad_flags(monkeypatch, capsys):
    with pytest.raises(SettingsError, match="--seeds: wanted at least 1; got 0"):
        studies.Study(seeds=0)
    with pytest.raises(SettingsError, match="--variants: wanted at least one of IMP, OMP and RP; got none"):
        who_pays.Payers(variants=())
    monkeypatch.setattr(sys, "argv", ["figure2", "--scale", "huge"])
    with pytest.raises(SystemExit) as end:
        cli.run(figure2.main, studies.Study, figure2.__doc__)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_figure6_counts_epochs_to_the_dense_models_best(data, out, monkeypatch):
    assert figure6.epochs_to_reach([(5, 0.1), (10, 0.3), (15, 0.2)], 0.2) == 10
    assert figure6.epochs_to_reach([(5, 0.1)], 0.2) is None
    figure2.main(study(data, out))
    monkeypatch.setattr(imp, "fit_together", None)
    monkeypatch.setitem(figure6.DIMS, "quick", (4,))
    rows = figure6.main(study(data, out))
    assert [row["level"] for row in rows] == [1, 2]
    dense_place, place = studies.folders(study(data, out), studies.settings_of(study(data, out), data, "mf"))
    for row in rows:
        taken = []
        for seed in ("seed_0", "seed_1"):
            ((_, dense),) = figure6.curves(dense_place / seed, "valid").items()
            best = max(value for _, value in dense)
            first = next(epoch for epoch, value in dense if value == best)
            curve = figure6.curves(place / seed, "valid")[row["level"]]
            taken += [(epoch, first) for epoch, value in curve if value >= best][:1]
        assert row["seeds_that_reach"] == len(taken)
        if taken:
            assert row["relative"] == pytest.approx(sum(d for _, d in taken) / sum(t for t, _ in taken))
            assert row["relative_low"] == min(d / t for t, d in taken)
        else:
            assert row["relative"] == ""


def test_figure6_chooses_among_winners_that_get_there():
    row = {"sparsity": 0.3, "verdict": "wins", "seeds": 2, "seeds_that_reach": 2, "relative": 4.0}
    sparse, never = row | {"sparsity": 0.5, "relative": 2.0}, row | {"sparsity": 0.7, "seeds_that_reach": 1}
    chosen = figure6.chosen([row, sparse, never, row | {"verdict": "slower", "relative": 9.0}])
    assert list(chosen.values()) == [row, sparse]
    assert figure6.chosen([never]) == {}
    band = {"relative_low": 1.0, "relative_high": 5.0}
    ax = figure6.panel({"MF-8d": [row | band], "MF-4d": [never | band]}, Figure().add_subplot())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "MF-8d",
        "MF-4d: no ticket gets there with all seeds",
    ]


def test_figure7_counts_what_is_kept(data, out, monkeypatch):
    values = np.array([5, -1, 2, -9, 0.5, 3, -4, 8, 7, 6])
    kept = np.abs(values) > 4
    np.testing.assert_array_equal(figure7.kept_by_magnitude(values, kept), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    figure2.main(study(data, out))
    monkeypatch.setattr(imp, "fit_together", None)
    (row,) = figure7.main(study(data, out))
    shares = [row[f"tenth_{number}"] for number in range(1, 11)]
    assert np.mean(shares) == pytest.approx(1 - row["sparsity"], abs=0.01)
    assert row["dense_magnitude_of_kept"] > row["dense_magnitude_of_pruned"]
    assert (out / "figure7" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_reproduce_reports_what_lies_there(data, out, monkeypatch):
    """Two parts in two calls; a part that fails is named, one that was not asked for is not run."""
    monkeypatch.setitem(table3.DIMS, "quick", (4,))
    whole = {"data": (data,), "models": ("mf",), "seeds": 2, "out": str(out)}
    reproduce.main(reproduce.Reproduction(**whole, parts=("figure2", "complexity", "who_pays")))

    def fail(study):
        raise TrainingError("the loss is no longer finite")

    monkeypatch.setitem(reproduce.PARTS, "figure5", fail)
    report = reproduce.main(reproduce.Reproduction(**whole, parts=("figure5",))).read_text()
    lines = [line for line in report.splitlines() if line.startswith(("| abstract", "| 4.", "| 3.5"))]
    assert len(lines) == 2 * len(claims.ALL)  # an overview of all data sets and models, and this one's figures
    assert "| paper | claim | few, MF |" in report
    half = len(claims.ALL)
    assert [line.split("|")[3] for line in lines[:half]] == [line.split("|")[3] for line in lines[half:]]
    words = {line.split("|")[2].strip(): line.split("|")[3].strip("* ") for line in lines}
    assert words["random pruning finds none (but for LightGCN on TikTok)"] in ("holds", "does not hold")
    assert words["they exist at every embedding size"] == "not run"
    assert "| rewinding improves the best ticket | not run | the loss is no longer finite |" in report
    for part in ("figure2", "complexity", "who_pays"):
        assert f"![{part}](few-mf/{part}/figure.png)" in report
    assert tuple(reproduce.PARTS) == get_args(reproduce.Part)
    assert (out / "quick-2-seeds" / "few-mf" / "figure2" / "figure.png").exists()
    runs = [place.parent.parent.name for place in (out / "runs").glob("*/seed_1/config.json")]
    assert runs
    assert [report.count(f"| {name} | 0, 1") for name in runs] == [1] * len(runs)
    assert list(reproduce.finished(out / "quick-3-seeds")) == []


def test_the_settings_under_a_table_are_those_that_ran():
    few = study("kuairand", "y", scale="cpu")
    assert "(defaults but for sparsities 0.271," in studies.scale_of(few)
    assert studies.scale_of(few, ["prune_rate"]) == "scale cpu (defaults but for patience 15), 2 seeds"
    assert "sparsities 0.5, patience 15" in studies.scale_of(few, sparsities="0.5")
    assert studies.scale_of(study("x", "y", scale="cpu", seeds=1)) == "scale cpu (defaults), 1 seed"


def test_data_sets_of_one_name_are_refused():
    with pytest.raises(SettingsError, match=r"different names; got a/few\.txt, b/few\.txt"):
        studies.Study(data=("a/few.txt", "b/few.txt"))
