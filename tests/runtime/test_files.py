"""Files are whole or not there."""

import pytest

from lthjax.errors import CheckpointError
from lthjax.runtime import files


def test_what_was_there_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "new" / "table.csv"
    files.write_text(path, "one\n")

    def fail_half_way():
        with files.aside(path) as partial:
            partial.write_text("half")
            assert path.read_text() == "one\n"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert [entry.name for entry in path.parent.iterdir()] == ["table.csv"]
    assert path.read_text() == "one\n"
    files.write_text(path, "two, ü\n")
    assert path.read_text(encoding="utf-8") == "two, ü\n"


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CheckpointError, match=r"cannot write .*file/below: "):
        files.write_text(tmp_path / "file" / "below", "text")
