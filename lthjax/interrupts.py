"""Ctrl-C, held back while a step that must not be cut in two is under way."""

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Within this block a Ctrl-C is noted; KeyboardInterrupt is raised when the block has ended.

    A training dispatch gives its input buffers away: an exception between the call and the assignment of its result
    would leave neither the old weights nor the new ones. Outside the main thread, where Python delivers no signals,
    this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if came:
        raise KeyboardInterrupt
