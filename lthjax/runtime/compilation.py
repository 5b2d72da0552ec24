"""Compiled programs kept on disk, so that the next start of the same work loads them instead of compiling again.

The keeping is JAX's persistent compilation cache. Said here is where it lies, what goes in, how large it may grow, and
what happens to a damaged entry.
"""

import contextlib
import hashlib
import math
import os
import platform
import re
import tempfile
import warnings
from pathlib import Path

MAX_BYTES = 2**27  # 128 MiB; MF on MovieLens leaves 0.3 MiB in 41 programs

_COMPLAINT = re.compile(r"Error (reading|writing) persistent compilation cache entry for '([^']*)': (.*)", re.DOTALL)
_MIN_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def keep_programs() -> Path | None:
    """Switch JAX's persistent compilation cache on, in the user's cache folder; returns the folder in there.

    For whoever owns the process: it changes JAX's settings for all of it. The command lines call it, and a notebook
    may; `find_tickets` does not. Where the user has decided, by JAX_COMPILATION_CACHE_DIR,
    JAX_ENABLE_COMPILATION_CACHE=0 or the same in `jax.config`, nothing changes. A folder that cannot be written is a
    warning, never an error.
    """
    import jax  # here, since --help does without

    if jax.config.jax_compilation_cache_dir is not None or not jax.config.jax_enable_compilation_cache:
        return None
    folder = _root() / f"{jax.__version__}-{jax.lib.__version__}-{_machine()}"  # JAX's own key has the device
    try:
        if not folder.is_absolute():
            raise FileNotFoundError("there is no home folder")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # who can write here can have code run
        with tempfile.TemporaryFile(dir=folder):
            pass  # raises what JAX would meet when it writes
        if jax.config.jax_compilation_cache_max_size == -1:  # else JAX bounds it
            _make_room(folder.parent, MAX_BYTES)
    except OSError as error:
        warnings.warn(f"compiled programs are not kept: {error}.", stacklevel=2)
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if _MIN_SECONDS.upper() not in os.environ:
        jax.config.update(_MIN_SECONDS, 0.0)  # without the small ones, starting takes half as long again
    return folder


def heed(warning: str) -> str:
    """A warning as it is to be told; "" where it needs no telling.

    JAX warns of every kept program that it cannot read or write, and leaves damaged ones where they are. A damaged one
    is removed, with all that have its program's name (JAX does not say which it was), to be written anew, and since it
    was compiled instead, nothing is told; what cannot be written is told once, and no more is written.
    """
    found = _COMPLAINT.match(warning)
    if found is None:
        return warning
    import jax

    folder = Path(jax.config.jax_compilation_cache_dir or "")
    if folder.parent != _root():
        return warning  # the user's own folder
    doing, program, error = found.groups()
    for entry in folder.glob("*-cache"):
        if entry.name.startswith(f"{program}-"):
            with contextlib.suppress(OSError):
                entry.unlink()
    if doing == "reading":
        return ""
    jax.config.update(_MIN_SECONDS, math.inf)
    return f"compiled programs are no longer kept: {error}"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _root() -> Path:
    """Folder of all kept programs: $XDG_CACHE_HOME/lthjax/programs, or ~/.cache/lthjax/programs."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    base = given if os.path.isabs(given) else os.path.expanduser("~/.cache")  # XDG: a relative one is no setting
    return Path(base, "lthjax", "programs")


def _machine() -> str:
    """A mark of the CPU and of the cores to use: homes are shared by machines that differ.

    JAX's own key holds versions, device, compiler options and flags, but not for how many cores XLA cut a CPU program,
    and of the CPU what this jaxlib's topology tells (`jax/_src/cache_key.py`).
    """
    facts = [platform.system(), platform.machine(), platform.processor(), str(cores())]
    facts += [os.environ.get(name, "") for name in ("PJRT_NPROC", "NPROC")]  # XLA counts cores by these, if set
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        lines = file.read().partition("\n\n")[0].splitlines()  # of the first core
        kinds = ("model name", "flags", "Features", "CPU implementer", "CPU architecture", "CPU variant", "CPU part")
        facts += [line for line in lines if line.startswith(kinds)]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _make_room(root: Path, max_bytes: int) -> None:
    """Remove what was not used for longest until the rest fits; other processes may do the same at once.

    JAX's own bound (`jax_compilation_cache_max_size`) wants the filelock package, and takes a lock at every read and
    looks at every entry at every write.
    """
    entries = []
    for folder, _, names in os.walk(root):
        for name in names:
            place = os.path.join(folder, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(place)
                entries.append((max(status.st_atime, status.st_mtime), status.st_size, place))
    total = sum(size for _, size, _ in entries)
    for _, size, place in sorted(entries):
        if total <= max_bytes:
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(place)
        total -= size
