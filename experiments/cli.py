"""Command lines of the experiments: flags from a dataclass, and every failure as one line and exit code 2."""

import contextlib
import dataclasses
import io
import itertools
import logging
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar, get_args

import tyro

from experiments import flags
from lthjax import presets
from lthjax.errors import LthjaxError, SettingsError, nearest
from lthjax.runtime import compilation, environment, interrupts, processes, streams
from lthjax.settings import Settings, flag

Config = TypeVar("Config")


def run(main: Callable[[Config], Any], config_type: type[Config], description: str, first: Sequence[str] = ()) -> None:
    """Parse the command line and run `main`; never returns.

    Exit codes: 0 done; 2 bad input, or a machine that would not play along (disk full, no permission, no such device);
    130 Ctrl-C, 143 SIGTERM, 129 SIGHUP; 141 where nobody reads the output any more. Runs (a config that is Settings)
    have everything saved by then, and start from the preset that the flags name. Compiled programs are kept for the
    next start (`lthjax.runtime.compilation`).

    Args:
      main: what the command does.
      config_type: a dataclass whose fields are the flags, their docstrings the help.
      description: what --help begins with.
      first: of settings, those that --help shows before all others.
    """
    warnings.showwarning = _show_warning
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # Orbax logs what it raises; the error is told once, by us
    streams.settle()
    try:
        with interrupts.as_keyboard_interrupt():
            config = _parse(config_type, description, first)
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
    if processes.is_several():
        processes.end(2)
    sys.exit(2)


def _parse(config_type: type[Config], description: str, first: Sequence[str] = ()) -> Config:
    """The flags as a dataclass; tyro's framed message becomes one line."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            default = _default(config_type)
            options = {"prog": _program_name(), "description": description}
            if not isinstance(default, Settings):
                return tyro.cli(config_type, default=default, **options)
            groups = flags.grouped(default, first)
            parsed = tyro.cli(type(groups), default=groups, **options)
            # Where a preset has a twin for the model, that one is meant.
            return config_type(**flags.flat(parsed) | {"preset": default.preset})
    except SystemExit as end:
        if end.code in (0, None):
            raise
        message = _said(_message(errors.getvalue()), config_type)
    except SettingsError as error:
        message = _one_line(error).removesuffix(".")
    streams.tell(f"error: {message}; --help explains every flag.")
    sys.exit(2)


def _said(message: str, config_type: type) -> str:
    """A message of tyro in the words of all others: the flag, what was wanted, what came.

    Args:
      message: of tyro.
      config_type: the dataclass whose fields are the flags.
    """
    fields = {flag(field.name): field for field in dataclasses.fields(config_type)}
    if unknown := re.match(r"Unrecognized options: .*?(--[\w-]+)", message):
        names = [name.removeprefix("--") for name in fields]
        return message + nearest(unknown[1].removeprefix("--"), names).replace("mean ", "mean --")
    if no_number := re.match(r"Error parsing (--[\w-]+): .*'(.*)'\W*$", message):
        name = no_number[1].replace("_", "-")
        wanted = "a whole number" if fields[name].type in (int, int | None) else "a number"
        return f"{name}: wanted {wanted}; got {no_number[2]!r}"
    if no_choice := re.match(r"invalid choice '(.*)' for argument '(--[\w-]+)'.* \((.*)\)$", message):
        choices = get_args(fields[no_choice[2]].type)
        if not all(isinstance(choice, str) for choice in choices):  # True, False or None: tyro's own order changes
            choices = sorted(choice.strip("' ") for choice in no_choice[3].split(","))
        hint = nearest(no_choice[1], choices)
        return f"{no_choice[2]}: wanted one of {', '.join(choices)}; got {no_choice[1]!r}{hint}"
    if nothing := re.match(r"Missing value for argument '(--[\w-]+)'", message):
        return f"{nothing[1]}: wanted a value; got none"
    return message


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
