"""Ctrl-C, delayed while work that must not be cut in two is under way."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Delay a Ctrl-C within this block; yields a function to call where it may be raised.

    An exception at an arbitrary moment would lose work: a training dispatch donates its input buffers before its result
    is assigned, and a checkpoint is written by several threads. Outside the main thread, where Python delivers no
    signals, nothing is delayed.

    Raises:
      KeyboardInterrupt: where that function is called after a Ctrl-C, at the end of the block, and at once after a
        second Ctrl-C.
    """
    interrupts: list[int] = []

    def raise_if_interrupted() -> None:
        if interrupts:
            raise KeyboardInterrupt

    def handle(number, frame):
        raise_if_interrupted()
        interrupts.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield raise_if_interrupted
        return
    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield raise_if_interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
    raise_if_interrupted()
