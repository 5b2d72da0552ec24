"""A run opened again says what the run said, reads only what is asked for, and names what is damaged."""

import dataclasses
import json
import shutil

import numpy as np
import optax
import pytest

import lthjax
from lthjax.errors import CheckpointError, DataError, SettingsError
from lthjax.exploration import run as exploration
from lthjax.pruning import masks
from lthjax.runtime import checkpoint
from lthjax.tickets.ticket import to_checkpoint

TINY = {"dim": 4, "epochs": 3, "batch_size": 64, "levels": 2, "prune_rate": 0.4, "show_progress": False}


@pytest.fixture(scope="module")
def split(tastes):
    """With text and number ids."""
    names = np.array([f"user {number:02d}" for number in range(tastes.num_users)])  # ascending, as data are loaded
    return dataclasses.replace(tastes, user_ids=names, item_ids=100 + tastes.item_ids)


@pytest.fixture(scope="module")
def made(split, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "mine"
    return out, list(lthjax.find_tickets(split, out=out, **TINY))


@pytest.fixture
def copied(made, tmp_path):
    """A copy of the run folder, to damage."""
    return shutil.copytree(made[0], tmp_path / "copy")


@pytest.fixture(scope="module")
def run(made, split):
    return lthjax.load_run(made[0], data=split)


def test_table_log_and_settings(run, made):
    table, found = run.table(), made[1]
    assert table["level"].tolist() == [0, 1, 2]
    assert table["num_kept"].tolist() == [ticket.num_kept for ticket in found]
    np.testing.assert_allclose(table["recall@20"], [ticket.metrics["recall@20"] for ticket in found], atol=1e-6)
    assert [table[name].dtype.kind for name in ("level", "sparsity", "best_epoch", "interval_low")] == list("ifif")
    assert table["verdict"].tolist() == [ticket.verdict.name for ticket in found]
    assert run.log().groupby("level")["is_best"].any().tolist() == [True] * 3
    assert run.settings.levels == 2
    table.loc[:, "level"] = 9  # somebody else's copy
    assert run.tickets[-1].level == 2


def test_a_ticket_is_what_was_found(run, made):
    assert [one.level for one in run.tickets] == [0, 1, 2]
    for one, ticket in zip(run.tickets, made[1], strict=True):
        assert one.sparsity == pytest.approx(ticket.sparsity, abs=1e-6)
        assert (one.metrics, one.verdict) == (ticket.metrics, ticket.verdict)
        for name in ("masks", "start", "trained"):
            np.testing.assert_array_equal(getattr(one, name).item, getattr(ticket, name).item)
        assert one.kept_per_row().user.sum() + one.kept_per_row().item.sum() == ticket.num_kept


def test_nothing_is_read_before_it_is_asked_for(made, monkeypatch):
    """The table, the sentence and the levels need no data; opening a run needs no ticket either."""
    monkeypatch.setattr("lthjax.data.resolve.load_split", None)
    with monkeypatch.context() as blocked:
        blocked.setattr(checkpoint, "load", None)
        run = lthjax.load_run(made[0])
        assert run.__dict__.keys() == {"path", "data", "backbone"}
        with pytest.raises(TypeError):
            run.table()
    assert f"{run.tickets[1].sparsity:.1%} pruned" in repr(run.tickets[1])
    assert "3 levels" in repr(run)


def test_names_are_escaped_in_notebooks(copied):
    config = json.loads((copied / "config.json").read_text())
    config["data"]["name"] = "<script>"
    (copied / "config.json").write_text(json.dumps(config))
    shown = lthjax.load_run(copied)._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown
    assert shown.count("<tr") == 4
    assert "level 1" in lthjax.load_run(copied).tickets[1]._repr_html_()


def test_evaluating_again_gives_the_same_numbers(run, made, split):
    for one, ticket in zip(run.tickets, made[1], strict=True):
        assert one.evaluate().means()["recall@20"] == pytest.approx(ticket.metrics["recall@20"], abs=1e-7)
        np.testing.assert_array_equal(one.evaluate().users, ticket.users)
    swapped = dataclasses.replace(split, valid=split.valid[:0], test=split.valid)
    again = run.tickets[1].evaluate(swapped, ks=(5,))
    assert again.users.tolist() == np.unique(split.valid[:, 0]).tolist()
    assert list(again.per_user) == ["recall@5", "ndcg@5"]
    with pytest.raises(DataError, match=r"wanted the items of .*, 40 of them"):
        run.tickets[1].evaluate(dataclasses.replace(split, item_ids=split.item_ids + 1))


def test_evaluating_by_other_metrics(run):
    ticket = run.tickets[0]
    got = ticket.evaluate(metrics="hit,coverage", at=(5, 3))
    assert list(got.means()) == ["hit@5", "hit@3", "coverage@5", "coverage@3"]
    assert list(ticket.evaluate(at=5).means()) == ["recall@5", "ndcg@5"]
    lists = ticket.recommend(run.split.user_ids[got.users], k=5).found
    assert got.of_catalog["coverage@5"] == len(np.unique(lists)) / run.split.num_items
    hits = [
        bool(np.isin(run.split.item_ids[run.split.test[run.split.test[:, 0] == user, 1]], items).any())
        for user, items in zip(got.users, lists, strict=True)
    ]
    assert ticket.ticket.tied_users == 0  # else lists are one of many
    np.testing.assert_array_equal(got.of("hit")[5], hits)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"k": 50}, "wanted data, metrics or at, such as at=50; got k=50"),
        ({"metric": "map"}, "such as at=20 or metrics='recall,map'; got metric='map'"),
        ({"at": 5, "ks": (5,)}, "whose older name is ks"),
        ({"at": 41}, "wanted at most 40, the number of items; got 41"),
        ({"at": 0}, "at: wanted list lengths from 1"),
        ({"metrics": "mpa"}, r"'mpa' \(did you mean map\?\)"),
    ],
)
def test_what_cannot_be_evaluated(run, asked, match):
    with pytest.raises(SettingsError, match=match):
        run.tickets[0].evaluate(**asked)


