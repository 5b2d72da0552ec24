"""Published files, unchanged, under their names: a few lines by hand in each layout, packed and unpacked."""

import bz2
import gzip
import io
import os
import tarfile
import zipfile

import pytest

from lthjax.data import library
from lthjax.data.interactions import load
from lthjax.data.published import PUBLISHED, Counts, is_near
from lthjax.errors import DataError

STEAM = (
    "{u'username': u'Chaos \"Syren\"', u'hours': 0.1, u'products': 41, u'product_id': u'725280', u'page_order': 0, "
    "u'date': u'2017-12-17', u'text': u\"It's odd, {'username': 'x'}\", u'early_access': False, u'page': 1}\n"
    "{u'username': u'Ariman1', u'hours': 13.2, u'product_id': u'328100', u'compensation': u'Product received'}\n"
    "{u'username': u'\\xc4rmel', u'product_id': u'328100', u'user_id': u'76561198007483075'}\n"
)
REVIEW = (
    '{"rating": 5.0, "title": "x", "text": "a, \\"b\\"", "images": [], "asin": "B00YQ6X8EO", "parent_asin": "B00P", '
    '"user_id": "AGKH", "timestamp": 1588687728923, "helpful_vote": 0, "verified_purchase": true}\n'
)
LASTFM = (
    '00000c28\t3bd73256\tbetty blowtorch\t2137\n00000c28\t\t"weird al" yankovic\t99\n'
    '00001411\t1a2b\tdie "Ärzte\t1099\n00001411\t\tbetty blowtorch\t7\n'
)
FILES = {  # name: file, encoding, content, pairs by hand
    "ml-100k": ("u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n196\t302\t1\t878887116\n", 3, 2, 2),
    "ml-1m": ("ratings.dat", "1::1193::5::978300760\n1::661::3::978302109\n2::1193::5::978298413\n", 3, 2, 2),
    "ml-20m": ("ratings.csv", "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,3.5,1112484676\n", 2, 1, 2),
    "ml-32m": ("ratings.csv", "userId,movieId,rating,timestamp\n1,17,4.0,944249077\n2,17,1.0,944250228\n", 2, 2, 1),
    "lastfm-2k": ("user_artists.dat", "userID\tartistID\tweight\r\n2\t51\t13883\r\n2\t52\t11690\r\n", 2, 1, 2),
    "lastfm-360k": ("usersha1-artmbid-artname-plays.tsv", LASTFM, 4, 2, 3),
    "steam": ("steam_reviews.json", STEAM, 3, 3, 2),
    "book-crossing": (
        "BX-Book-Ratings.csv",
        '"User-ID";"ISBN";"Book-Rating"\n"276725";"034545104X";"0"\n"276726";"0155061224";"5"\n"276726";"3-é";"0"\n',
        *(3, 2, 3),
    ),
    "douban": ("uir.index", "1 1 5\n1 2 3\n2 2 4\n", 3, 2, 2),
    "amazon-2023-All_Beauty": ("All_Beauty.jsonl", REVIEW + REVIEW.replace("AGKH", "AH"), 2, 2, 1),
}


