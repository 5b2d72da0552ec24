"""Compiled programs kept on disk, so that the next start of the same work loads them instead of compiling again.

They are kept by JAX's persistent compilation cache. This module chooses its folder, what is kept and how large it may
grow, and has damaged ones removed (`program_files`).
"""

import atexit
import contextlib
import functools
import hashlib
import math
import os
import platform
import re
import tempfile
import warnings
from pathlib import Path
from typing import Any

from lthjax.runtime import program_files

MAX_BYTES = 2**25  # 32 MiB; MF on MovieLens leaves 0.3 MiB in 41 programs; all are read at every start
_COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's event when a program was compiled, and kept

_COMPLAINT = re.compile(r"Error (reading|writing) persistent compilation cache entry for '([^']*)': (.*)", re.DOTALL)
_MIN_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def keep_programs() -> Path | None:
    """Switch JAX's persistent compilation cache on, in the user's cache folder; returns the folder, None if unchanged.

    It changes JAX's settings for the whole process, so a library must not call it: command lines do, a notebook may,
    `find_tickets` does not. Where the user has decided, by JAX_COMPILATION_CACHE_DIR, JAX_ENABLE_COMPILATION_CACHE=0 or
    the same in `jax.config`, nothing changes. A folder that cannot be written is a warning, never an error.
    """
    import jax  # not at the top, since --help needs no JAX

    if jax.config.jax_compilation_cache_dir is not None or not jax.config.jax_enable_compilation_cache:
        return None
    folder = _root() / f"{jax.__version__}-{jax.lib.__version__}-{_machine()}"  # the device is in JAX's own key
    try:
        if not folder.is_absolute():
            raise FileNotFoundError("there is no home folder")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # whoever can write to it can execute code
        with tempfile.TemporaryFile(dir=folder):
            pass  # raises what JAX would raise when it writes
        if jax.config.jax_compilation_cache_max_size == -1:  # else JAX bounds the size
            program_files.make_room(folder.parent, MAX_BYTES)
        program_files.remove_changed(folder)
    except OSError as error:
        warnings.warn(f"compiled programs are not kept: {error}.", stacklevel=2)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if _MIN_SECONDS.upper() not in os.environ:
        jax.config.update(_MIN_SECONDS, 0.0)  # without the small programs, a start takes 1.5 times as long
    _watch()
    return folder


def heed(warning: str) -> str:
    """The text to show for a warning; "" to show none.

    JAX warns of every kept program that it cannot read or write, and keeps damaged ones. A damaged one is removed, with
    all that have its program's name (JAX does not say which one it was), to be written again; since JAX has compiled
    the program instead, no warning is needed. If one cannot be written, that is shown once, and no more are written.
    """
    match = _COMPLAINT.match(warning)
    if match is None or (folder := _folder()) is None:
        return warning
    import jax

    action, program, error = match.groups()
    program_files.remove(folder, program)
    if action == "reading":
        return ""
    jax.config.update(_MIN_SECONDS, math.inf)
    return f"compiled programs are no longer kept: {error}"


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _root() -> Path:
    """Folder of all kept programs: $XDG_CACHE_HOME/lthjax/programs, or ~/.cache/lthjax/programs."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = cache if os.path.isabs(cache) else os.path.expanduser("~/.cache")  # XDG: relative paths are ignored
    return Path(base, "lthjax", "programs")


def _folder() -> Path | None:
    """Where programs are kept now; None for nowhere, or for a folder of the user's own."""
    import jax

    folder = Path(jax.config.jax_compilation_cache_dir or "")
    return folder if folder.parent == _root() else None


@functools.cache
def _watch() -> None:
    """Have a digest written for every program that is kept from now on."""
    import jax

    def on_event(event: str, seconds: float, **facts: Any) -> None:
        if event == _COMPILED and (folder := _folder()):
            program_files.add_digests(folder)

    jax.monitoring.register_event_duration_secs_listener(on_event)
    atexit.register(on_event, _COMPILED, 0.0)  # for what JAX compiled without saying so


def _machine() -> str:
    """A hash of the CPU and of the cores in use, since different machines may share a home folder.

    JAX's own key (`jax/_src/cache_key.py`) has versions, device, compiler options and flags, but not the number of
    cores for which XLA split a CPU program, and of the CPU only what jaxlib's topology contains.
    """
    facts = [platform.system(), platform.machine(), platform.processor(), str(cores())]
    facts += [os.environ.get(name, "") for name in ("PJRT_NPROC", "NPROC")]  # XLA's number of cores, if set
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = file.read().partition("\n\n")[0].splitlines()  # of the first core
        kinds = ("model name", "flags", "Features", "CPU implementer", "CPU architecture", "CPU variant", "CPU part")
        facts += [line for line in lines if line.startswith(kinds)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]
