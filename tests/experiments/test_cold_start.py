"""Cold start: who is held out, what is taken away with them, and a tiny study from start to end."""

import csv
import dataclasses

import numpy as np
import pytest

from experiments import cold_start
from experiments.paper import scales
from lthjax.errors import DataError, SettingsError
from lthjax.evaluation import ranking
from lthjax.settings import Settings

TINY = Settings(dim=4, epochs=2, eval_every=1, batch_size=64)


@pytest.fixture(scope="module")
def new():
    return {"user": np.array([4]), "item": np.array([0, 9])}


def as_set(pairs):
    return set(map(tuple, np.asarray(pairs).tolist()))


def test_new_ones_have_support_and_test(tiny_split):
    users = cold_start.draw_new(tiny_split, "user", 0)
    assert users.tolist() == cold_start.draw_new(tiny_split, "user", 0).tolist()
    assert len(users) == 1  # a fifth of 4: users 0, 4, 5, 6; user 2 has no support
    assert {int(cold_start.draw_new(tiny_split, "user", seed)[0]) for seed in range(40)} == {0, 4, 5, 6}
    with pytest.raises(DataError, match="wanted some items with test items to hold out; got 0"):
        cold_start.draw_new(dataclasses.replace(tiny_split, test=tiny_split.test[:0]), "item", 0)


def test_all_support_goes_to_train(tiny_split, new):
    """Of the validation part (0 1), (1 7), (4 0), (4 9), (6 7), those with user 4 or items 0 and 9 move."""
    whole = cold_start.with_support(tiny_split, new)
    assert as_set(whole.valid) == {(0, 1), (1, 7), (6, 7)}
    assert as_set(whole.train) == as_set(tiny_split.train) | {(4, 0), (4, 9)}
    assert np.array_equal(whole.train, whole.train[np.lexsort((whole.train[:, 1], whole.train[:, 0]))])
    assert np.array_equal(whole.test, tiny_split.test)


def test_users_held_out(tiny_split, new):
    whole = cold_start.with_support(tiny_split, new)
    held_out = cold_start.hold_out(whole, "user", new["user"], TINY)
    assert held_out.rest.user_ids.tolist() == [100, 101, 102, 103, 105, 106]
    assert held_out.rest.item_ids.tolist() == tiny_split.item_ids.tolist()
    for part in ("train", "valid", "test"):
        ids = {(held_out.rest.user_ids[u], i) for u, i in as_set(getattr(held_out.rest, part))}
        assert ids == {(100 + u, i) for u, i in as_set(getattr(whole, part)) if u != 4}
    assert np.flatnonzero(held_out.support.toarray()[0]).tolist() == [0, 1, 2, 3, 5, 8, 9]
    (task,) = held_out.tasks.values()
    assert task.users.tolist() == [4]
    assert task.relevant.ids.tolist() == [4]
    assert held_out.known.tolist() == [0, 1, 2, 3, 5, 6]


def test_items_held_out(tiny_split, new):
    """Test pairs with items 0 and 9 are (0 9) and (6 0)."""
    whole = cold_start.with_support(tiny_split, new)
    held_out = cold_start.hold_out(whole, "item", new["item"], TINY)
    assert held_out.rest.item_ids.tolist() == [51, 52, 53, 54, 55, 56, 57, 58, 60]
    assert held_out.rest.num_users == 7
    ids = {(u, held_out.rest.item_ids[i]) for u, i in as_set(held_out.rest.train)}
    assert ids == {(u, 50 + i) for u, i in as_set(whole.train) if i not in (0, 9)}
    fans = [np.flatnonzero(row).tolist() for row in held_out.support.toarray()]
    assert fans == [[0, 1, 4, 5], [1, 4, 5, 6]]
    assert {name: as_pairs(task) for name, task in held_out.tasks.items()} == {
        "items": {(0, 9), (6, 0)},
        "items, all test items": {(0, 2), (0, 9), (6, 0)},
    }
    seen = held_out.tasks["items"].seen
    assert np.asarray(seen.ids)[seen.starts[0] : seen.starts[1]].tolist() == [0, 1, 3, 4]  # train and valid


def as_pairs(task):
    starts, ids = np.asarray(task.relevant.starts), np.asarray(task.relevant.ids)
    return {(int(user), int(item)) for user in task.users for item in ids[starts[user] : starts[user + 1]]}


def test_popularity_ranks_by_training_interactions(tiny_split):
    """Three users have items 0, 2, 3, 9 and 10, two have 1, 4, 5, 6 and 8: item 5 is one of five at ranks 6 to 10."""
    task = ranking.ranking_task(tiny_split.train, np.array([[2, 5]]), 7)  # user 2 has seen nothing
    measured = ranking.evaluate(cold_start.popularity(tiny_split), task, (7, 8))
    assert [measured.recall[k].tolist() for k in (7, 8)] == [[pytest.approx(2 / 5)], [pytest.approx(3 / 5)]]


@pytest.fixture
def config(data, tmp_path, monkeypatch):
    monkeypatch.setitem(scales.SCALES, "quick", TINY)
    monkeypatch.setitem(cold_start.WAYS, "mf", {"folded in": {"steps": 5}})
    return cold_start.Config(data=(data,), models=("mf",), new=("items",), seeds=2, out=str(tmp_path))


def test_a_study(config, forbid_training, tmp_path):
    rows = cold_start.main(config)
    ways = [("retrained", 0), ("retrained", 1), ("folded in", 0), ("folded in", 1), ("popularity", 0)]
    assert sorted((row["new"], row["variant"], row["level"]) for row in rows) == sorted(
        (name, *way) for name in ("items", "items, all test items") for way in ways
    )
    by_way = {(row["new"], row["variant"], row["level"]): row for row in rows}
    assert by_way["items", "folded in", 0]["num_new"] == 7  # a fifth of the 34 or so with test items
    assert by_way["items", "folded in", 0]["kept"] == 1
    assert 0 < by_way["items", "folded in", 1]["kept"] < 1
    assert by_way["items", "folded in", 1]["sparsity"] == pytest.approx(0.5, abs=0.01)
    for (name, way, level), row in by_way.items():
        wanted = 0.0 if way == "retrained" else row["recall@20"] - by_way[name, "retrained", level]["recall@20"]
        assert row["difference"] == pytest.approx(wanted, abs=1e-6)
    folder = tmp_path / "quick-2-seeds" / "cold_start-few-mf"
    with open(folder / "results.csv", newline="") as file:
        assert [row["variant"] for row in csv.DictReader(file)] == [row["variant"] for row in rows]
    assert (folder / "table.md").read_text().count("| few | MF |") == 6
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    of_splits = sorted(run.name.removeprefix("dense-").rpartition("-")[0] for run in (tmp_path / "runs").iterdir())
    with_all_support = "few-with-all-support"
    assert of_splits == [f"{with_all_support}-mf"] * 2 + [f"{with_all_support}-without-new-items-mf"] * 2
    forbid_training()
    assert cold_start.main(config) == rows


def test_nothing_new_is_refused():
    with pytest.raises(SettingsError, match="--new: wanted at least one"):
        cold_start.Config(new=())
