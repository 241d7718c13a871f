"""Tables as people bring them: TSV, CSV, JSON lines and Parquet, read row by row, strictly.

Nothing of a file is changed or left out in silence. A row that cannot be read as it stands has a `fault`; a file that
cannot be read at all is refused in one line.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TextIO

from nlift import progress
from nlift.data.file_parts import File
from nlift.data.files import parquet_file, parquet_rows
from nlift.data.table_row import TableRow, separator_hint
from nlift.errors import DataError, first_line

FOREIGN = {  # how files begin that are no text in UTF-8
    b"\xff\xfe": "UTF-16 text, as Excel's `Unicode text`; convert it to UTF-8",
    b"\xfe\xff": "UTF-16 text; convert it to UTF-8",
    b"\x1f\x8b": "packed by gzip; unpack it",
    b"PK\x03\x04": "a zip archive or an Excel workbook; save it as CSV in UTF-8",
}
NOT_UTF8 = "not UTF-8 text; convert it to UTF-8"
HALF_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")  # may be half of an emoji, as JavaScript's slice leaves it
LFS_POINTER = "version https://git-lfs.github.com/"
NULL = "\\N"  # as Postgres and MySQL write it into TSV


def read_table(path: File, faulty: Literal["refuse", "keep"] = "refuse") -> Iterator[TableRow]:
    """The rows of a TSV, CSV, JSONL or Parquet file in UTF-8, one at a time.

    TSV knows no quoting, and a backslash and N there is no value; CSV is that of RFC 4180. Lines of nothing but spaces
    and separators hold no row. A number that stands for a class, as the library `datasets` stores it, is its name.

    Args:
        path: The file; its ending says the form.
        faulty: Whether a row with a fault is refused, or kept for the caller to set aside.

    Raises:
        DataError: The file cannot be read, or has a faulty row; the line says which.
    """
    suffix = path.suffix.lower()
    readers = {".parquet": _parquet_rows, ".jsonl": _json_rows, ".tsv": _tsv_rows, ".csv": _csv_rows}
    if suffix not in readers:
        raise DataError(f"{path}: found a {suffix or 'nameless'} file, expected .tsv, .csv, .jsonl or .parquet")
    try:
        for row in readers[suffix](path):
            if row.fault is not None and faulty == "refuse":
                raise row.mistake(row.fault)
            yield row
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: holds text that is not UTF-8 (byte {error.start})") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or first_line(error)}") from None


def class_names(path: File) -> dict[str, list[str]]:
    """The names of the classes that numbers stand for, by column, as the library `datasets` stores them in Parquet."""
    if path.suffix.lower() != ".parquet":
        return {}
    stored = (parquet_file(path).schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(stored)["info"]["features"]
        return {name: list(feature["names"]) for name, feature in features.items() if "names" in feature}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def with_class_names(values: Mapping[str, Any], classes: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """A row with the names of classes, by column, for their numbers; what is no number of one stays, as -1 for none."""
    named = dict(values)
    for column, names in classes.items():
        value = values.get(column)
        if isinstance(value, int) and 0 <= value < len(names):
            named[column] = names[value]
    return named


def _parquet_rows(path: File) -> Iterator[TableRow]:
    _no_column_twice(parquet_file(path).schema_arrow.names, path)
    classes = class_names(path)
    for number, values in enumerate(parquet_rows(path), 1):
        yield TableRow(path, number, with_class_names(values, classes))


def _tsv_rows(path: File) -> Iterator[TableRow]:
    header: list[str] | None = None
    opened = False
    with _opened(path, newline="\n") as stream:
        for number, line in enumerate(_text_lines(stream, path), 1):
            text = line.removesuffix("\n").removesuffix("\r")
            if not text.strip(" \t"):
                continue
            if header is None:
                header = _header(text.split("\t"), path)
                continue
            fields = text.split("\t")
            if '"' in text:
                _notice_quotes(fields, opened, path, number)
            short = len(fields) < len(header) or len(header) == 1
            opened = (opened and short and '"' not in text) or (fields[-1].startswith('"') and _is_open(fields[-1]))
            yield _separated(path, number, header, [None if field == NULL else field for field in fields])


def _csv_rows(path: File) -> Iterator[TableRow]:
    csv.field_size_limit(2**31 - 1)
    header: list[str] | None = None
    with _opened(path, newline="") as stream:
        reader = csv.reader(_text_lines(stream, path), strict=True)
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise DataError(
                    f"{path}:{line}: a quote that opens in this row is not closed as it should be ({error}); "
                    "expected commas between fields, and quotes doubled inside of a quoted one"
                ) from None
            if header is not None and (any(map(str.strip, fields)) or (len(header) == 1 and fields)):
                yield _separated(path, line, header, fields)
            elif header is None and fields:
                header = _header(fields, path)


def _header(names: list[str], path: File) -> list[str]:
    if any("\r" in name for name in names):
        raise DataError(f"{path}: lines end in a carriage return alone; save it with line feeds")
    if not all(map(_is_unicode, names)):
        raise DataError(f"{path}:1: {NOT_UTF8}")
    _no_column_twice([name for name in names if name], path)
    return names


def _no_column_twice(names: list[str], path: File) -> None:
    twice = _twice(names)
    if twice is not None:
        raise DataError(f"{path}:1: column {twice!r} stands twice")


def _twice(names: Sequence[str]) -> str | None:
    """The first name that stands twice."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _separated(path: File, line: int, header: list[str], fields: Sequence[str | None]) -> TableRow:
    values = dict.fromkeys(header) | dict(zip(header, fields, strict=False))
    fault = None
    if any(fields[len(header) :]) or (header.count("") > 1 and _unnamed(header, fields)):
        hint = separator_hint(header, str(path)) or "; a text with a separator or a line end in it?"
        fault = f"{len(fields)} fields, the header has {len([name for name in header if name])}{hint}"
    elif not all(field is None or _is_unicode(field) for field in fields):
        fault = NOT_UTF8
        values = {name: value and _readable(value) for name, value in values.items()}
    return TableRow(path, line, values, fault)