def content_of(name):
    return FILES[name][1].encode(PUBLISHED[name].encoding or "utf-8")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """An empty folder that LTHJAX_DATA names, and another to work in."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("LTHJAX_DATA", str(tmp_path / "mine"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "mine"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def original(data):
    return {(str(data.user_ids[user]), str(data.item_ids[item])) for user, item in data.pairs.tolist()}


def sizes(data):
    return len(data.pairs), data.num_users, data.num_items


def refused(data, *parts, **options):
    with pytest.raises(DataError) as caught:
        load(data, **options)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


def zipped(path, content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", "read me")
        archive.writestr(path, content)
    return file.getvalue()


def tarred(path, content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, data in (("README.txt", b"read me"), (path, content), ("behind.tsv", b"1")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def archive_of(name):
    pack = tarred if PUBLISHED[name].archive.endswith(".tar.gz") else zipped
    return pack(f"{PUBLISHED[name].folder}/{FILES[name][0]}", content_of(name))


@pytest.mark.parametrize("name", FILES)
def test_read_by_name(root, name):
    (
        file,
        *_,
    ) = FILES[name]
    write(root / name / file, content_of(name))
    got = load(name)
    assert got.name == name
    assert sizes(got) == FILES[name][2:]
    assert PUBLISHED[name].page in got.notes[0]
    assert got.notes[1].startswith(f"NOTE: not the counts that were published of {name}: ")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress], ids=["gz", "bz2"])
def test_read_where_the_file_is_packed(root, name, pack):
    end = ".gz" if pack is gzip.compress else ".bz2"
    known = PUBLISHED[name]
    folder = root / known.folder if known.archive else root  # where the archive unpacks to, or beside the others
    write(folder / (FILES[name][0] + end), pack(content_of(name)))
    assert sizes(load(name)) == FILES[name][2:]


@pytest.mark.parametrize("name", [name for name in FILES if PUBLISHED[name].archive])
@pytest.mark.parametrize("within", [False, True], ids=["beside", "in its folder"])
def test_read_from_the_archive_as_it_was_downloaded(root, name, within):
    write((root / name if within else root) / PUBLISHED[name].archive, archive_of(name))
    assert sizes(load(name)) == FILES[name][2:]
    before = sorted(os.walk(root))
    load(name)
    assert sorted(os.walk(root)) == before  # nothing was unpacked


def test_what_is_in_them(root):
    for name, (file, *_) in FILES.items():
        write(root / name / file, content_of(name))
    assert original(load("ml-100k")) == {("196", "242"), ("186", "302"), ("196", "302")}
    assert original(load("ml-1m", min_rating=4)) == {("1", "1193"), ("2", "1193")}
    assert original(load("ml-20m")) == {("1", "2"), ("1", "29")}
    assert original(load("lastfm-2k", min_rating=12_000)) == {("2", "51")}
    artists = {"betty blowtorch", '"weird al" yankovic', 'die "Ärzte'}
    assert set(load("lastfm-360k").item_ids.tolist()) == artists
    assert original(load("steam")) == {('Chaos "Syren"', "725280"), ("Ariman1", "328100"), ("Ärmel", "328100")}
    assert original(load("book-crossing", min_rating=1)) == {("276726", "0155061224")}
    assert ("276726", "3-é") in original(load("book-crossing"))
    assert original(load("amazon-2023-All_Beauty")) == {("AGKH", "B00P"), ("AH", "B00P")}
    assert original(load("amazon-2023-All_Beauty", columns="user_id,asin")) == {
        ("AGKH", "B00YQ6X8EO"),
        ("AH", "B00YQ6X8EO"),
    }
    assert "user 'user_id', item 'artist_name', rating 'plays' not used" in " ".join(load("lastfm-360k").notes)


def test_pairs_of_amazon_without_repeats(root):
    csv = b"user_id,parent_asin,rating,timestamp\nAGKH,B00P,5.0,1588687728923\nAH,B00P,1.0,1588687728923\n"
    write(root / "All_Beauty.csv.gz", gzip.compress(csv))
    got = load("amazon-2023-All_Beauty")
    assert original(got) == {("AGKH", "B00P"), ("AH", "B00P")}
    assert "interactions" not in got.notes[1]  # they are fewer than the ratings that were counted
    assert "2 users for 632.0K" in got.notes[1]
    refused("amazon-2023-Beauty", "did you mean amazon-2023-", "amazon-2023-CATEGORY")


def test_whole_files_are_told_to_be(root, monkeypatch):
    path = write(root / "ml-100k" / "u.data", content_of("ml-100k"))
    whole = PUBLISHED["ml-100k"]._replace(counts=Counts(3, 2, 2))
    monkeypatch.setitem(PUBLISHED, "ml-100k", whole)
    assert "as published: 3 interactions, 2 users, 2 items" in load("ml-100k").notes
    assert "as published: 3 interactions, 2 users, 2 items" in load("ml-100k", min_rating=3).notes  # before any filter
    path.write_bytes(content_of("ml-100k").rstrip())  # whole, if without an end
    assert "as published: 3 interactions, 2 users, 2 items" in load("ml-100k").notes
    monkeypatch.setitem(PUBLISHED, "ml-100k", whole._replace(counts=Counts(3, 2, None)))
    assert "as published: 3 interactions, 2 users" in load("ml-100k").notes
    monkeypatch.setitem(PUBLISHED, "ml-100k", whole._replace(counts=Counts(3, 9, 1), not_counted=("users",)))
    assert "NOTE: not the counts that were published of ml-100k: 2 items for 1" in load("ml-100k").notes


def test_a_file_that_is_cut_off_is_refused(root):
    path = write(root / "ml-1m" / "ratings.dat", content_of("ml-1m")[:-3])
    refused("ml-1m", "wanted the 1,000,209 rows of ml-1m", "got 3", "get it again", "ratings.dat")
    path.write_bytes(content_of("ml-1m")[:-16])
    refused("ml-1m", "fields", "line 3")
    path.unlink()
    for end in (30, 200):
        write(root / "ml-1m.zip", archive_of("ml-1m")[:-end])
        refused("ml-1m", "damaged", "ml-1m.zip")
    write(root / "lastfm-dataset-360K.tar.gz", archive_of("lastfm-360k")[:40])
    refused("lastfm-360k", "damaged", "lastfm-dataset-360K.tar.gz")


def test_other_files_of_that_name_are_refused(root):
    path = write(root / "ml-1m" / "ratings.dat", b"user::item\n1::2\n")
    refused("ml-1m", "wanted 4 columns without names, as ml-1m has them", "ratings.dat")
    path.write_bytes(b"1::2::3\n1::3::3\n")
    refused("ml-1m", "wanted 4 columns without names", "3 columns")
    refused("ml-1m", "leave it out", format="csv")
    write(root / "ml-20m" / "ratings.csv", b"user,film\n1,2\n")
    refused("ml-20m", "one column of items", "ratings.csv")
    write(root / "ml-32m.zip", zipped("ml-32m/movies.csv", b"1,2\n"))
    refused("ml-32m", "ratings.csv in the archive, got none", "ml-32m.zip")


@pytest.mark.parametrize("name", PUBLISHED)
def test_absent_ones_say_what_to_get(root, name):
    file = PUBLISHED[name].archive or PUBLISHED[name].files[0]
    refused(name, file, PUBLISHED[name].page, "LTHJAX_DATA", str(root), "./data")


def test_a_folder_of_that_name_with_parts_of_ones_own_is_read_as_before(root):
    write(root / "ml-100k" / "train.txt", b"0 1 2 3\n1 2\n")
    write(root / "ml-100k" / "test.txt", b"0 4\n")
    assert load("ml-100k").parts.tolist() == [0, 0, 0, 2, 0]
    write(root / "ml-100k" / "u.data", content_of("ml-100k"))
    assert load("ml-100k").parts is None  # the published file comes first
    assert load(root / "ml-100k").parts.tolist() == [0, 0, 0, 2, 0]  # a path is a path


def test_an_archive_that_claims_to_be_huge_is_refused(root, monkeypatch):
    write(root / "ml-1m.zip", archive_of("ml-1m"))
    monkeypatch.setattr("lthjax.data.archives._ALWAYS_UNPACKED", 10)
    monkeypatch.setattr("lthjax.data.archives._MOST_UNPACKED", 0)
    refused("ml-1m", "wanted at most 10 bytes unpacked", "ml-1m.zip/ml-1m/ratings.dat")


@pytest.mark.parametrize(
    ("told", "near", "far"),
    [
        ("632.0K", [631_950, 632_000, 632_050], [631_949, 632_051]),
        ("2.0M", [1_950_000, 2_050_000], [1_949_000]),
        ("641", [641], [640, 642]),
        (943, [943], [942]),
        (None, [1, 2], []),
    ],
)
def test_rounded_counts(told, near, far):
    assert all(is_near(count, told) for count in near)
    assert not any(is_near(count, told) for count in far)


def test_the_table_is_whole():
    for name, known in PUBLISHED.items():
        assert all([known.files, known.folder, known.page]), name
        assert set(known.not_counted) <= set(Counts._fields)
        assert known.header is None or len(known.header) > 1
        assert library.absent(name, []).args
    assert len([name for name in PUBLISHED if name.startswith("amazon-2023-")]) == 34
