"""Files for other libraries: read with those libraries alone, and checked against the ticket to the bit."""

import dataclasses
import itertools
import json
import os
import struct
import sys

import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file
from scipy import sparse

import lthjax
from lthjax.errors import CheckpointError, DataError, SettingsError
from lthjax.serving import export as exporting
from lthjax.serving import safetensors_file, scipy_lightgcn


def metadata_of(path):
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata()


def by_hand(path):
    """The tensors of a safetensors file with NumPy alone, from the format's own description."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__")
    kinds = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "I64": "<i8", "U8": "u1"}
    data = content[8 + length :]
    return {
        name: np.frombuffer(data[slice(*about["data_offsets"])], kinds[about["dtype"]]).reshape(about["shape"])
        for name, about in header.items()
    }


def table_of(tensors, side, dim):
    if side in tensors:
        return tensors[side]
    parts = [tensors[f"{side}.{part}"] for part in ("data", "indices", "indptr")]
    return sparse.csr_array(tuple(parts), shape=(len(parts[2]) - 1, dim)).toarray()


def names_of(tensors, side):
    if f"{side}_ids" in tensors:
        return tensors[f"{side}_ids"].tolist()
    text, offsets = tensors[f"{side}_ids.text"].tobytes(), tensors[f"{side}_ids.offsets"]
    return [text[a:b].decode() for a, b in itertools.pairwise(offsets)]


def lists_of(user, item, tensors, k):
    """The best unseen items of each user by their numbers, more popular ones first among equals."""
    scores, counts = user @ item.T, tensors["item_counts"]
    for part in ("train", "valid"):
        rows = np.repeat(np.arange(len(user)), np.diff(tensors[f"{part}.indptr"]))
        scores[rows, tensors[f"{part}.indices"]] = -np.inf
    order = [np.lexsort((np.arange(len(item)), -counts, -row)) for row in scores]
    return [[i for i in ids[:k].tolist() if row[i] > -np.inf] for ids, row in zip(order, scores, strict=True)]


@pytest.mark.parametrize("layout", ["auto", "dense", "csr"])
def test_safetensors_there_and_back(ticket_of, split, tmp_path, layout):
    ticket = ticket_of()
    path = lthjax.export(ticket, split, tmp_path / "new" / "t.safetensors", layout=layout)
    tensors = load_file(path)
    assert tensors.keys() == by_hand(path).keys()
    for name, tensor in by_hand(path).items():
        np.testing.assert_array_equal(tensor, tensors[name])
        assert tensor.dtype == tensors[name].dtype
    for side in ("user", "item"):
        np.testing.assert_array_equal(table_of(tensors, side, 5), getattr(ticket.trained, side))
        assert (side in tensors) == (layout != "csr")  # two thirds kept: dense is smaller
    assert names_of(tensors, "user") == split.user_ids.tolist()
    assert names_of(tensors, "item") == split.item_ids.tolist()
    tables = [table_of(tensors, side, 5) for side in ("user", "item")]
    lists = lists_of(*tables, tensors, 4)
    ranked = lthjax.explore(ticket, split).recommend(split.user_ids, k=4)
    for wanted, found in zip(lists, ranked.found, strict=True):
        assert split.item_ids[wanted].tolist() == found[found >= 0].tolist()
    assert os.listdir(path.parent) == ["t.safetensors"]


def test_safetensors_by_hand(ticket_of, split, tmp_path):
    """Sparse tables take their CSR parts; the header says what is what."""
    ticket = ticket_of()
    mask = np.asarray(ticket.masks.item) & (np.arange(5) == 1)
    trained = ticket.trained._replace(item=np.asarray(ticket.trained.item) * mask)
    ticket = dataclasses.replace(ticket, masks=ticket.masks._replace(item=mask), trained=trained)
    tensors = load_file(lthjax.export(ticket, split, tmp_path / "t.safetensors"))
    item = np.asarray(ticket.trained.item)
    kept = item[:, 1] != 0
    np.testing.assert_array_equal(tensors["item.data"], item[kept, 1])
    assert tensors["item.indices"].tolist() == [1] * kept.sum()
    assert tensors["item.indptr"].tolist() == [0, *np.cumsum(kept).tolist()]
    assert tensors["item.indptr"].dtype == tensors["item.indices"].dtype == np.int32
    assert tensors["user_ids.text"].tobytes().decode() == "".join(split.user_ids.tolist())
    assert tensors["user_ids.offsets"].tolist() == [0, 6, 12, 18, 24, 30, 36, 43]  # ü has two bytes
    assert tensors["item_ids"].dtype == np.int64
    assert tensors["item_counts"].tolist() == np.bincount(split.train[:, 1], minlength=11).tolist()
    assert tensors["train.indptr"].tolist() == [0, 3, 13, 13, 14, 19, 21, 25]
    told = metadata_of(tmp_path / "t.safetensors")
    assert (told["model"], told["dim"], told["level"], told["values"]) == ("mf", "5", "3", "float32")
    assert float(told["sparsity"]) == pytest.approx(ticket.sparsity)
    assert told["data_fingerprint"] == split.fingerprint
    assert told["lthjax"] == lthjax.load_compressed(lthjax.export(ticket, split, tmp_path / "t.npz")).facts["lthjax"]
    assert json.loads(told["tensors"]).keys() == tensors.keys()
    assert json.loads(told["tensors"])["item.data"] == "final item embeddings, CSR: values"
    assert json.loads(told["metrics"]) == ticket.metrics
    assert told["sha256"] == safetensors_file.digest(tensors)
    assert told["scores"] == "inner products <user, item>"
    assert "layers" not in told


def test_safetensors_of_lightgcn(ticket_of, split, tmp_path):
    ticket = ticket_of(model="lightgcn", layers=2, combine="sum")
    final = exporting.final_embeddings(ticket, split)
    tensors = load_file(lthjax.export(ticket, split, tmp_path / "final.safetensors"))
    for side in ("user", "item"):
        assert tensors[side].tobytes() == np.asarray(getattr(final, side)).tobytes()
    path = lthjax.export(ticket, split, tmp_path / "layer0.safetensors", store="layer0")
    tensors, told = load_file(path), metadata_of(path)
    assert (told["layers"], told["combine"], told["store"]) == ("2", "sum", "layer0")
    assert "LightGCN's propagation over train" in told["scores"]
    tables = [table_of(tensors, side, 5) for side in ("user", "item")]
    rows = np.repeat(np.arange(7), np.diff(tensors["train.indptr"]))
    pairs = np.stack([rows, tensors["train.indices"]], axis=1)
    user, item, _ = scipy_lightgcn.lightgcn(*tables, pairs, 2, "sum")
    np.testing.assert_allclose(user, final.user, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(item, final.item, rtol=1e-5, atol=1e-6)


def test_half_as_many_bytes_a_value(ticket_of, split, tmp_path):
    ticket = ticket_of()
    tensors = load_file(lthjax.export(ticket, split, tmp_path / "t.safetensors", values="float16", layout="dense"))
    np.testing.assert_array_equal(tensors["user"], np.asarray(ticket.trained.user).astype(np.float16))
    large = dataclasses.replace(ticket, trained=ticket.trained._replace(user=ticket.trained.user * 1e6))
    with pytest.raises(DataError, match="wanted none above 65,504"):
        lthjax.export(large, split, tmp_path / "t.safetensors", values="float16")


def test_without_seen_items(ticket_of, split, tmp_path):
    tensors = load_file(lthjax.export(ticket_of(), split, tmp_path / "t", seen=False, format="safetensors"))
    assert not [name for name in tensors if name.startswith(("train", "valid"))]
    path = lthjax.export(ticket_of(), split, tmp_path / "t.npz", seen=False, format="scipy")
    with np.load(path) as file:
        assert not [name for name in file.files if name.startswith(("train", "valid"))]


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_scipy_there_and_back(ticket_of, split, tmp_path, model):
    ticket = ticket_of(model=model)
    path = lthjax.export(ticket, split, tmp_path / "t.npz", format="scipy")
    matrix = sparse.load_npz(path)
    assert (matrix.format, matrix.shape, matrix.dtype) == ("csr", (18, 5), np.float32)
    with np.load(path, allow_pickle=False) as file:
        beside = {name: file[name] for name in file.files}
    np.testing.assert_array_equal(beside["user_ids"], split.user_ids)
    np.testing.assert_array_equal(beside["item_ids"], split.item_ids)
    user, item = matrix[: len(beside["user_ids"])], matrix[len(beside["user_ids"]) :]
    final = exporting.final_embeddings(ticket, split)
    np.testing.assert_array_equal(user.toarray(), final.user)
    np.testing.assert_array_equal(item.toarray(), final.item)
    tensors = {name.replace("_ind", ".ind"): array for name, array in beside.items()}
    ranked = lthjax.explore(ticket, split).recommend(split.user_ids, k=4)
    lists = lists_of(user.toarray(), item.toarray(), tensors, 4)
    for wanted, found in zip(lists, ranked.found, strict=True):
        assert split.item_ids[wanted].tolist() == found[found >= 0].tolist()
    about = json.loads(beside["about"].tobytes())
    assert (about["model"], about["level"], about["fingerprint"]) == (model, 3, split.fingerprint)


@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("t.npz", {"format": "torch"}, "format: wanted auto, lthjax, safetensors, scipy; got 'torch'"),
        (
            "t.npz",
            {"format": "safetensors"},
            r"format safetensors: wanted a name that does not say another; got t\.npz",
        ),
        ("t.safetensors", {"format": "lthjax"}, "format lthjax: wanted a name that does not say another"),
        ("t.safetensors", {"format": "scipy"}, r"format scipy: wanted a name that ends in \.npz; got t\.safetensors"),
        ("t", {"format": "scipy"}, r"format scipy: wanted a name that ends in \.npz; got t\."),
        ("t.safetensors", {"values": "int8"}, "values: wanted float32 or float16 in safetensors; got 'int8'"),
        ("t.safetensors", {"layout": "bitmap"}, "layout: wanted auto or dense or csr in safetensors; got 'bitmap'"),
        ("t.npz", {"format": "scipy", "values": "float16"}, "values: wanted float32 in SciPy's file; got 'float16'"),
        ("t.npz", {"format": "scipy", "layout": "dense"}, "layout: wanted auto or csr in SciPy's file; got 'dense'"),
        ("t.safetensors", {"store": "somewhere"}, "store: wanted final or layer0"),
    ],
)
def test_choices_that_cannot_be(ticket_of, split, tmp_path, name, options, wanted):
    with pytest.raises(SettingsError, match=wanted) as caught:
        lthjax.export(ticket_of(), split, tmp_path / name, **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "options"), [("t.safetensors", {}), ("t.npz", {"format": "scipy"})])
def test_what_is_not_finite_is_not_written(ticket_of, split, tmp_path, name, options):
    ticket = ticket_of()
    broken = dataclasses.replace(ticket, trained=ticket.trained._replace(item=ticket.trained.item / 0))
    with pytest.raises(DataError, match="finite"):
        lthjax.export(broken, split, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_not_there_is_named(ticket_of, split, tmp_path, monkeypatch):
    missing(monkeypatch, "safetensors")
    with pytest.raises(SettingsError, match="wanted the package safetensors, which is not installed: pip install"):
        lthjax.export(ticket_of(), split, tmp_path / "t.safetensors")
    assert not list(tmp_path.iterdir())


def missing(monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def test_what_is_read_back_is_compared(ticket_of, split, tmp_path, monkeypatch):
    """A disk that loses a bit: the old file stays."""
    old = lthjax.export(ticket_of(), split, tmp_path / "t.safetensors").read_bytes()
    save = safetensors.numpy.save_file

    def lossy(tensors, path, metadata):
        save(tensors, path, metadata)
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.numpy, "save_file", lossy)
        with pytest.raises(CheckpointError, match="read back something else"):
            lthjax.export(ticket_of(), split, tmp_path / "t.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
    assert (tmp_path / "t.safetensors").read_bytes() == old
    with monkeypatch.context() as patch:
        patch.setattr(sparse, "save_npz", lambda file, matrix, save=sparse.save_npz: save(file, 2 * matrix))
        with pytest.raises(CheckpointError, match="read back something else"):
            lthjax.export(ticket_of(), split, tmp_path / "t.npz", format="scipy")
    assert [path.name for path in tmp_path.iterdir()] == ["t.safetensors"]