def test_recommending_by_hand(run, split):
    ticket, seen = run.tickets[1], np.concatenate([split.train, split.valid])
    scores = np.array(ticket.trained.user @ ticket.trained.item.T)
    scores[seen[:, 0], seen[:, 1]] = -np.inf
    ranked = ticket.recommend(["user 03", "user 07"], k=4)
    for place, user in enumerate((3, 7)):
        assert ranked.found[place].tolist() == (100 + np.argsort(-scores[user], kind="stable")[:4]).tolist()
    with_seen = ticket.recommend("user 03", k=40, exclude_seen=False).found[0]
    assert sorted(with_seen.tolist()) == split.item_ids.tolist()
    assert set(ticket.recommend("user 03", exclude_seen=False, items=[104, 117]).found[0].tolist()) == {104, 117}
    item = np.asarray(ticket.trained.item)
    lengths = np.linalg.norm(item, axis=1)
    cosines = item @ item[5] / np.where(lengths, lengths * lengths[5], 1)  # 0 for items without an entry
    cosines[5] = -np.inf
    assert ticket.similar_items(105, k=1).found.tolist() == [[100 + int(np.argmax(cosines))]]
    assert "user 02" not in ticket.similar_users("user 02", k=29).found[0]
    with pytest.raises(DataError, match="unknown user id: 'user 99'"):
        ticket.recommend(["user 99"])


def test_an_exported_ticket_says_the_same(run, tmp_path):
    file = run.tickets[2].export(tmp_path / "small.ticket")
    served = lthjax.load_compressed(file).recommend(["user 03", "user 07"], k=4)
    np.testing.assert_array_equal(served.found, run.tickets[2].recommend(["user 03", "user 07"], k=4).found)


