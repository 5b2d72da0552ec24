"""Experiments: one module a question, each run as `python -m experiments.NAME`."""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m` imports this file first, then what takes seconds

    def _show(kind, error, traceback) -> None:
        """Ctrl-C before the command line is read (`experiments.cli`) needs no traceback."""
        if issubclass(kind, KeyboardInterrupt):
            print("stopped.", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = _show
