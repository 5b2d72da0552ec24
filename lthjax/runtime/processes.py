"""Several processes that are one run, on JAX's own distributed runtime: how they start, agree, take turns and end.

All of them do the same, in the same order; a process that did not would leave the others waiting. So whatever a process
finds by itself (a clock, a signal, a file) is agreed on before anything depends on it. Process 0 alone writes.

A process that has ended ends the others: those that wait for it are told by the network, or by the coordinator, which
hears of each every few seconds.
"""

import errno
import functools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np

from lthjax.errors import SettingsError
from lthjax.runtime import interrupts, line_filter

Result = TypeVar("Result")

_HEARTBEAT_SECONDS = 20  # without a sign of a process, after which the others end
_SHUTDOWN_SECONDS = 3600  # for the first, which draws pictures and measures baselines while the others wait
_FILTER_SECONDS = 20  # for the last lines
_filters: list[subprocess.Popen] = []  # of this process's output


def start(coordinator: str, num_processes: int | None, process_id: int | None, timeout: int) -> None:
    """Join the other processes; returns when all are there.

    Args:
      coordinator: "HOST:PORT" of process 0; "auto" where SLURM, MPI or a TPU pod says it, and the two numbers.
      num_processes: how many there are.
      process_id: which one this is, from 0.
      timeout: seconds to wait for the others.

    Raises:
      SettingsError: the port is in use, nobody answers, or nothing says who takes part.
    """
    import jax  # here: it must see the settings of devices before it starts

    if coordinator == "auto":
        process_id, numbers = _number_by_scheduler(), {}
    else:
        host, port = _address(coordinator)
        if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
            raise SettingsError(
                f"--process-id: wanted 0 to --num-processes - 1; got {process_id} of {num_processes} processes."
            )
        if process_id == 0:
            _check_free(coordinator, port)
        else:
            _await(coordinator, host, port, timeout)
        numbers = {"coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id}
    _filter_output(is_first=not process_id)
    try:
        jax.distributed.initialize(
            **numbers,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (ValueError, RuntimeError) as error:
        raise SettingsError(f"--coordinator {coordinator}: {str(error).splitlines()[0]}") from error
    interrupts.agree_by(any_of)


def is_several() -> bool:
    """Whether this process is one of several."""
    return count() > 1


def count() -> int:
    """Processes of the run."""
    jax = sys.modules.get("jax")
    return jax.process_count() if jax is not None and jax.distributed.is_initialized() else 1


def number() -> int:
    """Which of the processes this is, from 0."""
    return sys.modules["jax"].process_index() if is_several() else 0


def is_first() -> bool:
    """Whether this is process 0, which writes; the only one is."""
    return number() == 0


def of_first(value: Any) -> Any:
    """A number or truth value of process 0, in all processes."""
    if count() == 1:
        return value
    from jax.experimental import multihost_utils

    return type(value)(multihost_utils.broadcast_one_to_all(np.asarray(value)))


def any_of(flag: bool) -> bool:
    """Whether a flag is set in any process."""
    if count() == 1:
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.asarray(flag)).any())


