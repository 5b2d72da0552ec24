"""Files are whole or not there; nothing but a file is replaced; and any JSON is read or refused in one line."""

import os
import stat

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


@pytest.fixture
def in_the_way(tmp_path):
    """Makes something that is no regular file: kind -> its path, in a folder of its own."""

    def make(kind, name="table.csv"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(exist_ok=True)
        if kind == "a folder":
            path.mkdir()
        elif kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a link":
            (tmp_path / "target").write_text("of somebody else")
            path.symlink_to(tmp_path / "target")
        return path

    return make


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link"])
def test_nothing_but_a_file_is_replaced(kind, in_the_way, tmp_path):
    path = in_the_way(kind)
    before = os.lstat(path)
    for write in (files.check_writable, lambda path: files.write_text(path, "text"), files.open_lock):
        with pytest.raises(CheckpointError, match=rf"cannot write .*table\.csv is {kind}; wanted a file or nothing"):
            write(path)
    assert os.path.samestat(os.lstat(path), before)
    assert [entry.name for entry in path.parent.iterdir()] == ["table.csv"]
    if kind == "a link":
        assert (tmp_path / "target").read_text() == "of somebody else"


def test_a_device_stays():
    with pytest.raises(CheckpointError, match="null is a device"):
        files.check_writable("/dev/null")
    with pytest.raises(CheckpointError, match="null is a device"), files.aside("/dev/null"):
        pass
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_link_in_place_of_the_partial_file_is_not_followed(in_the_way, tmp_path):
    partial = in_the_way("a link", ".table.csv.partial")
    files.check_writable(partial.with_name("table.csv"))
    files.write_text(partial.with_name("table.csv"), "text")
    assert [(entry.name, entry.read_text()) for entry in partial.parent.iterdir()] == [("table.csv", "text")]
    assert (tmp_path / "target").read_text() == "of somebody else"
    other = in_the_way("a pipe", ".other.partial")
    for write in (files.check_writable, lambda path: files.write_text(path, "text")):
        with pytest.raises(CheckpointError, match=r"\.other\.partial is a pipe"):
            write(other.with_name("other"))


def test_a_lock_file_keeps_what_is_in_it(tmp_path):
    for _ in range(2):  # made, then found
        with files.open_lock(tmp_path / ".lock") as lock:
            lock.write(b"kept")
    files.open_lock(tmp_path / ".lock").close()
    assert (tmp_path / ".lock").read_bytes() == b"kept"
    with pytest.raises(CheckpointError, match=r"cannot write .*nowhere"):
        files.open_lock(tmp_path / "nowhere" / ".lock")


def test_json_is_names_and_values(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"name": ["ü", 1, 2.5, null]}', encoding="utf-8")
    assert files.read_json(path) == {"name": ["ü", 1, 2.5, None]}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b"\0" * 100, "Expecting value"),
        (b'{"name": ', "Expecting value"),
        (b'{"name": "\xe5"}', "utf-8"),
        ('{"name": 1}'.encode("utf-16"), "utf-8"),
        (b"[1, 2]", "wanted names and values"),
        (b"3", "wanted names and values"),
        (b"null", "wanted names and values"),
        (b'{"name": ' + b"[" * 100 + b"]" * 100 + b"}", "nested"),
        (b"[" * 100_000, "recursion"),
        (b'{"name": ' * 100_000, "recursion"),
        (b'{"name": ' + b"9" * 5000 + b"}", "limit"),
        (b'{"name": "' + b"x" * 2**20 + b'"}', "at most 1,048,576 bytes"),
    ],
)
def test_other_json_is_one_line_that_names_the_file(content, why, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"config\.json is missing or damaged \(.*{why}.*\)\.$"):
        files.read_json(path)


def test_json_that_is_no_file_is_not_waited_for(in_the_way, tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        files.read_json(tmp_path / "nowhere.json")
    for kind in ("a pipe", "a folder"):
        with pytest.raises(CheckpointError, match="wanted a file"):
            files.read_json(in_the_way(kind, f"{kind}.json"))
