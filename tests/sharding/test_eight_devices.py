"""The tests of `eight/` want eight devices, which a process has from its start: one of its own goes through them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "eight"


@pytest.mark.slow
def test_on_eight_devices():
    """`JAX_NUM_CPU_DEVICES=8 pytest tests/sharding/eight` by hand."""
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", FOLDER],
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        | {"JAX_NUM_CPU_DEVICES": "8"},
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert process.returncode == 0, process.stdout[-6000:] + process.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", process.stdout)[1]) > 40
    assert "skipped" not in process.stdout
