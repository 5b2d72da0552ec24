"""The table, the sentence and the picture say what the rows say."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from lthjax import plots
from lthjax.evaluation.verdict import sparsest_winner
from lthjax.runtime import files
from lthjax.tickets import report


def make_row(level, sparsity, recall, verdict, epoch=9):
    return {
        "level": level,
        "sparsity": sparsity,
        "num_kept": round(1000 * (1 - sparsity)),
        "recall@20": recall,
        "ndcg@20": recall / 2,
        "best_epoch": epoch,
        "verdict": verdict,
        "difference": recall - 0.2,
        "interval_low": recall - 0.21,
        "interval_high": recall - 0.19,
        "selection": "valid",
        "settings": "preset none",
    }


ROWS = [
    make_row(0, 0.0, 0.2, "dense"),
    make_row(1, 0.1, 0.22, "better"),
    make_row(2, 0.19, 0.2, "wins"),
    make_row(3, 0.271, 0.205, "slower", 12),
    make_row(4, 0.3439, 0.15, "worse"),
]


def test_the_sparsest_winner_is_the_last_that_wins_not_the_best():
    assert sparsest_winner(ROWS)["level"] == 2
    assert sparsest_winner([ROWS[0], ROWS[4]]) is None


def test_the_table_marks_it():
    table = report.table(ROWS)
    assert table["verdict"].tolist() == ["dense", "better", "wins *", "slower", "worse"]
    assert table["pruned"].tolist() == ["0.0%", "10.0%", "19.0%", "27.1%", "34.4%"]
    assert table["against dense"].tolist() == ["", "+10.0%", "+0.0%", "+2.5%", "-25.0%"]
    assert table["95% interval"].tolist()[1] == "+0.0100 to +0.0300"


def test_ties_and_dead_rows_are_counted_where_they_are_known():
    counts = {"tied_users": 3, "dead_users": 1_200, "dead_items": 0}
    table = report.table([ROWS[0], ROWS[1] | counts, ROWS[2] | dict.fromkeys(counts), ROWS[3] | {"tied_users": np.nan}])
    assert table["tied users"].tolist() == ["", "3", "", ""]  # unknown in tables of older versions
    assert table["dead rows"].tolist() == ["", "1,200 + 0", "", ""]


def test_verdicts_against_an_unfinished_dense_model_are_marked():
    short = [ROWS[0] | {"cut_short": True}, *ROWS[1:3], *(row | {"cut_short": True} for row in ROWS[3:])]
    assert report.table(short)["verdict"].tolist() == ["dense", "better ?", "wins ?", "slower ?", "worse ?"]
    said = report.remarks(short)
    assert any(line.startswith("CUT SHORT: a dense model was still learning") for line in said)
    assert "cut short, might have become better with more --epochs: level 3, 4." in said
    assert report.sentence(short, 671).startswith("The sparsest winning ticket (?) is level 2")
    tickets_alone = [*ROWS[:3], *short[3:]]
    assert report.table(tickets_alone)["verdict"].tolist() == ["dense", "better", "wins *", "slower", "worse"]
    assert not any("CUT SHORT" in line for line in report.remarks(tickets_alone))


def test_seeds_are_counted_beside_the_settings():
    several = [row | {"num_seeds": 3} for row in ROWS]
    assert report.remarks(several) == ["settings: preset none; 3 seeds, mean ± standard deviation"]
    several[0] |= {"cut_short": True}
    assert "settings: preset none; 3 seeds, mean ± standard deviation" in report.remarks(several)


def test_a_selection_on_test_is_said_under_the_table():
    assert report.remarks(ROWS) == ["settings: preset none"]
    flattered = [row | {"selection": "test"} for row in ROWS]
    assert report.remarks(flattered)[1].startswith("WARNING: best epochs were chosen on the test part")


def test_the_sentence():
    said = report.sentence(ROWS, 671)
    assert "level 2: with 19.0% of the entries pruned it reaches test Recall@20 0.2000 at epoch 9" in said
    assert "paired t-test over 671 users" in said
    assert report.sentence(ROWS[:1], 671).startswith("Only the dense model was trained: test Recall@20 0.2000")
    assert report.sentence([ROWS[0], ROWS[4]], 671).startswith("No ticket wins: none of the 1 is as good")


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], [ROWS[0], ROWS[4]]])
def test_the_picture_shows_curve_baseline_and_star(rows, tmp_path):
    ax = plots.recall_vs_sparsity(rows, Figure().add_subplot())
    curve = next(line for line in ax.lines if line.get_label() == "tickets")
    assert curve.get_ydata().tolist() == [row["recall@20"] for row in rows]
    dense = next(line for line in ax.lines if line.get_label().startswith("dense"))
    assert dense.get_linestyle() == ":"
    stars = [line for line in ax.lines if line.get_marker() == "*"]
    assert [float(star.get_xdata()[0]) for star in stars] == ([19.0] if len(rows) == 5 else [])
    plots.save_recall_vs_sparsity(rows, tmp_path / "here.png", r"a$\frac$ 数据")
    assert (tmp_path / "here.png").read_bytes().startswith(b"\x89PNG")
    assert [place.name for place in tmp_path.iterdir()] == ["here.png"]


def test_names_that_the_locale_could_not_decode(tmp_path):
    """As Python hands file names over with LC_ALL=C: the picture and the table show them."""
    name = "データ-ß.csv".encode().decode("ascii", errors="surrogateescape")
    rows = [row | {"data": name} for row in ROWS]
    plots.save_recall_vs_sparsity(rows, tmp_path / "here.png", f"{name}, mf")
    plots.save(tmp_path / "there.png", lambda figure: figure.add_subplot().set_xlabel(plots.plain(name)))
    files.write_table(tmp_path / "rows.csv", rows)
    assert "データ-ß.csv" in (tmp_path / "rows.csv").read_text(encoding="utf-8")
    assert plots.readable(name) == "データ-ß.csv"
