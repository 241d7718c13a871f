"""The sets that encoders are judged on: read, checked, and split into dev and test parts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nlift import progress
from nlift.data import sources
from nlift.data.corpus import load_corpus
from nlift.data.pairing import normalised
from nlift.data.passages import percentile
from nlift.data.schema import Document
from nlift.data.table import read_table
from nlift.data.table_row import TableRow
from nlift.errors import DataError
from nlift.evaluation.labelled_sets import LabelledSet, load_labelled
from nlift.evaluation.set_rows import set_rows
from nlift.evaluation.trec import escaped
from nlift.search.ranking import row_order
from nlift.settings import EvaluationSet

DEV_PERCENT = 20
SUBSET_COLUMNS = ("subset", "genre", "dataset")  # what part of an sts set a pair is of; the first that is there


@dataclass(frozen=True)
class RetrievalSet:
    """Documents, queries by id, and relevance by document by query; a judged document may be in no corpus."""

    name: str
    documents: Sequence[Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    own_documents: frozenset[str] = frozenset()
    """Ids of queries that are documents themselves, each to be left out of its own query's ranking."""

    @property
    def answerable(self) -> int:
        """Queries that have a relevant document."""
        return sum(any(relevance > 0 for relevance in judged.values()) for judged in self.qrels.values())

    def in_row_order(self) -> list[Document]:
        """The documents as searchers number them: by descending id."""
        return [self.documents[row] for row in row_order([document.doc_id for document in self.documents])]

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
    subsets: Sequence[str] = ()
    """Of each pair, "" where it is of none; empty where the set has no subsets."""

    def part(self, dev: bool) -> "StsSet":
        """The dev or the test part."""
        chosen = [i for i in range(len(self.pairs)) if in_dev(str(i)) == dev]
        subsets = [self.subsets[i] for i in chosen] if self.subsets else ()
        pairs, scores = [self.pairs[i] for i in chosen], [self.scores[i] for i in chosen]
        return replace(self, pairs=pairs, scores=scores, subsets=subsets)


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


EvaluationData = RetrievalSet | StsSet | TranslationSet | QualitySet | LabelledSet


def in_dev(name: str) -> bool:
    """Whether an id belongs to the fifth that choices are made on; the rest is reported."""
    return percentile(name) < DEV_PERCENT


def check_parts(dataset: RetrievalSet | StsSet) -> None:
    """Raise DataError where the dev or the test part has nothing to measure on."""
    sts = isinstance(dataset, StsSet)
    for is_dev, name in ((True, "dev"), (False, "test")):
        part = dataset.part(is_dev)
        count = len(part.pairs) if isinstance(part, StsSet) else part.answerable
        if count < (2 if sts else 1):
            raise DataError(
                f"train.dev {dataset.name!r}: {count} {'pairs' if sts else 'queries'} in its {name} part; "
                "expected a larger set, of which a fifth, by a hash of the id, is dev"
            )


def load_set(config: EvaluationSet) -> EvaluationData:
    """The whole set. Raises DataError with file and line where it is not in the form promised."""
    if config.kind in ("classification", "pair_classification"):
        return load_labelled(config)
    if config.kind == "retrieval":
        assert config.path is not None
        return load_beir(config.name, sources.data_path(config.path), config.ignore_identical_ids)
    if config.kind == "sts":
        return _load_sts(config)
    if config.kind == "quality":
        rows = set_rows(config, ("source", "target", "score"))
        return QualitySet(config.name, *_scored_pairs(config, rows, ("source", "target")))
    pairs = [(row.text("source"), row.text("target")) for row in set_rows(config, ("source", "target"))]
    if not pairs:
        raise DataError(f"{config.path}: found no pairs, expected a source and a target per line")
    return TranslationSet(config.name, pairs)


def _scored_pairs(
    config: EvaluationSet, rows: Iterable[TableRow], columns: tuple[str, str]
) -> tuple[list[tuple[str, str]], list[float]]:
    """Pairs of texts and their scores, in the order of the file."""
    pairs, scores = [], []
    for row in rows:
        scores.append(row.number("score"))
        pairs.append((row.text(columns[0]), row.text(columns[1])))
    if len(pairs) < 2:
        raise DataError(f"{config.path or config.dataset}: found {len(pairs)} pairs, expected two at least")
    return pairs, scores


def _load_sts(config: EvaluationSet) -> StsSet:
    rows = list(set_rows(config, ("sentence1", "sentence2", "score")))
    pairs, scores = _scored_pairs(config, rows, ("sentence1", "sentence2"))
    low, high = config.scale or (-math.inf, math.inf)
    outside = next((row for row in rows if not low <= row.number("score") <= high), None)
    if outside is not None:
        raise outside.mistake(f"score {outside.number('score'):g} is not on the set's scale, {low:g} to {high:g}")
    if len(set(scores)) == 1:
        raise DataError(f"{rows[0].path}: all {len(scores)} scores are {scores[0]:g}; expected scores that differ")
    empty = [row.line for row, pair in zip(rows, pairs, strict=True) if not all(text.strip() for text in pair)]
    if empty:
        progress.notice(
            f"{rows[0].path}: {len(empty)} pairs have an empty sentence, as that in line {empty[0]}; they count too"
        )
    column = next((name for name in SUBSET_COLUMNS if name in rows[0].values), None)
    subsets = [row.optional_text(column) for row in rows] if column is not None else ()
    return StsSet(config.name, pairs, scores, subsets if len(set(subsets) - {""}) > 1 else ())


