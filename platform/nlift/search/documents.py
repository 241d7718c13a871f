"""A bundle's documents on the disk: an Arrow file that is memory-mapped, of which an answer reads its own rows.

Beside it stand the fields of their metadata, and where documents are long, which parts of a text its passages are.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nlift.data.schema import Document, arrow_schema, to_table
from nlift.errors import ArtifactError, first_line
from nlift.search.field_survey import FieldSurvey
from nlift.search.fields import FIELDS_FILE, Fields

DOCUMENTS_FILE, STARTS_FILE, SPANS_FILE = "rows.arrow", "starts.npy", "spans.npy"
ROWS_AT_ONCE = 4096  # of a record batch: what finding a row has to step over
BYTES_AT_ONCE = 32 * 2**20


class Documents(Sequence[Document]):
    """N documents by row, and the fields of their metadata; texts stay on the disk until they are asked for.

    Attributes:
        fields: Of the metadata.
        starts: Where each document's passages start among all, and the end of the last, int64 [N + 1]; None where each
            document is one passage.
        spans: Where each passage starts and ends in its document's text, in characters, int32 [P, 2]; None as above.
    """

    def __init__(
        self, table: pa.Table, fields: Fields, starts: np.ndarray | None = None, spans: np.ndarray | None = None
    ) -> None:
        self._table, self.fields, self.starts, self.spans = table, fields, starts, spans
        self._columns = [table.column(name) for name in table.column_names]

    @classmethod
    def read(cls, folder: Path) -> "Documents":
        """The documents of a folder. Raises ArtifactError where it has none that can be read."""
        path, starts = folder / DOCUMENTS_FILE, folder / STARTS_FILE
        table = read_table(path)
        if not starts.is_file():
            return cls(table, Fields.read(folder))
        try:
            arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in (starts, folder / SPANS_FILE)]
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{folder}: its passages are not readable ({first_line(error)})") from None
        return cls(table, Fields.read(folder), *arrays)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, row: int) -> Document: ...
    @overload
    def __getitem__(self, row: slice) -> list[Document]: ...
    def __getitem__(self, row: int | slice) -> Document | list[Document]:
        if isinstance(row, slice):
            start, end, _ = row.indices(len(self))
            return [Document(**values) for values in self._table.slice(start, max(end - start, 0)).to_pylist()]
        return Document(*(column[row].as_py() for column in self._columns))

    def __iter__(self) -> Iterator[Document]:
        for batch in self._table.to_batches():
            yield from (Document(**row) for row in batch.to_pylist())

    @property
    def ids(self) -> list[str]:
        """All ids, by row."""
        names: list[str] = self._table.column("doc_id").to_pylist()
        return names

    @property
    def are_ordered(self) -> bool:
        """Whether ids descend, each standing once: the order of rows."""
        names = self._table.column("doc_id")
        return len(self) < 2 or bool(pc.all(pc.greater(names.slice(0, len(self) - 1), names.slice(1))).as_py())

    def passages(self, row: int) -> list[tuple[int, int]]:
        """Where a document's passages start and end in its text."""
        if self.starts is None or self.spans is None:
            return [(0, len(self[row].text))]
        return [(int(start), int(end)) for start, end in self.spans[self.starts[row] : self.starts[row + 1]]]


class Contents(Sequence[str]):
    """What is searched of documents, title and text, read from the disk when it is asked for."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents

    def __len__(self) -> int:
        return len(self.documents)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> list[str]: ...
    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [self.documents[place].content for place in range(*row.indices(len(self)))]
        return self.documents[row].content

    def __iter__(self) -> Iterator[str]:
        return (document.content for document in self.documents)


def read_table(path: Path) -> pa.Table:
    """The documents of a file, memory-mapped. Raises ArtifactError where it holds none."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path}: not readable as documents ({first_line(error)})") from None
    if table.schema != arrow_schema(Document):
        raise ArtifactError(f"{path}: its columns are {table.column_names}; not readable as documents")
    return table


def write_documents(folder: Path, documents: Iterable[Document]) -> int:
    """Write documents, in the order of their rows, and their fields into a folder that is there; how many they were.

    They are taken one at a time, and gone through again on the disk.
    """
    count, survey = 0, FieldSurvey()
    path = folder / DOCUMENTS_FILE
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, arrow_schema(Document)) as stream:
        for rows in _pieces(documents):
            for metadata in _metadata(document.metadata for document in rows):
                survey.add(metadata)
            stream.write_table(to_table(rows, Document).combine_chunks())
            count += len(rows)
    with pa.OSFile(str(folder / FIELDS_FILE), "wb") as file, pa.ipc.new_file(file, survey.schema) as stream:
        for batch in read_table(path).select(["metadata"]).to_batches():
            stream.write_batch(survey.batch(list(_metadata(batch.column(0).to_pylist()))))
    return count


def write_passages(folder: Path, counts_N: np.ndarray, spans_P2: np.ndarray) -> None:
    """Write how many passages each document has, and where they are in its text; nothing where each has one."""
    if len(spans_P2) > len(counts_N):
        starts = np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64)
        np.save(folder / STARTS_FILE, starts, allow_pickle=False)
        np.save(folder / SPANS_FILE, spans_P2.astype(np.int32), allow_pickle=False)


def _pieces(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Documents in lists that are short enough for memory."""
    rows: list[Document] = []
    size = 0
    for document in documents:
        rows.append(document)
        size += len(document.text) + len(document.metadata)
        if len(rows) >= ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def _metadata(texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    return (json.loads(text or "{}") for text in texts)
