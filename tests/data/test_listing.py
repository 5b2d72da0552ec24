"""The list of data sets: all names, where they are looked for, and what is there."""

import pytest

import lthjax
from lthjax.data.catalog import BUNDLED, KNOWN
from lthjax.data.interactions import load
from lthjax.data.published import PUBLISHED


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A folder that LTHJAX_DATA names, and ./data."""
    mine, here = tmp_path / "mine", tmp_path / "here" / "data"
    for folder in (mine, here):
        folder.mkdir(parents=True)
    monkeypatch.setenv("LTHJAX_DATA", str(mine))
    monkeypatch.chdir(tmp_path / "here")
    return mine, here


def by_name():
    table = lthjax.datasets()
    assert table["name"].is_unique
    return table.set_index("name")


def test_all_names_are_listed(places):
    table = by_name()
    assert table.index.tolist() == [BUNDLED, *KNOWN, *PUBLISHED]
    assert table.loc[BUNDLED, "here"] == "in the package"
    assert (table.drop(index=BUNDLED)["here"] == "").all()
    assert table.loc["ml-1m", ["interactions", "users", "items"]].tolist() == ["1,000,209", "6,040", ""]
    assert table.loc["amazon-2023-Books", "interactions"] == "29.5M"
    assert table.loc["ml-1m", "wanted"] == f"{places[0]}/ml-1m.zip or data/ml-1m.zip"
    assert table.loc["steam", "wanted"] == f"{places[0]}/steam_reviews.json or data/steam_reviews.json"
    assert table.loc["gowalla", "wanted"] == f"{places[0]}/gowalla/ or data/gowalla/"
    assert (table["page"] != "").all()


def test_the_counts_of_the_bundled_one_are_true(places):
    got, row = load(BUNDLED), by_name().loc[BUNDLED]
    assert [f"{size:,}" for size in (len(got.pairs), got.num_users, got.num_items)] == [
        *row[["interactions", "users", "items"]]
    ]


def test_what_is_there_is_shown_with_its_place(places):
    mine, here = places
    (here / "gowalla").mkdir()
    (here / "ml-100k").mkdir()
    (here / "ml-100k" / "u.data").write_text("1\t2\t3\t881250949\n1\t3\t3\t881250949\n")
    (mine / "my-shop").mkdir()
    (here / "my-shop").mkdir()
    (mine / "ml-20m.zip").write_bytes(b"PK\x03\x04")
    (mine / "Books.csv.gz").write_bytes(b"")
    table = by_name()
    assert table.loc["gowalla", "here"] == "data/gowalla"
    assert table.loc["ml-100k", "here"] == "data/ml-100k/u.data"
    assert table.loc["my-shop", "here"] == str(mine / "my-shop")
    assert table.loc["ml-20m", "here"].startswith("damaged: wanted a whole archive")
    assert table.loc["amazon-2023-Books", "here"] == str(mine / "Books.csv.gz")
    assert len(table) == 1 + len(KNOWN) + len(PUBLISHED) + 1


@pytest.mark.parametrize("name", ["yelp2018", "gowalla"])
def test_told_counts_of_known_folders_are_true(name):
    row = by_name().loc[name]
    if not row["here"]:
        pytest.skip("LTHJAX_DATA has no such folder")
    got = load(name)
    assert [f"{size:,}" for size in (len(got.pairs), got.num_users, got.num_items)] == [
        *row[["interactions", "users", "items"]]
    ]
