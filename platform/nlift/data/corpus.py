"""A corpus: the documents of files or of a BEIR folder, read one at a time."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from nlift import progress
from nlift.data import sources
from nlift.data.file_parts import WholeFile
from nlift.data.remote import RemoteFile
from nlift.data.schema import Document
from nlift.data.table import read_table
from nlift.data.table_row import TableRow, is_missing
from nlift.errors import DataError

ID_COLUMNS = ("_id", "id", "doc_id")
MAX_DEPTH = 400  # of metadata; what Python itself takes differs by its version


SetAside = Callable[[TableRow, str], None]
"""What is done with a row that is no document, and why it is none."""


def corpus_files(corpus: str) -> list[WholeFile]:
    """The files of a corpus: of a BEIR folder, a file, a glob, a URI or `embedded:NAME`.

    Raises DataError where nothing is there.
    """
    return [_file_of(file) if isinstance(file, Path) else file for file in sources.data_files(corpus)]


def corpus_fingerprint(corpus: str) -> str:
    """Hash of what the files of a corpus hold, 16 hexadecimal digits."""
    return sources.files_fingerprint(corpus_files(corpus))


def _file_of(path: Path) -> Path:
    if path.is_dir():
        path = path / "corpus.jsonl"
        if not path.is_file():
            raise DataError(f"{path}: missing; expected a BEIR folder with corpus.jsonl, or a file")
    return path


def load_corpus(path: Path) -> tuple[Document, ...]:
    """Documents of a BEIR folder or of a JSONL, TSV, CSV or Parquet file with a column `text`, every row of them.

    Ids are `_id`, `id` or `doc_id`, or row numbers; columns of other names become metadata. A process reads a file
    once while its size and time of change stay. Raises DataError for an empty corpus, an id that stands twice, a row
    whose text or id is none.
    """
    path = _file_of(path)
    status = path.stat()
    return _load_file(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)  # the corpus to search, and that of the set that training watches
def _load_file(path: Path, size: int, modified_ns: int) -> tuple[Document, ...]:
    lines: dict[str, int] = {}
    documents: list[Document] = []
    for row, document in read_corpus([path]):
        if document.doc_id in lines:
            raise row.mistake(f"id {document.doc_id!r} stands twice (first in line {lines[document.doc_id]})")
        lines[document.doc_id] = row.line
        documents.append(document)
    if not documents:
        raise DataError(f"{path}: the corpus is empty; expected one document per line")
    return tuple(documents)


def usable_corpus(corpus: str) -> tuple[Document, ...]:
    """The documents of a corpus that can be used, of an id that stands twice the first; held in memory.

    Raises DataError where there are none.
    """
    files = corpus_files(corpus)
    states = [
        file.fingerprint() if isinstance(file, RemoteFile) else (file.stat().st_size, file.stat().st_mtime_ns)
        for file in files
    ]
    return _usable(tuple(files), tuple(states), corpus)


@lru_cache(maxsize=2)
def _usable(files: tuple[WholeFile, ...], states: tuple[Any, ...], corpus: str) -> tuple[Document, ...]:
    known: dict[str, Document] = {}
    reasons: Counter[str] = Counter()
    for _, document in read_corpus(files, lambda row, reason: reasons.update([reason])):
        if document.doc_id in known:
            reasons["an id that stands twice"] += 1
        known.setdefault(document.doc_id, document)
    if not known:
        raise nothing_usable(corpus, reasons)
    if reasons:
        progress.notice(f"{corpus}: {in_words(reasons)}")
    return tuple(known.values())


def in_words(reasons: Counter[str]) -> str:
    """How many rows are set aside, and why most of them."""
    reason, count = reasons.most_common(1)[0]
    rows = "row is" if reasons.total() == 1 else "rows are"
    most = "" if count == reasons.total() else f" ({count} of them)"
    return f"{reasons.total():,} {rows} set aside: {reason}{most}"


def nothing_usable(corpus: str, reasons: Counter[str]) -> DataError:
    """What is said of a corpus without a document."""
    if not reasons:
        return DataError(f"{corpus}: the corpus is empty; expected one document per line")
    reason = reasons.most_common(1)[0][0]
    return DataError(f"{corpus}: no usable document in {reasons.total():,} rows; most often: {reason}")


def read_corpus(files: Sequence[WholeFile], set_aside: SetAside | None = None) -> Iterator[tuple[TableRow, Document]]:
    """The documents of files one at a time, each with the row that it is from; ids are not compared.

    A row that is no document is set aside where somebody takes it, else refused by DataError; so is, always, a file
    whose first row has no column `text`.
    """
    named: bool | None = None
    number = -1
    for file in files:
        for place, row in enumerate(read_table(file, faulty="refuse" if set_aside is None else "keep")):
            number += 1
            if place == 0 and row.fault is None:
                row.need("text")
            ids_in = next((column for column in ID_COLUMNS if column in row.values), None)
            try:
                if row.fault is not None:
                    raise row.mistake(row.fault)
                named = ids_in is not None if named is None else named
                yield row, _document(row, ids_in, named, number)
            except DataError as error:
                if set_aside is None:
                    raise
                set_aside(row, str(error).removeprefix(f"{row.where}: "))


def _document(row: TableRow, ids_in: str | None, named: bool, number: int) -> Document:
    row.need("text")
    if named != (ids_in is not None):
        raise row.mistake(f"{'no' if named else 'an'} id, unlike the first row; expected one in all rows or in none")
    name = row.name(ids_in) if ids_in else str(number)
    return Document(name, row.optional_text("title"), row.text("text"), _metadata(row, ids_in))


def _metadata(row: TableRow, ids_in: str | None) -> str:
    """The row's other columns, and what its `metadata` holds, as a JSON object."""
    own = row.values.get("metadata")
    if isinstance(own, str) and own.strip().startswith("{"):
        try:
            own = json.loads(own)
        except (ValueError, RecursionError):
            raise row.mistake("metadata begins as a JSON object and is none") from None
    if not isinstance(own, dict):
        own = {} if is_missing(own) or own == "" else {"metadata": own}
    other = {name: value for name, value in row.values.items() if name not in (ids_in, "title", "text", "metadata")}
    twice = next((name for name in other if name in own), None)
    if twice is not None:
        raise row.mistake(f"{twice!r} is a column and a key of metadata")
    try:
        text = json.dumps(_storable({**own, **other}), ensure_ascii=False, default=str, allow_nan=False)
        text.encode()
    except TypeError:
        raise row.mistake("holds bytes; expected values that JSON has") from None
    except RecursionError:
        raise row.mistake("metadata is nested too deep") from None
    except UnicodeEncodeError:
        raise row.mistake("metadata holds half of a character (an unpaired surrogate as \\ud83d)") from None
    return text


def _storable(value: Any, depth: int = 0) -> Any:
    """A value without what JSON lacks: NaN and the infinities become null. Raises TypeError, RecursionError."""
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        return {str(key): _storable(part, depth + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(part, depth + 1) for part in value]
    if isinstance(value, bytes | bytearray):
        raise TypeError
    return None if isinstance(value, float) and not math.isfinite(value) else value
