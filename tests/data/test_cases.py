"""Files as people have them: each is read as it is meant, or refused with its cause. Skipped where they are not."""

import os
from pathlib import Path

import pytest

from lthjax.data.interactions import load
from lthjax.data.split import split
from lthjax.errors import DataError

PLACES = [Path(__file__).parents[2].parent / "shared" / "cases"]
if "LTHJAX_DATA" in os.environ:
    PLACES.append(Path(os.environ["LTHJAX_DATA"]).parent / "cases")
CASES = next((place for place in PLACES if place.is_dir()), None)
pytestmark = pytest.mark.skipif(CASES is None, reason="the cases are not beside the repository")

ALL = (615, 60, 40)
RIGHT = {  # interactions, users, items; or words of the refusal
    "amazon2014-ratings.csv": ALL,
    "amazon2018-ratings.csv": "column 0 looks like items",
    "amazon2023.csv": ALL,
    "amazon5core.json": ALL,
    "yelp.json": ALL,
    "compact2.jsonl": ALL,
    "bracket.txt": "lists want whole numbers",
    "bx-latin1.csv": "--encoding, such as latin-1",
    "utf16.csv": ALL,
    "bz.csv.bz2": ALL,
    "z.csv.zip": ALL,
    "citeulike-users.dat": "lines that begin with their length",
    "comma-adj.txt": ALL,
    "coo.mtx": ALL,
    "decimal-comma.csv": ALL,
    "float-ids.csv": ALL,
    "diginetica.csv": "410 of 615 rows without",
    "four-space.txt": ALL,
    "ncf.test.rating": "column 0 never repeats",
    "gowalla-checkins.txt": "column 1",
    "hash-comment.csv": ALL,
    "konect3.txt": ALL,
    "snap.txt": ALL,
    "header-half-known.dat": ALL,
    "items-list.csv": "one item id in a cell",
    "lastfm360k-gap.tsv": (600, 60, 39),
    "lfs-pointer.csv": "a Git LFS pointer",
    "mind-behaviors.tsv": "column 0 never repeats",
    "ml1m-ratings.dat": ALL,
    "nan-item.csv": (602, 60, 40),
    "ncf.test.negative": "NCF's list of negatives",
    "negative-ids.csv": ALL,
    "netflix-combined.txt": "Netflix",
    "orgremap-list.txt": "wanted one column of users",
    "prose-header.txt": "line 1",
    "quote-swallow.tsv": "line 102",
    "r-writetable.txt": "line 1",
    "ratings.arff": "an ARFF file",
    "recbole-comma.inter": ALL,
    "recbole-label.inter": (307, 60, 40),
    "selfrec-seq-train.txt": "lists want whole numbers",
    "sparse-log-4col.txt": (447, 300, 80),
    "steam-200k.csv": ALL,
    "uid-sid.csv": "wanted one column of items",
    "wide-ratings-tab.txt": "as in a matrix",
    "loo4": ALL,
    "int-float": ALL,
}


def counts(data):
    return len(data.pairs), data.num_users, data.num_items


@pytest.mark.parametrize("name", RIGHT)
def test_case(name):
    right = RIGHT[name]
    if isinstance(right, tuple):
        assert counts(load(CASES / name)) == right
        return
    with pytest.raises(DataError) as caught:
        load(CASES / name)
    message = str(caught.value)
    assert right in message
    assert name in message
    assert "\n" not in message
    assert len(message) < 600


def test_what_flags_mend():
    assert counts(load(CASES / "bx-latin1.csv", encoding="latin-1")) == ALL
    assert counts(load(CASES / "amazon2018-ratings.csv", columns="1,0,2")) == ALL
    assert counts(load(CASES / "uid-sid.csv", columns="uid,sid")) == ALL
    assert counts(load(CASES / "gowalla-checkins.txt", columns="0,4"))[:2] == (615, 60)
    assert counts(load(CASES / "orgremap-list.txt", columns="org_id,remap_id")) == ALL
    assert counts(load(CASES / "recbole-label.inter", min_rating=0)) == ALL


def test_comments_are_counted_and_the_first_interaction_is_shown():
    assert any("3 comment lines skipped" in note for note in load(CASES / "snap.txt").notes)
    notes = load(CASES / "amazon2023.csv").notes
    assert "first user A000K, item B000000004 (rating 4, time 2012-06-08)" in notes[0]
    assert notes[-1] == "615 interactions of 60 users with 40 items"


def test_a_test_part_that_train_holds_too_is_what_was_held_out():
    got = split(load(CASES / "loo4"), method="cut")
    assert len(got.test) == 60
    assert len(got.train) + len(got.valid) == 555
