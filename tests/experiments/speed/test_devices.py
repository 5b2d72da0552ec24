"""Steps on one device and on eight: equal tables, bytes as the formulas say, and nothing exchanged that need not be."""

import contextlib
from collections import Counter

import numpy as np
import pytest

from experiments.speed import devices, devices_sides, footprint, scaling_sides
from experiments.speed.collectives import Operation
from experiments.speed.devices_sides import Measured
from experiments.speed.footprint import Scale
from lthjax.errors import LthjaxError

USERS, ITEMS, DIM, BATCH, LAYERS = 6_000, 3_000, 64, 32, 3
FEW = {"users": USERS, "items": ITEMS, "interactions": 12_000, "dim": DIM, "batch_size": BATCH, "layers": LAYERS}
CONFIG = devices.Config(**FEW, steps=2, repeats=1, sizes=("fixed",), devices=(1, 8))


def scale_of(model, number, exchange="gather"):
    return Scale(USERS, ITEMS, 12_000, DIM, BATCH, LAYERS, model, number, exchange)


@pytest.fixture(scope="module")
def measured():
    """Scale -> point, each of a process of its own; that tables are equal is checked on the way."""
    return {point.scale: point for point in devices.measure_all(CONFIG)}


@pytest.fixture(scope="module")
def points(measured):
    """(model, D) -> point of devices that gather."""
    return {(s.model, s.devices): point for s, point in measured.items() if s.exchange == "gather"}


@pytest.fixture(scope="module")
def ring(measured):
    """The point of eight devices in a ring."""
    return measured[scale_of("lightgcn", 8, "ring")]


def test_formulas_are_within_a_tenth(measured):
    assert len(measured) == 5
    for scale, point in measured.items():
        for kind, compared in devices.compare(point).items():
            assert compared.off < 0.1, (scale, kind, compared)


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_tables_masks_and_moments_are_what_the_formulas_say(points, model):
    for number in (1, 8):
        held, measured = footprint.held(scale_of(model, number)), points[model, number].measured
        assert (measured.tables, measured.masks) == (held["tables"], held["masks"])
        assert measured.moments == held["moments"] + 4  # Adam counts its steps
        assert measured.graph == pytest.approx(held["interactions"] + held["matrix"], rel=0.25)  # shares are uneven
    assert measured.arguments <= measured.held + 100  # on eight devices; on one some arrays are given twice


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_eight_devices_hold_an_eighth_each(points, model):
    alone, eighth = (points[model, number].measured for number in (1, 8))
    for kind in ("tables", "masks", "moments"):
        assert getattr(eighth, kind) <= getattr(alone, kind) / 6, kind
    if model == "mf":  # what a step adds is the gradient, and rows of the batch
        assert eighth.temp <= alone.temp / 4


def test_mf_exchanges_rows_of_the_batch_alone(points):
    measured = points["mf", 8].measured
    assert {operation.name for operation in measured.collectives} == {"all-reduce"}
    assert all(operation.num_bytes <= 6 * BATCH * DIM * 4 for operation in measured.collectives)


def test_lightgcn_gathers_slabs_of_a_side(points):
    collectives = points["lightgcn", 8].measured.collectives
    gathered = [operation for operation in collectives if operation.name == "all-gather"]
    sides = footprint.table_rows(scale_of("lightgcn", 8))
    assert {shape for operation in gathered for shape in operation.shapes} == {(rows, footprint.SLAB) for rows in sides}
    assert len(gathered) == 2 * LAYERS * 4  # forward and backward, of each layer two slabs of either side
    rest = [operation for operation in collectives if operation.name != "all-gather"]
    assert {operation.name for operation in rest} == {"all-reduce"}
    assert all(operation.num_bytes <= 7 * BATCH * DIM * 4 for operation in rest)


