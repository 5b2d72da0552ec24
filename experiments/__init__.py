"""Experiments: one module a question, each run as `python -m experiments.NAME`."""

import sys
from pathlib import Path

if sys.argv[:1] == ["-m"]:  # `python -m` imports this file first, then what takes seconds

    def _show(kind, error, traceback) -> None:
        """Ctrl-C before the command line is read (`experiments.cli`) needs no traceback."""
        if issubclass(kind, KeyboardInterrupt):
            print("stopped.", file=sys.stderr)
        else:
            sys.__excepthook__(kind, error, traceback)

    sys.excepthook = _show

    def _refuse_helpers() -> None:
        """`python -m` of a module that only others use would print nothing."""
        name = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""
        file = Path(__file__).parent.joinpath(*name.split(".")[1:]).with_suffix(".py")
        if file.is_file() and '__name__ == "__main__"' not in file.read_text(encoding="utf-8"):
            what = "is no command, but a part of others; commands are listed in README.md, Where things are"
            print(f"error: {name} {what}.", file=sys.stderr)
            sys.exit(2)

    _refuse_helpers()
