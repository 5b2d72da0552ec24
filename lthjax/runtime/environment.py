"""Where a result comes from: versions, device, commit, command."""

import importlib.metadata
import platform
import subprocess
import sys
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
