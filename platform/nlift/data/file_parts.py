"""Parts of a file that are read by themselves: whole lines of a text, row groups of Parquet."""

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from nlift.data.remote import RemoteFile, filesystem

BLOCK = 65_536  # bytes that are read at a time where a line's end is looked for
BY_LINES = (".tsv", ".jsonl")  # a quoted text of CSV may hold line ends, so that it cannot be cut anywhere


@dataclass(frozen=True)
class FilePart:
    """A part of a file; opens as a `Path` does, and reads as a file of its own."""

    whole: Path | RemoteFile
    start: int
    """First byte of a text; first row group of Parquet."""
    end: int
    """The one after the last."""
    header: bytes = b""
    """The line that names the columns, where it stands before the part."""

    def __str__(self) -> str:
        return str(self.whole)

    @property
    def suffix(self) -> str:
        """The ending of the file's name, with its dot."""
        return self.whole.suffix

    @property
    def is_first(self) -> bool:
        """Whether the file begins with it."""
        return self.start == 0

    def open(self, encoding: str, errors: str = "strict", newline: str | None = None) -> TextIO:
        """Its text, after the header. Raises DataError or OSError where the file cannot be read."""
        return io.TextIOWrapper(io.BytesIO(self.header + self.content), encoding, errors, newline)

    def lines(self) -> int:
        """How many lines it has, the header not counted."""
        return self.content.count(b"\n")

    @cached_property
    def content(self) -> bytes:
        """Its bytes, fetched once and kept as long as the part is."""
        with opened(self.whole) as stream:
            stream.seek(self.start)
            return stream.read(self.end - self.start)


WholeFile = Path | RemoteFile
File = WholeFile | FilePart


def opened(file: WholeFile) -> BinaryIO:
    """A file as bytes, with seek. Raises DataError or OSError where it cannot be opened."""
    return file.binary() if isinstance(file, RemoteFile) else file.open("rb")


def size_bytes(file: WholeFile) -> int:
    """The size of a file. Raises DataError or OSError where nothing is there."""
    if isinstance(file, Path):
        return file.stat().st_size
    files, path = filesystem(file.uri)
    return int(files.get_file_info(path).size or 0)


def parts(file: WholeFile, most_bytes: int) -> list[File]:
    """A file's parts in order, of about `most_bytes` each; the file itself where it is small or cannot be cut.

    What is no text, or no Parquet, whatever its name says, is found by whoever reads the first part.
    """
    size = size_bytes(file)
    if size > most_bytes and file.suffix.lower() in BY_LINES:
        return list(_by_lines(file, size, most_bytes))
    if size > most_bytes and file.suffix.lower() == ".parquet":
        return list(_by_row_groups(file, most_bytes))
    return [file]


def _by_lines(file: WholeFile, size: int, most_bytes: int) -> Iterator[FilePart]:
    with opened(file) as stream:
        header, header_end = _header(stream, size) if file.suffix.lower() == ".tsv" else (b"", 0)
        start = 0
        while start < size:
            end = _line_end(stream, max(start + most_bytes, header_end) - 1, size)
            yield FilePart(file, start, end, header if start else b"")
            start = end


def _header(stream: BinaryIO, size: int) -> tuple[bytes, int]:
    """The first line that is not blank, and where it ends."""
    start, line = 0, b""
    while start < size and not line.removeprefix(codecs.BOM_UTF8).strip(b" \t\r\n"):
        end = _line_end(stream, start, size)
        stream.seek(start)
        line, start = stream.read(end - start), end
    return line, start


def _line_end(stream: BinaryIO, start: int, size: int) -> int:
    """The position after the first line end from `start` on."""
    while start < size:
        stream.seek(start)
        block = stream.read(BLOCK)
        position = block.find(b"\n")
        if position >= 0:
            return start + position + 1
        start += len(block) or size
    return size


def _by_row_groups(file: WholeFile, most_bytes: int) -> Iterator[File]:
    try:
        with opened(file) as stream:
            metadata = pq.ParquetFile(stream).metadata
    except (pa.ArrowInvalid, OSError):
        yield file  # damaged: its reader says so
        return
    start, held = 0, 0
    for group in range(metadata.num_row_groups):
        held += metadata.row_group(group).total_byte_size
        if held >= most_bytes or group == metadata.num_row_groups - 1:
            yield FilePart(file, start, group + 1)
            start, held = group + 1, 0
