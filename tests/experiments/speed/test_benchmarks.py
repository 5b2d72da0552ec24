"""The benchmarks run at a tiny size, do equal work, and say how the numbers were made. Nothing timed is asserted."""

import json
import sys

import jax
import numpy as np
import pytest

from experiments import cli
from experiments.speed import population as bench_population
from experiments.speed import propagation as bench_propagate
from experiments.speed import ranking as bench_evaluate
from experiments.speed import scaling as bench_scaling
from experiments.speed import step as bench_step
from experiments.speed import timing as benchmarks
from lthjax.data import resolve
from lthjax.errors import LthjaxError, SettingsError
from lthjax.search import problem as jobs


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 30 users and 40 items, 12 interactions a user."""
    draws = np.random.default_rng(0)
    lines = [f"{user} " + " ".join(map(str, draws.choice(40, 12, replace=False))) for user in range(30)]
    place = tmp_path_factory.mktemp("data") / "few.txt"
    place.write_text("\n".join(lines) + "\n")
    return str(place)


def saved(place, content, data):
    """The JSON beside what `main` returned, after the checks that hold for all of them."""
    text = place.read_text()
    read = json.loads(text)
    assert read == json.loads(json.dumps(content))
    assert {"command", "commit", "machine", "versions", "seed"} <= read.keys()
    assert set(read["versions"]) == {"python", "jax", "torch"}
    assert str(place.parent) not in text  # no path of this machine
    assert data is None or data not in text
    assert not list(place.parent.glob(".*.partial"))
    return read


def assert_is_summary(found, repeats):
    assert len(found["seconds"]) == repeats
    assert found["least"] == min(found["seconds"]) <= found["median"] <= found["most"] == max(found["seconds"])
    assert found["least"] > 0


# 252 training interactions: the third batch is short, and its padding must count on neither side.
STEP = {"dim": 2, "layers": 2, "batch_size": 100, "steps": 3, "repeats": 2}


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_step(model, data, tmp_path, capsys):
    place = tmp_path / "step.json"
    read = saved(place, bench_step.main(bench_step.Config(**STEP, data=data, model=model, json=str(place))), data)
    assert read["command"].startswith("python -m experiments.speed.step --repeats 2 --data few.txt")
    parts = {"lthjax", "sampling", "multiply-add"} | ({"propagation"} if model == "lightgcn" else set())
    peers = set(read["ratios"])
    assert set(read["seconds_a_step"]) == parts | peers
    for found in read["seconds_a_step"].values():
        assert_is_summary(found, 2)
    assert read["adam_floor"]["bytes"] == 29 * (30 + 40) * 2
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("lthjax is ") if peers else last == benchmarks.NO_TORCH
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'lthjax[peers]'")
    assert peers == ({"PyTorch"} if model == "mf" else {"PyTorch sparse COO", "PyTorch sparse CSR"})
    assert read["agreement"].keys() == peers
    assert max(read["agreement"].values()) < 1e-5


def test_step_without_torch(data, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)  # its import fails
    read = bench_step.main(bench_step.Config(**STEP, data=data, model="mf"))
    assert (read["agreement"], read["ratios"], read["versions"]["torch"]) == ({}, {}, None)
    assert capsys.readouterr().out.splitlines()[-1] == benchmarks.NO_TORCH


def test_unequal_work_is_an_error(data):
    settings = bench_step._settings(bench_step.Config(**STEP, data=data, model="mf"))
    job = jobs.prepare(resolve.load_split(None, settings), settings)
    start = job.program.init(job.key(0))
    other = bench_step.our_steps(job, start._replace(user=2 * start.user))
    assert bench_step.check_equal_work(job, start, {"same": bench_step.our_steps(job, start)}) == {"same": 0.0}
    with pytest.raises(LthjaxError, match="wanted the same losses"):
        bench_step.check_equal_work(job, start, {"other": other})


def test_evaluate(tmp_path, capsys):
    """On MovieLens, in blocks of which the last is short; the embeddings give hits that can differ."""
    place = tmp_path / "evaluate.json"
    config = bench_evaluate.Config(dim=2, repeats=2, block_size=256, json=str(place))
    read = saved(place, bench_evaluate.main(config), None)
    assert {"lthjax", "lthjax, product alone"} <= read["seconds"].keys()
    for found in read["seconds"].values():
        assert_is_summary(found, 2)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("lthjax is ") if "PyTorch" in read["seconds"] else last == benchmarks.NO_TORCH
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'lthjax[peers]'")
    assert read["recall"]["users_apart"] == 0
    assert abs(read["recall"]["lthjax"] - read["recall"]["PyTorch"]) < 1e-6
    assert read["recall"]["lthjax"] > 0.005  # some hits are there
    assert set(read["block_sizes"].values()) == {256}


def test_population(data, tmp_path, capsys):
    place, sizes = tmp_path / "population.json", (1, 3)
    few = {"data": data, "dim": 2, "batch_size": 100, "steps": 2, "repeats": 2}
    read = saved(
        place,
        _with_text_keys(bench_population.main(bench_population.Config(**few, tickets=sizes, json=str(place)))),
        data,
    )
    assert read["agreement"] < 1e-5
    assert set(read["seconds_a_step"]) == {"one", "1", "3"}
    for found in read["seconds_a_step"].values():
        assert_is_summary(found, 2)
    assert read["as_fast_as_in_turn"]["3"] == pytest.approx(3 / read["times_of_one"]["3"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 tickets at once take ")


def _with_text_keys(content):
    return json.loads(json.dumps(content))


def test_propagate(data, tmp_path, capsys):
    place = tmp_path / "propagate.json"
    few = {"data": data, "dim": 3, "layers": 2, "repeats": 2, "json": str(place)}
    read = saved(place, bench_propagate.main(bench_propagate.Config(**few)), data)
    names = {"propagate", "BCOO", "segment-sum", "buckets", "segment-sum, bfloat16", "buckets, bfloat16"}
    assert names <= set(read["seconds"])
    for found in read["seconds"].values():
        assert_is_summary(found, 2)
    assert all(read["differences"][name] < 1e-6 for name in names if "bfloat16" not in name)
    assert 1e-6 < read["differences"]["buckets, bfloat16"] < 1e-2
    assert capsys.readouterr().out.splitlines()[-1].startswith("propagate is ")


def test_a_wrong_product_is_an_error():
    x = jax.numpy.ones((3, 2))
    right, wrong = (lambda x: x), (lambda x: 1.01 * x)
    found = {"propagate": (right, jax.numpy.float32), "other": (wrong, jax.numpy.float32)}
    with pytest.raises(LthjaxError, match="wanted other equal to propagate"):
        bench_propagate.check_equal(found, x)


def test_unequal_members_are_an_error(data, monkeypatch):
    settings = bench_population._settings(bench_population.Config(data=data, dim=2, batch_size=100))
    job = jobs.prepare(resolve.load_split(None, settings), settings)
    members = bench_population.members_of(job, 2)
    kept = [sum(int(mask.sum()) for mask in one.masks) for one in members]
    assert kept[1] == kept[0] - round(0.1 * kept[0])
    swapped = [members[0], bench_population.Member(members[1].state, members[1].masks, members[0].key)]
    real = bench_population.together
    monkeypatch.setattr(bench_population, "together", lambda job, _: real(job, swapped))
    with pytest.raises(LthjaxError, match="wanted equal losses of 2 tickets"):
        bench_population.check_equal(job, members)


def test_other_recall_is_an_error():
    ours = np.linspace(0, 1, 20_000)
    assert bench_evaluate.check_same_recall(ours, ours)["users_apart"] == 0
    one_apart = ours + (np.arange(20_000) == 7) * 0.1
    assert bench_evaluate.check_same_recall(ours, one_apart)["users_apart"] == 1
    with pytest.raises(LthjaxError, match="20,000 of 20,000 users differ"):
        bench_evaluate.check_same_recall(ours, ours + 0.1)


SCALING = {"users": 20, "items": 30, "interactions": 100, "dim": 2, "batch_size": 16, "steps": 1, "repeats": 2}


def test_scaling_measures_a_size():
    config = bench_scaling.Config(**SCALING, axes=("users",))
    found = bench_scaling.measure(bench_scaling.Size(20, 30, 100, 2), config)
    assert found.table == 4 * (20 + 30) * 2
    assert found.moments >= 2 * found.table
    assert found.state == found.table + found.moments + found.graph
    assert found.peak == found.state + found.masks + found.added
    assert found.arguments > found.state
    assert found.temp > 0
    assert len(found.seconds) == 2


def test_scaling_goes_through_the_sizes(monkeypatch, tmp_path, capsys):
    def measured(function, size, config):
        assert function is bench_scaling.measure
        seconds = [size.users**0.5 * size.dim] * config.repeats
        return bench_scaling.Measured(seconds, size.users, 2 * size.users, 0, 0, 6 * size.users, "", 9, 9, 9, 9)

    monkeypatch.setattr(bench_scaling, "in_fresh_process", measured)
    place = tmp_path / "scaling.json"
    config = bench_scaling.Config(**SCALING, axes=("users", "dim"), factors=(1, 2), json=str(place))
    read = saved(place, bench_scaling.main(config), None)
    assert [(p["axis"], p["factor"]) for p in read["points"]] == [("users", 1), ("users", 2), ("dim", 1), ("dim", 2)]
    assert [p["size"]["users"] for p in read["points"]] == [20, 40, 20, 20]
    assert [p["edge_list"] for p in read["points"]] == [1_600, 1_600, 1_600, 3_200]
    for point in read["points"]:
        assert_is_summary(point["seconds_a_step"], 2)
    assert read["exponents"]["users"] == pytest.approx({"time": 0.5, "peak": 1.0, "state": 1.0})
    assert read["exponents"]["dim"] == pytest.approx({"time": 1.0, "peak": 0.0, "state": 0.0}, abs=1e-9)
    assert read["goals"]["peak_over_state"] == 3.0
    assert capsys.readouterr().out.splitlines()[-2:] == read["goals"]["in_words"]


def test_goals_take_the_size_that_shows_most():
    def goals(model, **found):
        measured = bench_scaling.Measured([1.0], 100, 200, 700, 25, 0, "", 0, 0, 0, 0)._replace(**found)
        small = bench_scaling.Size(10, 10, 5, 50)  # 2E x F floats are 2,000 bytes
        sparser = small._replace(users=20)
        both = [(sparser, measured._replace(added=0)), (small, measured)]
        return bench_scaling._goals(both, bench_scaling.Config(model=model))

    met = goals("lightgcn", added=1_975, temp=10)
    assert (met["peak_over_state"], met["temporaries_over_edge_list"]) == (3.0, 1_975 / 2_000)
    assert (met["peak_under_3"], met["temporaries_below_edge_list"]) == (False, True)
    assert not goals("lightgcn", temp=2_000)["temporaries_below_edge_list"]
    assert goals("mf")["peak_under_3"]
    assert "temporaries_below_edge_list" not in goals("mf")


def test_a_size_has_a_process_of_its_own():
    there = bench_scaling.in_fresh_process(bench_scaling.exponent, [1, 2, 4], [3.0, 12.0, 48.0])
    assert there == pytest.approx(2.0)


def test_exponent_of_a_power_law():
    sizes = [1, 2, 4, 8]
    assert bench_scaling.exponent(sizes, [7 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert bench_scaling.exponent(sizes, [3.0] * 4) == pytest.approx(0.0, abs=1e-12)


def test_memory_that_is_taken_is_seen():
    def run():
        np.ones(64 * 2**20, np.uint8)

    added, how = bench_scaling._added_bytes(run, 0)
    if how.startswith("resident"):  # Linux
        assert 60 * 2**20 < added < 80 * 2**20


def test_random_pairs_are_distinct_and_skewed():
    pairs = bench_scaling.random_pairs(300, 200, 15_000, seed=3)  # as full as it may be
    assert pairs.shape == (15_000, 2)
    assert len(np.unique(pairs, axis=0)) == 15_000
    np.testing.assert_array_equal(pairs, pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))])
    np.testing.assert_array_equal(pairs, bench_scaling.random_pairs(300, 200, 15_000, seed=3))
    degrees = np.bincount(bench_scaling.random_pairs(300, 200, 3_000, seed=0)[:, 1], minlength=200)
    assert degrees.max() > 4 * np.median(degrees)
    split = bench_scaling.random_split(bench_scaling.Size(20, 30, 100, 2), seed=0)
    assert (split.num_users, split.num_items, len(split.train), len(split.valid), len(split.test)) == (
        20,
        30,
        100,
        1,
        1,
    )


@pytest.mark.parametrize(
    ("module", "words", "said"),
    [
        (bench_step, "--model gcn", "--model"),
        (bench_step, "--steps 0", "--steps: wanted 1 or more; got 0;"),
        (bench_step, "--repeats -1", "--repeats: wanted 1 or more; got -1;"),
        (bench_step, "--dim 0", "--dim: wanted at least 1; got 0;"),
        (bench_step, "--json no/such/folder/x.json", "--json: wanted a file in a folder that exists"),
        (bench_step, "--data no_such_name", "wanted a path or one of"),
        (bench_step, "--preset paper_text", "preset"),
        (bench_evaluate, "--block-size -1", "--block-size: wanted 0 or more; got -1;"),
        (bench_evaluate, "--seed x", "--seed"),
        (bench_population, "--tickets 0 2", "--tickets: wanted numbers from 1 on; got (0, 2);"),
        (bench_scaling, "--factors 2", "--factors: wanted two or more, from 1 up; got 2;"),
        (bench_scaling, "--axes rows", "--axes"),
        (bench_scaling, "--interactions 99999999", "--interactions: wanted at most 25% of users x items"),
    ],
)
def test_bad_flags_are_one_line(module, words, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", *words.split()])
    with pytest.raises(SystemExit) as end:
        cli.run(module.main, module.Config, module.__doc__)
    found = capsys.readouterr()
    assert end.value.code == 2
    assert found.err.startswith("error: ")
    assert said in found.err
    assert found.err.count("\n") == 1


def test_ctrl_c_promises_nothing(monkeypatch, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["bench"])
    with pytest.raises(SystemExit) as end:
        cli.run(interrupted, bench_step.Config, "")
    assert end.value.code == 130
    assert capsys.readouterr().err == "stopped.\n"


def test_turns_alternate():
    called = []
    seconds = benchmarks.in_turns({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, repeats=2)
    assert called == list("ababab")  # the first of each is not timed
    assert {name: len(repeats) for name, repeats in seconds.items()} == {"a": 2, "b": 2}
    assert benchmarks.ratio([2.0, 4.0, 9.0], [1.0, 1.0, 3.0]) == {"of_medians": 4.0, "least": 2.0, "most": 4.0}


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    place = tmp_path / "x.json"
    place.write_text("old")
    with pytest.raises(TypeError):
        benchmarks.write_json(str(place), {"x": object()})
    assert place.read_text() == "old"
    with pytest.raises(SettingsError, match="--json"):
        bench_step.Config(json=str(tmp_path))
