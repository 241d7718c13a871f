"""Documents in the order of their rows, sorted on the disk: a corpus is never in memory as a whole."""

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from nlift.data.schema import Document, arrow_schema, to_table

MOST_BYTES = 32 * 2**20  # of documents that are sorted in memory
MOST_ROWS = 50_000
READ_AT_ONCE = 256  # rows of a piece that are in memory while pieces are merged
WHERE = "where"

Placed = tuple[Document, str]
"""A document, and the file and line that it is from."""


def in_row_order(documents: Iterable[Placed], folder: Path) -> Iterator[Placed]:
    """Documents by descending id, of equal ids in the order in which they came.

    Args:
        documents: One at a time.
        folder: For pieces, which are gone in the end.
    """
    pieces = list(_sorted_pieces(documents, folder))
    try:
        yield from heapq.merge(*map(_read, pieces), key=_doc_id, reverse=True)
    finally:
        for piece in pieces:
            piece.unlink(missing_ok=True)


def _doc_id(placed: Placed) -> str:
    return placed[0].doc_id


def _sorted_pieces(documents: Iterable[Placed], folder: Path) -> Iterator[Path]:
    """Files of some documents each, sorted."""
    rows: list[Placed] = []
    number = size = 0
    for document, where in documents:
        rows.append((document, where))
        size += len(document.doc_id) + len(document.title) + len(document.text) + len(document.metadata)
        if size >= MOST_BYTES or len(rows) >= MOST_ROWS:
            yield _written(rows, folder / f"sorted-{number}.arrow")
            rows, size, number = [], 0, number + 1
    if rows:
        yield _written(rows, folder / f"sorted-{number}.arrow")


def _written(rows: list[Placed], path: Path) -> Path:
    rows.sort(key=_doc_id, reverse=True)  # stable: of equal ids the first stays the first
    schema = arrow_schema(Document).append(pa.field(WHERE, pa.string()))
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as stream:
        for start in range(0, len(rows), READ_AT_ONCE):
            part = rows[start : start + READ_AT_ONCE]
            table = to_table((document for document, _ in part), Document)
            stream.write_table(table.append_column(WHERE, pa.array([where for _, where in part], pa.string())))
    return path


def _read(path: Path) -> Iterator[Placed]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as stream:
        for batch in stream:
            for row in batch.to_pylist():
                where = row.pop(WHERE)
                yield Document(**row), where
