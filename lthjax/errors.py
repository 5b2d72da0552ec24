"""The errors of lthjax: each carries one line that says what was wanted, what came, and where.

Command lines print that line and end with exit code 2; from Python they are ordinary exceptions.
"""

import difflib


class LthjaxError(Exception):
    """Base of every error that lthjax raises on purpose."""


class DataError(LthjaxError, ValueError):
    """A file or a table of interactions that cannot be read as asked."""


class SettingsError(LthjaxError, ValueError):
    """A setting outside its range, or one that contradicts another."""


class TrainingError(LthjaxError, ArithmeticError):
    """Training that left the finite numbers."""


class ForkError(LthjaxError, RuntimeError):
    """A process in which JAX would hang."""


class CheckpointError(LthjaxError, OSError):
    """A ticket or a run folder that cannot be read or written."""


def nearest(word, words) -> str:
    """A hint for an error, empty where no word is close."""
    close = difflib.get_close_matches(str(word), words, n=1, cutoff=0.5)
    return f" (did you mean {close[0]}?)" if close else ""
