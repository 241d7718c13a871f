"""A corpus: the documents of a file or of a BEIR folder."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from nlift.data.files import read_table
from nlift.data.schema import Document
from nlift.errors import DataError

ID_COLUMNS = ("_id", "id", "doc_id")


def load_corpus(path: Path) -> tuple[Document, ...]:
    """Documents of a BEIR folder or of a JSONL, TSV, CSV or Parquet file with a column `text`.

    Ids are `_id`, `id` or `doc_id`, or row numbers; columns of other names become metadata. A process reads a file
    once while its size and time of change stay. Raises DataError for an empty corpus, an id that stands twice, a row
    without text.
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
    first = 1 if path.suffix == ".jsonl" else 2  # the others have a header
    for number, row in enumerate(read_table(path), first):
        if "text" not in row:
            raise DataError(f"{path}:{number}: no column 'text'; found {', '.join(map(str, row))}")
        if row["text"] is None:
            raise DataError(f"{path}:{number}: the text is null; expected a text, which may be empty")
        document = _document(row, fallback_id=str(number - first))
        name = document.doc_id
        if name in lines:
            raise DataError(f"{path}:{number}: id {name!r} stands twice (first in line {lines[name]})")
        lines[name] = number
        documents.append(document)
    if not documents:
        raise DataError(f"{path}: the corpus is empty; expected one document per line")
    return tuple(documents)


def _document(row: dict[str, Any], fallback_id: str) -> Document:
    name = next((str(row[key]) for key in ID_COLUMNS if row.get(key) not in (None, "")), fallback_id)
    metadata = dict(row.get("metadata") or {}) if isinstance(row.get("metadata"), dict) else {}
    metadata |= {key: value for key, value in row.items() if key not in (*ID_COLUMNS, "title", "text", "metadata")}
    text = json.dumps(metadata, ensure_ascii=False, default=str)
    return Document(name, str(row.get("title") or ""), str(row["text"] or ""), text)
