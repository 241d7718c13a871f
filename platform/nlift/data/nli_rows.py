"""NLI rows of files or of a hub data set, as premise, hypothesis and label; each with its fault, if it has one.

What is large comes in pieces, which are read by themselves: parts of files, shards of a data set.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from nlift.data import file_parts, sources
from nlift.data.file_parts import File, FilePart, WholeFile
from nlift.data.remote import RemoteFile
from nlift.data.schema import LABELS
from nlift.data.table import read_table, with_class_names
from nlift.data.table_row import TableRow, is_missing, is_number, kind_of, number_text
from nlift.errors import DataError, first_line
from nlift.settings import NLIConfig

DAMAGED = "\N{REPLACEMENT CHARACTER}"  # stands for what an earlier conversion could not read
NO_GOLD_LABEL = ("-", "-1", "")
BY_NUMBER = dict(zip("012", LABELS, strict=True))
PIECE_BYTES = 16 * 1024**2


@dataclass(frozen=True, slots=True)
class NLIRow:
    """A row as it stands; `label` is one of LABELS where the row has no fault."""

    source: str
    """The file or the data set."""
    line: int
    """Where it begins in the file or the part of it, from 1; of Parquet and of a data set, its number."""
    premise: str
    hypothesis: str
    label: str
    fault: str | None = None
    """Why it is not usable."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """All of the row, by column."""


@dataclass(frozen=True)
class Shard:
    """A part of a data set of the library `datasets`, as its files make them."""

    index: int
    count: int

    @property
    def is_first(self) -> bool:
        """Whether the data set begins with it."""
        return self.index == 0


Piece = File | Shard


def read_rows(config: NLIConfig) -> Iterator[NLIRow]:
    """The rows, at most `limit` of them. Raises DataError where a file or data set cannot be read or lacks a column."""
    rows = (row for piece in whole(config) for row in rows_of(piece, config))
    yield from islice(rows, config.limit)


def whole(config: NLIConfig) -> Sequence[Piece]:
    """All there is to read, in order, nothing cut. Raises DataError where nothing is there."""
    return [Shard(0, 1)] if config.dataset else files(config)


def pieces(config: NLIConfig) -> list[Piece]:
    """All there is to read, in order, in pieces of some 16 MiB or a shard. Raises DataError as `read_rows`."""
    if config.dataset:
        count = max(1, _streamed(config).num_shards)
        return [Shard(index, count) for index in range(count)]
    try:
        return [part for file in files(config) for part in file_parts.parts(file, PIECE_BYTES)]
    except OSError as error:
        raise DataError(f"nli.path {config.path}: cannot be read: {first_line(error)}") from None


def size_bytes(config: NLIConfig) -> int:
    """How much the files are together. Raises DataError where nothing is there."""
    return sum(map(file_parts.size_bytes, files(config)))


def rows_of(piece: Piece, config: NLIConfig) -> Iterator[NLIRow]:
    """The rows of a piece; lines are counted from its beginning. Raises DataError as `read_rows`."""
    rows = _shard_rows(piece, config) if isinstance(piece, Shard) else _file_rows(piece)
    checked = isinstance(piece, Shard | FilePart) and not piece.is_first
    for row in rows:
        if not checked and row.fault is None:
            row.need(config.premise, config.hypothesis, config.label)
            checked = True
        yield _nli_row(row, config)


def files(config: NLIConfig) -> Sequence[WholeFile]:
    """The files that the path means; none for a hub data set. Raises DataError where nothing is there."""
    if config.path is None:
        return []
    if not config.path.strip():
        raise DataError(f"nli.path {config.path!r}: no file; expected a path, a glob, a URI or `embedded`")
    try:
        files = sources.data_files(config.path)
    except DataError as error:
        raise DataError(f"nli.path {error}") from None
    path = files[0]
    if isinstance(path, Path) and path.is_dir():
        raise DataError(f"nli.path {config.path}: is a folder; name a file or a glob as {config.path}/*.tsv")
    return files


def fingerprints(config: NLIConfig) -> list[str]:
    """What the files hold, as hashes; the name of a hub data set."""
    return [
        path.fingerprint() if isinstance(path, RemoteFile) else sources.fingerprint(path) for path in files(config)
    ] or [f"{config.dataset}/{config.split}"]


def _file_rows(file: File) -> Iterator[TableRow]:
    headers = file.header.count(b"\n") if isinstance(file, FilePart) else 0  # lines that are no part of it
    for row in read_table(file, faulty="keep"):
        yield TableRow(row.path, row.line - headers, row.values, row.fault) if headers else row


def _shard_rows(shard: Shard, config: NLIConfig) -> Iterator[TableRow]:
    rows = _streamed(config)
    features = (rows.features or {}).items()
    classes = {column: feature.names for column, feature in features if hasattr(feature, "names")}
    try:
        part = rows if shard.count == 1 else rows.shard(shard.count, shard.index)
        for number, values in enumerate(part, 1):
            yield TableRow(Path(str(config.dataset)), number, with_class_names(values, classes))
    except Exception as error:
        raise _not_loaded(config, error) from None


def _streamed(config: NLIConfig) -> Any:
    """The data set, not read yet. Raises DataError where there is none."""
    import datasets

    try:
        return datasets.load_dataset(config.dataset, split=config.split, streaming=True)
    except Exception as error:
        raise _not_loaded(config, error) from None


def _not_loaded(config: NLIConfig, error: Exception) -> DataError:
    return DataError(f"nli.dataset {config.dataset} ({config.split}): cannot be loaded: {first_line(error)}")


def _nli_row(row: TableRow, config: NLIConfig) -> NLIRow:
    columns = {"premise": config.premise, "hypothesis": config.hypothesis, "label": config.label}
    values = {name: row.values.get(column) for name, column in columns.items()}
    label = _label_of(values["label"], config.label_names)
    fault = row.fault or _text_fault(values) or _label_fault(label)
    texts = {name: "" if is_missing(values[name]) else str(values[name]) for name in ("premise", "hypothesis")}
    return NLIRow(str(row.path), row.line, texts["premise"], texts["hypothesis"], label, fault, row.values)


def _label_of(value: Any, names: Mapping[str, str]) -> str:
    """A label, a name or a number, as one of LABELS, or as it is written; `names` says what foreign ones mean."""
    if is_missing(value):
        return ""
    text = number_text(value) if is_number(value) else str(value)
    whole = text.removesuffix(".0")  # as pandas writes numbers beside missing ones
    return names.get(text) or names.get(whole) or BY_NUMBER.get(whole, whole)


def _text_fault(values: Mapping[str, Any]) -> str | None:
    for name in ("premise", "hypothesis"):
        text = values[name]
        if is_missing(text):
            return f"empty {name}"
        if not isinstance(text, str):
            return f"{name} is {kind_of(text)}, no text"
        if not text.strip():
            return f"empty {name}"
        if DAMAGED in text:
            return f"{name} is damaged (holds U+FFFD)"
    return None


def _label_fault(label: str) -> str | None:
    if label in LABELS:
        return None
    return "no gold label" if label in NO_GOLD_LABEL else f"unknown label {label!r}"
