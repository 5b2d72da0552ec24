"""Every format gives back what was written; what is wrong is refused in one line with its place."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lthjax.data.interactions import load
from lthjax.errors import DataError

integers = st.integers(0, 2**63 - 1)
texts = st.text("abcxyzäß0189._-", min_size=1, max_size=6).filter(lambda word: not word.startswith("-"))


def interactions_of(ids):
    return st.lists(st.tuples(ids, ids), min_size=1, max_size=20)


anything = st.one_of(interactions_of(st.integers(0, 30)), interactions_of(integers), interactions_of(texts))
several = settings(deadline=None, max_examples=30, derandomize=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("readers")


def write(path, content):
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def original(interactions):
    users, items = interactions.user_ids, interactions.item_ids
    return {(str(users[u]), str(items[i])) for u, i in interactions.pairs.tolist()}


def strings(pairs):
    return {(str(user), str(item)) for user, item in pairs}


def refused(path, *parts, **options):
    with pytest.raises(DataError) as caught:
        load(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    for part in parts:
        assert part in message
    return message


# Round trips


@several
@given(anything, st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_adjacency_round_trip(folder, pairs, end):
    users = list(dict.fromkeys(user for user, _ in pairs))
    lines = [" ".join(map(str, [user, *(item for other, item in pairs if other == user)])) for user in users]
    path = write(folder / "lists.txt.gz", end.join(lines) + end)
    assert original(load(path, format="adjacency")) == strings(pairs)


@several
@given(anything, st.sampled_from([" ", "\t", ",", ", "]), st.sampled_from([None, "1", "2.5", "1e-3"]))
def test_pairs_round_trip(folder, pairs, gap, weight):
    rows = [gap.join([str(user), str(item)] + ([weight] if weight else [])) for user, item in pairs]
    path = write(folder / "pairs.txt", "\n".join(rows))
    assert original(load(path, format="pairs")) == strings(pairs)


@several
@given(anything)
def test_inter_round_trip(folder, pairs):
    rows = [f"{user}\t{item}\t3.5" for user, item in pairs]
    path = write(folder / "x.inter", "\n".join(["user_id:token\titem_id:token\trating:float", *rows]))
    assert original(load(path)) == strings(pairs)


@several
@given(anything, st.sampled_from([",", "\t", ";", "|", "::"]), st.booleans(), st.booleans())
def test_csv_round_trip(folder, pairs, delimiter, quoted, byte_order_mark):
    mark = '"' if quoted and delimiter != "::" else ""
    rows = [delimiter.join(f"{mark}{word}{mark}" for word in row) for row in [("5", *map(str, p)) for p in pairs]]
    header = delimiter.join(["rating", "userId", "movieId"])
    text = ("\ufeff" if byte_order_mark else "") + "\n".join([header, *rows]) + "\n"
    path = write(folder / "x.csv", text)
    assert original(load(path)) == strings(pairs)


@several
@given(interactions_of(st.integers(0, 2**62)))
def test_npy_round_trip(folder, pairs):
    path = folder / "x.npy"
    np.save(path, np.array(pairs, np.int64))
    assert original(load(path)) == strings(pairs)


@several
@given(anything)
def test_auto_never_gives_other_pairs(folder, pairs):  # either the right set, or an error that asks
    users = sorted({user for user, _ in pairs}, key=str)
    lists = [" ".join(map(str, [user, *(item for other, item in pairs if other == user)])) for user in users]
    path = write(folder / "auto.txt", "\n".join(lists))
    try:
        got = load(path)
    except DataError as error:
        assert "--format" in str(error)  # noqa: PT017
    else:
        assert original(got) == strings(pairs)


# Ids


def test_integer_ids_stay_integers_and_sort_as_numbers(tmp_path):
    got = load(write(tmp_path / "x.txt", "10 7\n9 7\n10 100\n"))
    assert got.user_ids.dtype == np.int64
    assert got.user_ids.tolist() == [9, 10]
    assert got.item_ids.tolist() == [7, 100]
    assert got.pairs.tolist() == [[0, 0], [1, 0], [1, 1]]
    assert got.pairs.dtype == np.int32


@pytest.mark.parametrize(
    "odd", ["9223372036854775808", "123456789012345678901234567890", "007", "+7", "b", "7.0", "-0"]
)
def test_one_id_that_is_no_integer_makes_its_side_text(tmp_path, odd):
    got = load(write(tmp_path / "x.txt", f"{odd} 1\n12 1\n12 2\n"))
    assert got.user_ids.tolist() == sorted([odd, "12"])
    assert got.item_ids.tolist() == [1, 2]


def test_largest_integer_is_an_integer(tmp_path):
    assert load(write(tmp_path / "x.txt", "9223372036854775807 0\n")).user_ids.tolist() == [2**63 - 1]


def test_text_in_one_part_makes_the_side_text_in_all(tmp_path):
    write(tmp_path / "train.txt", "1 10 20 30\n2 10\n")
    write(tmp_path / "test.txt", "1 new\n")
    assert load(tmp_path).item_ids.tolist() == ["10", "20", "30", "new"]


def test_negative_ids_are_refused_among_integers_only(tmp_path):
    refused(write(tmp_path / "x.txt", "0 1 2 3\n\n4 5 -6 7\n"), "item", "-6", "x.txt, line 3")
    refused(write(tmp_path / "y.csv", "user,item\n1,2\n-1,3\n"), "user", "-1", "y.csv, line 3")
    assert load(write(tmp_path / "z.csv", "user,item\n-1,2\nx,3\n")).user_ids.tolist() == ["-1", "x"]


# Adjacency lists and pairs, told apart


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("0 1 2 3\n1 4\n", "adjacency"),
        ("0 1 2\n1\n2 5\n", "adjacency"),
        ("0\n1 5\n", "adjacency"),
        ("a x y\nb z x\n", "adjacency"),  # the third is no number
        ("0 1 2 3\n0 4 5 6\n1 2 3 4\n", "adjacency"),  # a user on two lines
        ("0 1\n1 2\n", "pairs"),  # the same set either way
        ("0 1\n0 2\n1 3\n", "pairs"),
        ("0 1 5\n0 2 3\n1 3 4\n", "pairs"),
        ("0 1 5.0\n1 2 3.5\n", "pairs"),
        ("0 1 1e-3\n1 2 1\n2 5 1\n", "pairs"),
        ("0,1\n0,2\n", "pairs"),
        ("user item\n1 2\n", "table"),
        ("user_id\titem_id\trating\ttimestamp\n1\t2\t3\t4\n", "table"),
        ("196\t242\t3\t881\n196\t302\t3\t891\n196\t377\t1\t878\n196\t5\t2\t880\n", "table"),  # MovieLens u.data
        ("1::1193::5::978\n1::661::3::978\n", "table"),  # MovieLens ratings.dat
        ("1,2,3.5,2015-01-01 10:00\n1,3,3.5,2015-01-01 10:00\n", "table"),
        ("1\t2\tgood film\n2\t3\tbad\n", "table"),
        ("user_id:token\titem_id:token\n1\t2\n", "RecBole"),
    ],
)
def test_auto_decides_from_the_shape(tmp_path, text, taken):
    note = load(write(tmp_path / "x.txt", text)).notes[0]
    assert note.startswith((f"read as {taken}", f"read as a {taken}"))


@pytest.mark.parametrize("text", ["0 1 2\n1 3 4\n", "0 1 2\n1 3\n2 5 6\n", "0 1 2\n"])
def test_auto_refuses_what_fits_both(tmp_path, text):
    path = write(tmp_path / "x.txt", text)
    refused(path, "fits adjacency and pairs", "--format adjacency", "--format pairs", "x.txt")
    lists, pairs = load(path, format="adjacency"), load(path, format="pairs")
    assert len(lists.pairs) > len(pairs.pairs)


def test_auto_refuses_a_log_split_by_spaces(tmp_path):
    path = write(tmp_path / "x.txt", "1 2 3 4\n1 3 3 5\n1 4 3 6\n")
    refused(path, "--format adjacency or --format csv")
    assert len(load(path, format="csv").pairs) == 3


def test_parts_decide_together(tmp_path):
    write(tmp_path / "train.txt", "0 1 2 3\n1 3 4\n")
    write(tmp_path / "test.txt", "0 5 6\n1 7 8\n")  # by itself it fits both
    assert len(load(tmp_path).pairs) == 9
    write(tmp_path / "test.txt", "0 5 0.5\n1 7 0.5\n")
    refused(tmp_path, "one format", "train.txt: adjacency", "test.txt: pairs")


def test_lists_spread_over_lines_and_empty_lists(tmp_path):
    got = load(write(tmp_path / "x.txt", "0 1 2 3\n5\n1 1\n0 4 1\n1\n6\n"))
    assert original(got) == {("0", "1"), ("0", "2"), ("0", "3"), ("0", "4"), ("1", "1")}
    assert "read as adjacency lists (line lengths from 1 to 4)" in got.notes
    assert "2 users without any item left out" in got.notes
    assert "1 duplicates dropped" in got.notes


def test_pairs_below_a_header_line(tmp_path):
    assert original(load(write(tmp_path / "x.txt", "uid iid\n1 2\n"), format="pairs")) == {("1", "2")}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0 1\n0 2 x\n", ["'x'", "weight", "line 2"]),
        ("0 1\n\n0\n", ["1 fields", "line 3"]),
        ("0 1\n0 2 3 4\n", ["4 fields", "line 2"]),
        ("0 1 nan\n", ["'nan'", "line 1"]),
    ],
)
def test_pairs_that_are_none(tmp_path, text, parts):
    refused(write(tmp_path / "x.txt", text), *parts, "x.txt", format="pairs")


# Tables


def test_csv_columns_by_name_and_by_position(tmp_path):
    path = write(tmp_path / "x.csv", "when,who,what,stars given\n1,ann,tea,4\n2,bob,rum,2\n")
    refused(path, "column of users", "'who'", "x.csv")
    for columns in ("who,what,stars given", "1,2,3", (1, 2, 3), ["who", "what", "stars given"]):
        got = load(path, columns=columns, min_rating=3)
        assert original(got) == {("ann", "tea")}
    refused(path, "'whom'", columns="whom,what")
    refused(path, "'7'", columns="1,7")
    refused(path, "all different", columns="who")
    refused(path, "rating column", columns="who,what", min_rating=3)
    refused(path, "columns", columns=3)


def test_csv_without_a_header(tmp_path):
    path = write(tmp_path / "x.csv", "1,5,3.5,9\n2,6,1.0,9\n")
    assert original(load(path)) == {("1", "5"), ("2", "6")}
    assert original(load(path, columns="0,1,2", min_rating=2)) == {("1", "5")}
    refused(path, "rating column", min_rating=2)


def test_quoted_fields_with_delimiters_and_line_ends(tmp_path):
    text = 'user,title,item\r\n"a","x, y\nz",1\r\n\r\nb,"say ""hi""",2\r\n'
    path = write(tmp_path / "x.csv", text)
    assert original(load(path)) == {("a", "1"), ("b", "2")}
    refused(write(tmp_path / "y.csv", 'user,item\na,"b\n'), "quotes", "y.csv")
    path = write(tmp_path / "z.csv", 'user,item\n"a","b"\n"c", "d"\n"e",f"g\n')
    assert original(load(path)) == {("a", "b"), ("c", "d"), ("e", 'f"g')}