def _unnamed(header: list[str], fields: Sequence[str | None]) -> bool:
    """Whether there is something in columns without a name, as a spreadsheet leaves them behind the others."""
    return any(field for name, field in zip(header, fields, strict=False) if not name)


def _json_rows(path: File) -> Iterator[TableRow]:
    with _opened(path, newline=None) as stream:
        for number, line in enumerate(_text_lines(stream, path), 1):
            if line.strip():
                yield _json_row(path, number, line)


def _json_row(path: File, number: int, line: str) -> TableRow:
    if not _is_unicode(line):
        return TableRow(path, number, {"line": _readable(line)}, NOT_UTF8)
    try:
        values = json.loads(line, object_pairs_hook=_json_object)
    except _KeyTwiceError as error:
        return TableRow(path, number, {"line": line}, f"the key {error} stands twice")
    except (ValueError, RecursionError):
        return TableRow(path, number, {"line": line}, "not JSON; expected one object per line")
    if not isinstance(values, dict):
        kind = type(values).__name__
        return TableRow(path, number, {"line": line}, f"found {kind}, expected one JSON object per line")
    if HALF_CHARACTER.search(line) and not _is_unicode(json.dumps(values, ensure_ascii=False)):
        return TableRow(path, number, {"line": line}, "holds half of a character (an unpaired surrogate as \\ud83d)")
    return TableRow(path, number, values)


class _KeyTwiceError(ValueError):
    """A key that a JSON object has twice, of which a reader would keep the last."""


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _KeyTwiceError(repr(_twice([name for name, _ in pairs])))
    return values


def _opened(path: File, newline: str | None) -> TextIO:
    """The file's text; bytes that are not UTF-8 come as surrogates, to be seen row by row."""
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _text_lines(stream: Iterable[str], path: File) -> Iterator[str]:
    """Lines of a file that is text. Raises DataError where its first line is that of another kind of file."""
    for number, line in enumerate(stream):
        if number == 0:
            for beginning, what in FOREIGN.items():
                if line[:4].encode("utf-8", "surrogateescape").startswith(beginning):
                    raise DataError(f"{path}: {what}")
            if line.startswith(LFS_POINTER):
                raise DataError(f"{path}: a pointer of Git LFS; fetch the file itself with `git lfs pull`")
            if "\0" in line:
                raise DataError(f"{path}: holds bytes of zero, as UTF-16 text does; convert it to UTF-8")
        yield line


def _is_unicode(text: str) -> bool:
    """Whether there is no half of a character, nor a byte that was not UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _readable(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _notice_quotes(fields: list[str], opened: bool, path: File, line: int) -> None:
    """Say once of a file that its quotes, which look like those of CSV, are read as they stand."""
    doubled = any(len(text) > 2 and text[0] == text[-1] == '"' and '""' in text[1:-1] for text in fields)
    if doubled or (opened and fields[0].endswith('"') and _is_open(fields[0])):
        seems = "fields in doubled quotes" if doubled else f"a quoted text over several lines (until {line})"
        progress.notice(f"{path}: {seems}, as in CSV: TSV has no quoting, so all is read as it stands; use .csv")


def _is_open(text: str) -> bool:
    """Whether a quote of a text has no other one."""
    return text.count('"') % 2 == 1
