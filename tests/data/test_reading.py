"""Every format gives back what was written; what is wrong is refused in one line with its place."""

import gzip
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lthjax.data.interactions import load
from lthjax.errors import DataError

integers = st.integers(-(2**63), 2**63 - 1)
texts = st.text("abcxyzäß0189._", min_size=1, max_size=6).filter(lambda word: not is_number(word))
GRID = list(itertools.product(range(4), range(10, 15)))  # 4 users with 5 items each


def is_number(word):
    try:
        return float(word) is not None
    except ValueError:
        return False


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


def rows(pairs, form="{},{}"):
    return "\n".join(form.format(user, item) for user, item in pairs) + "\n"


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
    assert len(message) < 600
    for part in parts:
        assert part in message


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
    lines = [gap.join([str(user), str(item)] + ([weight] if weight else [])) for user, item in pairs]
    path = write(folder / "pairs.txt", "\n".join(lines))
    assert original(load(path, format="pairs")) == strings(pairs)


@several
@given(anything)
def test_inter_round_trip(folder, pairs):
    path = write(folder / "x.inter", "user_id:token\titem_id:token\trating:float\n" + rows(pairs, "{}\t{}\t3.5"))
    assert original(load(path)) == strings(pairs)


@several
@given(anything, st.sampled_from([",", "\t", ";", "|", "::"]), st.booleans(), st.booleans())
def test_csv_round_trip(folder, pairs, delimiter, quoted, byte_order_mark):
    mark = '"' if quoted and delimiter != "::" else ""
    lines = [delimiter.join(f"{mark}{word}{mark}" for word in row) for row in [("5", *map(str, p)) for p in pairs]]
    header = delimiter.join(["rating", "userId", "movieId"])
    text = ("\ufeff" if byte_order_mark else "") + "\n".join([header, *lines]) + "\n"
    assert original(load(write(folder / "x.csv", text))) == strings(pairs)


@several
@given(interactions_of(st.integers(-(2**62), 2**62)))
def test_npy_round_trip(folder, pairs):
    np.save(folder / "x.npy", np.array(pairs, np.int64))
    assert original(load(folder / "x.npy", format="pairs")) == strings(pairs)


@several
@given(anything)
def test_auto_never_gives_other_pairs(folder, pairs):  # either the right set, or an error that asks
    users = sorted({user for user, _ in pairs}, key=str)
    lists = [" ".join(map(str, [user, *(item for other, item in pairs if other == user)])) for user in users]
    path = write(folder / "auto.txt", "\n".join(lists))
    try:
        got = load(path)
    except DataError as error:
        assert "--" in str(error) or "lists want whole numbers" in str(error)  # noqa: PT017
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


@pytest.mark.parametrize("odd", ["9223372036854775808", "123456789012345678901234567890", "007", "+7", "b", "-0"])
def test_one_id_that_is_no_integer_makes_its_side_text(tmp_path, odd):
    got = load(write(tmp_path / "x.txt", f"user item\n{odd} 1\n12 1\n12 2\n"))
    assert got.user_ids.tolist() == sorted([odd, "12"])
    assert got.item_ids.tolist() == [1, 2]


@pytest.mark.parametrize("edge", [2**63 - 1, -(2**63)])
def test_integers_of_64_bits(tmp_path, edge):
    assert load(write(tmp_path / "x.txt", f"user item\n{edge} 0\n")).user_ids.tolist() == [edge]


def test_text_in_one_part_makes_the_side_text_in_all(tmp_path):
    write(tmp_path / "train.csv", "user,item\n1,10\n1,20\n2,10\n")
    write(tmp_path / "test.csv", "user,item\n1,new\n1.0,20.0\n")
    assert load(tmp_path).item_ids.tolist() == ["10", "20", "new"]


