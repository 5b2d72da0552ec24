"""A finished run goes on with more, and is then the run made in one go; what would change a number is refused."""

import functools
import json
import shutil
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lthjax
from experiments import cli, find_tickets
from lthjax.search.imp import imp
from lthjax.settings import Settings
from lthjax.tickets import extension

TINY = {"dim": 4, "epochs": 4, "eval_every": 2, "batch_size": 64, "prune_rate": 0.2, "show_progress": False}


@pytest.fixture(scope="module")
def find(data_file):
    """Tickets of a run in a folder, with changed settings."""
    return lambda out, **changes: list(lthjax.find_tickets(data_file, out=out, **(TINY | changes)))


@pytest.fixture
def trained(interrupting):
    """Within the block, the names of the levels that train are listed."""
    seen = []
    with interrupting(lambda name, epoch: seen.append(name.split(" of ")[0])):  # only listens
        yield seen


def table_of(folder):
    table = lthjax.load_run(folder).table()
    return table.drop(columns=[name for name in table.columns if name.endswith("seconds")])


SEARCHES = {
    "imp": {},
    "imp from the last state": {"rewind": "none", "prune_from": "last"},
    "one-shot": {"search": "one-shot", "prune_by": "random-by-degree"},
    "short": {"search": "short", "search_epochs": 1, "rewind": "lr"},
    "early": {"search": "early", "search_epochs": 1},
    "dynamic": {"search": "dynamic", "search_epochs": 2},
}


@pytest.mark.parametrize("search", SEARCHES)
def test_more_levels_are_those_of_a_run_made_in_one_go(find, tmp_path, trained, rows_of, log_of, search):
    options = SEARCHES[search]
    find(tmp_path / "grown", levels=1, **options)
    trained.clear()
    find(tmp_path / "grown", levels=3, **options)
    assert set(trained) == {"level 2", "level 3"}
    find(tmp_path / "whole", levels=3, **options)
    assert rows_of(tmp_path / "grown") == rows_of(tmp_path / "whole")
    assert log_of(tmp_path / "grown") == log_of(tmp_path / "whole")
    assert table_of(tmp_path / "grown").equals(table_of(tmp_path / "whole"))
    run = lthjax.load_run(tmp_path / "grown")
    assert {run.tickets[level].settings.levels for level in (0, 3)} == {3}
    config = json.loads((tmp_path / "grown" / "config.json").read_text())
    assert config["settings"]["levels"] == 3
    assert config["preset"]["overridden"]["levels"] == 3
    assert [entry["before"] for entry in config["extended"]] == [{"levels": 1}]


@pytest.mark.parametrize("search", ["imp", "one-shot", "short"])
def test_sparser_sparsities_go_behind_the_last(find, tmp_path, rows_of, search):
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    options = {"search": search} | ({"search_epochs": 1} if search == "short" else {})
    for sparsities in ("0.3", "0.3,0.6", "0.30,0.6,0.7"):
        find(grown, sparsities=sparsities, **options)
    find(whole, sparsities="0.30,0.6,0.7", **options)
    assert rows_of(grown) == rows_of(whole)
    assert len(json.loads((grown / "config.json").read_text())["extended"]) == 2
    for sparsities in ("0.3,0.5,0.6,0.7", "0.1,0.3,0.6,0.7", "0.3,0.65,0.7"):
        with pytest.raises(lthjax.SettingsError, match=r"--sparsities: .* added behind the last") as refused:
            find(grown, sparsities=sparsities, **options)
        assert f"--dense {grown} takes the dense model from here" in str(refused.value)
    with pytest.raises(lthjax.SettingsError, match=r"--sparsities: .* was made with .*; got '0.3'. Sparsities are"):
        find(grown, sparsities="0.3", **options)
    with pytest.raises(lthjax.SettingsError, match=r"--sparsities: .*; got None. Choose another --out"):
        find(grown, levels=20, **options)


