"""Fields of documents' metadata, by which an answer is filtered: exactly, for every kind of index.

A field is what stands under a key of the metadata. Its kind is that of its values: number, boolean, text, or texts (a
list of them, or a text in some documents and a list in others). What holds anything else, or values of different kinds,
cannot be filtered by.

Shape suffix: N rows (documents).
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nlift.errors import ArtifactError, NliftError, first_line
from nlift.search.field_survey import LARGEST, FieldSurvey

FIELDS_FILE = "fields.arrow"
MASKS = 64  # of filters asked for lately, N bytes each
COMMON_VALUES = 20  # that a page offers of a field
MOST_DIFFERENT = 1000  # values of a field of which common ones are looked for
KINDS = {"number": "a number", "boolean": "true or false", "text": "a text", "texts": "a text"}

Filter = Mapping[str, Any]
"""Field to a value, a list of values of which one must be there, or `{"gte": least, "lte": greatest}`."""


class FilterError(NliftError):
    """A filter of an unknown field, or of another kind than the field; `loc` is where in the filter."""

    def __init__(self, loc: tuple[str, ...], why: str) -> None:
        self.loc, self.why = loc, why
        super().__init__(f"{'.'.join(map(_shown, ('filter', *loc)))}: {why}")


class Fields:
    """Columns of N rows, by field; null where a document has none."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._mask = lru_cache(MASKS)(self._compute)

    @classmethod
    def of(cls, metadata: Iterable[Mapping[str, Any]]) -> "Fields":
        """The fields of documents' metadata, by row."""
        rows, survey = list(metadata), FieldSurvey()
        for values in rows:
            survey.add(values)
        return cls(pa.Table.from_batches([survey.batch(rows)]))

    def write(self, folder: Path) -> None:
        """Write the fields into a folder that is there."""
        with pa.OSFile(str(folder / FIELDS_FILE), "wb") as file, pa.ipc.new_file(file, self._table.schema) as stream:
            stream.write_table(self._table)

    @classmethod
    def read(cls, folder: Path) -> "Fields":
        """The fields of a folder, memory-mapped. Raises ArtifactError where they cannot be read."""
        path = folder / FIELDS_FILE
        try:
            return cls(pa.ipc.open_file(pa.memory_map(str(path))).read_all())
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(f"{path}: not readable as fields ({first_line(error)})") from None

    @property
    def size(self) -> int:
        """N."""
        return int(self._table.num_rows)

    @cached_property
    def kinds(self) -> dict[str, str]:
        """What can be filtered by: number, boolean, text or texts, by field."""
        kinds = {field.name: _kind(field.type) for field in self._table.schema}
        return {name: kind for name, kind in kinds.items() if kind is not None}

    @cached_property
    def described(self) -> dict[str, dict[str, Any]]:
        """Of each field its `kind`, and `least` and `greatest` (numbers) or the most common `values` (others)."""
        described: dict[str, dict[str, Any]] = {}
        for name, kind in self.kinds.items():
            column = self._table.column(name)
            if kind == "number":
                ends = pc.min_max(column).as_py()
                described[name] = {"kind": kind, "least": ends["min"], "greatest": ends["max"]}
                continue
            flat = pc.list_flatten(column) if kind == "texts" else column
            described[name] = {"kind": kind, "values": _common(flat)}
        return described

    def mask(self, wanted: Filter) -> np.ndarray:
        """Which rows pass, bool [N]: those that fit every field of the filter; a document without a field fits none.

        Raises FilterError for an unknown field, or a value of another kind than the field.
        """
        if not isinstance(wanted, Mapping):
            raise FilterError((), f"found {_shown(wanted)}, expected an object of fields and values")
        try:
            key = json.dumps(wanted, sort_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise FilterError((), f"found {_shown(wanted)}, expected JSON values ({first_line(error)})") from None
        return self._mask(key)

    def _compute(self, wanted: str) -> np.ndarray:
        mask_N = np.ones(self.size, dtype=bool)
        for name, value in json.loads(wanted).items():
            mask_N &= self._passes(name, value)
        mask_N.flags.writeable = False  # it is kept
        return mask_N

    def _passes(self, name: str, value: Any) -> np.ndarray:
        """Which rows fit one field, bool [N]."""
        kind = self.kinds.get(name)
        if kind is None:
            raise FilterError((name,), self._unknown(name))
        column = self._table.column(name).combine_chunks()
        if kind != "texts":
            return np.asarray(pc.fill_null(_compared(column, name, kind, value), False))
        parents = pc.list_parent_indices(column)
        fits = np.asarray(pc.fill_null(_compared(pc.list_flatten(column), name, kind, value), False))
        mask_N = np.zeros(self.size, dtype=bool)
        mask_N[np.asarray(parents)[fits]] = True
        return mask_N

    def _unknown(self, name: str) -> str:
        if name in self._table.column_names and name:
            return "its values are objects, or of different kinds; expected another field"
        known = sorted(self.kinds)
        if not known:
            return "unknown field; the documents have no metadata to filter by"
        close = get_close_matches(name, known, 1)
        advice = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known[:20])}"
        return f"unknown field; {advice}"


