"""Tables 2 and 3 at a tiny size: whose runs they read, what they draw, and what stays empty."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.paper import figure3, scales, table2, table3
from lthjax.baselines.records import Search
from lthjax.errors import SettingsError


def test_table2_reads_the_runs_of_figure2(trained, forbid_training, tmp_path, capsys):
    forbid_training()
    table2.main(table2.Searches(**dataclasses.asdict(trained)))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| few | MF | ours | 0."))
    assert (tmp_path / "table2" / "figure.png").read_bytes().startswith(b"\x89PNG")
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert [bool(cell) for cell in cells[3:-1]] == [True, False, False, False] * 2  # 40% and 64% are not asked for


def test_table2_has_other_searches_with_their_costs(make_study, capsys):
    study = table2.Searches(**dataclasses.asdict(make_study()), searches=("IMP", "short", "random-by-degree"))
    rows = table2.main(study)
    assert [row["variant"] for row in rows] == ["IMP"] * 3 + ["short"] * 4 + ["random-by-degree"] * 4
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| few | MF | ours")]
    assert [line.split("|")[3].strip() for line in lines] == ["ours", "ours, short", "ours, random-by-degree"]
    costs = [line.split("|")[-2].strip() for line in lines]
    assert costs[2] == "0, 0, 0"
    assert costs[1] == ", ".join(f"{row['search_cost']:.2g}" for row in rows[4:7])
    with pytest.raises(SettingsError, match="--searches: wanted at least one, each once"):
        dataclasses.replace(study, searches=())


def test_table2_sets_the_papers_values_beside_ours(make_study):
    dense = {"recall@20": 0.5, "ndcg@20": 0.5, "sparsity": 0.0, "verdict": "dense", "selection": "valid"}
    rows = [dense, dense | {"sparsity": 0.2710, "recall@20": 0.6, "verdict": "wins"}]
    text = table2.text_of(make_study(), {"IMP": {("kuairand", "mf"): rows, ("some/yelp2018", "lightgcn"): rows}})
    assert "| kuairand | MF | ours | 0.5000 | **0.6000** |  |  | 0.5000 | **0.5000** |  |  |  |" in text
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
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["dense, 0.3000", "LCM", "PEP: not reached", "MagPrune: not reached", "ticket"]
    figure = Figure()
    table3.drawing_of([*rows, row | {"dim": 16}, row | {"dim": 32}])(figure)
    assert [ax.get_title() for ax in figure.axes] == ["x, MF, F = 8", "x, MF, F = 16", "x, MF, F = 32"]


def test_table3(make_study, forbid_training, monkeypatch, tmp_path, capsys):
    """First PEP stays out of reach and its cells empty; the same command again trains what is missing, then nothing."""
    monkeypatch.setitem(table3.DIMS, "quick", (3,))
    monkeypatch.setattr(table3, "searches_of", lambda study, settings: [Search(epochs=1)])
    rows = table3.main(make_study(seeds=1))
    assert [(row["variant"], row["num_kept"]) for row in rows] == [
        *(("dense", 210), ("ticket", 105), ("ticket", 52)),
        *(("LCM", 70), ("LCM", 70)),  # 1.5 and 2.25 of 3 dimensions are dropped, that is 2
        *(("MagPrune", 105), ("MagPrune", 52)),  # 22 of 90 and 30 of 120 entries: each table by itself
    ]
    printed = capsys.readouterr().out
    assert "few, mf, F = 3: PEP: wanted 50.0% of the entries at 0 within 1 epochs; got 0." in printed
    assert "50.0% of 3 dimensions is no whole number" in str([row.get("note") for row in rows])
    assert "| few | MF | 3 | PEP, ours |  |  |  |  |" in printed
    assert (tmp_path / "quick-1-seeds" / "table3-few-mf" / "figure.png").read_bytes().startswith(b"\x89PNG")
    quick = Search(granularity="row", start=-3.0, pull=1.0, learning_rate=0.3, epochs=100, check_every=1)
    monkeypatch.setattr(table3, "searches_of", lambda study, settings: [Search(epochs=1), quick])
    whole = table3.main(make_study(seeds=1))
    assert [row["recall@20"] for row in whole if row["variant"] != "PEP"] == [row["recall@20"] for row in rows]
    of_pep = [row["sparsity"] for row in whole if row["variant"] == "PEP"]
    assert len(of_pep) == 2
    assert (of_pep[0] >= 0.5, of_pep[1] >= 0.75) == (True, True)
    forbid_training()
    assert table3.main(make_study(seeds=1)) == whole


def test_the_schedule_of_table3_hits_its_sparsities():
    numbers = [float(part) for part in table3.schedule(7).split(",")]
    assert len(numbers) == 14
    assert numbers[6] == 0.5
    assert numbers[13] == 0.75
    assert table3.schedule(1) == "0.5,0.75"


def test_table3_and_figure3_share_runs_where_levels_are_few(make_study):
    few = make_study(data=("kuairand",), scale="cpu")
    assert (table3.dims_of(few, "kuairand"), table3.dims_of(few, "ml-latest-small")) == ((64,), (64, 128))
    assert table3.changes_of(few, "kuairand", "lightgcn") == {}
    settings = scales.settings_of(few, "kuairand", "lightgcn", dim=64)
    assert figure3.variants_of(few, "kuairand")["IMP-64d"] == {"dim": 64}
    assert {*table3.SPARSITIES, *table2.SPARSITIES[1:]} == set(settings.schedule)
    assert [search.l2 for search in table3.searches_of(few, settings)] == [0.002, 0.006, 0.02]
    assert table3.changes_of(few, "ml-latest-small", "mf") == {"sparsities": table3.schedule(7)}