def test_one_id_written_as_integer_and_as_float(tmp_path):
    write(tmp_path / "train.csv", "user,item\n1,-10\n2,-10\n")
    write(tmp_path / "test.csv", "user,item\n1.0,3.000\n2.0,-10.0\n")
    got = load(tmp_path)
    assert (got.user_ids.tolist(), got.item_ids.tolist()) == ([1, 2], [-10, 3])
    refused(write(tmp_path / "x.csv", "user,item\n1,2.0\n1,2.5\n"), "whole numbers", "'2.5'", "line 3")
    refused(write(tmp_path / "y.csv", "user,item\n1,12345678901234567.0\n"), "whole numbers", "line 2")
    assert load(write(tmp_path / "z.csv", "user,item\nv,1.5\nv,x\n")).item_ids.tolist() == ["1.5", "x"]


@pytest.mark.parametrize("word", ["", "NA", "NULL", "None", "nan", "NaN", " ", '""'])
def test_no_id_is_dropped_and_counted_or_refused(tmp_path, word):
    filled = rows([(f"u{n % 30}", n % 50) for n in range(200)])
    got = load(write(tmp_path / "x.csv", f"user,item\n{filled}{word},1\n1,{word}\n"))
    assert (got.num_users, got.num_items) == (30, 50)
    assert "x.csv: 2 rows without a user or an item dropped" in got.notes
    path = write(tmp_path / "y.csv", f"user,item\n{filled}" + f"{word},1\n" * 4)
    refused(path, "wanted user ids in every row", "4 of 204", "y.csv, line 202")
    path = write(tmp_path / "z.csv", f"user,item\n{filled}" + f"1,{word}\n" * 11)
    refused(path, "wanted item ids in every row", "11 of 211", "z.csv, line 202")


@pytest.mark.parametrize("cell", ["4 7 16", "4|7", "[4, 7]", "['a', 'b']", "B01 B02 B03", "4,7"])
def test_a_list_in_a_cell_is_refused(tmp_path, cell):
    path = write(tmp_path / "x.csv", f'user,item\n1,"{cell}"\n2,5\n3,"{cell}"\n')
    refused(path, "one item id in a cell", cell, "x.csv, line 2")


def test_titles_are_no_lists(tmp_path):
    titles = ["Civ V, Gold 4", "24 7", "1984", "12 Angry Men", "[REC] 2", *(f"Part {n}" for n in range(20))]
    text = "user,item\n" + rows(enumerate(titles), '{},"{}"')
    assert load(write(tmp_path / "x.csv", text)).num_items == 25


# Lists


@pytest.mark.parametrize(
    "text", ["0 1 2 3\n1 4\n", "0 1 2\n1\n2 5\n", "0\n1 5\n", "0\t1\t2\n1\t3\n", "0,1,2\n1,3\n", "-1 2 -3\n4 5\n"]
)
def test_auto_takes_lists_of_whole_numbers_with_a_line_a_user(tmp_path, text):
    assert "read as adjacency lists" in load(write(tmp_path / "x.txt", text)).notes[0]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0 1 2\n1 3 4\n", ["--columns 0,1", "--format adjacency"]),  # as many fields in each: no lists
        ("0 1 2\n", ["--columns 0,1", "--format adjacency"]),
        ("0 1\n1 2\n", ["column 0 never repeats"]),
        ("0 1 2 3\n0 4\n1 2 3 4\n", ["a user on several", "--format adjacency"]),
        ("2 7 8\n1 7\n3 1 2 3\n", ["begin with their length"]),
        ("a x y\nb z\n", ["lists want whole numbers", "line 1"]),
        ("0: 1 2\n1: 3\n", ["lists want whole numbers"]),
        ("0 [1, 2]\n1 [3]\n", ["want"]),
    ],
)
def test_auto_refuses_what_may_be_lists_or_not(tmp_path, text, parts):
    refused(write(tmp_path / "x.txt", text), *parts, "x.txt")


def test_format_adjacency_takes_any_list(tmp_path):
    path = write(tmp_path / "x.txt", "a x y\nb z\na w q\n")
    assert original(load(path, format="adjacency")) == strings(["ax", "ay", "bz", "aw", "aq"])
    refused(path, "a rating", min_rating=1, format="adjacency")
    refused(path, "leave one out", columns="0,1", format="adjacency")