def test_what_more_levels_would_change_is_refused(find, tmp_path):
    gradual = {"search": "gradual", "search_epochs": 2}
    find(tmp_path / "gradual", levels=1, **gradual)
    with pytest.raises(lthjax.SettingsError, match=r"--levels: .* How fast gradual prunes depends on the last level"):
        find(tmp_path / "gradual", levels=2, **gradual)
    find(tmp_path / "own", levels=1, search=imp)
    with pytest.raises(lthjax.SettingsError, match=r"--levels: .* What a search that is given in code makes of more"):
        find(tmp_path / "own", levels=2, search=imp)
    find(tmp_path / "imp", levels=2)
    before = {place: place.stat().st_mtime_ns for place in (tmp_path / "imp").rglob("*") if place.name != ".lock"}
    for changes, wanted in (
        ({"levels": 1}, "--levels: .* was made with 2; got 1. It can only grow. Choose another --out; --dense"),
        ({"levels": 3, "prune_rate": 0.3}, "--prune-rate: .* Choose another --out; --dense .* takes the dense model"),
        ({"levels": 2, "seed": 1}, r"--seed: .* was made with 0; got 1. Choose another --out\.$"),
        ({"levels": 3, "prune_rate": 0.3, "l2": 0.5}, r"--prune-rate: .*; got 0.3. Choose another --out\.$"),
        ({"levels": 3, "l2": 0.5}, r"--l2: .* was made with 0.01; got 0.5. Choose another --out\.$"),
    ):
        with pytest.raises(lthjax.SettingsError, match=wanted):
            find(tmp_path / "imp", **changes)
    after = {place: place.stat().st_mtime_ns for place in (tmp_path / "imp").rglob("*") if place.name != ".lock"}
    assert before == after


@pytest.mark.parametrize("search", ["imp", "short"])
def test_an_extension_that_is_stopped_goes_on(find, tmp_path, interrupting, rows_of, log_of, search):
    grown, options = tmp_path / "grown", {"search": search} | ({"search_epochs": 1} if search == "short" else {})
    find(grown, levels=1, **options)
    with interrupting(lambda name, epoch: "level 2" in name), pytest.raises(KeyboardInterrupt):
        find(grown, levels=3, **options)
    assert list((grown / "snapshots").glob("level_02-*"))
    with pytest.raises(lthjax.SettingsError, match="was made with 3; got 1"):
        find(grown, levels=1, **options)
    find(grown, levels=4, **options)  # the level that was stopped, and more
    find(tmp_path / "whole", levels=4, **options)
    assert rows_of(grown) == rows_of(tmp_path / "whole")
    assert log_of(grown) == log_of(tmp_path / "whole")


def test_a_lost_config_does_not_lose_the_extension(find, tmp_path, rows_of):
    out = tmp_path / "run"
    find(out, levels=1)
    find(out, levels=2)
    wanted = rows_of(out)
    (out / "config.json").unlink()
    find(out, levels=2)
    assert rows_of(out) == wanted
    shutil.rmtree(out / "tickets" / "level_02")
    find(tmp_path / "other", levels=3)
    shutil.copytree(tmp_path / "other" / "tickets" / "level_02", out / "tickets" / "level_02")
    with pytest.raises(lthjax.SettingsError, match="level_02: wanted one of this run, with --levels 2; got one with 3"):
        find(out, levels=2)


def end_of(values, epochs, patience, eval_every):
    """(best epoch, last epoch, epochs evaluated) of a level whose selection value at epoch e is values[e]."""
    best, evaluated = 0, []
    for epoch in range(1, epochs + 1):
        if epoch % eval_every == 0 or epoch == epochs:
            evaluated.append(epoch)
            if best == 0 or values[epoch] > values[best]:
                best = epoch
            if patience and epoch - best >= patience:
                break
    return best, evaluated[-1], evaluated


@given(
    values=st.lists(st.integers(0, 9), min_size=25, max_size=25),
    before=st.tuples(st.integers(1, 12), st.integers(0, 6)),
    more=st.tuples(st.integers(0, 12), st.integers(0, 6)),
    eval_every=st.integers(1, 4),
)
def test_a_level_does_not_train_on_where_it_would_be_the_same(values, before, more, eval_every):
    now = (before[0] + more[0], before[1] + more[1] if before[1] else 0)
    best, last, evaluated = end_of(values, *before, eval_every)
    settings = Settings(epochs=now[0], patience=now[1], eval_every=eval_every)
    same = end_of(values, *now, eval_every) == (best, last, evaluated)
    assert extension.trains_on(best, last, settings) is not same


