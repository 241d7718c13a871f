"""Rows that need not fit into memory: DuckDB joins and sorts Parquet files, and spills what is too much."""

import contextlib
import errno
import glob
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from nlift.data import remote
from nlift.data.files import PIECE, read_parquet
from nlift.errors import ResourceError, first_line

MEMORY_LIMIT_MIB = 512
MOST_THREADS = 4  # each needs memory of its own


class Database:
    """The tables of one stage's work, by name."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, folder: Path, store: str | None = None) -> None:
        self.connection, self.folder, self.store = connection, folder, store
        self.files: dict[str, list[str]] = {}

    def add(self, name: str, rows: pads.Dataset) -> None:
        """Let `name` stand for the rows of files, which are read anew by every query."""
        local = isinstance(rows, pads.FileSystemDataset) and remote.is_local(rows.filesystem)
        self.files[name] = list(rows.files) if local else []
        self.connection.execute(f"DROP VIEW IF EXISTS {name}")  # what is registered does not replace it
        if not local:
            self.connection.register(name, rows)
            return
        # DuckDB's own reader keeps to the memory limit; Arrow's reads far ahead
        paths = ", ".join("'" + glob.escape(path).replace("'", "''") + "'" for path in rows.files)
        query = f"SELECT {', '.join(rows.schema.names)} FROM read_parquet([{paths}])"
        self.connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")

    def make(self, name: str, query: str, **values: Any) -> None:
        """Put the rows of a query into the table `name`."""
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {query}", values or None)

    def count(self, query: str) -> int:
        """How many rows a query has."""
        row = self.connection.execute(f"SELECT count(*) FROM ({query})").fetchone()
        return int(row[0]) if row else 0

    def columns(self, query: str) -> list[str]:
        """The names of a query's columns."""
        return [str(row[0]) for row in self.connection.execute(f"DESCRIBE {query}").fetchall()]

    def column(self, query: str) -> np.ndarray:
        """The values of a query's one column."""
        (values,) = self.connection.execute(query).fetchnumpy().values()
        return np.asarray(values)

    def rows(self, query: str) -> Iterator[dict[str, Any]]:
        """The rows of a query, one at a time; no other query may run before the last."""
        for piece in self.connection.execute(query).to_arrow_reader(PIECE):
            yield from piece.to_pylist()

    def write(self, query: str, path: Path, schema: pa.Schema, group: int = PIECE) -> int:
        """Write the rows of a query as Parquet, `group` of them to a row group; how many there were."""
        written = 0
        with pq.ParquetWriter(path, schema) as writer:
            for piece in _regrouped(self.connection.execute(query).to_arrow_reader(PIECE), group):
                writer.write_table(piece.select(schema.names).cast(schema))
                written += len(piece)
        return written


@contextlib.contextmanager
def open_database(folder: Path, store: str | None = None) -> Iterator[Database]:
    """A database that takes at most MEMORY_LIMIT_MIB, what is more going to `folder`; its tables are gone at the end.

    `store` is a URI by which workers get files of it, where they do not see `folder`.

    Raises ArtifactError naming a file that cannot be read, ResourceError for a full disk.
    """
    spilled = folder / "spilled"
    shutil.rmtree(spilled, ignore_errors=True)  # of a run that was killed
    options: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{MEMORY_LIMIT_MIB}MiB",
        "threads": min(MOST_THREADS, os.cpu_count() or 1),
        "temp_directory": str(spilled),
        "preserve_insertion_order": False,
    }
    with duckdb.connect(config=options) as connection:
        connection.execute("SET enable_progress_bar = false")
        database = Database(connection, folder, store)
        try:
            yield database
        except (duckdb.Error, OSError) as error:
            if isinstance(error, duckdb.OutOfMemoryException) or getattr(error, "errno", None) == errno.ENOSPC:
                raise ResourceError(
                    f"{folder}: no room to join and sort rows ({first_line(error)}); free disk space and run again"
                ) from None
            if isinstance(error, duckdb.Error):
                for path in {path for paths in database.files.values() for path in paths}:
                    read_parquet(Path(path))  # names the file, where that is what is wrong
            raise


def _regrouped(pieces: Iterator[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """The same rows in tables of `size`, the last one smaller."""
    waiting: list[pa.RecordBatch] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= size:
            table = pa.Table.from_batches(waiting).combine_chunks()
            whole = len(table) // size * size
            yield from (table.slice(start, size) for start in range(0, whole, size))
            waiting = table.slice(whole).to_batches()
    if any(map(len, waiting)):
        yield pa.Table.from_batches(waiting)
