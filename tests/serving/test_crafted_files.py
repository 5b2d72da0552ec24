"""Files with a right checksum that lthjax did not write: each gives a ticket, or one CheckpointError."""

import hashlib
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lthjax
from lthjax.data import id_lists
from lthjax.errors import CheckpointError, DataError
from lthjax.serving import file_format, packing
from lthjax.serving.file_format import Contents, Tables

FACTS = {"level": 1, "sparsity": 0.5, "metrics": {"recall@20": 0.1}, "propagate": {"layers": 2, "combine": "mean"}}
MARKS = b"0" * 64


def contents_of(facts=FACTS, **changes):
    """Four users, five items, three dimensions; text for users, numbers for items."""
    rng = np.random.default_rng(0)
    tables = (rng.standard_normal((rows, 3)).astype(np.float32) * (rng.random((rows, 3)) < 0.6) for rows in (4, 5))
    pairs = np.array([[0, 1], [0, 4], [1, 0], [3, 2]])
    whole = {
        "tables": Tables(*tables),
        "user_ids": np.array(["a", "b", "cd", "ü"]),
        "item_ids": np.array([-3, 0, 5, 300, 2**40]),
        "item_counts": np.array([1, 1, 1, 0, 1]),
        "train": id_lists.from_pairs(pairs, 4),
        "valid": id_lists.from_pairs(np.array([[0, 2]]), 4),
        "facts": facts,
    }
    return Contents(**(whole | changes))


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def seal(path, members, compression=zipfile.ZIP_STORED, change=lambda data: data):
    """Write members as an archive under its checksum; `change` is made to the bytes before."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, member in members:
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member, compression)
        archive.comment = MARKS
    data = change(file.getvalue()[: -len(MARKS)])
    path.write_bytes(data + hashlib.sha256(data).hexdigest().encode())
    return path


def parts_of(path):
    """(header, arrays by name) of a file."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop("header").tobytes()), arrays


def members_of(header, arrays):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return [("header", npy(np.frombuffer(text, np.uint8))), *((name, npy(array)) for name, array in arrays.items())]


@pytest.fixture
def crafted(tmp_path):
    """Load a file as lthjax writes it, but for entries of its header (or the whole as bytes), and for arrays, of which
    None takes one away."""

    def load(header=None, layout="csr", values="float32", contents=None, **arrays):
        path = tmp_path / "t.npz"
        file_format.write(path, contents or contents_of(), layout=layout, values=values)
        own_header, own = parts_of(path)
        own |= {name.replace("__", "/"): array for name, array in arrays.items()}
        own = {name: array for name, array in own.items() if array is not None}
        own_header = header if isinstance(header, bytes) else own_header | (header or {})
        return lthjax.load_compressed(seal(path, members_of(own_header, own)))

    return load


def refused(said=""):
    return pytest.raises(CheckpointError, match=rf"t\.npz: .*{said}")


def test_as_written_it_loads(crafted):
    assert crafted().facts["level"] == 1
    assert "level 1, 50.0% pruned" in repr(crafted())


@pytest.mark.parametrize("layout", ["dense", "bitmap", "csr"])
@pytest.mark.parametrize("values", ["float32", "int8"])
@pytest.mark.parametrize(
    "shape", [[2**40, 2**20], [4, 2**60], [-4, 3], [4, -3], [4, 0], [0, 3], [5, 3], [4], [4.0, 3], "43", None]
)
def test_shapes(crafted, layout, values, shape):
    with refused():
        crafted({"shapes": {"user": shape, "item": [5, 3]}}, layout, values)


@pytest.mark.parametrize("number", [-1, 0, float("nan"), float("inf"), 1.0, True, "1", None, [1]])
def test_formats(crafted, number):
    with refused("wanted a header with format"):
        crafted({"format": number})
    with refused("newer"):
        crafted({"format": 10**30})


@pytest.mark.parametrize(
    "header", [b"[" * 200_000, b'{"a":' * 100_000, b"", b"[]", b"3", b"{}", b"\xff", b" " * 2**23, b"1" * 10_000]
)
def test_headers(crafted, header):
    with refused():
        crafted(header)


@pytest.mark.parametrize("name", ["lthjax", "shapes", "values", "facts"])
def test_header_entries_of_another_kind(crafted, name):
    for value in (3, [], [["a"]]):
        with refused("wanted a header"):
            crafted({name: value})


