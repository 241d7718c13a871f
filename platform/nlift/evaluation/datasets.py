"""The sets that encoders are judged on: read, checked, and split into dev and test parts."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nlift.data import sources
from nlift.data.corpus import load_corpus
from nlift.data.files import need_columns, read_table
from nlift.data.schema import Document
from nlift.errors import DataError
from nlift.settings import EvaluationSet

DEV_PERCENT = 20
COLUMN_NAMES = {"src": "source", "mt": "target", "tgt": "target"}


@dataclass(frozen=True)
class RetrievalSet:
    """Documents, queries by id, and relevance by document by query."""

    name: str
    documents: Sequence[Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]

    def part(self, dev: bool) -> "RetrievalSet":
        """The dev or the test part: all documents, a share of the queries."""
        queries = {name: text for name, text in self.queries.items() if in_dev(name) == dev}
        return replace(self, queries=queries, qrels={name: self.qrels[name] for name in queries})


@dataclass(frozen=True)
class StsSet:
    """Sentence pairs with a human similarity score."""

    name: str
    pairs: list[tuple[str, str]]
    scores: list[float]

    def part(self, dev: bool) -> "StsSet":
        """The dev or the test part."""
        chosen = [i for i in range(len(self.pairs)) if in_dev(str(i)) == dev]
        return replace(self, pairs=[self.pairs[i] for i in chosen], scores=[self.scores[i] for i in chosen])


@dataclass(frozen=True)
class TranslationSet:
    """Sources and their human translations."""

    name: str
    pairs: list[tuple[str, str]]


@dataclass(frozen=True)
class QualitySet:
    """Sources, machine translations, and how people scored them."""

    name: str
    pairs: list[tuple[str, str]]
    scores: list[float]


EvaluationData = RetrievalSet | StsSet | TranslationSet | QualitySet


def in_dev(name: str) -> bool:
    """Whether an id belongs to the fifth that choices are made on; the rest is reported."""
    return int(hashlib.sha1(name.encode()).hexdigest(), 16) % 100 < DEV_PERCENT


def load_set(config: EvaluationSet) -> EvaluationData:
    """The whole set. Raises DataError with file and line where it is not in the form promised."""
    path = sources.data_path(config.path)
    if config.kind == "retrieval":
        return load_beir(config.name, path)
    if config.kind == "sts":
        return StsSet(config.name, *_scored_pairs(path, ("sentence1", "sentence2")))
    if config.kind == "quality":
        return QualitySet(config.name, *_scored_pairs(path, ("source", "target")))
    pairs = []
    for row in map(_renamed, read_table(path)):
        need_columns(row, ["source", "target"], path)
        pairs.append((row["source"] or "", row["target"] or ""))
    if not pairs:
        raise DataError(f"{path}: found no pairs, expected a source and a target per line")
    return TranslationSet(config.name, pairs)


def _scored_pairs(path: Path, columns: tuple[str, str]) -> tuple[list[tuple[str, str]], list[float]]:
    """Pairs of texts and their scores, in the order of the file."""
    pairs, scores = [], []
    for number, row in enumerate(map(_renamed, read_table(path)), 2):
        need_columns(row, [*columns, "score"], path)
        try:
            scores.append(float(row["score"]))
        except (TypeError, ValueError):
            scores.append(math.nan)
        if not math.isfinite(scores[-1]):
            raise DataError(f"{path}:{number}: score {row['score']!r} is no number")
        pairs.append((row[columns[0]], row[columns[1]]))
    if len(pairs) < 2:
        raise DataError(f"{path}: found {len(pairs)} pairs, expected two at least")
    return pairs, scores


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the names that data sets of translations use beside ours: src, mt, tgt."""
    return {COLUMN_NAMES.get(name, name): value for name, value in row.items()}


def load_beir(name: str, folder: Path) -> RetrievalSet:
    """A folder with corpus.jsonl, queries.jsonl and qrels/test.tsv. Raises DataError."""
    for part in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        if not (folder / part).is_file():
            raise DataError(
                f"{folder / part}: missing; expected corpus.jsonl, queries.jsonl, qrels/test.tsv as in BEIR"
            )
    documents = load_corpus(folder)
    queries = _read_queries(folder / "queries.jsonl")
    qrels = _read_qrels(folder / "qrels" / "test.tsv", queries, {document.doc_id for document in documents})
    return RetrievalSet(name, documents, {query: queries[query] for query in qrels}, qrels)


def _read_queries(path: Path) -> dict[str, str]:
    """Queries by id."""
    queries: dict[str, str] = {}
    for number, row in enumerate(read_table(path), 1):
        for field in ("_id", "text"):
            if field not in row:
                raise DataError(f"{path}:{number}: no field {field!r}; found {', '.join(map(str, row))}")
        queries[str(row["_id"])] = str(row["text"])
    return queries


def _read_qrels(path: Path, queries: dict[str, str], doc_ids: set[str]) -> dict[str, dict[str, int]]:
    """Relevance by document by query."""
    qrels: dict[str, dict[str, int]] = {}
    for number, row in enumerate(read_table(path), 2):
        need_columns(row, ["query-id", "corpus-id", "score"], path)
        query, document = row["query-id"], row["corpus-id"]
        if query not in queries:
            raise DataError(f"{path}:{number}: query {query!r} is not in queries.jsonl")
        if document not in doc_ids:
            raise DataError(f"{path}:{number}: document {document!r} is not in corpus.jsonl")
        try:
            qrels.setdefault(query, {})[document] = int(row["score"])
        except (TypeError, ValueError):
            raise DataError(f"{path}:{number}: score {row['score']!r} is no whole number") from None
    if not any(relevance > 0 for judged in qrels.values() for relevance in judged.values()):
        raise DataError(f"{path}: no relevant document; expected query-id, corpus-id and a score above 0")
    return qrels