def test_lists_with_empty_ones_and_places(tmp_path):
    got = load(write(tmp_path / "x.txt", "0 1 2 3\n5\n1 1\n\n2 4 1\n6\n"))
    assert original(got) == strings([(0, 1), (0, 2), (0, 3), (1, 1), (2, 4), (2, 1)])
    assert "2 users without any item left out" in got.notes
    assert "line lengths from 1 to 4" in got.notes[0]
    assert "first user 0, item 1" in got.notes[0]
    refused(write(tmp_path / "y.txt", "0 1\n\n2 3 " + "x" * 300), "y.txt, line 3", format="adjacency")


def test_no_part_decides_what_another_is(tmp_path):
    write(tmp_path / "train.txt", "0 1 2 3\n1 3 4\n")
    write(tmp_path / "test.txt", "0 5 6\n1 7 8\n")  # by itself a table
    refused(tmp_path, "got a table", "--format", "test.txt")
    assert len(load(tmp_path, format="adjacency").pairs) == 9
    write(tmp_path / "test.txt", "0 5\n1 7\n")  # the same interactions as lists and as pairs
    assert load(tmp_path).parts.tolist() == [0, 0, 0, 2, 0, 0, 2]


# Tables


@pytest.mark.parametrize(
    "header", ["user_id,item_id", "userId,movieId", "User-ID,ISBN", "uid,Track ID", "reviewerID,asin"]
)
def test_known_names(tmp_path, header):
    assert original(load(write(tmp_path / "x.csv", f"{header}\na,b\nc,d\n"))) == strings(["ab", "cd"])


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("customer_key,thing", "one column of users, got none"),
        ("user_id,thing", "one column of items, got none"),
        ("org_id,remap_id", "one column of users, got none"),
        ("user_id,location", "one column of items, got none"),
        ("user,book_id,movie_id", "one column of items, got 2"),
    ],
)
def test_unknown_names_are_refused_and_rows_shown(tmp_path, header, part):
    path = write(tmp_path / "x.csv", header + "\n" + rows(GRID, "c{},{}" + ",1" * (header.count(",") - 1)))
    refused(path, part, "--columns", "'c0'", "'10'", "x.csv")
    assert len(load(path, columns="0,1").pairs) == 20
    assert len(load(path, columns=header.split(",")[:2]).pairs) == 20


def test_of_several_names_the_one_that_ends_in_id_counts(tmp_path):
    path = write(tmp_path / "x.csv", "username,user_id,movie,movie_id\nAnn,1,Heat,2\n")
    assert original(load(path)) == {("1", "2")}


def test_columns_by_name_and_by_position(tmp_path):
    path = write(tmp_path / "x.csv", "when,who,what,stars given\n1,ann,tea,4\n2,bob,rum,2\n")
    for columns in ("who,what,stars given", "1,2,3", (1, 2, 3), ["who", "what", "stars given"]):
        assert original(load(path, columns=columns, min_rating=3)) == {("ann", "tea")}
    refused(path, "'whom'", columns="whom,what")
    refused(path, "'7'", columns="1,7")
    refused(path, "all different", columns="who")
    refused(path, "--min-rating wants", columns="who,what", min_rating=3)
    refused(path, "columns", columns=3)