@pytest.mark.parametrize(
    "spread",
    [
        *({}, [], [1], "mean", 3, True, {"layers": 2}, {"combine": "mean"}),
        *({"layers": layers, "combine": "mean"} for layers in (10**9, 17, -1, 2.0, True, None, "2", float("nan"))),
        *({"layers": 2, "combine": combine} for combine in ("evil", None, [], {})),
        {"layers": 2, "combine": "mean", "more": 1},
    ],
)
def test_propagation(crafted, spread):
    with refused("propagate: wanted layers from 0 to 16"):
        crafted({"facts": {"propagate": spread}})


def test_propagation_without_training_items(crafted):
    with refused("wanted the training items"):
        crafted(train__lengths=None, train__ids=None)


@pytest.mark.parametrize(
    "facts",
    [
        *({"level": "1"}, {"level": True}, {"sparsity": "text"}, {"sparsity": None}, {"sparsity": 10**400}),
        *({"metrics": [1]}, {"metrics": {"recall@20": "much"}}, {"metrics": {"ndcg@20": 10**400}}),
    ],
)
def test_facts_that_it_says_of_itself(crafted, facts):
    with refused("numbers"):
        crafted({"facts": facts})


def test_little_is_needed_to_say_something(crafted):
    for facts in ({}, {"level": 3}, {"sparsity": 0.5}, {"level": 2, "sparsity": float("nan")}):
        assert "4 users, 5 items, 3 dimensions" in repr(crafted({"facts": facts}))


NARROW = np.array([2, 1, 1, 1], np.uint8)  # a row of lengths that does not add up


@pytest.mark.parametrize(
    "arrays",
    [
        {"train__lengths": np.array([-2, 4, 1, 1], np.int8)},
        {"train__lengths": NARROW},
        {"train__lengths": np.array([2**63, 2**63 + 2, 1, 1], np.uint64)},  # adds up to 4, as uint64
        {"train__lengths": np.array([2**40, 1, 0, 1])},
        {"train__lengths": np.array([2.0, 1, 0, 1])},
        {"train__lengths": np.array([3, 1], np.uint8)},  # of two rows
        {"train__lengths": np.array([[2, 1, 0, 1]], np.uint8)},
        {"train__lengths": None},
        {"train__ids": np.array([1, 4, -1, 2], np.int8)},
        {"train__ids": np.array([1, 4, 2**33, 2])},
        {"train__ids": np.array([1, 4, 0, 2**33], np.uint64)},
        {"train__ids": np.array([1, 4, 0, 5], np.uint8)},  # the sixth item
        {"train__ids": np.array([4, 1, 0, 2], np.uint8)},
        {"train__ids": np.array([1, 1, 0, 2], np.uint8)},
        {"train__ids": np.array([1, 4, 0, 2.0])},
        {"train__ids": np.array([1, 4, 0, 2], np.int64)},  # packing writes uint8
        {"user__columns": np.array([-1], np.int8)},
        {"user__lengths": None},
        {"user__values": None},
        {"user__bits": np.zeros((4, 1), np.uint8)},  # beside columns
        {"user__scales": np.ones(4, np.float32)},  # beside float32
        {"user_ids__text": np.array([1, 2, 3], np.uint16)},
        {"user_ids__text": np.frombuffer(b"abcd\xff\xff", np.uint8)},
        {"user_ids__lengths": np.array([1, 1, 2, 1], np.uint8)},
        {"user_ids__numbers": np.arange(4, dtype=np.uint8)},  # beside text
        {"item_ids__numbers": np.array([0.0, 1, 2, 3, 4])},
        {"item_ids__numbers": np.array([0, 1, 2, 3, 4], np.uint64)},
        {"item_ids__numbers": np.arange(2**63, 2**63 + 5, dtype=np.uint64)},
        {"item_ids__numbers": np.array([0, 2, 1, 3, 4], np.uint8)},
        {"item_ids__numbers": np.array([0, 1, 2, 3], np.uint8)},
        {"item_ids__numbers": np.arange(5) + 1j},
        {"item_ids__numbers": np.array(["a", "b", "c", "d", "e"])},
        {"item_ids__numbers": None},
        {"item_counts__numbers": np.array([0, 1, 2, 3], np.uint8)},
        {"item_counts__numbers": np.array([0, 1, 2, 3, -1], np.int8)},
        {"item_counts__numbers": np.array([0, 1, 2, 3, 2**31], np.uint32)},
        {"item_counts__numbers": np.array([0.5, 1, 2, 3, 4])},
        {"item_counts__text": np.frombuffer(b"abcde", np.uint8), "item_counts__lengths": np.ones(5, np.uint8)}
        | {"item_counts__numbers": None},
        {"more__numbers": np.zeros(3, np.uint8)},
        {"user__more": np.zeros(3, np.uint8)},
    ],
    ids=lambda arrays: "-".join(arrays),
)
def test_parts(crafted, arrays):
    with refused():
        crafted(**arrays)