def load_beir(name: str, folder: Path, ignore_identical_ids: bool | None = None) -> RetrievalSet:
    """A folder with corpus.jsonl, queries.jsonl and qrels/test.tsv.

    As trec_eval and BEIR have it, a judged document that the corpus lacks counts as never found, and a judged query
    that is not there is left out; both are said. Raises DataError where a file is not in the form promised.

    Args:
        name: The set's name.
        folder: The folder.
        ignore_identical_ids: As EvaluationSet has it.
    """
    for part in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        if not (folder / part).is_file():
            raise DataError(
                f"{folder / part}: missing; expected corpus.jsonl, queries.jsonl, qrels/test.tsv as in BEIR"
            )
    documents = load_corpus(folder)
    _check_fields([document.doc_id for document in documents], folder / "corpus.jsonl")
    queries = _read_queries(folder / "queries.jsonl")
    qrels = _read_qrels(folder / "qrels" / "test.tsv", queries, {document.doc_id for document in documents})
    judged = {query: queries[query] for query in qrels}
    shared = {document.doc_id: document for document in documents if document.doc_id in judged}
    own = _own_documents(shared, judged, qrels, ignore_identical_ids)
    if own:
        progress.notice(f"{folder}: {len(own)} queries are documents too; each is left out of its own ranking")
    elif shared and ignore_identical_ids is None:
        progress.notice(
            f"{folder}: {len(shared)} queries have the id of a document with another text, which they may find; "
            "ignore_identical_ids says otherwise"
        )
    return RetrievalSet(name, documents, judged, qrels, own)


def _check_fields(names: Sequence[str], path: Path) -> None:
    """Raise DataError where two ids would be the same in a TREC file, which has no white space in a field."""
    known = set(names)
    twice = next((name for name in names if escaped(name) != name and escaped(name) in known), None)
    if twice is not None:
        raise DataError(f"{path}: ids {twice!r} and {escaped(twice)!r} would be the same in a TREC run; rename one")


def _own_documents(
    shared: dict[str, Document], queries: dict[str, str], qrels: dict[str, dict[str, int]], wanted: bool | None
) -> frozenset[str]:
    """Which of the ids that queries share with documents are to be left out; where nobody says, those of equal text."""
    if wanted is not None:
        return frozenset(shared if wanted else ())
    return frozenset(
        name
        for name, document in shared.items()
        if normalised(queries[name]) in (normalised(document.text), normalised(document.content))
        and qrels[name].get(name, 0) <= 0
    )


def _read_queries(path: Path) -> dict[str, str]:
    """Queries by id."""
    queries: dict[str, str] = {}
    lines: dict[str, int] = {}
    for row in read_table(path):
        row.need("_id", "text")
        name, text = row.name("_id"), row.text("text")
        if queries.setdefault(name, text) != text:
            raise row.mistake(f"query {name!r} stands twice, with another text (first in line {lines[name]})")
        lines.setdefault(name, row.line)
    return queries


def _read_qrels(path: Path, queries: dict[str, str], doc_ids: set[str]) -> dict[str, dict[str, int]]:
    """Relevance by document by query."""
    qrels: dict[str, dict[str, int]] = {}
    lines: dict[tuple[str, str], int] = {}
    unknown_queries, unknown_documents = [], []
    for row in read_table(path):
        row.need("query-id", "corpus-id", "score")
        query, document, relevance = row.name("query-id"), row.name("corpus-id"), row.whole_number("score")
        first = lines.setdefault((query, document), row.line)
        if qrels.setdefault(query, {}).setdefault(document, relevance) != relevance:
            raise row.mistake(f"{query!r} and {document!r} are judged twice, differently (first in line {first})")
        if query not in queries:
            unknown_queries.append(row)
        elif document not in doc_ids:
            unknown_documents.append(row)
    for rows, column, file, what in (
        (unknown_queries, "query-id", "queries.jsonl", "they are left out"),
        (unknown_documents, "corpus-id", "corpus.jsonl", "they count as never found"),
    ):
        if rows:
            example = f"{rows[0].values[column]!r} in line {rows[0].line}"
            progress.notice(f"{path}: {len(rows)} judgements are of what {file} lacks, as {example}; {what}")
    known = {query: judged for query, judged in qrels.items() if query in queries}
    if qrels and not known:
        raise DataError(
            f"{path}: none of the judged queries, as {min(qrels)!r}, is in queries.jsonl; is it another set's?"
        )
    _check_judged(known, path, doc_ids)
    return known


def _check_judged(qrels: dict[str, dict[str, int]], path: Path, doc_ids: set[str]) -> None:
    """Raise DataError where nothing can be found."""
    relevant = {document for judged in qrels.values() for document, relevance in judged.items() if relevance > 0}
    if not relevant:
        raise DataError(f"{path}: no relevant document; expected query-id, corpus-id and a score above 0")
    if not relevant & doc_ids:
        example = min(relevant)
        raise DataError(f"{path}: no relevant document, as {example!r}, is in corpus.jsonl; is it another set's?")