@pytest.mark.parametrize(
    ("form", "part"),
    [
        ("{n},{user},{item}", "column 0 never repeats"),
        ("{user},{n},{item}", "column 1 never repeats"),
        ("{user},2010-10-0{day}T00:00:00Z,{item}", "column 1 is a time"),
        ("{user},1{day}00000000,{item}", "column 1 is a time"),
        ("1{day}00000000,{user},{item}", "column 0 is a time"),
        ("{user},2015010{day},{item}", "column 1 is a time"),
        ("{user},{day},{item},7", "column 1 may be a rating"),
        ("kind {day},{user},{item}", "column 0 may be a rating or a category"),
        ("Title {item}x{day}{label},{user}", "column 0 may be titles"),
        ("{label},{user},{item}", "column 0 may be a rating"),
        ("item{item},user{user},5", "looks like items"),
        ("B0000000{item},A{user}XYZZ,5", "looks like items"),
        ("{label},{day},{label},1,0", "as in a matrix"),
        ("9,9,9,9,9,9,9,{user},{item}", "as in a matrix"),
    ],
)
def test_tables_without_names_want_evidence(tmp_path, form, part):
    text = [form.format(n=n, user=20 + n // 12, item=30 + n % 12, day=1 + n % 9, label=n % 2) for n in range(240)]
    path = write(tmp_path / "x.csv", "\n".join(text))
    refused(path, part, "--columns", "x.csv")


def test_a_column_that_counts_is_no_item(tmp_path):
    text = "\n".join(f"{user},{count},{count * 7 % 40}" for user in range(20) for count in range(15 - user % 3))
    refused(write(tmp_path / "x.csv", text), "column 1 counts the rows of each user")


@pytest.mark.parametrize(
    "form", ["{}\t{}\t3\t881250949", "{}::{}::3::978300760", "{},{}", "{} {}", "u{},i{},2015-01-01 10:00"]
)
def test_tables_without_names_that_have_it(tmp_path, form):
    got = load(write(tmp_path / "x.txt", rows(GRID, form)))
    assert (len(got.pairs), got.num_users, got.num_items) == (20, 4, 5)


def test_evidence_is_that_of_all_parts(tmp_path):
    write(tmp_path / "train.txt", rows(GRID, "{} {} 5 978300760"))
    write(tmp_path / "test.txt", rows([(user, 20) for user in range(4)], "{} {} 5 978300760"))  # each user once
    assert load(tmp_path).parts.tolist() == [0, 0, 0, 0, 0, 2] * 4
    refused(tmp_path / "test.txt", "column 0 never repeats")


def test_a_first_line_of_words_may_be_a_header(tmp_path):
    text = rows([("ann", "tea"), ("bob", "tea"), ("ann", "rum"), ("bob", "rum")])
    assert len(load(write(tmp_path / "x.csv", text)).pairs) == 4
    path = write(tmp_path / "y.csv", "who,what\n" + text)
    refused(path, "may be a header", "user who, item what")
    assert len(load(path, columns="who,what").pairs) == 4
    assert len(load(path, columns="0,1").pairs) == 5


@pytest.mark.parametrize("words", [("c{}", "p{}"), ("{}", "{}"), ("{}.0", "name {}")])
def test_a_header_shows_in_other_kinds(tmp_path, words):
    path = write(tmp_path / "x.csv", "who,what\n" + rows(GRID, ",".join(words)))
    refused(path, "one column of users", "{'who': '" + words[0].format(0))
    assert len(load(path, columns="0,1").pairs) == 20


def test_comment_lines_are_skipped_and_counted(tmp_path):
    text = "# made by hand\n\n% twice\nuser,item\n1,2\n# more, of it\n3,#4\n"
    got = load(write(tmp_path / "x.csv", text))
    assert original(got) == {("1", "2"), ("3", "#4")}
    assert "x.csv: 3 comment lines skipped" in got.notes
    assert original(load(write(tmp_path / "y.csv", "user,item\n#1,2\n3,4\n"))) == {("#1", "2"), ("3", "4")}
    refused(write(tmp_path / "z.csv", "# x\nuser,item\n1,2\n# y\n\n3\n"), "z.csv, line 6")


def test_a_header_again_is_refused(tmp_path):
    path = write(tmp_path / "x.csv", "user,item\n1,2\n\nuser,item\n3,4\n")
    refused(path, "one header", "x.csv, line 4")
    path = write(tmp_path / "x.inter", "user_id:token\titem_id:token\n1\t2\nuser_id:token\titem_id:token\n")
    refused(path, "one header", "x.inter, line 3")


def test_quoted_fields_with_delimiters_and_line_ends(tmp_path):
    text = 'user,title,item\r\n"a","x, y\nz, 1, 2\na, b, c",1\r\n\r\nb,"say ""hi""",2\r\n'
    got = load(write(tmp_path / "x.csv", text))
    assert original(got) == {("a", "1"), ("b", "2")}
    assert "x.csv: 2 line ends within quotes, the first in line 2" in got.notes
    refused(write(tmp_path / "y.csv", 'user,item\na,b\na,"b\nc,d\n'), "whose quotes close", "y.csv, line 3")
    refused(write(tmp_path / "v.csv", 'user,item\na,"b\nc"\nc,d\n'), "on one line", "v.csv, line 2")
    path = write(tmp_path / "z.csv", 'user,item\n"a","b"\n"c", "d"\n"e",f"g\n')
    assert original(load(path)) == {("a", "b"), ("c", "d"), ("e", 'f"g')}
    long = write(tmp_path / "l.csv", "user,text,item\na," + '"' + "x" * 200_000 + '"' + ",b\n")
    assert original(load(long)) == {("a", "b")}


@pytest.mark.parametrize("mark", ["\t", ",", ";", " "])
@pytest.mark.parametrize("order", ["user item title", "user title item", "title user item"])
@pytest.mark.parametrize("last", [4, 9])
def test_quotes_that_swallow_rows_are_refused(tmp_path, mark, order, last):
    lines = [order.replace("user", f"u{user}").replace("item", f"i{item}") for user, item in GRID]
    lines[3], lines[last] = lines[3].replace("title", '"12_inch'), lines[last].replace("title", 'The_End"')
    path = write(tmp_path / "x.csv", "\n".join([order, *lines]).replace(" ", mark))
    refused(path, "x.csv, line 5")


def test_spaces_around_fields_and_lines_of_spaces(tmp_path):
    path = write(tmp_path / "x.csv", "user, item \n 1 ,  2\n   \n3,4  \n")
    assert original(load(path)) == {("1", "2"), ("3", "4")}
    path = write(tmp_path / "y.csv", "  1   2  5\n3 4   5 \n1 4 5\n")
    assert original(load(path)) == {("1", "2"), ("3", "4"), ("1", "4")}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("user,item,rating\n1,2,3\n1,3\n", ["3 fields", "got 2", "line 3"]),
        ('user,item,rating\n"1",2,3\n1,3,4,5\n', ["3 fields", "got 4", "line 3"]),
        ("some words on top\nuser,item,rating\n1,2,3\n1,3,1\n", ["3 fields", "got 1", "line 1"]),
        ('"user" "item" "rating"\n"1" 1 2 3\n"2" 1 3 3\n', ["4 fields", "got 3", "line 1"]),
        ("user,item,rating\n1,2,3\n1,3,good\n", ["'good'", "rating", "line 3"]),
        ("user,item,rating\n1,2,3\n1,3,\n", ["''", "rating", "line 3"]),
        ("user,item,rating\n1,2,3\n1,3,inf\n", ["'inf'", "rating", "line 3"]),
        ("user,item\n1,2\n", ["--min-rating"]),
        ("user,item,rating\n1,2,1\n", ["got none", "kept 0 of 1"]),
        ("user,item,rating\n" + "x" * 300 + ",2,5\n", ["at most 255", "line 2"]),
    ],
)
def test_tables_that_are_none(tmp_path, text, parts):
    refused(write(tmp_path / "x.csv", text), *parts, "x.csv", min_rating=3)