@pytest.mark.parametrize("layout", ["dense", "bitmap", "csr"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_not_finite(crafted, layout, wrong):
    for values, name in (("float32", "values"), ("float16", "values"), ("int8", "scales")):
        packed = packing.pack_table(contents_of().tables.item, layout, values)
        packed[name] = packed[name].copy()
        packed[name].flat[0] = wrong
        with refused("finite"):
            crafted(None, layout, values, **{f"item__{name}": packed[name]})


@pytest.mark.parametrize("dtype", [np.complex64, np.float64, ">f8", np.int16, np.uint8, "M8[s]", "U3", bool])
def test_values_of_another_kind(crafted, dtype):
    values = packing.pack_table(contents_of().tables.item, "csr")["values"]
    with refused():
        crafted(item__values=values.astype(dtype))


def test_a_large_scale_is_finite(crafted):
    largest = np.full((4, 3), np.finfo(np.float32).max)
    contents = contents_of(facts={}, tables=Tables(largest, np.ones((5, 3))))
    assert np.isfinite(crafted(values="int8", contents=contents).user).all()
    with pytest.raises(DataError, match="finite"):  # and so are tables once they are propagated
        crafted(contents=contents_of(facts={"propagate": {"layers": 2, "combine": "sum"}}, tables=contents.tables))


def test_archives_that_numpy_does_not_write(tmp_path):
    path = tmp_path / "t.npz"
    file_format.write(path, contents_of())
    members = members_of(*parts_of(path))

    def load(*more, **how):
        return lthjax.load_compressed(seal(path, [*members, *more], **how))

    load()
    for compression in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with refused("stored as they are"):
            load(compression=compression)

    def altered(offset, value):  # of every entry of the directory
        def change(data):
            parts, *entries = data.split(b"PK\x01\x02")
            entries = [entry[:offset] + value + entry[offset + len(value) :] for entry in entries]
            return b"PK\x01\x02".join([parts, *entries])

        return change

    for offset, value, said in (
        (4, b"\x01\0", "stored as they are"),  # encrypted
        (6, b"\x63\0", "stored as they are"),  # method 99
        (20, b"\xff\xff\xff\x7f", "stored as they are"),  # bytes unpacked
        (38, b"\xff\xff\xff\x00", ""),  # where the member stands
    ):
        with refused(said):
            load(change=altered(offset, value))
    with refused("wanted the parts header, .*; got 'other'"):
        load(("other/x", npy(np.zeros(1))))


def claim(shape, descr="|u1", order=False):
    text = str({"descr": descr, "fortran_order": order, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "member",
    [
        *(b"", b"no numpy", b"\x93NUMPY", b"\x93NUMPY\x03\x00\xff\xff\xff\xff"),
        *(claim((2**45,)), claim((2**62, 4)), claim((10**30, 0)), claim((5,)), claim(()), claim((1, 1, 1))),
        *(claim((0,), "|O"), claim((0,), "<f1"), claim((0,), "<c8"), claim((0, 0), order=True)),
        claim((0,)).replace(b"(0,)", b"(" * 5000),
        npy(np.arange(5))[:-1],
    ],
)
def test_members_that_are_no_arrays(tmp_path, member):
    path = tmp_path / "t.npz"
    file_format.write(path, contents_of())
    for place, (name, _) in enumerate(members := members_of(*parts_of(path))):
        with refused():
            lthjax.load_compressed(seal(path, [*members[:place], (name, member), *members[place + 1 :]]))


def test_no_pickle_is_opened(tmp_path):
    path = tmp_path / "t.npz"
    file_format.write(path, contents_of())
    array = io.BytesIO()
    np.save(array, np.array([lambda: 0, 1][1:], object), allow_pickle=True)
    with refused("plain arrays"):
        lthjax.load_compressed(seal(path, [*members_of(*parts_of(path))[:-1], ("valid/ids", array.getvalue())]))


def test_the_checksum_of_nothing(tmp_path):
    (tmp_path / "t.npz").write_bytes(hashlib.sha256(b"").hexdigest().encode())
    with refused("not a zip file") as error:
        lthjax.load_compressed(tmp_path / "t.npz")
    assert "pickle" not in str(error.value)


def test_few_bytes_do_not_fill_the_memory(crafted, monkeypatch):
    many, zeros = 2**17, np.zeros(2**17, np.uint8)
    with refused("at most 1,024 bytes of each byte"):  # a table of 2 GiB
        crafted({"shapes": {"user": [many, 4096], "item": [5, 4096]}}, user__lengths=zeros)
    lengths = np.array([*[1] * (many - 1), 2**17], np.uint32)
    with refused("at most 1,024 bytes of each byte"):  # text of 128 KiB for each
        crafted(user_ids__text=np.full(2 * many - 1, 97, np.uint8), user_ids__lengths=lengths)
    monkeypatch.setattr(packing, "_BYTES_AT_LEAST", 2**20)  # nor is such a file written
    with pytest.raises(DataError, match="at most 1,024 bytes"):
        packing.pack_ids(np.array([*map(str, range(1000)), "a" * 5000]))
    with pytest.raises(DataError, match="at most 1,024 bytes"):
        packing.pack_table(np.zeros((1000, 300)))


def test_dimensions(crafted, tmp_path):
    for dimensions, said in ((0, r"got \(4, 0\)"), (4097, r"got \(4, 4097\)")):
        contents = contents_of(facts={}, tables=Tables(np.ones((4, dimensions)), np.ones((5, dimensions))))
        with pytest.raises(DataError, match=f"wanted two tables of 1 to 4,096 dimensions; {said}"):
            file_format.write(tmp_path / "t.npz", contents)


NUMBERS = st.sampled_from([-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 4, 5, 7, 8, 127, 255, 256, 2**31, 2**33, 2**63 - 1])
DTYPES = st.sampled_from(["u1", "i1", "u2", ">i2", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "b1", "S2", "U2"])
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.sampled_from(["mean", "sum", "", "float32", "layers"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["layers", "combine"]), inner),
    max_leaves=4,
)


@st.composite
def mutated(draw, header, arrays):
    """A header and arrays, a few of their entries replaced."""
    header, arrays = json.loads(json.dumps(header)), dict(arrays)
    for _ in range(draw(st.sampled_from([0, 0, 1]))):
        place = draw(st.sampled_from(["header", "facts", "user", "item"]))
        if place in ("user", "item"):
            header["shapes"][place] = [draw(NUMBERS), draw(NUMBERS)] if draw(st.booleans()) else draw(JSON)
        else:
            entries = header if place == "header" else header["facts"]
            entries[draw(st.sampled_from([*entries, "level"]))] = draw(JSON)
        if not isinstance(header.get("shapes"), dict) or not isinstance(header.get("facts"), dict):
            return header, arrays
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from([*arrays, "user/scales", "item/bits", "train/numbers"]))
        array = arrays.get(name, np.zeros(3, np.uint8))
        how = draw(st.sampled_from(["drop", "dtype", "shape", "entry", "length", "swap"]))
        if how == "drop":
            arrays.pop(name, None)
        elif how == "dtype" and array.dtype.kind not in "SU":
            with np.errstate(all="ignore"):
                arrays[name] = array.astype(draw(DTYPES))
        elif how == "shape":
            arrays[name] = array.reshape(draw(st.sampled_from([(-1,), (1, -1), (-1, 1)])))
        elif how == "entry" and array.size and array.dtype.kind not in "SU":
            array = array.astype(draw(st.sampled_from([np.int64, array.dtype])))
            with np.errstate(all="ignore"):
                array.flat[draw(st.integers(0, array.size - 1))] = np.array(draw(NUMBERS)).astype(array.dtype)
            arrays[name] = packing._smallest(array) if array.dtype == np.int64 else array
        elif how == "length":
            arrays[name] = np.resize(array, draw(st.sampled_from([0, 1, array.size + 1, 300])))
        else:
            arrays[name] = arrays[draw(st.sampled_from([*arrays]))] if arrays else array
    return header, arrays


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@settings(max_examples=300)
@given(data=st.data())
def test_mutations(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("mutated") / "t.npz"
    layout = data.draw(st.sampled_from(["dense", "bitmap", "csr"]))
    file_format.write(path, contents_of(), layout=layout, values=data.draw(st.sampled_from(["float32", "int8"])))
    seal(path, members_of(*data.draw(mutated(*parts_of(path)))))
    try:
        served = lthjax.load_compressed(path)
    except CheckpointError:
        pass
    else:
        assert np.isfinite(np.concatenate(served.embeddings())).all()
        assert "users" in repr(served)
        assert served._repr_html_()
        assert served.recommend(served.user_ids, 3, exclude_seen=served.seen is not None).found.shape[1] <= 3
        served.similar_items(served.item_ids, 3)
