"""Checkpoints exist whole or not at all, and say so when they are not what was written."""

import gc
import json
import os
import resource
import shutil
import sys
import threading

import jax
import numpy as np
import pytest

from lthjax.embeddings import Embeddings
from lthjax.errors import CheckpointError
from lthjax.runtime import array_files, checkpoint

ARRAYS = {
    "mask/user": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "values": np.linspace(-1, 1, 7, dtype=np.float32),
    "step": np.asarray(3, np.int32),
    "half": np.asarray([True, False]),
    "empty": np.zeros((0, 2), np.float32),
}


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(tmp_path / "here", ARRAYS, {"level": 3, "names": ["a", "b"]})
    return tmp_path / "here"


def test_round_trip_keeps_every_bit_shape_and_dtype(saved):
    arrays, facts = checkpoint.load(saved)
    assert facts == {"level": 3, "names": ["a", "b"]}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_nothing_but_the_checkpoint_is_left(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["here"]


def test_what_is_there_is_not_written_over(saved):
    with pytest.raises(CheckpointError, match="cannot write"):
        checkpoint.save(saved, ARRAYS, {})
    assert checkpoint.load(saved)[1]["level"] == 3


def test_remains_of_a_killed_save_do_not_matter(tmp_path):
    remains = tmp_path / ".here.partial"
    remains.mkdir()
    (remains / "facts.json").write_text("half")
    checkpoint.save(tmp_path / "here", ARRAYS, {})
    assert checkpoint.load(tmp_path / "here")[0].keys() == ARRAYS.keys()


def test_missing_truncated_and_altered_checkpoints_are_named(saved):
    with pytest.raises(CheckpointError, match="there is none"):
        checkpoint.load(saved.parent / "elsewhere")
    largest = max((f for f in (saved / "arrays").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    whole = largest.read_bytes()
    for damage in (b"", whole[: len(whole) // 2], bytes(byte ^ 0xFF for byte in whole)):
        largest.write_bytes(damage)
        with pytest.raises(CheckpointError, match="here: the arrays are"):
            checkpoint.load(saved)
    largest.write_bytes(whole)
    record = json.loads((saved / "facts.json").read_text())
    (saved / "facts.json").write_text(json.dumps(record | {"digest": "0" * 64}))
    with pytest.raises(CheckpointError, match="digest differs"):
        checkpoint.load(saved)
    (saved / "facts.json").write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(CheckpointError, match="newer lthjax"):
        checkpoint.load(saved)
    (saved / "facts.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"facts\.json is missing or damaged"):
        checkpoint.load(saved)
    shutil.rmtree(saved / "arrays")
    (saved / "facts.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match="arrays are damaged"):
        checkpoint.load(saved)


def test_an_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write") as caught:
        checkpoint.save(tmp_path / "file" / "here", ARRAYS, {})
    assert "\n" not in str(caught.value)


ODD_NAMES = ["x[1]", "a*b", "q?", "back\\slash", "[team]/run", "50%20", "new\nline", "ü と", "gs:x", b"\xff"]


@pytest.mark.parametrize("name", [os.fsdecode(name) for name in ODD_NAMES])
def test_any_name_keeps_all(name, tmp_path):
    path = tmp_path / name / "level_00"
    checkpoint.save(path, ARRAYS, {"level": 0})
    arrays, facts = checkpoint.load(path)
    assert facts == {"level": 0}
    assert arrays.keys() == ARRAYS.keys()
    assert all(np.array_equal(arrays[name], array) for name, array in ARRAYS.items())
    assert [entry.name for entry in path.parent.iterdir()] == ["level_00"]
    assert {entry.name for entry in tmp_path.iterdir()} == {name.split("/")[0]}


def test_patterns_in_a_name_reach_no_other_folder(tmp_path):
    """`a*b` is a pattern that `axb` matches."""
    checkpoint.save(tmp_path / "axb", {"values": np.ones(3)}, {})
    checkpoint.save(tmp_path / "a*b", ARRAYS, {})
    assert checkpoint.load(tmp_path / "a*b")[0].keys() == ARRAYS.keys()
    assert checkpoint.load(tmp_path / "axb")[0].keys() == {"values"}


def test_what_cannot_be_read_back_does_not_count(tmp_path, monkeypatch):
    def write_less(folder, arrays):
        real(folder, {name: array[:1] if name == "values" else array for name, array in arrays.items()})

    real = array_files.write
    monkeypatch.setattr(array_files, "write", write_less)
    with pytest.raises(CheckpointError, match=r"cannot write .*here: .*digest differs"):
        checkpoint.save(tmp_path / "here", ARRAYS, {})
    monkeypatch.setattr(array_files, "write", lambda folder, arrays: folder.mkdir())
    with pytest.raises(CheckpointError, match=r"cannot write .*here: .*arrays are damaged"):
        checkpoint.save(tmp_path / "here", ARRAYS, {})
    assert list(tmp_path.iterdir()) == []


def test_what_is_in_the_way_can_be_seen_before(tmp_path):
    path, partial = tmp_path / "here", tmp_path / ".here.partial"
    checkpoint.check_free(path)
    for remains in (tmp_path / "nowhere", tmp_path):  # links of somebody, dangling or not
        partial.symlink_to(remains)
        checkpoint.check_free(path)
        checkpoint.save(path, ARRAYS, {})
        assert [entry.name for entry in tmp_path.iterdir()] == ["here"]
        shutil.rmtree(path)
    os.mkfifo(partial)
    with pytest.raises(CheckpointError, match=r"cannot write .*\.here\.partial is a pipe"):
        checkpoint.check_free(path)
    partial.unlink()
    path.symlink_to(tmp_path / "nowhere")
    for save in (checkpoint.check_free, lambda path: checkpoint.save(path, ARRAYS, {})):
        with pytest.raises(CheckpointError, match=r"cannot write .*here is a link; wanted nothing"):
            save(path)


@pytest.mark.filterwarnings("default")  # pytest makes a warning of what a thread leaves
def test_failing_threads_print_nothing(tmp_path, capfd, caplog, monkeypatch, request):
    """Orbax's threads each tell of the same error, some of them when it has long been raised."""
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: told.append(unraisable.exc_value))
    monkeypatch.setattr(threading, "excepthook", lambda arguments: told.append(arguments.exc_value))
    array_files._orbax.cache_clear()  # its hook goes before the one of this test
    request.addfinalizer(array_files._orbax.cache_clear)
    many = {f"array/{number}": np.arange(1000.0) + number for number in range(30)}
    checkpoint.save(tmp_path / "many", many, {})
    for file in (tmp_path / "many" / "arrays").rglob("d/*"):
        file.unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(CheckpointError, match="cannot write") as caught:
            checkpoint.save(tmp_path / "more", many, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    for _ in range(5):
        with pytest.raises(CheckpointError, match="arrays are damaged"):
            checkpoint.load(tmp_path / "many")
    gc.collect()  # asyncio tells of a failed task when that goes
    threading.Event().wait(0.2)
    assert told == caplog.records == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "change",
    [
        {"format": True},
        {"format": 1.0},
        {"format": "1"},
        {"format": None},
        {"format": -1},
        {"facts": [1]},
        {"facts": None},
        {"empty": []},
        {"empty": {"empty": ["<f4", [2**40, 2**20]]}},
        {"empty": {"empty": ["<f4", [0, 2**70]]}},
        {"empty": {"empty": ["no type", [0]]}},
        {"empty": {"empty": 3}},
        {"empty": {"empty": ["<f4", [0.0]]}},
        {"empty": {"\ud800": ["<f4", [0]]}},
        {"digest": 3},
    ],
    ids=str,
)
def test_facts_of_any_shape_are_one_line(change, saved):
    record = json.loads((saved / "facts.json").read_text())
    (saved / "facts.json").write_text(json.dumps(record | change))
    with pytest.raises(CheckpointError, match="here") as caught:
        checkpoint.load(saved)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["format", "digest", "empty", "facts"])
def test_missing_facts_are_one_line(name, saved):
    record = json.loads((saved / "facts.json").read_text())
    del record[name]
    (saved / "facts.json").write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=r"facts\.json is missing or damaged"):
        checkpoint.load(saved)


def test_leaves_come_back_into_their_tree_and_a_wrong_one_is_named():
    embeddings = Embeddings(jax.numpy.ones((2, 3)), jax.numpy.zeros((4, 3)))
    tree = {"train": embeddings, "epoch": np.asarray(5), "key": jax.random.key(7)}
    arrays = checkpoint.named_leaves(tree)
    assert set(arrays) == {"train/user", "train/item", "epoch", "key"}
    again = checkpoint.restore_leaves(tree, arrays)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    np.testing.assert_array_equal(again["train"].user, tree["train"].user)
    assert isinstance(again["epoch"], np.ndarray)
    assert again["key"] == tree["key"]  # some optimizers hold a typed key
    with pytest.raises(CheckpointError, match=r"train/user: wanted float32\[2, 3\]; got float64\[2, 3\]"):
        checkpoint.restore_leaves(tree, arrays | {"train/user": np.ones((2, 3))})
    with pytest.raises(CheckpointError, match=r"train/item: .* got nothing"):
        checkpoint.restore_leaves(tree, {name: a for name, a in arrays.items() if name != "train/item"})
