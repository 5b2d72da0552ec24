"""However a command ends, it says so in one line, and its exit code tells how."""

import dataclasses
import signal
import warnings

import jax
import jax.numpy as jnp
import pytest

from experiments import cli
from lthjax.errors import SettingsError
from lthjax.settings import Settings


@dataclasses.dataclass
class Config:
    """Of a command that leaves no folder."""


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command: what it does, its config -> (exit code, standard error)."""
    monkeypatch.setattr("sys.argv", ["command"])
    monkeypatch.setattr("warnings.showwarning", warnings.showwarning)  # put back when the test is over
    before = {number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(action, config=Config):
        with pytest.raises(SystemExit) as end:
            cli.run(lambda config: action(), config, "")
        return end.value.code, capsys.readouterr().err

    yield run
    for number, handler in before.items():  # a test runner in the background may ignore them
        signal.signal(number, handler)


def raising(error):
    """An action that raises."""

    def action():
        raise error

    return action


def test_done(command):
    assert command(lambda: print("±")) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_as_ctrl_c_does(number, command):
    assert command(lambda: signal.raise_signal(number)) == (128 + number, "stopped.\n")
    assert command(raising(KeyboardInterrupt), Settings) == (130, "stopped; the same command goes on from here.\n")
    assert signal.getsignal(number) is signal.SIG_DFL


def test_where_nobody_reads_nothing_is_said(command):
    assert command(raising(BrokenPipeError(32, "Broken pipe"))) == (141, "")


@pytest.mark.parametrize("error", [SettingsError("--dim: wanted\n  1"), OSError("--dim: wanted 1"), MemoryError()])
def test_what_was_to_be_expected_is_one_line(error, command):
    code, said = command(raising(error))
    assert code == 2
    assert said in ("error: --dim: wanted 1\n", "error: MemoryError\n")


def test_what_jax_cannot_do_here_is_one_line(command):
    def mix():
        with jax.numpy_dtype_promotion("strict"):
            jnp.ones(3, jnp.int32) + jnp.ones(3, jnp.float32)

    code, said = command(mix)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("error: JAX: Input dtypes")


def test_a_fault_of_the_program_keeps_its_traceback(command):
    with pytest.raises(ZeroDivisionError):
        command(lambda: 1 / 0)
