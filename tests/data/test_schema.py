"""Row types and the check at a stage's edge."""

import pyarrow as pa
import pytest

from nlift.data.schema import Document, NLIPair, Score, ScoredPair, Triplet, arrow_schema, check_table, to_table
from nlift.errors import DataError


def test_columns_and_types_follow_the_row_type():
    schema = arrow_schema(ScoredPair)
    sides = ("premise", "hypothesis")
    wanted = ["pair_id", *sides, "label", *(f"{side}_mt" for side in sides), *(f"{side}_comet" for side in sides)]
    assert schema.names == wanted
    assert {name for name in schema.names if schema.field(name).type == pa.float64()} == set(wanted[-2:])


def test_a_negative_may_be_null():
    rows = [Triplet("0", "a", "b", None), Triplet("1", "a", "b", "c")]
    assert to_table(rows, Triplet).column("negative").to_pylist() == [None, "c"]


def test_no_rows_give_an_empty_table_of_the_type():
    table = to_table([], Score)
    assert table.num_rows == 0 and table.schema == arrow_schema(Score)


def test_check_puts_columns_in_order_and_drops_others():
    table = pa.table({"other": [1], "score": pa.array([1], pa.int32()), "key": ["a"]})
    assert check_table(table, Score, "f").to_pylist() == [{"key": "a", "score": 1.0}]
    assert check_table(table, Score, "f").schema == arrow_schema(Score)


def test_a_missing_column_is_named_with_what_was_found():
    table = to_table([NLIPair("0", "a", "b", "neutral")], NLIPair).drop_columns(["label"])
    with pytest.raises(DataError, match="f: column 'label' is missing; found pair_id, premise, hypothesis, expected"):
        check_table(table, NLIPair, "f")


def test_a_column_of_another_type_is_named():
    with pytest.raises(DataError, match=r"f: .*score"):
        check_table(pa.table({"key": ["a"], "score": ["high"]}), Score, "f")


def test_what_a_document_is_searched_by():
    assert Document("0", "Title", "text", "{}").content == "Title text"
    assert Document("0", "", "text", "{}").content == "text"
