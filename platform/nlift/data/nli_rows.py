"""NLI rows of files or of a hub data set, as premise, hypothesis and label; each with its fault, if it has one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from nlift.data import sources
from nlift.data.remote import File, RemoteFile
from nlift.data.schema import LABELS
from nlift.data.table import read_table, with_class_names
from nlift.data.table_row import TableRow, is_missing, is_number, kind_of, number_text
from nlift.errors import DataError, first_line
from nlift.settings import NLIConfig

DAMAGED = "\N{REPLACEMENT CHARACTER}"  # stands for what an earlier conversion could not read
NO_GOLD_LABEL = ("-", "-1", "")
BY_NUMBER = dict(zip("012", LABELS, strict=True))


@dataclass(frozen=True, slots=True)
class NLIRow:
    """A row as it stands; `label` is one of LABELS where the row has no fault."""

    where: str
    """File and line, or the number in the data set."""
    premise: str
    hypothesis: str
    label: str
    fault: str | None = None
    """Why it is not usable."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """All of the row, by column."""


def read_rows(config: NLIConfig) -> Iterator[NLIRow]:
    """The rows, at most `limit` of them. Raises DataError where a file or data set cannot be read or lacks a column."""
    rows = _read_hub(config) if config.dataset else _read_files(config)
    yield from islice(rows, config.limit)


def files(config: NLIConfig) -> Sequence[File]:
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


def _read_files(config: NLIConfig) -> Iterator[NLIRow]:
    for path in files(config):
        checked = False
        for row in read_table(path, faulty="keep"):
            if not checked and row.fault is None:
                row.need(config.premise, config.hypothesis, config.label)
                checked = True
            yield _nli_row(row, config)


def _read_hub(config: NLIConfig) -> Iterator[NLIRow]:
    import datasets

    try:
        rows = datasets.load_dataset(config.dataset, split=config.split, streaming=True)
        features = (rows.features or {}).items()
        classes = {column: feature.names for column, feature in features if hasattr(feature, "names")}
        for number, values in enumerate(rows, 1):
            row = TableRow(Path(str(config.dataset)), number, with_class_names(values, classes))
            if number == 1:
                row.need(config.premise, config.hypothesis, config.label)
            yield _nli_row(row, config)
    except DataError:
        raise
    except Exception as error:
        why = first_line(error)
        raise DataError(f"nli.dataset {config.dataset} ({config.split}): cannot be loaded: {why}") from None


def _nli_row(row: TableRow, config: NLIConfig) -> NLIRow:
    columns = {"premise": config.premise, "hypothesis": config.hypothesis, "label": config.label}
    values = {name: row.values.get(column) for name, column in columns.items()}
    label = _label_of(values["label"], config.label_names)
    fault = row.fault or _text_fault(values) or _label_fault(label)
    texts = {name: "" if is_missing(values[name]) else str(values[name]) for name in ("premise", "hypothesis")}
    return NLIRow(row.where, texts["premise"], texts["hypothesis"], label, fault, row.values)


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
