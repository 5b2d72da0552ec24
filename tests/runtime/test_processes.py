"""Two processes are one run: as good as one, alike at their start, and ended together.

Each test has ports of its own on this machine, a time limit, and kills by number what it has started.
"""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

import lthjax
from lthjax.runtime import line_filter, processes

pytestmark = pytest.mark.slow
ENDED = "another process of the run has ended; the same command, in all processes, goes on from what was saved."
SECONDS = 240  # for all processes of a test; on a busy machine one takes half a minute to start
SETTINGS = [
    "--levels",
    "1",
    "--epochs",
    "6",
    "--eval-every",
    "2",
    "--dim",
    "4",
    "--batch-size",
    "64",
    "--patience",
    "0",
]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def start(data_file, tmp_path):
    """Starts a process of a run: its number of how many, flags -> Popen; those that are left are killed in the end."""
    started = []

    def start_one(number, *flags, port=None, how_many=2, devices="2", out="run", more=()):
        several = ["--coordinator", f"127.0.0.1:{port}", "--num-processes", str(how_many), "--process-id", str(number)]
        command = [sys.executable, "-m", "experiments.find_tickets", "--data", data_file, "--out", tmp_path / out]
        command += [*SETTINGS, "--devices", devices, *(several if port else []), "--timeout", "60", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(
            subprocess.Popen(command, **pipes, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"} | dict(more))
        )
        return started[-1]

    yield start_one
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()


def end(process):
    """(exit code, output, errors)"""
    output, errors = process.communicate(timeout=SECONDS)
    return process.returncode, output, errors


def wait_for_log(folder):
    until = time.monotonic() + SECONDS
    while not (folder / "log.jsonl").exists():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture(scope="module")
def alone(data_file, tmp_path_factory):
    """The run folder of one process with one device."""
    out = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-m", "experiments.find_tickets", "--data", data_file, "--out", out, *SETTINGS]
    subprocess.run(command, check=True, capture_output=True, timeout=SECONDS)
    return out


def test_two_processes_of_two_devices_do_what_one_does(start, tmp_path, alone, rows_of, log_of):
    port = free_port()
    ended = [end(process) for process in [start(number, port=port) for number in range(2)]]
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert rows_of(tmp_path / "run") == rows_of(alone)
    assert log_of(tmp_path / "run") == log_of(alone)
    assert "95% interval" in ended[0][1]
    assert "each of 2 processes holds all 473 interactions, 0.0 MiB: the split is drawn among all" in ended[0][1]
    assert ended[1][1] == ""  # the first alone speaks
    assert "Gloo" not in ended[0][1] + ended[0][2]


IN_CODE = """
import sys

import jax
import numpy as np

import lthjax
from lthjax.runtime import processes

if __name__ == "__main__":
    address, number, data, out = sys.argv[1:]
    processes.start(address, 2, int(number), 60)
    settings = {"levels": 1, "epochs": 6, "eval_every": 2, "dim": 4, "batch_size": 64, "patience": 0}
    dense, ticket = lthjax.find_tickets(data, mesh=lthjax.mesh(), out=out, show_progress=False, **settings)
    (part,) = ticket.trained.user.array.addressable_shards
    rows, kind = ticket.trained.user.array.shape[0], part.data.sharding.memory_kind
    try:
        np.asarray(ticket.trained.user)
    except lthjax.SettingsError as error:
        print(ticket.num_kept, dense.num_kept, rows // part.data.shape[0], kind, error, file=sys.stderr)
"""


def test_tickets_in_code_are_kept_by_parts_and_read_whole_by_one_process(tmp_path, data_file, alone):
    address = f"127.0.0.1:{free_port()}"
    commands = [[sys.executable, "-c", IN_CODE, address, str(number), data_file, tmp_path / "run"] for number in (0, 1)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    started = [subprocess.Popen(line, stderr=subprocess.PIPE, text=True, env=environment) for line in commands]
    try:
        told = [end(process)[2] for process in started]
    finally:
        for process in started:
            process.kill()
    one, whole = (lthjax.load_ticket(out / "tickets" / "level_01") for out in (tmp_path / "run", alone))
    for text in told:
        begun = f"{one.num_kept} {one.masks.user.size + one.masks.item.size} 2 pinned_host wanted a table"
        assert text.startswith(begun), text
    for name in ("masks", "start", "trained"):
        for side in ("user", "item"):
            assert (getattr(getattr(one, name), side) == getattr(getattr(whole, name), side)).all()


@pytest.fixture
def folder_of_parts(tastes, tmp_path):
    """The split of `tastes` as adjacency lists."""
    for part in ("train", "valid", "test"):
        rows = {}
        for user, item in getattr(tastes, part).tolist():
            rows.setdefault(user, [user]).append(item)
        lines = (" ".join(map(str, row)) + "\n" for row in rows.values())
        (tmp_path / f"{part}.txt").write_text("".join(lines))
    return tmp_path


@pytest.mark.parametrize("flags", [["--model", "lightgcn"], ["--metrics", "ndcg,coverage"]], ids=["lightgcn", "mf"])
def test_processes_that_hold_a_share_each_do_what_one_does(start, tmp_path, folder_of_parts, rows_of, log_of, flags):
    port, flags = free_port(), ["--data", folder_of_parts, *flags]
    ended = [end(process) for process in [start(number, *flags, port=port) for number in range(2)]]
    assert [code for code, _, _ in ended] == [0, 0], ended
    told = re.search(r"each of 2 processes holds (\d+) to (\d+) of (\d+) training interactions", ended[0][1])
    least, most, of_all = map(int, told.groups())
    assert least <= most < of_all
    assert end(start(0, *flags, devices="1", out="whole"))[0] == 0
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")
    data = [json.loads((tmp_path / out / "config.json").read_text())["data"] for out in ("run", "whole")]
    assert data[0] == data[1]
    assert end(start(0, *flags, "--levels", "2", devices="1"))[0] == 0  # goes on from what the two left


def test_slurm_tells_processes_what_they_need(start, tmp_path, alone, rows_of):
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    flags = ["--coordinator", "auto"]
    ranks = [job | {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)} for number in range(2)]
    ended = [end(process) for process in [start(number, *flags, more=rank) for number, rank in enumerate(ranks)]]
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert rows_of(tmp_path / "run") == rows_of(alone)
    assert ended[1][1] == ""


def test_one_killed_ends_the_others_with_a_line_and_the_run_goes_on(start, tmp_path, rows_of):
    port, flags = free_port(), ["--epochs", "300", "--eval-every", "30"]
    first, second = (start(number, *flags, port=port) for number in range(2))
    wait_for_log(tmp_path / "run")
    second.kill()
    began = time.monotonic()
    code, _, errors = end(first)
    assert code != 0
    assert time.monotonic() - began < 60
    assert errors == f"error: {ENDED}\n"
    port = free_port()
    ended = [end(process) for process in [start(number, *flags, port=port) for number in range(2)]]
    assert [code for code, _, _ in ended] == [0, 0], ended
    assert end(start(0, *flags, devices="1", out="whole"))[0] == 0
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")


def test_a_stopped_run_goes_on_in_one_process(start, tmp_path, alone, rows_of):
    flags = ["--epochs", "300", "--eval-every", "30"]
    port = free_port()
    both = [start(number, *flags, port=port) for number in range(2)]
    wait_for_log(tmp_path / "run")
    both[1].send_signal(signal.SIGTERM)  # to one: all save, and end
    ended = [end(process) for process in both]
    assert [code for code, _, _ in ended] == [130, 143], ended
    assert ended[0][2] == "stopped; the same command goes on from here.\n"
    assert list((tmp_path / "run").glob("snapshots/*")) + list((tmp_path / "run").glob("tickets/*"))
    assert end(start(0, *flags, devices="1"))[0] == 0
    assert end(start(0, *flags, devices="1", out="whole"))[0] == 0
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seed", "3"], "settings.seed is 3, there 0"),
        (["--exchange", "ring"], "exchange is 'ring', there 'gather'"),
    ],
)
def test_processes_that_differ_are_refused_at_the_start(start, tmp_path, flags, said):
    port = free_port()
    ended = [end(process) for process in [start(0, port=port), start(1, *flags, port=port)]]
    assert [code for code, _, _ in ended] == [2, 2], ended
    assert ended[0][2].startswith("error: another process was given other settings, data or code")
    assert ended[1][2] == f"error: process 1: wanted what process 0 was given; {said}.\n"
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_told(start):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        code, _, errors = end(start(0, port=port))
    assert code == 2
    assert errors == f"error: --coordinator 127.0.0.1:{port}: wanted a free port of this machine; it is in use.\n"


