"""Pictures of written rows: nothing empty in them, and one colour for one thing; drawn from the results in the tree."""

import dataclasses
from pathlib import Path

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from experiments import cold_start, cost_report
from experiments.paper import figure6, table2
from experiments.paper.reproduce import read_rows
from experiments.paper.rows import grouped, write_results, write_study
from experiments.paper.scales import Study

RESULTS = Path(__file__).parents[3] / "experiments" / "results"


def drawn(draw):
    figure = Figure(layout="constrained")
    draw(figure)
    return figure


@pytest.fixture(scope="module")
def rows_of():
    """A folder of results -> its rows."""
    return lambda *place: read_rows(RESULTS.joinpath(*place, "results.csv"))


def test_cost_reports_have_one_colour_for_one_thing_and_titles(rows_of):
    axes = drawn(cost_report.drawing_of(rows_of("cost-gowalla-lightgcn"))).axes
    colors = {}
    for ax in axes:
        assert ax.get_title()
        for line in ax.lines:
            colors.setdefault(line.get_label(), set()).add(to_hex(line.get_color()))
    assert {"dense", "int8", "final pruned"} <= set(colors)
    assert all(len(of_name) == 1 for of_name in colors.values())
    assert len({*map(frozenset, colors.values())}) >= 6


def test_figure_6_draws_no_empty_panel(rows_of):
    rows = rows_of("reproduction-cpu", "ml-latest-small-mf", "figure6")
    nobody = [row | {"data": "other", "seeds_that_reach": 0, "relative": ""} for row in rows]
    assert [ax.get_title() for ax in drawn(figure6.drawing_of([*rows, *nobody])).axes] == ["ml-latest-small"]
    assert figure6.drawing_of(nobody) is None


def test_no_picture_of_other_rows_is_left(rows_of, tmp_path):
    rows = rows_of("reproduction-cpu", "ml-latest-small-mf", "figure6")
    study = Study(out=str(tmp_path))
    for number, wanted in enumerate((["figure.png"], ["figure.svg"], [])):
        draw = figure6.drawing_of(rows) if wanted else None
        write_study(dataclasses.replace(study, picture="svg" if number else "png"), "figure6", rows, "text", draw)
        assert [path.name for path in sorted((tmp_path / "quick-1-seeds" / "figure6").glob("figure.*"))] == wanted
    write_results(tmp_path, rows, "text", figure6.drawing_of(rows), "pdf")
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(("data", "ticks"), [("ml-latest-small", 3), ("kuairand", 4)])
def test_table_2_has_ticks_where_it_has_values(rows_of, data, ticks):
    rows = rows_of("reproduction-cpu", f"{data}-mf", "table2")
    axes = drawn(table2.drawing_of({key: list(of) for key, of in grouped(rows, "data", "model").items()})).axes
    assert [len(ax.get_xticks()) for ax in axes] == [ticks, ticks]


def test_cold_start_shows_the_curves(rows_of):
    rows = rows_of("cold_start")
    for ax in drawn(cold_start.drawing_of(rows)).axes:
        low, high = ax.get_ylim()
        values = [value for line in ax.lines for value in line.get_ydata()]
        assert low > 0
        assert high - low < 1.5 * (max(values) - min(values))
