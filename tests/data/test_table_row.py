"""The fields of a row: what they may be, and what is said where they are not."""

import math
from pathlib import Path

import pytest

from nlift.data.table_row import TableRow
from nlift.errors import DataError

MISSING = [None, math.nan]


def row(value):
    """A row of a file with one field."""
    return TableRow(Path("x.jsonl"), 7, {"a": value})


@pytest.mark.parametrize("value", [*MISSING, [], ["one"], {"pl": "jeden"}, 0, 1.5, True, b"b"])
def test_what_is_no_text(value):
    with pytest.raises(DataError, match=r"^x\.jsonl:7: a is (null|a list|an object|the number|a truth value|bytes)"):
        row(value).text("a")


def test_a_text_may_be_empty():
    assert row("").text("a") == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((value, "") for value in MISSING),
        ("", ""),
        (0, "0"),
        (1984, "1984"),
        (1984.0, "1984"),
        (0.5, "0.5"),
        ("nan", "nan"),
    ],
)
def test_a_title_may_be_missing_or_a_number(value, text):
    assert row(value).optional_text("a") == text


@pytest.mark.parametrize("value", [["a"], {"a": 1}, True, math.inf])
def test_what_is_no_title(value):
    with pytest.raises(DataError, match="expected a text"):
        row(value).optional_text("a")


@pytest.mark.parametrize(("value", "name"), [("d 1", "d 1"), (7, "7"), (7.0, "7"), (0, "0"), ("01", "01")])
def test_an_id(value, name):
    assert row(value).name("a") == name


@pytest.mark.parametrize("value", [*MISSING, "", 0.5, math.inf, True, ["a"]])
def test_what_is_no_id(value):
    with pytest.raises(DataError, match=r"x\.jsonl:7: a is .*; expected an id"):
        row(value).name("a")


@pytest.mark.parametrize(
    ("value", "number"), [("1", 1), ("1.0", 1), ("-1", -1), (2, 2), (2.0, 2), (" 3 ", 3), ("0.", 0)]
)
def test_a_whole_number(value, number):
    assert row(value).whole_number("a") == number


@pytest.mark.parametrize("value", [*MISSING, "", "0.5", 0.5, "high", "1_0", math.inf, True, "1e0", "٣"])
def test_what_is_no_whole_number(value):
    with pytest.raises(DataError, match=r"x\.jsonl:7: a .* is no whole number"):
        row(value).whole_number("a")


@pytest.mark.parametrize("value", [*MISSING, "", "nan", "inf", "much", "1_0", "3,5", True, ["1"]])
def test_what_is_no_number(value):
    with pytest.raises(DataError, match=r"x\.jsonl:7: a .* is no number"):
        row(value).number("a")


def test_numbers_of_hundreds_of_digits():
    huge = 10**400
    assert row(huge).name("a") == row(huge).optional_text("a") == str(huge)
    for wanted in ("number", "whole_number"):
        with pytest.raises(DataError, match="is no"):
            getattr(row(huge), wanted)("a")


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path):
    row = TableRow(tmp_path / "x.jsonl", 3, {"a": 1, "b": 2})
    row.need("b", "a")
    with pytest.raises(DataError, match=r"x\.jsonl:3: no column 'c'; found a, b; expected a, c"):
        row.need("a", "c")