PATIENT = {"learning_rate": 0.5, "patience": 2, "levels": 1, "eval_every": 1, "epochs": 12}


def test_longer_epochs_and_patience_where_no_level_would_notice(find, tmp_path, rows_of, log_of):
    """Every level ends by its patience of 2 after few epochs, so a later limit changes nothing."""
    out, whole = tmp_path / "grown", tmp_path / "whole"
    tickets = find(out, **PATIENT)
    assert all(ticket.epochs < 12 for ticket in tickets)
    find(out, **PATIENT | {"epochs": 20, "levels": 2})
    find(whole, **PATIENT | {"epochs": 20, "levels": 2})
    assert rows_of(out) == rows_of(whole)
    assert log_of(out) == log_of(whole)
    with pytest.raises(lthjax.SettingsError, match=r"--epochs: .* was made with 20; got 19. It can only grow"):
        find(out, **PATIENT | {"epochs": 19, "levels": 2})
    for patience in (3, 0):
        with pytest.raises(lthjax.SettingsError, match=r"--patience: .*level_00 would have trained on, and its last"):
            find(out, **PATIENT | {"epochs": 20, "levels": 2, "patience": patience})
    assert json.loads((out / "config.json").read_text())["settings"]["patience"] == 2


def test_a_limit_that_ended_a_level_is_not_moved(find, tmp_path):
    find(tmp_path, levels=0)
    with pytest.raises(lthjax.SettingsError, match=r"--epochs: .* got 6\. .* not kept .* another --out\.$"):
        find(tmp_path, levels=0, epochs=6)
    find(tmp_path, levels=0, patience=99)  # the limit came first
    with pytest.raises(lthjax.SettingsError, match=r"--patience: .* was made with 99; got 60. It can only grow"):
        find(tmp_path, levels=0)
    find(tmp_path, levels=0, patience=0)


NDCG = {"metrics": "ndcg,recall", "at": "10,5"}  # the best so far is the best by what chooses
LAST = {"prune_from": "last", "eval_every": 1, "learning_rate": 0.5}


@pytest.mark.parametrize(
    ("shorter", "longer"),
    [
        ({"levels": 0, "epochs": 3}, {"levels": 1, "epochs": 6}),
        ({"levels": 0, "epochs": 3, "rewind": "epoch:2"}, {"levels": 1, "epochs": 5, "rewind": "epoch:2"}),
        ({"levels": 0, "epochs": 9, "patience": 1}, {"levels": 1, "epochs": 9, "patience": 3}),
        (NDCG | {"levels": 0, "epochs": 3}, NDCG | {"levels": 1, "epochs": 6}),
    ],
)
def test_a_level_whose_last_state_was_kept_trains_on(find, tmp_path, trained, rows_of, log_of, shorter, longer):
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    (before,) = find(grown, **LAST | shorter)
    trained.clear()
    find(grown, **LAST | longer)
    again = trained.count("level 0")
    (grown / "tickets" / "level_00.shorter-1").rename(tmp_path / "before")
    assert lthjax.load_ticket(tmp_path / "before").metrics == before.metrics
    trained.clear()
    find(whole, **LAST | longer)
    assert again == trained.count("level 0") - before.epochs  # what was trained is not trained again
    assert rows_of(grown) == rows_of(whole)
    assert log_of(grown) == log_of(whole)
    for level in (0, 1):
        one, other = (lthjax.load_ticket(out / "tickets" / f"level_0{level}") for out in (grown, whole))
        for name in ("masks", "start", "trained"):
            assert (getattr(one, name).item == getattr(other, name).item).all()
        assert one.saved_states.keys() == other.saved_states.keys()
        assert all((one.saved_states[name] == other.saved_states[name]).all() for name in one.saved_states)


