"""Plans: what is asked for, and what is said."""

import subprocess
import sys

import pytest

from experiments.speed import devices, footprint, plan
from experiments.speed.footprint import Scale

BILLION = "users=1e9 items=1e8 dim=64 devices=256"


def test_what_is_asked_for():
    assert plan.parse("users=1e3, items=20 dim=8 devices=4 interactions=99 batch=5 layers=1 model=mf") == [
        Scale(1_000, 20, 99, 8, 5, 1, "mf", 4)
    ]
    mf, lightgcn = plan.parse(BILLION)
    assert (mf.model, lightgcn.model) == ("mf", "lightgcn")
    assert mf == Scale(10**9, 10**8, 20 * 10**9, 64, 2_048, 3, "mf", 256)


def test_a_plan_in_words(capsys, read_json, tmp_path):
    path = tmp_path / "plan.json"
    written = read_json(path, devices.main(devices.Config(plan=BILLION, json=str(path))))
    said = capsys.readouterr().out
    assert "119.2 GiB  one slab of 32 columns" in said
    assert "H100 SXM, NVLink: does NOT fit in 74.5 GiB" in said
    assert "H100 SXM, NVLink: fits in 74.5 GiB" in said
    assert "2.3 GiB of every ticket (9 bytes an entry)" in said
    assert "Beyond what is counted today (int32, 2^31 - 1): interactions." in said
    mf, lightgcn = written["plans"]
    assert sum(lightgcn["bytes_a_device"].values()) > sum(mf["bytes_a_device"].values())
    assert "Beyond" not in "\n".join(plan.in_words(plan.parse("users=1e6 items=1e6 dim=8 devices=8")))


def test_a_plan_of_a_ring():
    (gather,), (mf, ring) = plan.parse(f"{BILLION} model=lightgcn"), plan.parse(f"{BILLION} exchange=ring")
    assert (mf.exchange, ring) == ("gather", gather._replace(exchange="ring"))
    said = "\n".join(plan.in_words([ring]))
    assert "LightGCN, K = 3, ring (equal to about 1e-5, not to the bit)" in said
    assert "rows that visit and a product, of one slab of 32 columns" in said
    assert sum(plan.per_device(ring).values()) < sum(plan.per_device(gather).values()) / 4


def test_a_floor_is_bytes_over_bytes_a_second():
    (scale,) = plan.parse(f"{BILLION} model=mf")
    hardware = plan.Hardware("half a second each", 1, 2.0 * footprint.moved(scale), 2.0 * footprint.sent(scale))
    least = plan.floor(scale, hardware)
    assert (least.memory, least.exchange, least.at_once, least.in_turn) == (0.5, 0.5, 0.5, 1.0)


def test_a_plan_starts_no_device():
    code = (
        f"from experiments.speed import devices; devices.main(devices.Config(plan={BILLION!r})); import sys, jax; "
        "from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("users=1e9", "--plan: wanted users, items, dim, devices; got none of items, dim, devices."),
        (f"{BILLION} user=3", "got 'user=3' (did you mean users?)"),
        (f"{BILLION} fast", "as KEY=VALUE; got 'fast'"),
        (f"{BILLION} dim=3", "--plan: wanted dim once; got 64 and 3."),
        ("users=many items=1 dim=1 devices=1", "--plan users: wanted a whole number from 1 on"),
        ("users=1.5 items=1 dim=1 devices=1", "--plan users: wanted a whole number from 1 on"),
        ("users=nan items=1 dim=1 devices=1", "--plan users: wanted a whole number from 1 on"),
        ("users=5 items=0 dim=1 devices=1", "--plan items: wanted a whole number from 1 on"),
        ("users=5 items=5 dim=1 devices=3", "--plan devices: wanted 1, 2, 4, ... or 256 devices; got 3."),
        (f"{BILLION} exchange=rings", "exchange: wanted gather or ring; got 'rings' (did you mean ring?)"),
        (f"{BILLION} exchange=ring model=mf", "exchange: wanted --model lightgcn for ring; got mf"),
        ("users=5 items=5 dim=1 devices=1 exchange=ring", "exchange: wanted several devices for ring"),
        (f"{BILLION} model=lightgbm", "--plan: wanted model=mf or lightgcn; got 'lightgbm' (did you mean lightgcn?)"),
    ],
)
def test_bad_plans_are_one_line(asked, said, error_line):
    assert said in error_line(devices, f"--plan '{asked}'")
