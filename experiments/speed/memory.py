"""How much memory a piece of work adds to what was there, measured from outside."""

import contextlib
import ctypes
import resource
import sys
from collections.abc import Callable
from pathlib import Path

_NUM_MEASURED = 3  # calls whose memory is measured


def added_bytes(run: Callable[[], None], num_before: int) -> tuple[int, str]:
    """What a call of `run` adds to the `num_before` bytes that were there, and how it was measured."""
    import jax

    stats = jax.devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:  # cannot be set back: building and compiling are in it, so it is an upper bound
        run()
        return max(jax.devices()[0].memory_stats()["peak_bytes_in_use"] - num_before, 0), "device peak of the process"
    if _reset_peak():
        added = [_added_resident(run) for _ in range(_NUM_MEASURED)]
        return max(added), "resident memory, its peak set back before the dispatch"
    before = _max_resident()
    run()
    return max(_max_resident() - before, 0), "peak of the process before and after: may be too little"


def peak_resident() -> int:
    """Most bytes of this process that were resident at any time.

    Linux tells it of the program alone; elsewhere what the process was before it became this program may count.
    """
    return _status("VmHWM") if Path("/proc/self/status").exists() else _max_resident()


def _added_resident(run: Callable[[], None]) -> int:
    _give_back()
    _reset_peak()
    before = _status("VmRSS")
    run()
    return max(_status("VmHWM") - before, 0)


def _give_back() -> None:
    """Return freed memory to the system, or the work would use it again and seem to need none."""
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


def _reset_peak() -> bool:
    """Set the peak of resident memory back to what is resident now; False where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return _status("VmHWM") < 1.05 * _status("VmRSS") + 2**20  # some sandboxes take the write and do nothing


def _status(name: str) -> int:
    """Bytes that Linux tells of this process under a name such as VmRSS."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _max_resident() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
