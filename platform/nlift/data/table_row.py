"""A row of a table that people bring, and its fields: a text, an id, a number, or nothing."""

import math
import re
from dataclasses import dataclass
from typing import Any, TypeGuard

from nlift.data.file_parts import File
from nlift.errors import DataError

WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.0*)?")
KINDS = {list: "a list", tuple: "a list", dict: "an object", bool: "a truth value", bytes: "bytes"}


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row of a table; its methods give a field as what it should be, or raise DataError that says where it is."""

    path: File
    line: int
    """Where it begins, from 1; of Parquet the number of the row."""
    values: dict[str, Any]
    """By column; None where the row has no value."""
    fault: str | None = None
    """Why the row is not what stands in the file."""

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.path}:{self.line}"

    def mistake(self, message: str) -> DataError:
        """An error of this row."""
        return DataError(f"{self.where}: {message}")

    def need(self, *columns: str) -> None:
        """Raise DataError where the row lacks a column, naming those that it has."""
        for name in columns:
            if name not in self.values:
                known = ", ".join(self.values)
                hint = separator_hint(list(self.values), str(self.path))
                line = 1 if self.path.suffix.lower() in (".tsv", ".csv") else self.line  # where columns are named
                wanted = ", ".join(columns)
                raise DataError(f"{self.path}:{line}: no column {name!r}; found {known}; expected {wanted}{hint}")

    def text(self, column: str) -> str:
        """A text, which may be empty."""
        value = self.values.get(column)
        if is_missing(value):
            raise self.mistake(f"{column} is null; expected a text, which may be empty")
        if not isinstance(value, str):
            raise self.mistake(f"{column} is {kind_of(value)}; expected a text")
        return value

    def optional_text(self, column: str) -> str:
        """A text or a number as text; empty where there is none."""
        value = self.values.get(column)
        if is_missing(value):
            return ""
        if isinstance(value, str):
            return value
        if not is_number(value) or value in (math.inf, -math.inf):
            raise self.mistake(f"{column} is {kind_of(value)}; expected a text")
        return number_text(value)

    def name(self, column: str) -> str:
        """An id: a text or a whole number, not empty."""
        value = self.values.get(column)
        if is_missing(value) or value == "":
            raise self.mistake(f"{column} is {'null' if is_missing(value) else 'empty'}; expected an id")
        if isinstance(value, str):
            return value
        if is_number(value) and (isinstance(value, int) or value.is_integer()):
            return number_text(value)
        raise self.mistake(f"{column} is {kind_of(value)}; expected an id, a text or a whole number")

    def whole_number(self, column: str) -> int:
        """A whole number; `1.0`, as pandas writes it, is one."""
        value = self.values.get(column)
        text = number_text(value) if is_number(value) else value
        if not isinstance(text, str) or not WHOLE_NUMBER.fullmatch(text.strip()):
            raise self.mistake(f"{column} {value!r} is no whole number")
        return int(text.strip().partition(".")[0])

    def number(self, column: str) -> float:
        """A finite number."""
        value = self.values.get(column)
        try:
            number = float(value) if is_number(value) or (isinstance(value, str) and "_" not in value) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise self.mistake(f"{column} {value!r} is no number")
        return number


def is_missing(value: Any) -> bool:
    """Whether a field has no value: null, or NaN, which pandas writes for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number, which True is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_text(value: float) -> str:
    """A number as text; a whole one, as pandas makes 1984.0 of it, without its point."""
    return str(int(value)) if isinstance(value, int) or value.is_integer() else str(value)


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    return f"the number {value}" if is_number(value) else KINDS.get(type(value), f"a {type(value).__name__}")


def separator_hint(columns: list[str], path: str) -> str:
    """What to do where a header was not split."""
    expected = {".tsv": "tabs", ".csv": "commas"}.get(path[path.rfind(".") :].lower())
    if expected is None or len(columns) != 1:
        return ""
    signs = {";": "semicolons", "\t": "tabs", ",": "commas"}
    separator = next((name for sign, name in signs.items() if sign in columns[0]), "")
    return f"; fields seem to be separated by {separator}, expected {expected}" if separator else ""
