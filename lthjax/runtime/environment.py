"""Where a result comes from: versions, device, commit, command; and what JAX cannot do there."""

import importlib.metadata
import os
import platform
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

_PACKAGES = ("lthjax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "orbax-checkpoint")


def environment() -> dict[str, Any]:
    """Versions, device, commit and command, as config.json holds them."""
    import jax  # not at the top: serving needs `version`, and no JAX

    devices = jax.devices()
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES},
        "device": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "git_commit": git_commit(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def version(package: str) -> str | None:
    """Version of an installed package; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """Commit of lthjax's own checkout, with "+changes" where files differ from it; None outside a checkout."""
    source = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            process = subprocess.run(["git", "-C", source, *arguments], capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return process.stdout.strip() if process.returncode == 0 else None

    if git("ls-files", "--error-unmatch", __file__) is None:
        return None  # no git, or lthjax is installed inside another project's checkout
    commit = git("rev-parse", "HEAD")
    return commit and commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")


def failure_of_jax(error: Exception) -> str | None:
    """What to say of an error that JAX owes to its machine or settings, not to a fault in a program; None for others.

    No device of the wanted kind, no memory left on it, a setting that JAX does not know, types that may not mix.
    """
    kind = type(error)
    if "Gloo" in str(error) or "Connection closed by peer" in str(error):
        return "another process of the run has ended; the same command, in all processes, goes on from what was saved."
    if kind.__module__.startswith("jax") and kind.__name__ in ("JaxRuntimeError", "TypePromotionError"):
        return f"JAX: {error}"
    modules = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]
    if modules and modules[-1] in ("jax._src.xla_bridge", "jax._src.config"):
        asked = {name: value for name, value in os.environ.items() if name.startswith("JAX_")}
        settings = ", ".join(f"{name}={value}" for name, value in sorted(asked.items())) or "no JAX_ variable is set"
        return f"JAX cannot start: {str(error) or 'no such device'} ({settings})"
    return None
