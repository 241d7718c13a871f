"""Files that the program writes and reads again: Parquet, JSON, JSON lines; they are there whole or not at all."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import get_ident
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from nlift.data.file_parts import File, FilePart
from nlift.data.remote import RemoteFile
from nlift.data.schema import arrow_schema, check_table
from nlift.errors import ArtifactError, first_line

PIECE = 16_384  # rows that are read or written at a time


def read_rows(folder: Path, row_type: type, name: str = "rows.parquet") -> list[Any]:
    """The rows of a complete stage's folder. Raises ArtifactError or DataError."""
    path = _rows_file(folder, name)
    table = check_table(read_parquet(path), row_type, path)
    columns = [table.column(field).to_pylist() for field in table.column_names]
    return [row_type(*values) for values in zip(*columns, strict=True)]


def rows_on_disk(folder: Path, row_type: type, name: str = "rows.parquet") -> pads.Dataset:
    """The rows of a complete stage's folder, not read yet. Raises ArtifactError or DataError."""
    path = _rows_file(folder, name)
    check_table(parquet_file(path).schema_arrow.empty_table(), row_type, path)
    return pads.dataset(str(path), schema=arrow_schema(row_type), format="parquet")


def _rows_file(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run the stage {folder.name} first")
    return path


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file's table, or some columns of it. Raises ArtifactError where it is corrupt."""
    file = parquet_file(path)
    try:
        return file.read(columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise _corrupt(path, error) from None


def parquet_rows(path: File) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, read a piece at a time. Raises ArtifactError where it is corrupt."""
    file = parquet_file(path)
    groups = range(path.start, path.end) if isinstance(path, FilePart) else range(file.num_row_groups)
    try:
        for batch in file.iter_batches(row_groups=list(groups)):
            yield from batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise _corrupt(path, error) from None


def parquet_file(path: File) -> pq.ParquetFile:
    """An open Parquet file, its rows not read yet. Raises ArtifactError where it is none."""
    whole = path.whole if isinstance(path, FilePart) else path
    try:
        return pq.ParquetFile(whole.binary() if isinstance(whole, RemoteFile) else whole)
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise _corrupt(path, error) from None


def _corrupt(path: File, error: Exception) -> ArtifactError:
    return ArtifactError(f"{path}: not a readable Parquet file ({first_line(error)})")


def read_json(path: Path) -> Any:
    """What a JSON file holds that nlift wrote. Raises ArtifactError where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path}: not readable JSON ({first_line(error)}); compute it again") from None


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a reader sees all of it or nothing."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text, UTF-8, so that a reader sees all of it or nothing."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{get_ident()}.tmp")  # two may write at once
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a JSON object per line."""
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(map(_json_line, rows))


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Add a line to a file of JSON lines."""
    with path.open("ab+") as stream:
        cut = stream.tell() > 0 and (stream.seek(-1, os.SEEK_END), stream.read(1))[1] != b"\n"  # by a kill
        stream.write(("\n" if cut else "").encode() + _json_line(row).encode())


def _json_line(row: dict[str, Any]) -> str:
    """JSON that can be written: letters as they are, half of a character as its escape, what JSON lacks as text."""
    text = json.dumps(row, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(row, default=str)
    return text + "\n"


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines that runs append to; [] where there is none.

    A line that a kill cut is left out.
    """
    rows = []
    # not splitlines: a text may hold line separators of Unicode, which JSON writes as they are
    for line in path.read_text(encoding="utf-8").split("\n") if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def replace_folder(new: Path, old: Path) -> None:
    """Rename `new` over `old`."""
    if old.exists():
        gone = old.with_name(f"{old.name}.tmp-old")
        shutil.rmtree(gone, ignore_errors=True)
        old.rename(gone)
        new.rename(old)
        shutil.rmtree(gone)
    else:
        new.rename(old)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, in place of what stands there; a copy where the file system has no links."""
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
