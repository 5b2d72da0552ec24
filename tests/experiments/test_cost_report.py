"""The cost report of small run folders: against brute force, and the files it leaves."""

import sys

import jax
import numpy as np
import pytest

import lthjax
from experiments import cli, cost_report
from lthjax.data import resolve
from lthjax.embeddings import Embeddings
from lthjax.errors import CheckpointError, SettingsError
from lthjax.serving.export import serving
from lthjax.settings import Settings
from lthjax.tickets.folder import open_folder
from lthjax.tickets.identity import describe
from lthjax.tickets.ticket import load_ticket, result


@pytest.fixture(scope="module")
def make_run(tmp_path_factory, make_ticket):
    """A run folder with three tickets, trained by nobody, of 20 users and 25 items: model -> folder."""
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(2)
    pairs = folder / "pairs.txt"
    pairs.write_text("".join(f"{u} {i}\n" for u in range(20) for i in sorted(rng.choice(25, 8, replace=False))))

    def make(model):
        settings = Settings(data=str(pairs), model=model, dim=4, layers=1)
        split = resolve.load_split(None, settings)
        tickets = []
        for level, sparsity in enumerate((0.0, 0.5, 0.9)):
            masks = Embeddings(*(jax.numpy.asarray(rng.random((n, 4)) >= sparsity) for n in (20, 25)))
            tickets.append(make_ticket(split, settings, masks, level))
        with open_folder(folder / model, describe(settings, split)) as run:
            for ticket in tickets:
                run.save_ticket(ticket)
            run.write_results([result(ticket).row() for ticket in tickets])
        return folder / model

    return make


@pytest.fixture(scope="module")
def mf_run(make_run):
    return make_run("mf")


def test_report_of_mf(mf_run, capsys):
    (mf_run / "tickets" / "level_03.damaged-1").mkdir()
    (mf_run / "tickets" / ".level_03.partial").mkdir()
    rows = cost_report.main(cost_report.Config(run=str(mf_run), repeats=1))
    assert [row["level"] for row in rows] == [0, 1, 2]
    split = lthjax.load_run(mf_run).split
    for level, row in enumerate(rows):
        ticket = lthjax.load_ticket(mf_run / "tickets" / f"level_{level:02d}")
        user, item = (np.asarray(side) for side in ticket.trained)
        kept = np.count_nonzero(user) + np.count_nonzero(item)
        assert row["bytes_dense"] == 45 * 4 * 4
        assert row["bytes_bitmap"] == 45 + 4 * kept
        assert row["bytes_csr"] == 45 + 5 * kept
        assert row["bytes_smallest"] == min(row["bytes_dense"], row["bytes_bitmap"], row["bytes_csr"])
        products = ((user[:, None] * item[None]) != 0).sum(axis=(1, 2))  # [20, 25, 4]
        assert row["multiply_adds_sparse"] == pytest.approx(products.mean())
        assert row["multiply_adds_dense"] == 25 * 4
        best = serving(ticket, split).recommend(split.user_ids, 20).found
        hits = [np.isin(split.item_ids[split.test[split.test[:, 0] == u, 1]], best[u]).mean() for u in range(20)]
        assert row["recall@20"] == pytest.approx(np.mean(hits))
        assert all(value > 0 for name, value in row.items() if name.startswith(("ms_", "load_")))
    assert rows[0]["multiply_adds_sparse"] == 100
    report = mf_run / "cost"
    assert {file.name for file in report.iterdir()} == {"results.csv", "table.md", "figure.png"}
    text = (report / "table.md").read_text()
    assert text in capsys.readouterr().out
    assert "break" in text.splitlines()[-1]
    assert len((report / "results.csv").read_text().splitlines()) == 1 + 3


def test_report_of_lightgcn(make_run, tmp_path):
    run = make_run("lightgcn")
    rows = cost_report.main(cost_report.Config(run=str(run), repeats=1, out=str(tmp_path / "report")))
    assert (tmp_path / "report" / "figure.png").exists()
    assert not (run / "cost").exists()
    for row in rows:
        assert row["bytes_dense"] == 45 * 4 * 4  # propagated, whatever is pruned
        assert row["recall@20_final_pruned"] == pytest.approx(1)  # no user has more than 20 unseen items
    assert rows[0]["bytes_final_pruned"] == rows[0]["bytes_dense"]
    assert rows[2]["bytes_final_pruned"] < rows[1]["bytes_final_pruned"] < rows[0]["bytes_final_pruned"]
    assert rows[2]["bytes_smallest"] < rows[2]["bytes_dense"]


def test_the_device_ranks_as_the_report_does(mf_run):
    """What is timed on a GPU, run here where the tests run."""
    ticket = load_ticket(mf_run / "tickets" / "level_01")
    split = lthjax.load_run(mf_run).split
    served = lthjax.load_compressed(lthjax.export(ticket, split, mf_run.parent / "t.npz"), scoring="dense")
    users = np.array([3, 0, 19, 3])
    best = cost_report.on_device(served.embeddings(), served, users, k=5)()
    np.testing.assert_array_equal(split.item_ids[best], served.recommend(split.user_ids[users], k=5).found)


def timed(sparsity, dense, sparse):
    return {"sparsity": sparsity, "ms_1000_dense": dense, "ms_1000_sparse": sparse}


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        ([timed(0.0, 5, 90), timed(0.9, 5, 6)], "does not break even in this run: at 90.0% pruned it takes 6.0 ms"),
        ([timed(0.9, 5, 6), timed(0.95, 5, 4)], "breaks even between 90.0% and 95.0% pruned: at 95.0% it takes 4.0 ms"),
        ([timed(0.5, 5, 4), timed(0.9, 5, 6), timed(0.95, 5, 4)], "between 90.0% and 95.0%"),
        ([timed(0.95, 5, 4)], "from the start pruned"),
    ],
)
def test_break_even(rows, wanted):
    assert wanted in cost_report.break_even(rows)


def test_folders_that_are_no_run(tmp_path):
    with pytest.raises(SettingsError, match="wanted the run folder"):
        cost_report.main(cost_report.Config())
    with pytest.raises(CheckpointError, match=r"wanted a run folder, which has a config\.json; there is none"):
        cost_report.main(cost_report.Config(run=str(tmp_path / "missing")))
    (tmp_path / "seed_4").mkdir()
    with pytest.raises(SettingsError, match=r"one for each seed: name one, such as .*seed_4"):
        cost_report.main(cost_report.Config(run=str(tmp_path)))
    with pytest.raises(SettingsError, match="--repeats"):
        cost_report.Config(repeats=0)


def test_the_command_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr("warnings.showwarning", print)  # put back when the test is over
    monkeypatch.setattr(sys, "argv", ["cost_report", str(tmp_path / "missing"), "--repeats", "2"])
    with pytest.raises(SystemExit) as end:
        cli.run(cost_report.main, cost_report.Config, cost_report.__doc__)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'missing'}: wanted a run folder")
