"""A corpus: the documents of a file or of a BEIR folder."""

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from nlift.data.schema import Document
from nlift.data.table import read_table
from nlift.data.table_row import TableRow, is_missing
from nlift.errors import DataError

ID_COLUMNS = ("_id", "id", "doc_id")


def load_corpus(path: Path) -> tuple[Document, ...]:
    """Documents of a BEIR folder or of a JSONL, TSV, CSV or Parquet file with a column `text`.

    Ids are `_id`, `id` or `doc_id`, or row numbers; columns of other names become metadata. A process reads a file
    once while its size and time of change stay. Raises DataError for an empty corpus, an id that stands twice, a row
    whose text or id is none.
    """
    if path.is_dir():
        path = path / "corpus.jsonl"
        if not path.is_file():
            raise DataError(f"{path}: missing; expected a BEIR folder with corpus.jsonl, or a file")
    status = path.stat()
    return _load_file(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=2)  # the corpus to search, and that of the set that training watches
def _load_file(path: Path, size: int, modified_ns: int) -> tuple[Document, ...]:
    documents: list[Document] = []
    lines: dict[str, int] = {}
    named = False
    for number, row in enumerate(read_table(path)):
        row.need("text")
        ids_in = next((column for column in ID_COLUMNS if column in row.values), None)
        if number == 0:
            named = ids_in is not None
        elif named != (ids_in is not None):
            raise row.mistake(
                f"{'no' if named else 'an'} id, unlike the first row; expected one in all rows or in none"
            )
        name = row.name(ids_in) if ids_in else str(number)
        if name in lines:
            raise row.mistake(f"id {name!r} stands twice (first in line {lines[name]})")
        lines[name] = row.line
        documents.append(Document(name, row.optional_text("title"), row.text("text"), _metadata(row, ids_in)))
    if not documents:
        raise DataError(f"{path}: the corpus is empty; expected one document per line")
    return tuple(documents)


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


def _storable(value: Any) -> Any:
    """A value without what JSON lacks: NaN and the infinities become null. Raises TypeError for bytes."""
    if isinstance(value, dict):
        return {str(key): _storable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(part) for part in value]
    if isinstance(value, bytes | bytearray):
        raise TypeError
    return None if isinstance(value, float) and not math.isfinite(value) else value