def test_spaces_around_fields_and_lines_of_spaces(tmp_path):
    path = write(tmp_path / "x.csv", "user, item \n 1 ,  2\n   \n3,4  \n")
    assert original(load(path)) == {("1", "2"), ("3", "4")}
    path = write(tmp_path / "y.csv", "  1   2  5\n3 4   5 \n")
    assert original(load(path)) == {("1", "2"), ("3", "4")}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("user,item,rating\n1,2,3\n1,3\n", ["3 fields", "got 2", "line 3"]),
        ('user,item,rating\n"1",2,3\n1,3\n', ["3 fields", "got 2", "line 3"]),
        ("user,item,rating\n1,2,3\n1,3,good\n", ["'good'", "rating", "line 3"]),
        ("user,item,rating\n1,2,3\n1,3,\n", ["''", "rating", "line 3"]),
        ("user,item,rating\n1,,3\n1,3,1\n", ["item id", "line 2"]),
        ("user,item\n1,2\n", ["rating column"]),
        ("user,item,rating\n", ["none"]),
        ("alone\nalone\n", ["one field"]),
    ],
)
def test_tables_that_are_none(tmp_path, text, parts):
    refused(write(tmp_path / "x.csv", text), *parts, "x.csv", min_rating=3)


def test_inter_takes_its_names_and_ratings(tmp_path):
    text = 'label:float\tuser_id:token\titem_id:token\trating:float\n1\tu"1\ta b\t5\n1\tu2\tc\t2\n'
    path = write(tmp_path / "x.inter.gz", text)
    assert original(load(path, min_rating=3)) == {('u"1', "a b")}
    refused(write(tmp_path / "y.inter", "1\t2\n3\t4\n"), "user_id:token", "y.inter")


