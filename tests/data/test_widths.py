"""Fields of lines as NumPy counts them, against the csv module and str.split."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lthjax.data import text, widths

several = settings(deadline=None, max_examples=200, derandomize=True)
CHARACTERS = "ab0,;|:\t \nä\x1f"


def rows_of(content, mark):
    """What the records of a text are to the csv module, blank lines left out."""
    if mark == " ":
        return [row for row in map(str.split, content.split("\n")) if row]
    mark = {"::": "\x1f"}.get(mark, mark)
    rows = csv.reader(io.StringIO(content.replace("::", "\x1f") if mark == "\x1f" else content), delimiter=mark)
    return [row for row in rows if len(row) > 1 or (row and row[0].strip())]


@several
@given(st.text(CHARACTERS, max_size=40), st.sampled_from([",", "\t", "::", ";", "|", " "]), st.integers(2, 4))
def test_fields_are_those_of_the_csv_module(content, mark, width):
    wanted = all(len(row) == width for row in rows_of(content, mark))
    got = widths.all_have(content.encode(), mark, width)
    if got:
        assert wanted  # what is unsure is left to the csv module
    elif wanted:
        is_blank_line = any(line and not line.strip() for line in content.split("\n"))
        assert is_blank_line or not content.isascii()


@several
@given(st.text("01-, \t\n", max_size=40))
def test_numbers_of_words_differ(content):
    wanted = {len(line.replace(",", " ").split()) for line in content.split("\n")} - {0}
    assert widths.differ(content.encode()) == (len(wanted) > 1)


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_pieces_are_whole_lines(monkeypatch, at_once):
    monkeypatch.setattr(widths, "_AT_ONCE", at_once)
    assert b"".join(widths.pieces(io.BytesIO(b"1,2\n\n33,4\n5,6"))) == b"1,2\n\n33,4\n5,6\n"
    assert widths.all_have(b"1,2\n\n33,4\n5,6", ",", 2)
    assert not widths.all_have(b"1,2\n\n33,4\n5,6,7", ",", 2)
    assert not widths.differ(b"1,2\n\n33,4\n5,6")
    assert widths.differ(b"1,2\n\n33,4\n5,6,7")


def test_a_plain_table_is_not_split_by_python(monkeypatch):
    seen = []
    records = text._records
    monkeypatch.setattr(text, "_records", lambda grid: (seen.append(row) or row for row in records(grid)))
    text.table(b"user,item\n" + b"1,2\n" * 5_000, "x.csv", text.Options())
    assert len(seen) < 1_000  # the first rows for each delimiter
