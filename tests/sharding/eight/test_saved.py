"""Tables that are cut are saved by parts, and are the same however they are cut when they are read."""

import json

import jax
import numpy as np
import pytest

import lthjax
from lthjax.embeddings import Embeddings
from lthjax.errors import CheckpointError
from lthjax.pruning import masks as masking
from lthjax.runtime import checkpoint
from lthjax.sharding import layout as layouts
from lthjax.sharding import saved, stripes
from lthjax.sharding.table import ShardedTable

from .conftest import NUM_ITEMS, NUM_USERS


@pytest.fixture
def state(tables):
    """Weights, masks and what is no table."""
    weights = tables(5)
    return {"weights": weights, "masks": Embeddings(*(table > 0.3 for table in weights)), "step": np.int32(7)}


@pytest.fixture
def written(state, place, tmp_path):
    arrays = checkpoint.named_leaves(place.tables(place.place(state)))
    saved.save(tmp_path / "here", arrays, {"level": 2})
    return tmp_path / "here"


@pytest.mark.parametrize("num_devices", [None, 1, 2, 8])
def test_what_is_saved_by_parts_is_read_by_any_number_of_devices(state, written, num_devices):
    layout = None if num_devices is None else layouts.make(lthjax.mesh(num_devices), NUM_USERS, NUM_ITEMS)
    arrays, facts = saved.load(written, layout)
    assert facts == {"level": 2}
    for name, wanted in checkpoint.named_leaves(state).items():
        came = arrays[name]
        assert isinstance(came, ShardedTable) == (layout is not None and name != "step")
        assert (came.shape, came.dtype) == (wanted.shape, wanted.dtype)
        np.testing.assert_array_equal(np.asarray(came), wanted)
    if layout is not None:
        parts = arrays["weights/user"].array.addressable_shards
        assert {part.data.shape[0] for part in parts} == {512 // num_devices}
        back = checkpoint.restore_leaves(layout.shapes(state), arrays)
        for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(layout.gather(layout.place(back))), strict=True):
            np.testing.assert_array_equal(one, other)


def test_stripes_are_the_pieces_of_checkpoints():
    assert stripes.STRIPES == checkpoint.PIECES


@pytest.mark.parametrize("reads_cut", [False, True])
def test_another_table_under_the_same_name_is_told(tables, place, written, tmp_path, reads_cut):
    other = {"weights": tables(5, seed=1), "masks": place.gather(place.all_kept(5)), "step": np.int32(7)}
    saved.save(tmp_path / "other", checkpoint.named_leaves(place.tables(place.place(other))), {"level": 2})
    (written / "arrays").rename(tmp_path / "mine")
    (tmp_path / "other" / "arrays").rename(written / "arrays")
    with pytest.raises(CheckpointError, match="its digest differs"):
        saved.load(written, place if reads_cut else None)


def test_a_version_before_cut_tables_refuses_them_and_reads_all_others(written, place, tmp_path):
    assert json.loads((written / "facts.json").read_text())["format"] == 2
    saved.save(tmp_path / "plain", {"values": np.ones(3)}, {})
    assert json.loads((tmp_path / "plain" / "facts.json").read_text())["format"] == 1


def test_masks_that_are_cut_are_counted_compared_and_packed(state, place):
    masks, cut = state["masks"], place.tables(place.place(state["masks"]))
    masks.user[3] = False
    emptied = place.tables(place.place(masks))
    assert masking.num_kept(emptied) == masking.num_kept(masks)
    assert masking.num_entries(emptied) == masking.num_entries(masks)
    assert [masking.num_dead(mask) for mask in emptied] == [masking.num_dead(mask) for mask in masks]
    assert masking.are_equal(cut, cut)
    assert not masking.are_equal(cut, emptied)
    for mask, table in zip(masks, emptied, strict=True):
        np.testing.assert_array_equal(np.asarray(masking.pack(table)), masking.pack(mask))
        np.testing.assert_array_equal(np.asarray(masking.unpack(masking.pack(table), 5)), mask)


def test_a_ticket_is_saved_by_parts_and_read_whole(tastes, quick, mesh, tmp_path):
    tickets = list(lthjax.find_tickets(tastes, **quick | {"levels": 1, "rewind": "epoch:1"}, mesh=mesh, out=tmp_path))
    facts = json.loads((tmp_path / "tickets" / "level_01" / "facts.json").read_text())
    assert {"mask/user", "start/item", "trained/user", "origin/params/item"} <= {*facts["cut"]}
    for ticket in tickets:
        read = lthjax.load_ticket(tmp_path / "tickets" / f"level_{ticket.level:02d}")
        for name in ("masks", "start", "trained"):
            for one, other in zip(getattr(ticket, name), getattr(read, name), strict=True):
                np.testing.assert_array_equal(one, other)
        assert read.saved_states.keys() >= {"origin/params/user"}
