"""Files that serve: bit by bit there and back, damage found, and no JAX needed."""

import dataclasses
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lthjax
from lthjax.data import id_lists
from lthjax.data.split import Split
from lthjax.errors import CheckpointError, DataError, SettingsError
from lthjax.serving import compressed, file_format, packing, scipy_lightgcn, top_k
from lthjax.serving import export as exporting
from lthjax.serving.file_format import Contents, Tables


@pytest.fixture(scope="module")
def split(tiny):
    """The tiny data with text for users and numbers for items."""
    return Split(
        "tiny",
        np.array([f"user {letter}" for letter in "abcdefü"]),
        np.arange(100, 100 + tiny.num_items) * 1000,
        (),
        tiny.train,
        tiny.valid,
        tiny.test,
    )


def write_some(path, table=None, **facts):
    """A small file without a ticket; returns the table of its users."""
    table = np.eye(4, 3, dtype=np.float32) if table is None else table
    ids = np.arange(len(table))
    contents = Contents(tables=Tables(table, table), user_ids=ids, item_ids=ids, train=None, valid=None, facts=facts)
    file_format.write(path, contents)
    return table


@given(data=st.data())
def test_every_layout_gives_the_same_bits(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    shape = data.draw(st.integers(0, 6)), data.draw(st.sampled_from((1, 8, 13, 300)))
    table = rng.standard_normal(shape).astype(np.float32)
    table[rng.random(shape) < data.draw(st.sampled_from((0.0, 0.5, 0.95, 1.0)))] = 0
    if table.size:
        table.flat[0] = -0.0  # a kept value
    packed = {layout: packing.pack_table(table, layout) for layout in ("dense", "bitmap", "csr", "auto")}
    for arrays in packed.values():
        assert packing.unpack_table(arrays, shape).tobytes() == table.tobytes()
    sizes = {layout: packing.num_bytes(arrays) for layout, arrays in packed.items()}
    assert sizes["auto"] == min(sizes.values())


def test_bytes_by_hand():
    table = np.zeros((10, 32), np.float32)
    table[:, :2] = 1.5
    sizes = {name: packing.num_bytes(packing.pack_table(table, name)) for name in ("dense", "bitmap", "csr")}
    assert sizes == {"dense": 1280, "bitmap": 10 * 4 + 20 * 4, "csr": 10 + 20 + 20 * 4}
    assert packing.num_bytes(packing.pack_table(table, "csr", "int8")) == 10 + 20 + 20 + 10 * 4


@pytest.mark.parametrize("layout", ["dense", "bitmap", "csr"])
def test_coarser_values(layout):
    table = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
    table[3] = 0
    table[4] = 1e-45  # its scale would be 0
    table[:, 5] = 0
    half = packing.unpack_table(packing.pack_table(table, layout, "float16"), table.shape)
    np.testing.assert_array_equal(half, table.astype(np.float16).astype(np.float32))
    eighth = packing.unpack_table(packing.pack_table(table, layout, "int8"), table.shape)
    most = np.abs(table).max(axis=1, keepdims=True)
    assert (np.abs(eighth - table) <= most / 254 * 1.0001 + 1e-44).all()
    np.testing.assert_allclose(np.abs(eighth).max(axis=1)[:3], most[:3, 0], rtol=1e-6)
    assert not eighth[:, 5].any()


def test_values_that_cannot_be_written():
    with pytest.raises(DataError, match="above 65,504; got 70,000"):
        packing.pack_table(np.full((1, 1), 7e4), values="float16")
    for wrong in (np.nan, np.inf):
        with pytest.raises(DataError, match="finite"):
            packing.pack_table(np.full((1, 1), wrong))
    with pytest.raises(SettingsError, match="got 'int4'"):
        packing.pack_table(np.ones((1, 1)), values="int4")
    with pytest.raises(SettingsError, match="got 'coo'"):
        packing.pack_table(np.ones((1, 1)), layout="coo")


@pytest.mark.parametrize(
    "ids", [np.array([-5, 3, 2**40]), np.array([7]), np.array(["", "b c", "ü"]), np.array([], np.int64)]
)
def test_ids_come_back(ids):
    back = packing.unpack_ids(packing.pack_ids(ids))
    np.testing.assert_array_equal(back, ids)
    assert back.dtype.kind == ids.dtype.kind


def test_id_rows_come_back():
    rows = id_lists.from_pairs(np.array([[3, 70_000], [1, 2], [1, 0], [1, 2]]), 5)
    assert rows.pairs().tolist() == [[1, 0], [1, 2], [3, 70_000]]
    back = packing.unpack_rows(packing.pack_rows(rows), 70_001)
    np.testing.assert_array_equal(back.starts, [0, 0, 2, 2, 3, 3])
    np.testing.assert_array_equal(back.ids, rows.ids)


def test_propagation_matches_jax(ticket_of, split):
    ticket = ticket_of(model="lightgcn", layers=3)
    wanted = exporting.final_embeddings(ticket, split)
    got = scipy_lightgcn.lightgcn(*map(np.asarray, ticket.trained), split.train, 3)
    for ours, theirs in zip(got[:2], wanted, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not np.allclose(got[0], ticket.trained.user)
    summed = scipy_lightgcn.lightgcn(*map(np.asarray, ticket.trained), split.train, 3, "sum")
    np.testing.assert_allclose(summed[1], 4 * got[1], rtol=1e-6)


def test_a_ticket_there_and_back(ticket_of, split, tmp_path):
    ticket = ticket_of()
    path = lthjax.export(ticket, split, tmp_path / "new" / "ticket.npz")
    served = lthjax.load_compressed(path)
    for ours, theirs in zip(served.embeddings(), ticket.trained, strict=True):
        assert ours.tobytes() == np.asarray(theirs).tobytes()
    np.testing.assert_array_equal(served.user_ids, split.user_ids)
    np.testing.assert_array_equal(served.item_ids, split.item_ids)
    facts = served.facts
    assert (facts["level"], facts["sparsity"], facts["metrics"]) == (3, ticket.sparsity, ticket.metrics)
    assert (facts["settings"]["dim"], facts["fingerprint"]) == (5, split.fingerprint)
    assert [entry.name for entry in path.parent.iterdir()] == ["ticket.npz"]
    first = path.read_bytes()
    lthjax.export(ticket, split, path)  # over the old one
    assert path.read_bytes() == first


def test_recommendations_leave_out_what_is_seen(ticket_of, split, tmp_path):
    ticket = ticket_of()
    served = lthjax.load_compressed(lthjax.export(ticket, split, tmp_path / "t.npz"))
    user, item = map(np.asarray, ticket.trained)
    for row, user_id in enumerate(split.user_ids):
        both = np.concatenate([split.train, split.valid])
        seen = set(both[both[:, 0] == row, 1].tolist())
        scores = item @ user[row]
        wanted = sorted(set(range(11)) - seen, key=lambda i: (-scores[i], -np.count_nonzero(split.train[:, 1] == i), i))
        ranked = served.recommend(user_id, k=99)
        assert ranked.asked.tolist() == [user_id]
        assert ranked.is_popularity.tolist() == [user_id == "user d"]  # its row is all zeros
        assert ranked.found[0].tolist() == split.item_ids[wanted].tolist()
        np.testing.assert_allclose(ranked.scores[0], scores[wanted], rtol=1e-5)
    all_of = served.recommend(split.user_ids[[1, 0]], k=3, exclude_seen=False, items=[105_000, 101_000])
    assert sorted(all_of.found[0].tolist()) == [101_000, 105_000]
    in_memory = exporting.serving(ticket, split)
    np.testing.assert_array_equal(
        in_memory.recommend(split.user_ids, k=5).found, served.recommend(split.user_ids, k=5).found
    )
    with pytest.raises(DataError, match="1 unknown user id: 'nobody'"):
        served.recommend(["user b", "nobody"])
    with pytest.raises(DataError, match="2 unknown item ids: 1, 2"):
        served.recommend("user b", items=[1, 2, 100_000])


def test_neighbours(ticket_of, split, tmp_path):
    served = lthjax.load_compressed(lthjax.export(ticket_of(), split, tmp_path / "t.npz"))
    _, item = served.embeddings()
    lengths = np.linalg.norm(item, axis=1)
    cosine = item[1] @ item.T / np.where(lengths, lengths[1] * lengths, 1)
    cosine[1] = -np.inf
    ranked = served.similar_items([101_000], k=4)
    assert ranked.found[0].tolist() == split.item_ids[np.argsort(-cosine)[:4]].tolist()
    np.testing.assert_allclose(ranked.scores[0], np.sort(cosine)[::-1][:4], rtol=1e-5)
    assert "user d" not in served.similar_users("user d", k=9).found  # its row is all zeros
    assert served.similar_users(split.user_ids, k=2).found.shape == (7, 2)


def test_sparse_scoring_holds_sparse_tables(ticket_of, split, tmp_path):
    path = lthjax.export(ticket_of(), split, tmp_path / "t.npz")
    dense, stored = (lthjax.load_compressed(path, scoring=scoring) for scoring in ("dense", "sparse"))
    for ours, theirs in zip(stored.embeddings(), dense.embeddings(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(
        stored.recommend(split.user_ids, k=5).found, dense.recommend(split.user_ids, k=5).found
    )
    np.testing.assert_array_equal(
        stored.similar_items(split.item_ids, 5).found, dense.similar_items(split.item_ids, 5).found
    )
    held = stored.user.data.nbytes + stored.user.indices.nbytes + stored.user.indptr.nbytes
    difference = dense.sizes()["memory"] - stored.sizes()["memory"]
    items = stored.item.data.nbytes + stored.item.indices.nbytes + stored.item.indptr.nbytes
    assert difference == (7 + 11) * 5 * 4 - held - items


def test_sizes_are_those_of_the_file(ticket_of, split, tmp_path):
    path = lthjax.export(ticket_of(), split, tmp_path / "t.npz")
    sizes = lthjax.load_compressed(path).sizes()
    with np.load(path, allow_pickle=False) as archive:
        stored = {name: archive[name].nbytes for name in archive.files}
    assert sizes["file"] == path.stat().st_size
    assert sum(sizes[name] for name in ("tables", "ids", "counts", "seen", "header")) == sum(stored.values())
    assert sizes["tables"] == sum(n for name, n in stored.items() if name.startswith(("user/", "item/")))
    assert sizes["dense"] == 18 * 5 * 4
    assert sizes["per_user"] * 7 + sizes["per_item"] * 11 == pytest.approx(sizes["tables"])
    assert "file" not in exporting.serving(ticket_of(), split).sizes()


def test_what_it_says_of_itself(ticket_of, split, tmp_path):
    ticket = ticket_of()
    served = lthjax.load_compressed(lthjax.export(ticket, split, tmp_path / "t.npz"))
    assert f"level 3, {ticket.sparsity:.1%} pruned" in repr(served)
    assert "recall@20 0.2500" in repr(served)
    assert "7 users, 11 items, 5 dimensions" in repr(served)
    assert "\n" not in repr(served)
    assert "<td>0.2500</td>" in served._repr_html_()


def test_without_seen_items(ticket_of, split, tmp_path):
    served = lthjax.load_compressed(lthjax.export(ticket_of(), split, tmp_path / "t.npz", seen=False))
    with pytest.raises(DataError, match="exported without"):
        served.recommend("user b")
    assert served.recommend("user b", k=99, exclude_seen=False).found.shape == (1, 11)
    assert served.sizes()["seen"] == 0


def test_users_without_entries_get_what_is_popular(ticket_of, split, tmp_path):
    """With seen items in the file or without, dense or sparse; and neighbours are no popularity."""
    popular = np.argsort(-np.bincount(split.train[:, 1], minlength=11), kind="stable")
    for seen in (True, False):
        path = lthjax.export(ticket_of(), split, tmp_path / "t.npz", seen=seen)
        for scoring in ("dense", "sparse"):
            served = lthjax.load_compressed(path, scoring=scoring)
            ranked = served.recommend(["user c", "user d"], k=11, exclude_seen=False)
            assert ranked.is_popularity.tolist() == [False, True]
            assert ranked.found[1].tolist() == split.item_ids[popular].tolist()
            some = served.recommend("user d", 3, False, items=split.item_ids[[8, 4, 7, 10]])
            assert some.found.tolist() == [split.item_ids[[10, 4, 8]].tolist()]  # had by 3, 2 and 2 users
            assert served.recommend([], 3, False).is_popularity.shape == (0,)
            assert not served.similar_users(["user c", "user d"]).is_popularity.any()


def test_files_of_format_1_take_the_counts_from_the_training_items(ticket_of, split, tmp_path):
    for seen, counts in ((True, np.bincount(split.train[:, 1], minlength=11)), (False, np.zeros(11))):
        contents = exporting.contents_of(ticket_of(), split, exporting.Stored(seen=seen))
        file_format.write(tmp_path / "t.npz", dataclasses.replace(contents, item_counts=None))
        served = lthjax.load_compressed(tmp_path / "t.npz")
        np.testing.assert_array_equal(served.item_counts, counts)
        assert served.sizes()["counts"] == 0
        ranked = served.recommend("user d", k=11, exclude_seen=False)
        assert ranked.found[0].tolist() == split.item_ids[np.argsort(-counts, kind="stable")].tolist()
        assert ranked.is_popularity.tolist() == [True]


def test_what_is_stored_of_lightgcn(ticket_of, split, tmp_path):
    ticket = ticket_of(model="lightgcn", layers=2)
    wanted = exporting.final_embeddings(ticket, split)
    final = lthjax.load_compressed(lthjax.export(ticket, split, tmp_path / "final.npz"))
    for ours, theirs in zip(final.embeddings(), wanted, strict=True):
        assert ours.tobytes() == np.asarray(theirs).tobytes()
    layer0 = lthjax.load_compressed(lthjax.export(ticket, split, tmp_path / "layer0.npz", store="layer0"))
    for ours, theirs in zip(layer0.embeddings(), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert layer0.sizes()["tables"] < final.sizes()["tables"]
    pruned = lthjax.load_compressed(lthjax.export(ticket, split, tmp_path / "pruned.npz", final_sparsity=0.6))
    both = np.concatenate(pruned.embeddings())
    assert np.count_nonzero(both) == 36  # of 90
    whole = np.abs(np.concatenate([np.asarray(side) for side in wanted]))
    assert np.abs(both[both != 0]).min() >= whole[both == 0].max()
    assert pruned.facts["final_sparsity"] == 0.6


def test_layer0_of_mf_is_its_table(ticket_of, split, tmp_path):
    paths = [lthjax.export(ticket_of(), split, tmp_path / name, store=name) for name in ("final", "layer0")]
    tables = [lthjax.load_compressed(path).embeddings() for path in paths]
    for ours, theirs in zip(*tables, strict=True):
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize(
    ("model", "options", "wanted"),
    [
        ("mf", {"final_sparsity": 0.5}, "propagated tables only"),
        ("lightgcn", {"final_sparsity": 0.5, "store": "layer0"}, "propagated tables only"),
        ("lightgcn", {"final_sparsity": 1.5}, "0 to below 1; got 1.5"),
        ("lightgcn", {"store": "layer0", "seen": False}, "wanted the training pairs"),
        ("mf", {"store": "somewhere"}, "final or layer0; got 'somewhere'"),
        ("mf", {"values": "int4"}, "float32, float16 or int8; got 'int4'"),
    ],
)
def test_choices_that_contradict_one_another(ticket_of, split, tmp_path, model, options, wanted):
    with pytest.raises(SettingsError, match=wanted):
        lthjax.export(ticket_of(model=model), split, tmp_path / "t.npz", **options)
    assert not list(tmp_path.iterdir())


def test_another_split_is_refused(ticket_of, split, tmp_path):
    other = dataclasses.replace(split, item_ids=split.item_ids + 1)
    with pytest.raises(DataError, match="wanted the split that the ticket was found on"):
        lthjax.export(ticket_of(), other, tmp_path / "t.npz")


def test_every_altered_byte_and_every_length_is_found(tmp_path):
    path = tmp_path / "t.npz"
    write_some(path)
    whole = path.read_bytes()
    for changed in [
        *(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(0, len(whole), 61)),
        *(whole[:i] for i in (0, 10, 64, 65, len(whole) // 2, len(whole) - 1)),
        whole + b"0",
    ]:
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="checksum differs"):
            file_format.read(path)


def test_a_newer_format_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(file_format, "FORMAT_VERSION", 3)
    write_some(tmp_path / "t.npz")
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match=r"newer lthjax \(format 3\); this one reads up to 2"):
        lthjax.load_compressed(tmp_path / "t.npz")


def test_files_that_are_none_of_ours(tmp_path):
    with pytest.raises(CheckpointError, match="there is none"):
        lthjax.load_compressed(tmp_path / "missing.npz")
    with pytest.raises(CheckpointError, match="there is none"):
        lthjax.load_compressed(tmp_path)
    np.savez(tmp_path / "other.npz", x=np.arange(99))
    with pytest.raises(CheckpointError, match="this is none"):
        lthjax.load_compressed(tmp_path / "other.npz")


def test_no_pickle_inside(tmp_path):
    write_some(tmp_path / "t.npz", note="text")
    with np.load(tmp_path / "t.npz", allow_pickle=False) as archive:
        assert all(archive[name].dtype.kind in "iuf" for name in archive.files)
    assert zipfile.ZipFile(tmp_path / "t.npz").testzip() is None


def test_only_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match=r"pipe"):
        write_some(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_a_path_that_cannot_be_written(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match=r"cannot write .*folder: "):
        write_some(tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_contents_that_do_not_go_together(tmp_path):
    ids = np.arange(3)
    contents = Contents(
        tables=Tables(np.ones((3, 2)), np.ones((4, 2))),
        user_ids=ids,
        item_ids=ids,
        train=None,
        valid=None,
        facts={},
    )
    with pytest.raises(DataError, match="3 users and 3 items; got 3 and 4"):
        file_format.write(tmp_path / "t.npz", contents)
    with pytest.raises(DataError, match="item ids: wanted them ascending"):
        compressed.serve(dataclasses.replace(contents, item_ids=np.array([0, 2, 1, 3])))
    short = id_lists.from_pairs(np.zeros((0, 2), np.int32), 2)
    contents = dataclasses.replace(contents, item_ids=np.arange(4), train=short)
    with pytest.raises(DataError, match="train: wanted 3 rows of items; got 2"):
        compressed.serve(contents)


def test_it_serves_without_jax(ticket_of, split, tmp_path):
    """With JAX and all that comes with it blocked, in a process of its own."""
    ticket = ticket_of(model="lightgcn", layers=2)
    path = lthjax.export(ticket, split, tmp_path / "t.npz", store="layer0")
    program = f"""
import sys
for name in ("jax", "jaxlib", "flax", "optax", "orbax", "pandas", "matplotlib", "tqdm", "tyro", "threadpoolctl"):
    sys.modules[name] = None  # importing it is an ImportError
import lthjax
ticket = lthjax.load_compressed({str(path)!r})
print(*ticket.recommend("user c", k=1).found[0], *ticket.similar_items(100_000, k=1).found[0], ticket)
from lthjax.serving import top_k
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    served = exporting.serving(ticket, split)
    wanted = served.recommend("user c", k=1).found[0, 0], served.similar_items(100_000, k=1).found[0, 0]
    assert done.stdout.split()[:2] == [str(value) for value in wanted]


def test_served_as_the_evaluator_ranks(ticket_of, split):
    """Recall from recommendations is that of `lthjax.evaluation.ranking`."""
    from lthjax.evaluation import ranking

    ticket = ticket_of()
    task = ranking.ranking_task(np.concatenate([split.train, split.valid]), split.test, split.num_users)
    measured = ranking.evaluate(ticket.trained, task, (3,))
    served = exporting.serving(ticket, split)
    best = top_k.recommend(served.user, served.item, measured.users, 3, seen=served.seen)
    held_out = {(int(user), int(item)) for user, item in split.test}
    for user, items, recall in zip(measured.users.tolist(), best.rows.tolist(), measured.recall[3], strict=True):
        relevant = sum(pair[0] == user for pair in held_out)
        assert recall == pytest.approx(sum((user, item) in held_out for item in items) / relevant)


@pytest.mark.parametrize(
    "ids",
    [[-1, 2**53 + 1], [-(2**63), 2**63 - 1], [-128, 127], [-129, 5], [-5, 128], [-5, 200], [0, 2**63 - 1], [0, 255]],
)
def test_numbers_at_the_ends_of_dtypes_come_back(ids):
    np.testing.assert_array_equal(packing.unpack_ids(packing.pack_ids(np.array(ids))), ids)


def test_a_scoring_that_is_none():
    ids = np.array([0])
    tables = Tables(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))
    contents = Contents(tables=tables, user_ids=ids, item_ids=ids, train=None, valid=None, facts={})
    with pytest.raises(SettingsError, match="scoring: wanted auto, dense or sparse; got 'fast'"):
        compressed.serve(contents, scoring="fast")
