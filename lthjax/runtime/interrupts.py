"""Ctrl-C, SIGTERM and SIGHUP: alike in ending a command, and delayed while work that must not be cut is under way."""

import contextlib
import functools
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from lthjax.runtime import streams

_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]  # batch systems, terminals
_noted: list[int] = []  # signals that came and have ended nothing yet
_agreed: list[Callable[[bool], bool]] = []  # of several processes: whether any of them was asked to end


def agree_by(any_of: Callable[[bool], bool]) -> None:
    """Have several processes end together: each asks, where an interrupt may be raised, whether one came to any.

    Args:
      any_of: whether a flag is set in any process; all call it at the same places.
    """
    _agreed[:] = [any_of]


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Delay a Ctrl-C, SIGTERM or SIGHUP within this block; yields a function to call where it may be raised.

    An exception at an arbitrary moment would lose work: a training dispatch donates its input buffers before its result
    is assigned, and a checkpoint is written by several threads. Blocks may stand in one another. Outside the main
    thread, where Python delivers no signals, nothing is delayed.

    Raises:
      KeyboardInterrupt: where that function is called after a signal, at the end of the block, and at once at a Ctrl-C
        that follows another signal (SIGTERM and SIGHUP do not cut work, as some senders send them twice).
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    is_inner = signal.getsignal(signal.SIGINT) is _note
    try:
        with _handled([*_ENDING, signal.SIGINT], _note):
            yield _raise_if_noted
        _raise_if_noted()
    finally:
        if not is_inner:
            _noted.clear()


@contextlib.contextmanager
def as_keyboard_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this block as Ctrl-C does: for command lines, whose `exit_code` then tells them apart.

    Raises:
      KeyboardInterrupt: at once, outside of `held_back`; again in the next `held_back` where a callback from C code
        swallowed it (JAX has some, called by the garbage collector).
    """

    def interrupt(number: int, frame: Any) -> None:
        _noted.append(number)
        raise KeyboardInterrupt(signal.Signals(number))

    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    _hide_swallowed()
    try:
        with _handled([*_ENDING, signal.SIGINT] if is_default else _ENDING, interrupt):
            yield
    finally:
        _noted.clear()


@functools.cache
def _hide_swallowed() -> None:
    """Print no traceback of an interrupt that a callback swallowed: it is raised again."""
    streams.hide_unraisable(lambda unraisable: unraisable.exc_type is KeyboardInterrupt)


def exit_code(interrupt: KeyboardInterrupt) -> int:
    """128 + the signal's number, as shells have it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    number = next((given for given in interrupt.args if isinstance(given, signal.Signals)), signal.SIGINT)
    return 128 + number


def _note(number: int, frame: Any) -> None:
    if number == signal.SIGINT and not _agreed:  # alone, one of several processes could save nothing
        _raise_if_noted()
    _noted.append(number)


def _raise_if_noted() -> None:
    if _agreed[0](bool(_noted)) if _agreed else _noted:
        number = _noted[0] if _noted else signal.SIGINT
        _noted.clear()
        raise KeyboardInterrupt(signal.Signals(number))


@contextlib.contextmanager
def _handled(numbers: list[int], handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Handle signals within this block. SIGHUP and SIGTERM stay ignored where they are, as by nohup."""
    taken = [n for n in numbers if n == signal.SIGINT or signal.getsignal(n) not in (signal.SIG_IGN, None)]
    previous = {number: signal.signal(number, handle) for number in taken}
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, previous[number])
