"""A process that passes on the lines that another prints, but for those that are not for people.

    python line_filter.py output | nothing | errors | "errors only"

For `processes`. It imports nothing of the package, and ends when whoever writes to it has ended.
"""

import re
import sys

# What JAX's C++ libraries print: connections, warnings, and, as they end a process, why, with a stack.
_NOISE = re.compile(
    rb"\[Gloo\]|[IWEF]\d{4} \d\d:\d\d:\d\d|\*\*\* |    @ |RPC: /|PC: @|\[external/|WARNING: All log messages|"
    rb"Additional GRPC error|:UNKNOWN:"
)
_FATAL = re.compile(rb"F\d{4} \d\d:\d\d:\d\d\S* +\d+ \S+\] (.*)")
# From here on a process is doomed, and what it prints, of several lines each, is of that.
_ENDS = re.compile(rb"[EF]\d{4} .*(coordination_service|client\.h)")
_OTHERS_SAY = (b"note: ", b"stopped")  # what every process says, and one is enough


def filtered(lines, mode: str):
    """The lines that are for people.

    Args:
      lines: of bytes.
      mode: "output" and "nothing" for standard output; "errors" and "errors only" for standard error, the latter
        without notes.
    """
    fatal, is_told, is_ending = None, False, False
    for line in lines:
        if match := _FATAL.match(line):
            fatal = fatal or match[1]
        is_ending = is_ending or bool(_ENDS.match(line))
        if is_ending and not line.startswith(b"error: "):
            continue
        if mode == "nothing" or _NOISE.match(line) or (mode == "errors only" and _is_note(line)):
            continue
        is_told = is_told or line.startswith(b"error: ")
        yield line
    if fatal is not None and not is_told:
        yield b"error: " + _why(fatal) + b"\n"


def _is_note(line: bytes) -> bool:
    return line.startswith(_OTHERS_SAY)


def _why(fatal: bytes) -> bytes:
    """What to say of the line with which JAX ends a process."""
    if b"RegisterTask" in fatal or b"DEADLINE_EXCEEDED" in fatal:
        return b"--num-processes: not all processes came in time (--timeout); wanted each --process-id once."
    return b"another process of the run has ended; the same command, in all processes, goes on from what was saved."


if __name__ == "__main__":
    for line in filtered(sys.stdin.buffer, sys.argv[1]):
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
