"""Ctrl-C, SIGTERM and SIGHUP wait for the end of the block, and end a command alike."""

import gc
import os
import signal
import subprocess
import sys
import threading

import pytest

from lthjax.runtime import interrupts
from lthjax.runtime.interrupts import held_back

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """What a test runner in the background ignores, is heard; and handlers are put back."""
    defaults = {number: signal.SIG_DFL for number in SIGNALS} | {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_waits(number):
    done = []
    with pytest.raises(KeyboardInterrupt) as caught, held_back():  # noqa: PT012
        signal.raise_signal(number)
        done.append("the rest of the block")
    assert done
    assert interrupts.exit_code(caught.value) == 128 + number


def test_nothing_happens_without_one():
    before = signal.getsignal(signal.SIGINT)
    with held_back():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_the_handler_comes_back_after_an_error():
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


def test_sigterm_and_sighup_may_come_twice():
    """`timeout` sends to the process and to its group; a shell passes on what the terminal sent too."""
    done = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        with pytest.raises(KeyboardInterrupt), held_back():  # noqa: PT012
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append(number)
    assert len(done) == 2


def test_what_came_in_an_outer_block_is_raised_in_the_inner():
    """A run holds back from the start of a level; its training asks much later, and long before the end."""
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        with held_back() as stop_if_asked:
            done.append("begun")
            stop_if_asked()
            done.append("never")
    assert done == ["begun"]
    with pytest.raises(ZeroDivisionError), held_back():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        _ = 1 / 0
    with held_back():
        done.append("nothing is left of it")
    assert len(done) == 2


def test_an_ignored_hangup_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with interrupts.as_keyboard_interrupt(), held_back():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_is_ended_and_the_number_is_known(number):
    with pytest.raises(KeyboardInterrupt) as caught, interrupts.as_keyboard_interrupt():
        signal.raise_signal(number)
    assert interrupts.exit_code(caught.value) == 128 + number
    assert interrupts.exit_code(KeyboardInterrupt()) == interrupts.exit_code(KeyboardInterrupt("?")) == 130
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.filterwarnings("error")
def test_an_interrupt_that_a_callback_swallowed_is_raised_again():
    def on_collection(phase, info):
        if phase == "start":
            signal.raise_signal(signal.SIGTERM)

    heard = []
    with pytest.raises(KeyboardInterrupt) as caught, interrupts.as_keyboard_interrupt():  # noqa: PT012
        gc.callbacks.append(on_collection)
        gc.collect()
        gc.callbacks.remove(on_collection)
        heard.append("swallowed")
        with held_back() as stop_if_asked:
            stop_if_asked()
            heard.append("never")
    assert heard == ["swallowed"]
    assert interrupts.exit_code(caught.value) == 143


@pytest.mark.parametrize("argument", ["-m", "something"])
def test_ctrl_c_while_a_command_imports_is_one_line(argument):
    """`python -m` has "-m" as its name while it imports the package; where others import it, nothing changes."""
    code = f"import sys; sys.argv[0] = {argument!r}; import experiments; raise KeyboardInterrupt"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert process.returncode == -signal.SIGINT
    if argument == "-m":
        assert process.stderr == "stopped.\n"
    else:
        assert "Traceback" in process.stderr