def test_a_coordinator_that_is_not_there_is_told_in_time(start):
    began, port = time.monotonic(), free_port()
    code, _, errors = end(start(1, "--timeout", "2", port=port))
    assert code == 2
    assert time.monotonic() - began < 60
    assert errors == (
        f"error: --coordinator 127.0.0.1:{port}: wanted process 0 there; within 2 s it was not (Connection refused).\n"
    )


def test_a_process_that_never_comes_is_told_in_time(start):
    code, _, errors = end(start(0, "--timeout", "3", port=free_port()))
    assert code != 0
    assert errors.startswith("error: --num-processes: not all processes came in time")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--process-id", "0"], "--process-id: wanted --coordinator HOST:PORT with it; got none"),
        (["--coordinator", "here"], "--coordinator: wanted HOST:PORT of process 0, or auto; got 'here'"),
        (["--coordinator", "localhost:80", "--num-processes", "2"], "--process-id: wanted 0 to --num-processes - 1"),
        (["--devices", "3"], "--devices: wanted 1, 2, 4, ... or 256 devices; got 3"),
        (["--devices", "2", "--dry-run"], "--dry-run: wanted one device"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, message):
    command = [sys.executable, "-m", "experiments.find_tickets", *flags]
    process = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert process.returncode == 2
    assert process.stderr.startswith(f"error: {message}")
    assert len(process.stderr.splitlines()) == 1


def test_alone_everything_is_agreed_on():
    assert processes.count() == 1
    assert processes.is_first()
    assert processes.of_first(7) == 7
    assert not processes.any_of(False)
    assert processes.first_then_others(lambda: "done") == "done"
    processes.check_alike({"settings": {"dim": 3}})


FATAL = b"F1127 17:15:45.153 10696 client.h:80] Terminating process because the JAX distributed service\n"
STACK = [b"\n", b"RPC: /xla.coordination\n", b"*** Check failure stack trace: ***\n", b"    @     0x7fa4 absl::Log\n"]


@pytest.mark.parametrize(
    ("mode", "lines", "wanted"),
    [
        ("output", [b"[Gloo] Rank 0 is connected\n", b"a table\n", b"\n"], [b"a table\n", b"\n"]),
        ("nothing", [b"a table\n"], []),
        ("errors", [b"note: a\n", b"error: b\n"], [b"note: a\n", b"error: b\n"]),
        ("errors only", [b"note: a\n", b"stopped.\n", b"error: b\n"], [b"error: b\n"]),
        ("errors", [FATAL, *STACK], [b"error: " + ENDED.encode() + b"\n"]),
        ("errors", [b"error: disk full.\n", FATAL, *STACK], [b"error: disk full.\n"]),
    ],
)
def test_lines_for_people_are_passed_on(mode, lines, wanted):
    assert list(line_filter.filtered(lines, mode)) == wanted
