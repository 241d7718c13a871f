"""The rows that flow between stages, and the one check at each stage's edge."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias, get_type_hints

import numpy as np
import pyarrow as pa

from nlift.errors import DataError

Batch: TypeAlias = dict[str, np.ndarray]
LABELS = ("entailment", "neutral", "contradiction")


@dataclass(frozen=True)
class NLIPair:
    """One labelled pair; `label` is one of LABELS."""

    pair_id: str
    premise: str
    hypothesis: str
    label: str


@dataclass(frozen=True)
class Translation:
    """A row of the translation memory; `key` hashes all that changes the target.

    Where the model has no usable translation, `target` is null and `fault` says why.
    """

    key: str
    source: str
    target: str | None
    fault: str | None = None


@dataclass(frozen=True)
class Score:
    """A row of the score memory; `score` is COMET's, unbounded, mostly 0 to 1."""

    key: str
    score: float


@dataclass(frozen=True)
class TranslatedPair(NLIPair):
    """An NLI pair with its machine translation."""

    premise_mt: str
    hypothesis_mt: str


@dataclass(frozen=True)
class ScoredPair(TranslatedPair):
    """A translated pair with reference-free COMET of each side."""

    premise_comet: float
    hypothesis_comet: float


CLOZE = "cloze-"  # a pair of a corpus's own text is named cloze-<document's id>#<number>


@dataclass(frozen=True)
class Triplet:
    """Anchor (premise), positive (entailed) and hard negative (contradicted), which may be null."""

    pair_id: str
    anchor: str
    positive: str
    negative: str | None

    @property
    def document(self) -> str | None:
        """What pairs made of one document of a corpus have in common; null for other rows."""
        name = self.pair_id.rpartition("#")[0]
        return name if name.startswith(CLOZE) else None


@dataclass(frozen=True)
class RankedPassages:
    """A query and what a search finds for it, best first: passages with their scores, 0 to 1."""

    query: str
    passages: list[str]
    scores: list[float]


@dataclass(frozen=True)
class ParallelPair:
    """A sentence and its translation; `comet` is null where nobody scored it."""

    source: str
    target: str
    comet: float | None


@dataclass(frozen=True)
class Document:
    """A document of a corpus; `metadata` is a JSON object as text."""

    doc_id: str
    title: str
    text: str
    metadata: str

    @property
    def content(self) -> str:
        """What is embedded and searched: title and text."""
        return f"{self.title} {self.text}".strip()


_ARROW = {
    str: pa.string(),
    str | None: pa.string(),
    float: pa.float64(),
    float | None: pa.float64(),
    list[str]: pa.list_(pa.string()),
    list[float]: pa.list_(pa.float64()),
}


def arrow_schema(row_type: type) -> pa.Schema:
    """The Arrow schema that a row type is stored with."""
    hints = get_type_hints(row_type)
    return pa.schema([(field.name, _ARROW[hints[field.name]]) for field in fields(row_type)])


def check_table(table: pa.Table, row_type: type, where: Path) -> pa.Table:
    """The table's columns of `row_type`, in order. Raises DataError naming what is missing."""
    names = [field.name for field in fields(row_type)]
    missing = [name for name in names if name not in table.column_names]
    if missing:
        known = ", ".join(table.column_names)
        raise DataError(f"{where}: column {missing[0]!r} is missing; found {known}, expected {', '.join(names)}")
    for field in arrow_schema(row_type):
        try:
            table.column(field.name).cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            stored = table.column(field.name).type
            raise DataError(f"{where}: column {field.name!r} holds {stored}, expected {field.type}") from None
    return table.select(names).cast(arrow_schema(row_type))


def to_table(rows: Iterable[object], row_type: type) -> pa.Table:
    """Rows as an Arrow table of their type's schema; empty input gives an empty table."""
    columns: dict[str, list[object]] = {field.name: [] for field in fields(row_type)}
    for row in rows:
        for name, values in columns.items():
            values.append(getattr(row, name))
    return pa.table(columns, schema=arrow_schema(row_type))
