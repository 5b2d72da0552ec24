"""What a file is shows in its first bytes: it is read, or refused by its name with what to do."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import zipfile

import numpy as np
import pytest
from scipy import sparse
from scipy.io import mmwrite

from lthjax.data.interactions import load
from lthjax.errors import DataError

CSV = b"user_id,item_id\n1,2\n3,4\n"
PAIRS = {("1", "2"), ("3", "4")}


def write(path, content):
    path.write_bytes(content)
    return path


def original(data):
    return {(str(data.user_ids[user]), str(data.item_ids[item])) for user, item in data.pairs.tolist()}


def refused(path, *parts, **options):
    with pytest.raises(DataError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    for part in (*parts, os.path.basename(path)):
        assert part in message


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def saved(save, *arguments, **options):
    file = io.BytesIO()
    save(file, *arguments, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [CSV, gzip.compress(CSV), bz2.compress(CSV), lzma.compress(CSV), zipped(x=CSV, **{"__MACOSX/x": b"?"})],
    ids=["plain", "gzip", "bz2", "xz", "zip"],
)
def test_packed_whatever_the_name_says(tmp_path, content):
    assert original(load(write(tmp_path / "x.csv", content))) == PAIRS


@pytest.mark.parametrize(
    "content",
    [
        b'{"user_id": 1, "item_id": 2, "text": "a\\nb"}\n{"user_id": 3, "text": [1], "item_id": 4}\n',
        b"{'user_id': 1, u'item_id': 2, 'text': \"it's\", 'ok': True}\n{u'user_id': 3, 'item_id': 4, 'x': None}\n",
        b'[{"user_id": 1, "item_id": 2},\n {"user_id": 3, "item_id": 4}]',
        saved(np.save, np.array([[1, 2], [3, 4]])),
        saved(sparse.save_npz, sparse.coo_array(([1, 1], ([1, 3], [2, 4])))),
        saved(mmwrite, sparse.coo_array(([1, 1], ([1, 3], [2, 4])))),
    ],
    ids=["json lines", "literals", "json", "npy", "npz", "mtx"],
)
def test_kinds_told_by_their_first_bytes(tmp_path, content):
    is_npy = content.startswith(b"\x93NUMPY")
    assert original(load(write(tmp_path / "x", content), format="pairs" if is_npy else "auto")) == PAIRS


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n", "git lfs pull"),
        (b"\n<!DOCTYPE html>\n<html></html>", "a web page"),
        (b"% made by hand\n@relation ratings\n@data\n1,2\n", "ARFF"),
        (pickle.dumps({"user": [1]}), "a pickle"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (gzip.compress(gzip.compress(CSV)), "packed twice"),
        (gzip.compress(b"x" * 257 + b"ustar  "), "an archive"),
        (b"(0,4)\t1\t2\n", "NCF's list of negatives"),
        (b"1:\n5,3,2005-09-06\n", "Netflix"),
        (zipped(a=CSV, b=CSV), "2, ['a', 'b']"),
        (saved(np.savez, pairs=np.zeros((2, 2))), "does not contain a sparse array"),
        (saved(np.save, np.array([[1, [2]]], object), allow_pickle=True), "allow_pickle=False"),
        (saved(np.save, np.zeros((3, 4), int)), "[3, 4]"),
        (saved(np.save, np.array([["a", "b"]])), "<U1"),
        (saved(np.save, np.zeros((0, 2), int)), "without rows"),
        (saved(np.save, np.ones((9, 2), int))[:-9], "whole"),
        (gzip.compress(CSV * 99)[:-12], "damaged"),
        (gzip.compress(b" \n \n"), "empty"),
        (b"", "empty"),
        (b"# only\n", "comments only"),
        (b"user_id,item_id\n1,2\n3,\0\n", "line 3"),
        ("user_id,item_id\n1,é\n".encode("latin-1"), "line 2"),
        (b"user_id\n1\n", "got one"),
        (b"user_id,item_id\n", "none below the header"),
        (b'{"user_id": 1, "item_id": 2}\n{"user_id": 3, "it', "line 2"),
        (b"{'user_id': 1, 'item_id': 2}\n\n{'user_id': f(), 'item_id': 2}\n", "line 3"),
        (b"{'user_id': 1, 'item_id': 2}\n{'user_id': 3, 'it", "line 2"),
        (b'{"user_id": 1, "item_id": [2, 3]}\n', "a list"),
        (b"%%MatrixMarket matrix coordinate integer general\n2 2 9\n1 1 1\n", "whole"),
        (b"%%MatrixMarket matrix array integer general\n1 2\n1\n1\n", "sparse matrix"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # packed bytes hold the time of day
)
def test_refused_by_name(tmp_path, content, part):
    refused(write(tmp_path / "x.csv", content), part)


def test_bounds(tmp_path):
    refused(write(tmp_path / "bomb.gz", gzip.compress(bytes(1 << 27), 9)), "at most")
    os.mkfifo(tmp_path / "fifo")
    refused(tmp_path / "fifo", "a pipe or a device")
    refused("/dev/zero", "a pipe or a device")
    refused(tmp_path / "none.txt", "none.txt")
    refused(str(tmp_path / "none.txt"), "none.txt")


def test_parquet_without_its_reader_is_refused_with_the_line_that_installs_it(tmp_path, monkeypatch):
    for module in ("pyarrow", "fastparquet"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    refused(write(tmp_path / "x.parquet", b"PAR1...."), "pip install pyarrow")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
def test_byte_order_marks_tell_the_encoding(tmp_path, encoding):
    content = "user_id,item_id\nä,2\n€,4\n".encode(encoding)
    assert original(load(write(tmp_path / "x.csv", content))) == {("ä", "2"), ("€", "4")}


def test_encoding_is_asked_for(tmp_path):
    path = write(tmp_path / "x.csv", "user_id,item_id\nä,2\nb,4\n".encode("latin-1"))
    refused(path, "--encoding", "0xe4", "line 2")
    assert original(load(path, encoding="latin-1")) == {("ä", "2"), ("b", "4")}
    path = write(tmp_path / "y.csv", CSV.decode().encode("utf-16-le"))
    refused(path, "--encoding utf-16-le", "line 1")
    assert original(load(path, encoding="utf-16-le")) == PAIRS
    for encoding in ("nonsense", "hex"):
        refused(path, "an encoding", encoding=encoding)


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n\r\n"])
def test_line_ends(tmp_path, end):
    assert original(load(write(tmp_path / "x.csv", CSV.replace(b"\n", end.encode())))) == PAIRS
    mixed = CSV.replace(b"\n", end.encode(), 1)
    assert original(load(write(tmp_path / "x.csv", mixed))) == PAIRS
