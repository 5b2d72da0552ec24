"""Ctrl-C waits for the end of the block."""

import signal
import threading

import pytest

from lthjax.runtime.interrupts import held_back


def test_an_interrupt_waits():
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        done.append("the rest of the block")
    assert done


def test_nothing_happens_without_one():
    before = signal.getsignal(signal.SIGINT)
    with held_back():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_comes_back_after_an_error(request):
    given = signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore Ctrl-C
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, given))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError), held_back():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_in_another_thread_it_does_nothing():
    seen = []

    def work():
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_function_raises_where_it_is_called_and_a_second_interrupt_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt), held_back() as stop_if_asked:  # noqa: PT012
        stop_if_asked()
        signal.raise_signal(signal.SIGINT)
        done.append("work that must not be cut")
        stop_if_asked()
        done.append("never")
    assert done == ["work that must not be cut"]
    with pytest.raises(KeyboardInterrupt), held_back():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("never")
    assert len(done) == 1
