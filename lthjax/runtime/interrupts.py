"""Ctrl-C, held back while work that must not be cut in two is under way."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Within this block a Ctrl-C is noted; the function that it gives raises KeyboardInterrupt where that does no harm.

    An exception at any odd moment would lose work: a training dispatch gives its input buffers away before its result
    is assigned, a checkpoint is written by several threads. When the block ends, an interrupt that is still waiting is
    raised. A second Ctrl-C is raised at once. Outside the main thread, where Python delivers no signals, nothing is
    held back.
    """
    came: list[int] = []

    def raise_if_came() -> None:
        if came:
            raise KeyboardInterrupt

    def note(number, frame):
        raise_if_came()
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield raise_if_came
        return
    previous = signal.signal(signal.SIGINT, note)
    try:
        yield raise_if_came
    finally:
        signal.signal(signal.SIGINT, previous)
    raise_if_came()
