"""Filters by metadata: beside a plain reading of the same rule, and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.search.fields import COMMON_VALUES, Fields, FilterError

ROWS = [
    {"year": 1999, "city": "Kraków", "tags": ["a", "b"], "open": True, "price": 1.5, "day": "2024-01-31"},
    {"year": 2001, "city": "Łódź", "tags": ["b"], "open": False, "price": 2, "day": "2024-02-01"},
    {"year": 2001, "city": None, "tags": "c", "odd": {"x": 1}},
    {"mixed": 1},
    {"mixed": "1", "tags": []},
]


@pytest.fixture(params=["built", "stored"])
def fields(request, tmp_path):
    fields = Fields.of(ROWS)
    if request.param == "stored":
        fields.write(tmp_path)
        fields = Fields.read(tmp_path)
    return fields


def test_kinds(fields):
    kinds = {"year": "number", "city": "text", "tags": "texts", "open": "boolean", "price": "number", "day": "text"}
    assert fields.kinds == kinds and fields.size == 5


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"year": 2001}, [1, 2]),
        ({"year": 2001.0}, [1, 2]),
        ({"year": 2001.5}, []),
        ({"year": [1999, 2001]}, [0, 1, 2]),
        ({"year": {"gte": 2000}}, [1, 2]),
        ({"year": {"lte": 2000.5}}, [0]),
        ({"year": {"gte": 1999, "lte": 1999}}, [0]),
        ({"year": 10**400}, []),
        ({"year": [2001.0, 1999.5, 1e300]}, [1, 2]),
        ({"year": {"gte": 1999.5, "lte": 2001.5}}, [1, 2]),
        ({"year": {"gte": 1e300}}, []),
        ({"year": {"lte": -1e300}}, []),
        ({"year": {"gte": float("-inf")}}, [0, 1, 2]),
        ({"year": {"gte": -(10**400)}}, [0, 1, 2]),
        ({"year": {"lte": 10**400}}, [0, 1, 2]),
        ({"price": 2}, [1]),
        ({"city": "Łódź"}, [1]),
        ({"city": ["Łódź", "Kraków"]}, [0, 1]),
        ({"tags": "b"}, [0, 1]),
        ({"tags": ["a", "c"]}, [0, 2]),
        ({"open": False}, [1]),
        ({"day": {"gte": "2024-02"}}, [1]),
        ({"year": 2001, "tags": "b"}, [1]),
        ({"year": 1999, "tags": "c"}, []),
    ],
)
def test_what_passes(fields, wanted, rows):
    assert np.flatnonzero(fields.mask(wanted)).tolist() == rows


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"yaer": 1}, "filter.yaer: unknown field; did you mean year?"),
        ({"zzz": 1}, "expected one of city, day, open, price, tags, year"),
        ({"mixed": 1}, "filter.mixed: its values are objects, or of different kinds"),
        ({"odd": {"gte": 1}}, "filter.odd: its values are objects"),
        ({"year": "2001"}, "filter.year: found 2001, expected a number"),
        ({"year": True}, "filter.year: found True, expected a number"),
        ({"year": None}, "filter.year: found None, expected a number"),
        ({"year": float("nan")}, "expected a number"),
        ({"year": []}, "filter.year: found an empty list"),
        ({"year": {}}, "expected gte or lte, or both"),
        ({"year": {"gt": 1}}, "expected gte or lte, or both"),
        ({"year": {"gte": "a"}}, "filter.year.gte: found a, expected a number"),
        ({"city": 3}, "filter.city: found 3, expected a text"),
        ({"city": ["a", 3]}, "filter.city: found 3, expected a text"),
        ({"open": {"gte": True}}, "expected gte or lte"),
        ({"open": 1}, "filter.open: found 1, expected true or false"),
        ({"": 1}, "unknown field"),
        ({"\ud83d": 1}, "unknown field"),
        ([1], "expected an object of fields and values"),
        ({"city": {1}}, "expected JSON values"),
    ],
)
def test_what_is_refused(fields, wanted, message):
    with pytest.raises(FilterError) as caught:
        fields.mask(wanted)
    assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 300


@pytest.mark.parametrize("rows", [[], [{}, {}], [{"a": None}]])
def test_documents_without_metadata(rows, tmp_path):
    Fields.of(rows).write(tmp_path)
    fields = Fields.read(tmp_path)
    assert fields.size == len(rows) and fields.mask({}).all() and fields.kinds == {}
    with pytest.raises(FilterError, match="no metadata"):
        fields.mask({"a": 1})


def test_what_json_alone_has_is_no_field():
    rows = [{"half": "\ud83d", "\ud83d": 1, "large": 10**40, "nested": [["a"]], "good": 1}]
    assert Fields.of(rows).kinds == {"large": "number", "good": "number"}


def test_what_a_page_offers(fields):
    described = fields.described
    assert described["year"] == {"kind": "number", "least": 1999, "greatest": 2001}
    assert described["tags"] == {"kind": "texts", "values": ["b", "a", "c"]}
    assert described["city"]["values"] == ["Kraków", "Łódź"]
    many = Fields.of({"x": str(i % 2 and i)} for i in range(100)).described["x"]["values"]
    assert many[0] == "0" and len(many) == COMMON_VALUES
    assert Fields.of({"x": str(i)} for i in range(2000)).described["x"]["values"] == []


SCALARS = {"n": st.integers(-3, 3), "t": st.sampled_from("abc"), "l": st.lists(st.sampled_from("abc"), max_size=2)}
VALUES = {"n": SCALARS["n"], "t": SCALARS["t"], "l": SCALARS["t"]}
ROWS_OF_ALL = st.lists(st.fixed_dictionaries({}, optional=SCALARS), max_size=12)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(
            value,
            st.lists(value, min_size=1, max_size=3),
            st.fixed_dictionaries({"gte": value}),
            st.fixed_dictionaries({"gte": value, "lte": value}),
        )
        for name, value in VALUES.items()
    },
)


def passes(row, wanted):
    """The rule, read plainly."""
    for name, value in wanted.items():
        own = row.get(name)
        own = own if isinstance(own, list) else [] if own is None else [own]
        if isinstance(value, dict):
            low, high = value.get("gte"), value.get("lte")
            fits = any((low is None or each >= low) and (high is None or each <= high) for each in own)
        else:
            fits = bool(set(own) & set(value if isinstance(value, list) else [value]))
        if not fits:
            return False
    return True


@given(ROWS_OF_ALL, FILTERS)
@settings(max_examples=300, deadline=None)
def test_the_rule_read_plainly(rows, wanted):
    every = [{"n": 0, "t": "a", "l": ["a"]}, *rows]  # so that all fields are known
    expected = [passes(row, json.loads(json.dumps(wanted))) for row in every]
    assert Fields.of(every).mask(wanted).tolist() == expected


def test_large_whole_numbers_are_exact():
    stamps = [2**53, 2**53 + 1, 1_700_000_000_000_000_001]
    fields = Fields.of({"ns": stamp} for stamp in stamps)
    assert fields.mask({"ns": 2**53 + 1}).tolist() == [False, True, False]
    assert fields.mask({"ns": {"gte": 5.5}}).all() and fields.mask({"ns": {"lte": 1.7e18}}).tolist() == [
        True,
        True,
        False,
    ]
    assert not fields.mask({"ns": [2**63, 5.5]}).any() and fields.mask({"ns": {"lte": 2**64}}).all()


def test_where_a_filter_is_wrong(fields):
    for wanted, loc in (({"a: b.c": 1}, ("a: b.c",)), ({"year": {"gte": "a"}}, ("year", "gte")), (3, ())):
        with pytest.raises(FilterError) as caught:
            fields.mask(wanted)
        assert caught.value.loc == loc