def test_a_ring_hands_on_rows_of_a_device_and_needs_less_memory(points, ring):
    passed_on = [operation for operation in ring.measured.collectives if operation.name == "collective-permute"]
    sides = footprint.table_rows(ring.scale)
    assert {shape for hop in passed_on for shape in hop.shapes} == {(rows // 8, footprint.SLAB) for rows in sides}
    assert len(passed_on) == 2 * LAYERS * 4 * 7  # as many products as with slabs that are gathered, seven hops each
    assert {operation.name for operation in ring.measured.collectives} == {"collective-permute", "all-reduce"}
    gathers = points["lightgcn", 8].measured
    assert ring.measured.temp < gathers.temp
    assert ring.measured.temp_in_turn < gathers.temp_in_turn


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_no_table_is_sorted(points, model):
    sizes = [np.prod(shape) for operation in points[model, 8].measured.sorts for shape in operation.shapes]
    assert max(sizes, default=0) <= 6 * BATCH * DIM < min(footprint.table_rows(scale_of(model, 8))) * DIM / 8


@pytest.fixture
def pretend(monkeypatch):
    """Processes that measure nothing, but leave tables: the number in them by scale -> what was asked of them."""

    def make(number_of):
        asked = []

        def process(function, scale, settings, num_steps, repeats, tables_to):
            assert function is devices_sides.measure
            assert settings.model == scale.model
            asked.append((scale, tables_to is not None))
            if tables_to is not None:
                for side in ("user", "item"):
                    np.save(f"{tables_to}/{side}.npy", np.full((2, 2), number_of(scale)))
            held, added = footprint.held(scale), footprint.added(scale, in_turn=False)
            by_slab = sum(footprint.added(scale, in_turn=True).values())
            graph = held["interactions"] + held["matrix"]
            tables = held["tables"], held["masks"], held["moments"], graph
            exchanged = [Operation("all-reduce", (), sum(footprint.exchanged(scale).values()))]
            return Measured([1.0] * repeats, "cpu (cpu)", *tables, 9, sum(added.values()), by_slab, exchanged, [])

        monkeypatch.setattr(scaling_sides, "in_fresh_process", process)
        return asked

    return make


def test_devices_go_through_the_scales(pretend, read_json, assert_are_summaries, tmp_path, capsys):
    asked = pretend(lambda scale: 1.0)
    path = tmp_path / "devices.json"
    config = devices.Config(**FEW, repeats=2, devices=(1, 2, 4), json=str(path))
    written = read_json(path, devices.main(config))
    points = written["points"]
    numbers = [tuple(p["scale"][name] for name in ("model", "devices", "exchange")) for p in points]
    of_mf = [("mf", number, "gather") for number in (1, 2, 4)]
    of_lightgcn = [("lightgcn", 1, "gather")]
    of_lightgcn += [("lightgcn", number, exchange) for number in (2, 4) for exchange in ("gather", "ring")]
    assert numbers == 2 * of_mf + 2 * of_lightgcn
    assert [p["sizes"] for p in points] == [s for n in (3, 5) for s in ("fixed",) * n + ("growing",) * n]
    assert [p["scale"]["users"] // USERS for p in points] == [1, 1, 1, 1, 2, 4] + [1] * 5 + [1, 2, 2, 4, 4]
    assert [p["scale"]["interactions"] // 12_000 for p in points] == [p["scale"]["users"] // USERS for p in points]
    assert len(asked) == 14  # one device comes twice
    assert [is_compared for _, is_compared in asked] == [True] * 3 + [False] * 2 + [True] * 5 + [False] * 4
    assert_are_summaries([p["seconds_a_step"] for p in points], 2)
    assert written["goals"]["within_10_percent"]
    said = capsys.readouterr().out
    assert "times say nothing of real devices; bytes do" in said
    assert said.splitlines()[-1:] == written["goals"]["in_words"]


def test_other_tables_are_refused(pretend):
    pretend(lambda scale: 1.0 if scale.devices < 4 else 2.0)
    with pytest.raises(LthjaxError, match="wanted tables of 4 devices that equal those of one device to the bit"):
        devices.main(devices.Config(**FEW, repeats=1, devices=(1, 2, 4)))


@pytest.mark.parametrize(("off", "is_close"), [(9e-6, True), (2e-5, False), (float("nan"), False)])
def test_tables_of_a_ring_are_close(pretend, off, is_close):
    pretend(lambda scale: off if scale.exchange == "ring" else 0.0)
    config = devices.Config(**FEW, repeats=1, devices=(1, 2), models=("lightgcn",), sizes=("fixed",))
    wanted = "wanted tables of 2 devices that equal those of one device to 1e-05"
    with contextlib.nullcontext() if is_close else pytest.raises(LthjaxError, match=wanted):
        devices.main(config)


def test_goals_tell_what_is_off(pretend):
    pretend(lambda scale: 1.0)
    first, *others = devices.measure_all(CONFIG)
    assert devices.goals_of([first, *others])["within_10_percent"]
    heavier = first._replace(measured=first.measured._replace(graph=2 * first.measured.held))
    goals = devices.goals_of([heavier, *others])
    assert not goals["within_10_percent"]
    assert "within 10%: NO" in goals["in_words"][0]


def test_the_fullest_device():
    by_kind = {"tables": Counter({0: 5, 1: 5}), "graph": Counter({0: 1, 1: 3})}
    assert devices_sides.of_fullest_device(by_kind) == {"tables": 5, "graph": 3}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--devices 2 4", "--devices: wanted 1, and any of 2, 4, ... 256; got 2 4;"),
        ("--devices 1 3", "--devices: wanted 1, and any of 2, 4, ... 256; got 1 3;"),
        ("--interactions 999999999", "--interactions: wanted at most 25% of users x items"),
        ("--models mfx", "--models"),
        ("--dim 0", "--dim"),
    ],
)
def test_bad_flags_are_one_line(flags, said, error_line):
    assert said in error_line(devices, flags)