def test_inter_takes_its_names_and_ratings(tmp_path):
    text = 'user_id:token\titem_id:token\trating:float\nu"1\ta b\t5\nu2\tc\t2\n'
    path = write(tmp_path / "x.inter.gz", text)
    assert original(load(path, min_rating=3)) == {('u"1', "a b")}
    assert len(load(path, columns="item_id,user_id").pairs) == 2
    path = write(tmp_path / "y.inter", text.replace("\t", ","))
    assert "RecBole" in load(path).notes[0]
    refused(write(tmp_path / "z.txt", rows(GRID)), "user_id:token", "z.txt", format="inter")


@pytest.mark.parametrize("name", ["label:float", "label", "is_click", "Clicked"])
def test_labels_below_1_are_no_positives(tmp_path, name):
    mark = "\t" if ":" in name else ","
    lines = [
        ("user_id:token" if ":" in name else "user_id", "item_id", name),
        ("1", "2", "1"),
        ("1", "3", "0"),
        ("2", "2", "-1"),
    ]
    path = write(tmp_path / "x.txt", "\n".join(mark.join(line) for line in lines))
    got = load(path)
    assert original(got) == {("1", "2")}
    assert "x.txt: kept 1 of 3 rows, those with label >= 1" in got.notes
    assert len(load(path, min_rating=0).pairs) == 2
    assert len(load(path, columns=f"user_id,item_id,{name}").pairs) == 1
    assert len(load(path, columns="user_id,item_id").pairs) == 1
    assert len(load(path, columns="item_id,user_id", min_rating=-1).pairs) == 3


