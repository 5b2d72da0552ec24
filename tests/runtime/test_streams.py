"""Output that cannot be shown ends no command, and leaves no traceback."""

import os
import subprocess
import sys

import pytest

HEAD = "import sys; from lthjax.runtime import streams; streams.settle()\n"


def shell(code, redirections="", **variables):
    """Run code with redirections of a shell; (exit code, standard output, standard error)."""
    environment = (
        os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "CODE": HEAD + code, "PYTHONUNBUFFERED": ""} | variables
    )
    command = ["bash", "-c", f'set -o pipefail; "{sys.executable}" -c "$CODE" {redirections}']
    process = subprocess.run(command, env=environment, capture_output=True)
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize(
    "variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_signs_that_the_encoding_lacks(variables):
    assert shell("print('0.1 \\u00b1 0.2', '\\udcff')", **variables) == (0, b"0.1 ? 0.2 ?\n", b"")


@pytest.mark.parametrize("closed", ["2>&-", "2>&- <&-", "<&- 2>&- >&-"])
def test_streams_that_were_closed(closed, tmp_path):
    """What is opened next must not become descriptor 2, where C code writes its messages."""
    code = f"""
file = open({str(tmp_path / "file")!r}, "w")
assert file.fileno() > 2
print("error", file=sys.stderr); sys.stdout.write("shown"); sys.stdin.read
import os; os.write(2, b"from C")
"""
    returncode, shown, _ = shell(code, closed)
    assert returncode == 0
    assert shown == (b"" if ">&- >&-" in closed else b"shown")
    assert (tmp_path / "file").read_text() == ""


def test_nobody_reads_any_more():
    code = "try:\n    for _ in range(100000): print('line')\nexcept BrokenPipeError: sys.exit(streams.BROKEN_PIPE)"
    assert shell(code, "| head -1") == (141, b"line\n", b"")
    assert shell("print('line'); sys.exit(0)", "| true") in [(0, b"", b""), (141, b"", b"")]
    assert shell("print('line'); sys.exit(2)", "> /dev/full") == (2, b"", b"")  # Python alone would end with 120


def test_an_error_that_cannot_be_told_is_no_other_error():
    assert shell("streams.tell('told'); sys.exit(3)", "2> /dev/full") == (3, b"", b"")
    assert shell("streams.tell('told')") == (0, b"", b"told\n")