def of_all(numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """[P, n] int64, n whole numbers of each process."""
    mine = np.asarray(numbers, np.int64)
    if count() == 1:
        return mine[None]
    from jax.experimental import multihost_utils

    halves = np.stack([mine >> 32, mine & 0xFFFFFFFF]).astype(np.uint32)  # JAX has no int64 by default
    high, low = np.moveaxis(multihost_utils.process_allgather(halves).astype(np.int64), 1, 0)
    return (high << 32) + low


def most(numbers: Sequence[int] | np.ndarray) -> list[int]:
    """Of each of some numbers the largest of all processes."""
    return of_all(numbers).max(axis=0).tolist()


def first_then_others(action: Callable[[], Result]) -> Result:
    """What an action gives in each process; in process 0 before all others, which then see what it left on disk."""
    if count() == 1:
        return action()
    if not is_first():
        any_of(False)
        return action()
    try:
        return action()
    finally:
        any_of(False)


def by_first(action: Callable[[], None]) -> None:
    """Do something in process 0 alone, once all have come here, and while they wait."""
    any_of(False)
    first_then_others(action if is_first() else lambda: None)


def check_alike(description: Mapping[str, Any]) -> None:
    """Refuse processes that would not do the same.

    Args:
      description: of a run, as JSON holds it.

    Raises:
      SettingsError: in all processes; those that differ from process 0 say in what.
    """
    if count() == 1:
        return
    from jax.experimental import multihost_utils

    text = json.dumps(description, sort_keys=True).encode()
    size = of_first(len(text))
    first = multihost_utils.broadcast_one_to_all(np.frombuffer(text.ljust(size)[:size], np.uint8))
    wanted = json.loads(bytes(first))
    differs = _difference(wanted, json.loads(text)) if bytes(first) != text else ""
    if any_of(bool(differs)):
        raise SettingsError(
            f"process {number()}: wanted what process 0 was given; {differs}."
            if differs
            else "another process was given other settings, data or code, as it says; wanted the same for all."
        )


def end(code: int) -> NoReturn:
    """End a process that failed: at once, since the others may never come to where it would wait for them."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)  # so that the filters come to an end
    for process in _filters:
        process.wait(timeout=_FILTER_SECONDS)
    os._exit(code)


def _number_by_scheduler() -> int:
    """Which process this is by what a scheduler says: before JAX starts, for what is printed alone."""
    names = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "TPU_WORKER_ID")
    told = (os.environ.get(name, "") for name in names)
    return next((int(number) for number in told if number.isdecimal()), 0)


def _difference(wanted: Any, came: Any, name: str = "") -> str:
    """The first thing in which two descriptions differ, in words; empty where nothing does."""
    if isinstance(wanted, dict) and isinstance(came, dict):
        keys = sorted({*wanted, *came})
        told = (_difference(wanted.get(key), came.get(key), f"{name}.{key}".lstrip(".")) for key in keys)
        return next(filter(None, told), "")
    return "" if wanted == came else f"{name} is {came!r:.80}, there {wanted!r:.80}"


def _address(coordinator: str) -> tuple[str, int]:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise SettingsError(f"--coordinator: wanted HOST:PORT of process 0, or auto; got {coordinator!r}.")
    return host.strip("[]"), int(port)


def _check_free(coordinator: str, port: int) -> None:
    """Raise SettingsError where a port cannot be listened at: JAX would end the process."""
    try:
        with socket.create_server(("", port)):
            pass
    except OSError as error:
        raise SettingsError(
            f"--coordinator {coordinator}: wanted a free port of this machine; "
            + ("it is in use." if error.errno == errno.EADDRINUSE else f"{error.strerror}.")
        ) from error


def _await(coordinator: str, host: str, port: int, timeout: int) -> None:
    """Wait until somebody answers; raises SettingsError where nobody does: JAX would end the process."""
    until = time.monotonic() + timeout
    while True:
        try:
            with socket.create_connection((host, port), timeout=max(1.0, until - time.monotonic())):
                return
        except OSError as error:
            if time.monotonic() >= until or isinstance(error, socket.gaierror):
                raise SettingsError(
                    f"--coordinator {coordinator}: wanted process 0 there; within {timeout} s it was not "
                    f"({error.strerror or error})."
                ) from error
            time.sleep(0.2)


@functools.cache
def _filter_output(is_first: bool) -> None:
    """Have what JAX's C++ prints left out of this process's output, and of what several print alike all but one.

    They print connections to standard output, and a stack where they end the process. The filters are processes of
    their own, so that they outlive it, and say in a line why it ended.
    """
    for number, mode in ((1, "output" if is_first else "nothing"), (2, "errors" if is_first else "errors only")):
        (sys.stdout if number == 1 else sys.stderr).flush()
        process = subprocess.Popen(
            [sys.executable, "-I", line_filter.__file__, mode],
            stdin=subprocess.PIPE,
            stdout=number,
            start_new_session=True,  # a Ctrl-C is not for it
        )
        os.dup2(process.stdin.fileno(), number)
        process.stdin.close()
        _filters.append(process)