def test_the_last_level_trains_on_and_what_was_begun_behind_it_is_begun_anew(
    find, tmp_path, interrupting, rows_of, log_of
):
    """Level 0 ends by its patience, level 1 by its limit; the snapshot of level 2 is of masks that are no more."""
    short = LAST | {"patience": 2, "epochs": 5, "levels": 2, "prune_rate": 0.5}
    out, facts = tmp_path / "grown", {}
    with interrupting(lambda name, epoch: name.startswith("level 2") and epoch == 2), pytest.raises(KeyboardInterrupt):
        find(out, **short)
    for level in (0, 1):
        ticket = lthjax.load_ticket(out / "tickets" / f"level_0{level}")
        facts[level] = (ticket.best_epoch, ticket.epochs)
    assert [extension.trains_on(*facts[level], Settings(epochs=8, patience=2, eval_every=1)) for level in (0, 1)] == [
        False,
        True,
    ]
    assert list((out / "snapshots").glob("level_02-*"))
    find(out, **short | {"epochs": 8})
    find(tmp_path / "whole", **short | {"epochs": 8})
    assert rows_of(out) == rows_of(tmp_path / "whole")
    assert log_of(out) == log_of(tmp_path / "whole")


def test_what_is_built_on_a_level_keeps_it_as_it_is(find, tmp_path):
    find(tmp_path, levels=1, **LAST | {"epochs": 3})
    with pytest.raises(
        lthjax.SettingsError, match=r"--epochs: .*level_00 would have trained on, and level 1 is built on"
    ):
        find(tmp_path, levels=1, **LAST | {"epochs": 6})
    find(tmp_path / "sample", levels=0, **LAST | {"epochs": 3, "evaluate_users": 5})
    with pytest.raises(lthjax.SettingsError, match="the value on a sample of users that chose its best epoch was not"):
        find(tmp_path / "sample", levels=0, **LAST | {"epochs": 6, "evaluate_users": 5})
    find(tmp_path / "off", levels=0, **LAST | {"epochs": 3, "eval_every": 2})
    with pytest.raises(lthjax.SettingsError, match="its end at epoch 3 would not have been evaluated"):
        find(tmp_path / "off", levels=0, **LAST | {"epochs": 6, "eval_every": 2})


def test_one_seed_that_cannot_go_on_leaves_all_as_they_are(find, tmp_path):
    find(tmp_path, seeds=2, **PATIENT)
    facts = tmp_path / "seed_1" / "tickets" / "level_01" / "facts.json"
    record = json.loads(facts.read_text())
    record["facts"]["epochs"] = 12  # as if the limit had ended it
    record["facts"]["best_epoch"] = 11
    facts.write_text(json.dumps(record))
    with pytest.raises(lthjax.SettingsError, match="seed_1/tickets/level_01 would have trained on"):
        find(tmp_path, seeds=2, **PATIENT | {"epochs": 20})
    config = json.loads((tmp_path / "seed_0" / "config.json").read_text())
    assert (config["settings"]["epochs"], "extended" in config) == (12, False)


def test_a_level_that_is_not_finished_goes_on_with_more_patience(find, tmp_path, interrupting, rows_of):
    long = {"patience": 2, "epochs": 6, "levels": 1}
    with interrupting(lambda name, epoch: epoch == 2), pytest.raises(KeyboardInterrupt):
        find(tmp_path / "grown", **long)
    find(tmp_path / "grown", **long | {"patience": 4, "epochs": 10})
    find(tmp_path / "whole", **long | {"patience": 4, "epochs": 10})
    assert rows_of(tmp_path / "grown") == rows_of(tmp_path / "whole")


def test_a_dense_model_with_a_shorter_limit_is_taken_where_it_is_the_same(find, tmp_path):
    dense, _ = find(None, **PATIENT)
    longer = PATIENT | {"epochs": 30, "levels": 0}
    (again,) = find(None, **longer, dense=dense)
    assert (again.seconds, again.settings.epochs) == (dense.seconds, 30)
    assert find(None, **longer)[0].metrics == again.metrics
    for changes in ({"patience": 5}, {"epochs": 5}):
        with pytest.raises(lthjax.SettingsError, match=r"dense: wanted a model with (patience|epochs)"):
            find(None, **longer | changes, dense=dense)


def test_a_dense_model_from_disk_brings_its_states(find, tmp_path):
    find(tmp_path / "dense", rewind="epoch:2", levels=0)
    dense = lthjax.load_ticket(tmp_path / "dense" / "tickets" / "level_00")
    taken = find(None, rewind="epoch:2", levels=1, dense=dense)
    assert [t.metrics for t in taken] == [t.metrics for t in find(None, rewind="epoch:2", levels=1)]