def test_of_several_labels_one_is_asked_for(tmp_path):
    path = write(tmp_path / "x.csv", "user_id,video_id,is_click,is_like\n1,2,1,0\n1,3,0,0\n2,2,1,1\n")
    refused(path, "one column of labels, got 2", "--columns user,item,label")
    refused(path, "one column of labels, got 2", columns="user_id,video_id")
    assert original(load(path, columns="user_id,video_id,is_click")) == {("1", "2"), ("2", "2")}


def test_min_rating_is_met_by_equality_and_in_any_spelling(tmp_path):
    path = write(tmp_path / "x.txt", "0 1 4.0\n0 2 3.999\n1 2 4e0\n1 1 1e-3\n")
    assert original(load(path, min_rating=4)) == {("0", "1"), ("1", "2")}
    path = write(tmp_path / "y.csv", "user;item;rating\n0;1;4,5\n0;2;2,5\n")
    assert original(load(path, min_rating=4.5)) == {("0", "1")}
    refused(path, "got none", "kept 0 of 2", min_rating=5)
    refused(path, "finite number", min_rating=float("nan"))
    refused(write(tmp_path / "z.txt", "0 1 2.5\n0 2\n"), "fields", "line 1", format="pairs", min_rating=1)
    refused(write(tmp_path / "v.txt", "0 1 2 3\n"), "got 4 fields", format="pairs")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n", "user 1, item 31 (rating 2.5, time 2009-12-14)"),
        ("userId,movieId,date\n1,31,2009-12-14 02:52:24\n", "user 1, item 31 (time 2009-12-14 02:52:24)"),
        ("user;item;rating;time_ms\n1;31;2,5;1260759144000\n", "user 1, item 31 (rating 2.5, time 2009-12-14)"),
        (rows(GRID, "{}::{}::5::978300760"), "user 0, item 10 (column 2: 5, time 2000-12-31)"),
        (rows(GRID, "{},{},5"), "user 0, item 10 (rating 5)"),
        ("userId,movieId,rating\n1,31,?\n", "user 1, item 31 (rating nan)"),
    ],
)
def test_the_first_interaction_is_shown(tmp_path, text, shown):
    note = load(write(tmp_path / "x.csv", text)).notes[0]
    assert note.startswith("x.csv: read as a table: user ")
    assert note.endswith(f"; first {shown}")


def test_large_tables_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("lthjax.data.text._ROWS_AT_ONCE", 3)
    text = "user,item\n" + rows([(n % 7, n) for n in range(40)])
    got = load(write(tmp_path / "x.csv", text))
    assert original(got) == strings([(n % 7, n) for n in range(40)])
    refused(write(tmp_path / "y.csv", text + "1,2.5\n"), "y.csv, line 42")


# Arrays


def test_npy_with_weights(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0, 1, 4.5], [1, 1, 2.0], [0, 2, 4.0], [1, 2, 0.5]]))
    assert len(load(tmp_path / "x.npy").pairs) == 4
    assert original(load(tmp_path / "x.npy", min_rating=4)) == {("0", "1"), ("0", "2")}
    write(tmp_path / "y.npy.gz", (tmp_path / "x.npy").read_bytes())
    assert load(tmp_path / "y.npy.gz").pairs.tolist() == load(tmp_path / "x.npy").pairs.tolist()
    for format in ("csv", "adjacency", "inter"):
        refused(tmp_path / "x.npy", "is for text", format=format)


@pytest.mark.parametrize(("value", "part"), [(1.5, "1.5"), (np.inf, "inf"), (2.0**53 * 8, "e+16")])
def test_npy_of_other_numbers_is_refused(tmp_path, value, part):
    np.save(tmp_path / "x.npy", np.array([[0, value], [0, 1], [1, 1]]))
    refused(tmp_path / "x.npy", part, "x.npy, row 0", format="pairs")


def test_unknown_format(tmp_path):
    refused(write(tmp_path / "x.txt", "0 1\n"), "pears", "did you mean pairs", format="pears")