def test_lightgcn_is_propagated(made, split):
    """One layer over the dense adjacency, in NumPy."""
    ticket = made[1][1]
    settings = dataclasses.replace(ticket.settings, model="lightgcn", layers=1)
    final = lthjax.explore(dataclasses.replace(ticket, settings=settings), split).embeddings()
    adjacency = np.zeros((split.num_users, split.num_items))
    adjacency[split.train[:, 0], split.train[:, 1]] = 1
    degrees = np.outer(adjacency.sum(1), adjacency.sum(0))
    adjacency = np.divide(adjacency, np.sqrt(degrees), where=degrees > 0, out=np.zeros_like(degrees))
    user, item = map(np.asarray, ticket.trained)
    np.testing.assert_allclose(final.user, (user + adjacency @ item) / 2, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(final.item, (item + adjacency.T @ user) / 2, rtol=1e-5, atol=1e-7)


def test_comparing_and_retraining(run, made):
    inner, outer = run.tickets[2], run.tickets[1]
    common = inner.compare(outer)
    assert common.overlap == 1
    assert common.jaccard == pytest.approx(inner.row["num_kept"] / outer.row["num_kept"])
    assert common == inner.compare(made[1][1])
    again = inner.retrain(optimizer=optax.sgd(0.1), epochs=1, show_progress=False)
    assert masks.are_nested(lthjax.explore(again).masks, inner.masks)
    assert again.optimizer != "adam"
    assert again.verdict.name != "unjudged"
    with pytest.raises(DataError, match=r"wanted the data, as data="):
        inner.retrain(split_seed=1)
    shorter = made[1][1].masks._replace(item=made[1][1].masks.item[:7])
    with pytest.raises(DataError, match="wanted a ticket with masks of the same shapes"):
        inner.compare(dataclasses.replace(made[1][1], masks=shorter))


def test_a_run_at_work_shows_what_is_finished(copied):
    for level in (1, 2):
        shutil.rmtree(copied / "tickets" / f"level_0{level}")
    lines = (copied / "results.csv").read_text().splitlines(keepends=True)
    (copied / "results.csv").write_text("".join(lines[:2]))
    (copied / "log.jsonl").write_text((copied / "log.jsonl").read_text()[:-20])
    run = lthjax.load_run(copied)
    assert len(run.tickets) == 1
    assert "1 of 3 levels so far, no winning ticket" in repr(run)
    assert run.log()["level"].tolist() == [0, 1]  # the last line is cut short
    for name in ("results.csv", "log.jsonl"):
        (copied / name).unlink()
    shutil.rmtree(copied / "tickets")
    run = lthjax.load_run(copied)
    assert (len(run.table()), run.tickets, run.sparsest_winner, len(run.log())) == (0, (), None, 0)
    assert "0 of 3 levels so far" in run._repr_html_()


def test_the_sparsest_winner(copied):
    path = copied / "tickets" / "level_01"
    ticket = lthjax.load_ticket(path)
    shutil.rmtree(path)
    winner = dataclasses.replace(ticket, verdict=ticket.verdict._replace(name="wins"))
    checkpoint.save(path, *to_checkpoint(winner))
    (copied / "results.csv").unlink()
    with pytest.warns(UserWarning, match="these count"):
        assert lthjax.load_run(copied).sparsest_winner.level == 1


@pytest.mark.parametrize("content", [b"", b"level,sparsity\n0,0.0\n", b"\xff\xfe\x00", None, "edited"])
def test_what_results_csv_says_does_not_count_beside_tickets(made, copied, content):
    path, told = copied / "results.csv", lthjax.load_run(made[0]).table()
    if content is None:
        path.unlink()
    elif content == "edited":
        path.write_text(path.read_text().replace(f"{told['recall@20'][1]:.6f}", "0.919100"))
    else:
        path.write_bytes(content)
    with pytest.warns(UserWarning, match="is not what the tickets say"):
        table = lthjax.load_run(copied).table()
    assert table.equals(told)


@pytest.mark.parametrize(
    ("name", "content", "ask"),
    [
        ("config.json", b"{", lambda run: run.settings),
        ("config.json", b'{"settings": {"dim": "x"}, "data": {"fingerprint": ""}}', lambda run: run.settings),
        ("tickets/level_01/facts.json", b"{}", lambda run: run.tickets[1].masks),
    ],
)
def test_damage_is_one_line(copied, name, content, ask):
    (copied / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config|results\.csv|log\.jsonl|level_01") as caught:
        ask(lthjax.load_run(copied))
    assert "\n" not in str(caught.value)


def test_what_is_no_run_and_what_are_other_data(made, split, tmp_path):
    with pytest.raises(CheckpointError, match="wanted a run folder"):
        lthjax.load_run(tmp_path)
    with pytest.raises(DataError, match="wanted the data, as data="):
        _ = lthjax.load_run(made[0]).split
    other = dataclasses.replace(split, train=split.train[1:])
    with pytest.raises(DataError, match="with fingerprint"):
        _ = lthjax.load_run(made[0], data=other).split
    assert lthjax.load_run(made[0], data=split).split is split


def test_runs_of_several_seeds(made, tmp_path):
    for seed in (10, 2):
        shutil.copytree(made[0], tmp_path / f"seed_{seed}")
    several = lthjax.load_run(tmp_path)
    assert isinstance(several, exploration.SeedRuns)
    assert list(several.seeds) == [2, 10]
    assert several.table()["recall@20_sd"].tolist() == [0, 0, 0]
    np.testing.assert_allclose(several.table()["recall@20"], [t.metrics["recall@20"] for t in made[1]])
    assert several.seeds[10].tickets[1].compare(several.seeds[2].tickets[1]).hamming == 0
    assert "seeds 2, 10; 3 levels" in repr(several)
    (tmp_path / "seed_2" / "results.csv").unlink()
    shutil.rmtree(tmp_path / "seed_2" / "tickets")
    assert len(lthjax.load_run(tmp_path).table()) == 0


@pytest.fixture(scope="module")
def of_seeds(split, tmp_path_factory):
    """Two seeds, the second stopped before its last level."""
    out = tmp_path_factory.mktemp("runs") / "seeds"
    found = list(lthjax.find_tickets(split, out=out, seeds=[3, 5], **TINY))
    shutil.rmtree(out / "seed_5" / "tickets" / "level_02")
    lines = (out / "seed_5" / "results.csv").read_text().splitlines(keepends=True)
    (out / "seed_5" / "results.csv").write_text("".join(lines[:-1]))
    return out, found


def test_several_seeds_answer_as_one_run(of_seeds, split):
    out, found = of_seeds
    run = lthjax.load_run(out, data=split)
    assert [level.level for level in run.tickets] == run.table()["level"].tolist() == [0, 1]
    assert (run.settings.levels, run.settings.seed) == (2, 3)
    assert run.split is split
    log = run.log()
    assert log.columns[:3].tolist() == ["seed", "level", "epoch"]
    each = {seed: run.seeds[seed].log() for seed in (3, 5)}
    assert len(log) == sum(map(len, each.values()))
    for seed, of_seed in each.items():
        mine = log[log["seed"] == seed].drop(columns="seed").reset_index(drop=True)
        assert mine.equals(of_seed)
    level, (first, second) = run.tickets[1], (found[1], found[4])
    assert (first.level, second.level, second.settings.seed) == (1, 1, 5)
    for name, value in level.metrics.items():
        assert value == pytest.approx((first.metrics[name] + second.metrics[name]) / 2)
    assert level.verdict.difference == pytest.approx((first.verdict.difference + second.verdict.difference) / 2)
    assert level.verdict.name == run.table()["verdict"][1]
    np.testing.assert_array_equal(level.masks.user, first.masks.user)
    np.testing.assert_array_equal(level.seeds[5].trained.item, second.trained.item)
    alone = lthjax.load_run(out / "seed_3", data=split).tickets[1]
    np.testing.assert_array_equal(level.recommend(["user 03"], k=5).found, alone.recommend(["user 03"], k=5).found)
    assert level.compare(run.tickets[0]).overlap == 1  # of one seed: nested
    assert "mean of 2 seeds, arrays of seed 3" in repr(level)
    assert "level 1, 40.0% pruned" in level._repr_html_()
    assert f"recall@20 {level.metrics['recall@20']:.4f}" in repr(level)


def test_the_sparsest_winner_over_seeds(of_seeds, split, monkeypatch):
    run = lthjax.load_run(of_seeds[0], data=split)
    for verdicts, wanted in ((["dense", "wins"], 1), (["dense", "matches"], None)):
        monkeypatch.setitem(run.__dict__, "_results", run.table().assign(verdict=verdicts))
        run.__dict__.pop("tickets", None)
        best = run.sparsest_winner
        assert (best and best.level) == wanted
    assert type(run.tickets[1]).__name__ == "LevelOfSeeds"


def test_seeds_on_other_splits_and_without_a_level(of_seeds, split, tmp_path):
    out = shutil.copytree(of_seeds[0], tmp_path / "seeds")
    path = out / "seed_5" / "config.json"
    config = json.loads(path.read_text())
    config["data"]["fingerprint"] = "other"
    path.write_text(json.dumps(config))
    with pytest.raises(DataError, match="wanted one split; that of seed 5 is another"):
        _ = lthjax.load_run(out, data=split).split
    with pytest.raises(DataError, match="wanted one split; that of seed 5 is another"):
        lthjax.load_run(out, data=split).table()
    shutil.rmtree(out)
    shutil.copytree(of_seeds[0], out)
    shutil.rmtree(out / "seed_5" / "tickets")
    for name in ("log.jsonl", "results.csv"):
        (out / "seed_5" / name).unlink()
    run = lthjax.load_run(out, data=split)
    assert (run.tickets, run.sparsest_winner) == ((), None)
    assert run.log()["seed"].unique().tolist() == [3]


def test_seeds_with_other_settings_have_no_mean(of_seeds, split, tmp_path):
    out = shutil.copytree(of_seeds[0], tmp_path / "seeds")
    path = out / "seed_5" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"settings": config["settings"] | {"prune_rate": 0.9}}))
    run = lthjax.load_run(out, data=split)
    with pytest.raises(SettingsError, match=r"differ in their seed alone; that of seed 5 has --prune-rate 0\.9, the"):
        run.table()
    assert len(run.seeds[5].table()) == 2  # each by itself
    path.write_text(json.dumps(config | {"settings": config["settings"] | {"levels": 9, "epochs": 1000}}))
    assert len(lthjax.load_run(out, data=split).table()) == 2  # one of them has grown
    (out / "seed_5-tuned").mkdir()
    assert list(lthjax.load_run(out, data=split).seeds) == [3, 5]


