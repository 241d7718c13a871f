"""Which fields the documents of a corpus have, and what kind their values are: looked at once, before columns are made.

The metadata itself is never held: it is gone through twice.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from nlift.visible import SURROGATE

LARGEST = 2**63 - 1  # of a whole number in a field; in others numbers are of 64 bits with a point
MOST_FIELDS = 256  # the most frequent ones; of others there is no column


class FieldSurvey:
    """What the values under each key of documents' metadata are: first all are added, then they become columns."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.kinds: dict[str, set[str]] = {}

    def add(self, values: Mapping[str, Any]) -> None:
        """One more document's metadata."""
        for name, value in values.items():
            if value is not None:
                self.counts[name] += 1
                self.kinds.setdefault(name, set()).add(_kind_of_value(value))

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns: the most frequent fields, of null where one cannot be filtered by."""
        named = [name for name in self.counts if not SURROGATE.search(name)]
        frequent = sorted(named, key=lambda name: (-self.counts[name], name))[:MOST_FIELDS]
        columns = [(name, _column_type(frozenset(self.kinds[name]))) for name in sorted(frequent)]
        return pa.schema(columns or [("", pa.null())])  # a table without columns has no rows either

    def batch(self, metadata: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
        """The columns of some of the documents that were added."""
        arrays = [_array([values.get(field.name) for values in metadata], field.type) for field in self.schema]
        return pa.record_batch(arrays, schema=self.schema)


def _kind_of_value(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) and -LARGEST <= value <= LARGEST:
        return "whole"
    if isinstance(value, int | float):
        return "float" if abs(value) < 1e308 else "other"
    if isinstance(value, str):
        return "other" if SURROGATE.search(value) else "text"
    texts = isinstance(value, list) and all(isinstance(part, str) and not SURROGATE.search(part) for part in value)
    return "texts" if texts else "other"


def _column_type(kinds: frozenset[str]) -> pa.DataType:
    """The type of a column that holds values of these kinds; null where nothing holds them all."""
    types: list[tuple[set[str], pa.DataType]] = [
        ({"boolean"}, pa.bool_()),
        ({"whole"}, pa.int64()),
        ({"whole", "float"}, pa.float64()),
        ({"text"}, pa.large_string()),
        ({"text", "texts"}, pa.large_list(pa.large_string())),
    ]
    return next((kind for holds, kind in types if kinds <= holds), pa.null())


def _array(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_null(kind):
        return pa.nulls(len(values))
    if pa.types.is_floating(kind):
        values = [None if value is None else float(value) for value in values]
    if pa.types.is_large_list(kind):
        values = [[value] if isinstance(value, str) else value for value in values]
    return pa.array(values, kind)
