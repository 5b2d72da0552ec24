"""Standard output and error that end no command: closed, of an encoding that lacks a sign, or with nobody reading."""

import atexit
import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any

BROKEN_PIPE = 141  # exit code where who read has gone, as in `| head -1`: 128 + SIGPIPE


def settle() -> None:
    """Open what the caller closed as os.devnull, show "?" for signs that the encoding lacks, and end without complaint.

    For command lines, at their start.
    """
    for number in range(3):  # or the next file that is opened would be what C code writes its messages to
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest that is free, which is this one
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    atexit.register(_flush)


def hide_unraisable(is_hidden: Callable[[Any], bool]) -> None:
    """Print no traceback, from now on, of what Python could not raise (`sys.UnraisableHookArgs`) and this holds of."""
    show = sys.unraisablehook

    def show_others(unraisable: Any) -> None:
        if not is_hidden(unraisable):
            show(unraisable)

    sys.unraisablehook = show_others


def tell(text: str) -> None:
    """Print a line on standard error, where it can be: a terminal may have been closed."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _flush() -> None:
    """Write what is left; what cannot be written goes nowhere, or Python would complain of it as it ends."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # broken pipe, full disk; closed
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
