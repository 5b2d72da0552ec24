"""Checkpoints exist whole or not at all, and say so when they are not what was written."""

import json
import shutil

import jax
import numpy as np
import pytest

from lthjax.embeddings import Embeddings
from lthjax.errors import CheckpointError
from lthjax.runtime import checkpoint

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