def test_min_rating_is_met_by_equality_and_by_scientific_notation(tmp_path):
    path = write(tmp_path / "x.txt", "0 1 4.0\n0 2 3.999\n1 2 4e0\n1 1 1e-3\n")
    assert original(load(path, min_rating=4)) == {("0", "1"), ("1", "2")}
    refused(path, ">= 5", "4", min_rating=5)
    refused(path, "finite number", min_rating=float("nan"))
    refused(write(tmp_path / "y.txt", "0 1 2 3\n"), "ratings", "y.txt", min_rating=1)
    refused(write(tmp_path / "z.txt", "0 1 2.5\n0 2\n"), "third", "z.txt, line 2", format="pairs", min_rating=1)


# Arrays


def test_npy_with_weights(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0, 1, 4.5], [1, 1, 2.0]]))
    assert original(load(tmp_path / "x.npy")) == {("0", "1"), ("1", "1")}
    assert original(load(tmp_path / "x.npy", min_rating=4)) == {("0", "1")}
    packed = tmp_path / "y.npy.gz"
    packed.write_bytes(gzip.compress((tmp_path / "x.npy").read_bytes()))
    assert original(load(packed)) == {("0", "1"), ("1", "1")}


@pytest.mark.parametrize(
    ("array", "part"),
    [
        (np.array([[0, [1, 2]]], object), "allow_pickle"),
        (np.zeros((3, 4), int), "[3, 4]"),
        (np.zeros(3, int), "[3]"),
        (np.array([["a", "b"]]), "<U1"),
        (np.array([[0, 1.5]]), "1.5"),
        (np.array([[0, np.nan]]), "nan"),
        (np.array([[0, -1]]), "-1"),
        (np.zeros((0, 2), int), "none"),
    ],
)
def test_npy_refused(tmp_path, array, part):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    refused(tmp_path / "x.npy", part, "x.npy")


