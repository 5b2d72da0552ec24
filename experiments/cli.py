"""Command lines of the experiments: flags from a dataclass, and every failure as one line and exit code 2."""

import contextlib
import dataclasses
import io
import itertools
import logging
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import tyro

from lthjax import presets
from lthjax.errors import LthjaxError
from lthjax.runtime import compilation, environment, interrupts, streams
from lthjax.settings import Settings

Config = TypeVar("Config")


def run(main: Callable[[Config], Any], config_type: type[Config], description: str) -> None:
    """Parse the command line and run `main`; never returns.

    Exit codes: 0 done; 2 bad input, or a machine that would not play along (disk full, no permission, no such device);
    130 Ctrl-C, 143 SIGTERM, 129 SIGHUP; 141 where nobody reads the output any more. Runs (a config that is Settings)
    have everything saved by then, and start from the preset that the flags name. Compiled programs are kept for the
    next start (`lthjax.runtime.compilation`).

    Args:
      main: what the command does.
      config_type: a dataclass whose fields are the flags, their docstrings the help.
      description: what --help begins with.
    """
    warnings.showwarning = _show_warning
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # Orbax logs what it raises; the error is told once, by us
    streams.settle()
    try:
        with interrupts.as_keyboard_interrupt():
            config = _parse(config_type, description)
            compilation.keep_programs()
            main(config)
            sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        goes_on = issubclass(config_type, Settings) or hasattr(config_type, "out")  # it leaves a folder
        streams.tell("stopped; the same command goes on from here." if goes_on else "stopped.")
        sys.exit(interrupts.exit_code(interrupt))
    except BrokenPipeError:
        sys.exit(streams.BROKEN_PIPE)
    except (LthjaxError, OSError, MemoryError) as error:
        _fail(_one_line(error))
    except Exception as error:
        if (failure := environment.failure_of_jax(error)) is None:
            raise
        _fail(failure)
    sys.exit(0)


def _fail(text: str) -> NoReturn:
    streams.tell(f"error: {' '.join(text.split())}")
    sys.exit(2)


def _parse(config_type: type[Config], description: str) -> Config:
    """The flags as a dataclass; tyro's framed message becomes one line."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            default = _default(config_type)
            config = tyro.cli(config_type, prog=_program_name(), description=description, default=default)
            if isinstance(config, Settings):
                config = dataclasses.replace(config, preset=default.preset)  # the twin for its model, where it has one
            return config
    except SystemExit as end:
        if end.code in (0, None):
            raise
        print(f"error: {_message(errors.getvalue())}; --help explains every flag.", file=sys.stderr)
        sys.exit(2)


def _program_name() -> str | None:
    """How the experiment is called: `python -m experiments.NAME`."""
    spec = sys.modules["__main__"].__spec__
    return f"python -m {spec.name}" if spec else None


def _default(config_type: type[Config]) -> Config:
    """What the flags start from: the preset that the command line names, or the defaults."""
    if not issubclass(config_type, Settings):
        return config_type()
    preset = _word("--preset") or "none"
    if model := _word("--model"):
        preset = presets.for_model(preset, model)
    return config_type(**dataclasses.asdict(presets.find(preset)))


def _word(flag: str) -> str:
    """What the command line gives for a flag, "" where it gives nothing; the last one counts."""
    value = ""
    for word, following in itertools.pairwise([*sys.argv[1:], ""]):
        if word == flag:
            value = following
        elif word.startswith(f"{flag}="):
            value = word.removeprefix(f"{flag}=")
    return value


def _message(framed: str) -> str:
    """The message in tyro's frame; the title stands in its border or, without UTF-8, above a rule of its own."""
    blocks: list[list[str]] = [[]]
    for line in framed.splitlines():
        text = line.strip("│╭╮╰╯ ")
        if set(text) <= set("─-") or line.startswith("╭"):
            blocks.append([])
        else:
            blocks[-1].append(text)
    texts = [" ".join(block) for block in blocks if block]
    message = texts[0 if framed.startswith("╭") else 1] if len(texts) > 1 else " ".join(framed.split())
    return re.sub(r"^Error parsing \w+: ", "", message).removesuffix(".")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _show_warning(message: Warning | str, *_where: Any, **_options: Any) -> None:
    if note := compilation.heed(" ".join(str(message).split())):
        streams.tell(f"note: {note}")