@pytest.fixture
def call(data_file, monkeypatch, capsys):
    """The main job: words -> (exit code, output, errors)."""

    def call(*words):
        tiny = {name: value for name, value in TINY.items() if name != "show_progress"}
        flags = [part for name, value in tiny.items() for part in ("--" + name.replace("_", "-"), str(value))]
        words = ["find_tickets", "--data", str(data_file), *flags, *map(str, words)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.run(find_tickets.main, find_tickets.Config, "")
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return call


def test_seeds_and_levels_are_added_together(call, tmp_path, rows_of, trained):
    out, whole = tmp_path / "grown", tmp_path / "whole"
    assert call("--seeds", 2, "--levels", 1, "--out", out)[0] == 0
    trained.clear()
    code, _, errors = call("--seeds", 3, "--levels", 2, "--out", out)
    assert code == 0, errors
    assert trained.count("level 0") == 2  # evaluations of the new seed's dense model
    assert call("--seeds", 3, "--levels", 2, "--out", whole)[0] == 0
    for folder in (".", "seed_0", "seed_1", "seed_2"):
        assert rows_of(out / folder) == rows_of(whole / folder)
    code, _, errors = call("--seeds", 2, "--levels", 2, "--out", out)
    assert code == 2
    assert errors.startswith(f"error: --seeds: {out} has runs up to seed 2; got 2 from 0. Wanted 3 or more")
    code, _, errors = call("--levels", 2, "--out", out)
    assert code == 2
    assert errors.startswith(f"error: --seeds: {out} has runs of several seeds; got one. Each is a run of its own")
    assert len(rows_of(out)) == 3


def test_a_single_run_becomes_one_of_several(call, tmp_path, trained):
    one = tmp_path / "one"
    assert call("--levels", 1, "--out", one)[0] == 0
    code, _, errors = call("--levels", 1, "--seeds", 2, "--out", one)
    assert code == 2
    assert f"mkdir NEW && cp -r {one} NEW/seed_0, then --out NEW" in errors
    shutil.copytree(one, tmp_path / "new" / "seed_0")
    trained.clear()
    assert call("--levels", 1, "--seeds", 2, "--out", tmp_path / "new")[0] == 0
    assert trained.count("level 0") == trained.count("level 1") == 2  # those of seed 1


def test_dense_names_a_folder_whose_dense_model_is_taken(call, tmp_path, trained, rows_of):
    assert call("--levels", 1, "--out", tmp_path / "a")[0] == 0
    trained.clear()
    b = tmp_path / "b"
    code, output, _ = call("--levels", 1, "--prune-by", "random", "--dense", tmp_path / "a", "--out", b)
    assert (code, set(trained)) == (0, {"level 1"})
    assert f"dense models of {tmp_path / 'a'}: seed 0" in output
    assert call("--levels", 1, "--prune-by", "random", "--out", tmp_path / "c")[0] == 0
    assert rows_of(b) == rows_of(tmp_path / "c")
    refused = functools.partial(call, "--levels", 1, "--out", tmp_path / "d", "--dense")
    for words, wanted in (
        ([tmp_path / "a", "--seed", 4], "--dense: wanted a model of seed 4;"),
        ([tmp_path / "nowhere"], "--dense: wanted a run folder with a finished dense model;"),
        ([tmp_path / "a", "--l2", 0.5], "dense: wanted a model with l2 0.5; got 0.01"),
        ([tmp_path / "a", "--rewind", "epoch:1"], "dense: wanted a model that kept what --rewind epoch:1"),
    ):
        code, _, errors = refused(*words)
        assert code == 2
        assert wanted in errors
        assert errors.count("\n") == 1
    assert not (tmp_path / "d" / "tickets").exists()


def test_where_the_last_level_wins_it_is_said_how_to_go_on(tmp_path):
    dense, winner = {"verdict": "dense"}, {"verdict": "wins"}
    more = functools.partial(find_tickets.more_levels, out=tmp_path)
    assert f"--levels 6 --out {tmp_path} goes on" in more([dense, winner], Settings(levels=1))
    assert '--sparsities "0.5,..."' in more([dense, winner], Settings(sparsities="0.5"))
    assert more([dense, {"verdict": "matches"}], Settings(levels=1)) == ""
    assert more([dense, winner], Settings(levels=1, search="gradual")) == ""
    assert more([dense], Settings(levels=0)) == ""