def test_npy_truncated_or_none_at_all(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(20).reshape(10, 2))
    refused(write(tmp_path / "y.npy", (tmp_path / "x.npy").read_bytes()[:-9]), "y.npy")
    refused(write(tmp_path / "z.npy", "1 2\n"), "header", "z.npy")
    refused(tmp_path / "x.npy", "columns", columns="0,1", format="pairs")
    refused(tmp_path / "x.npy", ".npy array", format="csv")
    refused(tmp_path / "x.npy", ".npy array", format="adjacency")


# Files


def test_files_that_cannot_be_read(tmp_path):
    noise = np.random.default_rng(0).bytes(3000)
    refused(tmp_path / "none.txt", "none.txt")
    refused(str(tmp_path / "none.txt"), "none.txt")
    refused(write(tmp_path / "empty.txt", ""), "empty", "empty.txt")
    refused(write(tmp_path / "empty.txt.gz", "\n \n"), "empty", "empty.txt.gz")
    refused(write(tmp_path / "noise.txt", noise), "UTF-8", "noise.txt")
    refused(write(tmp_path / "noise.csv.gz", noise), "UTF-8", "noise.csv.gz")
    refused(write(tmp_path / "zeros.txt", "0 1\n0 \0\n"), "0x00", "line 2")
    refused(write(tmp_path / "latin.txt", "0 1\n0 é\n".encode("latin-1")), "0xe9", "line 2")
    refused(write(tmp_path / "long.txt", "0 1\n0 " + "x" * 300), "300", "line 2")
    whole = gzip.compress(b"0 1 2 3\n" * 500)
    (tmp_path / "cut.txt.gz").write_bytes(whole[:-12])
    refused(tmp_path / "cut.txt.gz", "truncated", "cut.txt.gz")
    (tmp_path / "bad.txt.gz").write_bytes(whole[:12] + b"\xff" * 9 + whole[21:])
    refused(tmp_path / "bad.txt.gz", "damaged", "bad.txt.gz")
    refused(write(tmp_path / "x.txt", "0 1\n"), "pears", "did you mean pairs", format="pears")


def test_old_line_ends_and_a_file_without_a_last_one(tmp_path):
    assert original(load(write(tmp_path / "x.txt", "0 1 2 3\r1 5"))) == strings([(0, 1), (0, 2), (0, 3), (1, 5)])