def _kind(arrow: pa.DataType) -> str | None:
    if pa.types.is_boolean(arrow):
        return "boolean"
    if pa.types.is_integer(arrow) or pa.types.is_floating(arrow):
        return "number"
    if pa.types.is_large_string(arrow):
        return "text"
    return "texts" if pa.types.is_large_list(arrow) else None


def _compared(column: pa.Array, name: str, kind: str, value: Any) -> pa.Array:
    """Which values fit, with nulls."""
    if isinstance(value, Mapping):
        return _within(column, name, kind, value)
    values = value if isinstance(value, list) else [value]
    if not values:
        raise FilterError((name,), f"found an empty list, expected {KINDS[kind]}, or a list of them")
    for each in values:
        _check(each, (name,), kind)
    if kind == "number":
        values = _numbers(values, column.type)
    return pc.is_in(column, pa.array(values, column.type))


def _within(column: pa.Array, name: str, kind: str, ends: Mapping[str, Any]) -> pa.Array:
    if kind == "boolean" or not ends or not set(ends) <= {"gte", "lte"}:
        raise FilterError((name,), f"found {_shown(ends)}, expected gte or lte, or both, of numbers or texts")
    fits = pc.is_valid(column)
    for name_of_end, compare in (("gte", pc.greater_equal), ("lte", pc.less_equal)):
        if name_of_end in ends:
            _check(ends[name_of_end], (name, name_of_end), kind)
            end = ends[name_of_end]
            if kind == "number":
                end = _end(end, column.type, math.ceil if name_of_end == "gte" else math.floor)
            fits = pc.and_(fits, compare(column, end)) if end is not None else pc.and_(fits, pa.scalar(False))
    return fits


def _check(value: Any, loc: tuple[str, ...], kind: str) -> None:
    a_float = isinstance(value, float) and not math.isnan(value)
    fits = {
        "number": a_float or (isinstance(value, int) and not isinstance(value, bool)),
        "boolean": isinstance(value, bool),
    }.get(kind, isinstance(value, str))
    if not fits:
        raise FilterError(loc, f"found {_shown(value)}, expected {KINDS[kind]}")


def _numbers(values: list[float], column: pa.DataType) -> list[float]:
    """Those of some numbers that a column can hold, exactly."""
    if not pa.types.is_integer(column):
        return [_float(value) for value in values]
    whole = [int(value) for value in values if math.isfinite(_float(value)) and value == int(value)]
    return [value for value in whole if -LARGEST <= value <= LARGEST]


def _end(value: float, column: pa.DataType, rounded: Callable[[float], int]) -> float | None:
    """An end of a range as a column's own number; None where no number of the column lies within."""
    if not pa.types.is_integer(column):
        return _float(value)
    if math.isfinite(_float(value)) or isinstance(value, int):
        whole = value if isinstance(value, int) else rounded(value)
    else:
        whole = LARGEST + 1 if value > 0 else -LARGEST - 1
    above, below = whole > LARGEST, whole < -LARGEST
    if (above and rounded is math.ceil) or (below and rounded is math.floor):
        return None
    return LARGEST if above else -LARGEST if below else whole


def _float(value: float) -> float:
    """A number as a float; infinite where it has hundreds of digits."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _common(column: pa.Array) -> list[Any]:
    counts = pc.value_counts(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)
    if len(counts) > MOST_DIFFERENT:
        return []
    rows = [(row["counts"], row["values"]) for row in counts.to_pylist() if row["values"] is not None]
    return [value for _, value in sorted(rows, key=lambda row: (-row[0], row[1]))[:COMMON_VALUES]]


def _shown(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() and value.isascii() else ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