def test_the_public_functions_take_tickets_of_a_run(run, split, tmp_path):
    ticket = run.tickets[1]
    lthjax.export(ticket, split, tmp_path / "t.npz")
    assert lthjax.load_compressed(tmp_path / "t.npz").facts["level"] == 1
    interactions = [[100, 104], [111]]
    folded = [lthjax.fold_in(ticket, split, interactions, steps=2), ticket.fold_in(interactions, steps=2)]
    np.testing.assert_array_equal(folded[0].final, folded[1].final)
    assert lthjax.retrain(ticket, split, show_progress=False, epochs=1).level == 1


def test_looking_at_a_finished_run_leaves_its_table(copied, split):
    before = (copied / "results.csv").read_text()
    found = lthjax.find_tickets(split, out=copied, **TINY)
    next(found)
    found.close()
    assert (copied / "results.csv").read_text() == before
    (copied / "results.csv").unlink()
    assert len(list(lthjax.find_tickets(split, out=copied, **TINY))) == 3
    assert (copied / "results.csv").read_text() == before


def test_a_damaged_line_of_the_log_is_named(copied):
    place = copied / "log.jsonl"
    lines = place.read_text().splitlines(keepends=True)
    place.write_text("".join(lines[:-1]) + lines[-1][:9])
    assert len(lthjax.load_run(copied).log()) == len(lines) - 1  # the last one may be cut short
    place.write_text("".join([lines[0], "{\n", *lines[1:]]))
    with pytest.warns(UserWarning, match=r"log\.jsonl: 1 damaged lines are left out"):
        assert len(lthjax.load_run(copied).log()) == len(lines)
    place.write_bytes(b"\xff\n3\nnull\n[" + b"[" * 100_000 + b"\n" + lines[0].encode())
    with pytest.warns(UserWarning, match=r"log\.jsonl: 4 damaged lines"):
        assert len(lthjax.load_run(copied).log()) == 1
