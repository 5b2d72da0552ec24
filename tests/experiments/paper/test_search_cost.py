"""What a search costs: every search at every sparsity, its share of IMP's cost, and what counts as reached."""

import dataclasses
import itertools
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
from matplotlib.figure import Figure

from experiments.paper import search_cost
from experiments.paper.rows import grouped
from lthjax.errors import SettingsError
from lthjax.pruning import masks as masking


@pytest.fixture
def study(make_study):
    def make(**changes):
        return search_cost.SearchCost(**dataclasses.asdict(make_study()) | changes)

    return make


@pytest.fixture
def rows(study, capsys):
    return search_cost.main(study())


def test_every_search_and_control(rows, study, forbid_training, tmp_path, capsys):
    methods = grouped(rows, "variant")
    assert [name for (name,) in methods] == list(get_args(search_cost.Method))
    for of_method in methods.values():
        assert [round(row["sparsity"], 2) for row in of_method] == [0, 0.5, 0.75, 0.9]
    assert len({of_method[0]["recall@20"] for of_method in methods.values()}) == 1, "all have one dense model"
    # In epochs of 2 of the dense model: IMP has trained 2, 4, 6 epochs before, short 1 for each of 7, 14, 23 prunings.
    steps = {name: [row["search_cost"] for row in of_method[1:]] for (name,), of_method in methods.items()}
    assert steps["IMP"] == steps["rows of IMP"] == [1, 2, 3]
    assert steps["one-shot"] == [1, 1, 1]
    assert steps["short"] == steps["rows of short"]
    assert steps["early"] == steps["dynamic"] == [1.5, 1.5, 1.5]
    assert steps["random"] == steps["random-by-degree"] == [0, 0, 0]
    assert [row["share_of_imp"] for row in methods[("one-shot",)][1:]] == pytest.approx([1, 1 / 2, 1 / 3])
    assert [row["against_imp"] for row in methods[("IMP",)][1:]] == [0, 0, 0]
    for of_method in methods.values():
        for row, imp in zip(of_method[1:], methods[("IMP",)][1:], strict=True):
            assert row["against_imp"] == pytest.approx(row["recall@20"] - imp["recall@20"], abs=1e-6)
    forbid_training()
    assert search_cost.main(study()) == rows
    folder = tmp_path / "quick-2-seeds" / "search_cost-few-mf"
    text = (folder / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_controls_keep_the_rows_of_a_method(study, rows, data):
    split = search_cost.lthjax.load_split(None, search_cost.settings_of(study(), data, "mf", "IMP"))
    controls = list(search_cost._row_lengths(study(), split, data, "mf", "short"))
    runs = search_cost.Runs(study(), search_cost.settings_of(study(), data, "mf", "short"), split)
    for control, ticket in zip(controls, runs.tickets(), strict=True):
        assert control.settings.seed == ticket.settings.seed
        for side, wanted in zip(masking.kept_per_row(control.masks), masking.kept_per_row(ticket.masks), strict=True):
            np.testing.assert_array_equal(side, wanted)
        assert control.level == 0 or not masking.are_equal(control.masks, ticket.masks)


def row_of(variant, sparsity, recall, cost, share=1.0):
    row = {"data": "x", "model": "mf", "variant": variant, "level": int(sparsity > 0), "sparsity": sparsity}
    return row | {"recall@20": recall, "search_cost": cost, "share_of_imp": share, "selection": "valid"}


@pytest.mark.parametrize(
    ("sparsity", "recall", "share", "reached"),
    [
        (0.5, 0.0990, 0.10, True),
        (0.5, 0.0990, 0.11, False),
        (0.5, 0.0989, 0.01, False),
        (0.75, 0.2, 0.06, False),
        (0.9, 0.1, 0.05, True),
    ],
)
def test_what_is_reached(sparsity, recall, share, reached):
    imp = row_of("IMP", sparsity, 0.1, 5.0)
    assert search_cost.is_reached(row_of("short", sparsity, recall, 5 * share, share), imp) == reached


def test_the_table_counts_what_is_reached(study):
    dense = row_of("IMP", 0.0, 0.2, 0.0)
    imp = [dense, *(row_of("IMP", sparsity, 0.1, 10.0) for sparsity in search_cost.SPARSITIES)]
    short = [dense, *(row_of("short", sparsity, 0.1, 0.4, 0.04) for sparsity in search_cost.SPARSITIES)]
    short = [row | {"variant": "short"} for row in short]
    text = search_cost.text_of(study(), [*imp, *short])
    assert "| x | MF | dense, 0.2000 |  |  |  |" in text
    assert "| x | MF | IMP | 0.1000 (10) | 0.1000 (10) | 0.1000 (10) |" in text
    assert "| x | MF | short | **0.1000 (0.4)** | **0.1000 (0.4)** | **0.1000 (0.4)** |" in text
    assert "Of 1 data sets and models: short 1 at 50%, 1 at 75%, 1 at 90%." in text
    ax = search_cost.panel([*imp, *short], 0.5, Figure().add_subplot())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["dense", "IMP", "short"]


@pytest.mark.parametrize("methods", [("IMP", "short"), ("short", "IMP")])
def test_methods_are_compared_with_imp_in_any_order(study, methods, monkeypatch, capsys):
    of_methods = {"IMP": (0.2, 10.0), "short": (0.25, 0.4)}  # Recall and search cost of their tickets

    def measure(study, split, data, model, method):
        recall, cost = of_methods[method]
        tickets = [row_of(method, sparsity, recall, cost) for sparsity in search_cost.SPARSITIES]
        rows = [row_of(method, 0.0, 0.3, 0.0), *tickets]
        results = [SimpleNamespace(per_user={"recall@20": np.full(3, row["recall@20"])}) for row in rows]
        return search_cost.Measured([results, results], rows)

    monkeypatch.setattr(search_cost, "measure", measure)
    rows = search_cost.main(study(methods=methods))
    assert list(dict.fromkeys(row["variant"] for row in rows)) == list(methods)
    short, imp = (grouped(rows, "variant")[(method,)] for method in ("short", "IMP"))
    assert [row["against_imp"] for row in short] == ["", *[pytest.approx(0.05)] * 3]
    assert [row["share_of_imp"] for row in short] == ["", *[pytest.approx(0.04)] * 3]
    assert [(row["against_imp"], row["share_of_imp"]) for row in imp[1:]] == [(0, 1)] * 3
    assert "| short | **0.2500 (0.4)** | **0.2500 (0.4)** | **0.2500 (0.4)** |" in capsys.readouterr().out


def test_iterative_pruning_passes_every_sparsity_a_tenth_at_a_time(study):
    for data, number in (("ml-latest-small", 23), ("kuairand", 5)):
        path = [float(part) for part in search_cost.path_of_imp(study(scale="cpu"), data).split(",")]
        assert set(search_cost.SPARSITIES) <= set(path)
        assert len(path) == number
        if number > 5:
            kept = [1, *(1 - sparsity for sparsity in path)]
            assert all(0.89 < after / before < 0.92 for before, after in itertools.pairwise(kept))


def test_no_method(study):
    with pytest.raises(SettingsError, match="--methods: wanted at least one; got none"):
        study(methods=())
