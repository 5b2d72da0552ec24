"""The errors of lthjax: each carries one line that says what was wanted, what came, and where.

Command lines print that line and end with exit code 2; from Python they are ordinary exceptions.
"""


class LthjaxError(Exception):
    """Base of every error that lthjax raises on purpose."""


class DataError(LthjaxError, ValueError):
    """A file or a table of interactions that cannot be read as asked."""


class SettingsError(LthjaxError, ValueError):
    """A setting outside its range, or one that contradicts another."""


class TrainingError(LthjaxError, ArithmeticError):
    """Training that left the finite numbers."""


class CheckpointError(LthjaxError, OSError):
    """A ticket or a run folder that cannot be read or written."""
