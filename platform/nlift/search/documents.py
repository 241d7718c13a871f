"""A bundle's documents on the disk: an Arrow file that is memory-mapped, of which an answer reads its own rows."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from nlift.data.schema import Document, arrow_schema, to_table
from nlift.errors import ArtifactError, first_line
from nlift.search.fields import Fields

DOCUMENTS_FILE = "rows.arrow"
ROWS_AT_ONCE = 4096  # of a record batch: what finding a row has to step over


class Documents:
    """N documents by row, and the fields of their metadata; texts stay on the disk until they are asked for."""

    def __init__(self, table: pa.Table, fields: Fields) -> None:
        self._table, self.fields = table, fields
        self._columns = [table.column(name) for name in table.column_names]

    @classmethod
    def read(cls, folder: Path) -> "Documents":
        """The documents of a folder. Raises ArtifactError where it has none that can be read."""
        path = folder / DOCUMENTS_FILE
        try:
            table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(f"{path}: not readable as documents ({first_line(error)})") from None
        if table.schema != arrow_schema(Document):
            raise ArtifactError(f"{path}: its columns are {table.column_names}; not readable as documents")
        return cls(table, Fields.read(folder))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, row: int) -> Document:
        return Document(*(column[row].as_py() for column in self._columns))

    def __iter__(self) -> Iterator[Document]:
        for batch in self._table.to_batches():
            yield from (Document(**row) for row in batch.to_pylist())

    @property
    def ids(self) -> list[str]:
        """All ids, by row."""
        names: list[str] = self._table.column("doc_id").to_pylist()
        return names


def write_documents(folder: Path, documents: Iterable[Document]) -> int:
    """Write documents, in the order of their rows, into a folder that is there; how many they were."""
    count = 0

    def metadata(stream: pa.RecordBatchFileWriter) -> Iterator[dict[str, Any]]:
        nonlocal count
        rest = iter(documents)
        while rows := list(islice(rest, ROWS_AT_ONCE)):
            stream.write_table(to_table(rows, Document))
            count += len(rows)
            yield from map(json.loads, _objects(document.metadata for document in rows))

    with pa.OSFile(str(folder / DOCUMENTS_FILE), "wb") as file, pa.ipc.new_file(file, arrow_schema(Document)) as stream:
        fields = Fields.of(metadata(stream))
    fields.write(folder)
    return count


def _objects(metadata: Iterable[str]) -> Iterator[str]:
    return (text or "{}" for text in metadata)
