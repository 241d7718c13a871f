"""Queries whose answers are known and that nobody reports: what the choice of how to search looks at.

Shape suffixes: Q queries, N rows (documents).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from heapq import nsmallest
from typing import Any, Literal

import numpy as np

from nlift.data.passages import digest, sha1
from nlift.data.schema import Document
from nlift.evaluation import metrics
from nlift.evaluation.corpus_pairs import CorpusPair, corpus_pairs
from nlift.evaluation.datasets import RetrievalSet
from nlift.evaluation.separation import separation
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.document_vectors import DocumentVectors
from nlift.search.documents import Contents
from nlift.search.ranking import NO_ROW, Ranking
from nlift.search.vector_index import AllBut, Allowed, ExactIndex, LocalIndex

CUT = 10  # ranks that NDCG looks at
LEAST_DEV = 50  # queries of a dev part; fewer leave the choice to chance
LEAST_PAIRS = 20
MOST_DEV = 2000
MOST_DOCUMENTS = 20_000  # of a corpus that pairs are searched in; of a larger one a sample
Source = Literal["dev", "corpus", "separation", "settings", "nothing"]
Vectors = Callable[[Sequence[str]], DocumentVectors]
"""Texts of documents to their vectors."""


@dataclass(frozen=True)
class JudgedQueries:
    """Queries over a corpus, with the rows that answer them."""

    texts: Sequence[str]
    """Of the documents, by row."""
    queries: Sequence[str]
    relevance: Sequence[Mapping[int, int]]
    """Of each query, by row."""
    allowed: Allowed | None = None
    """As a search has it."""
    vectors: LocalIndex | None = None
    """Of the documents; without them only words are searched."""
    _words: dict[Analyzer, BM25Index] = field(default_factory=dict, compare=False)

    def words(self, analyzer: Analyzer) -> BM25Index:
        """The documents' words, counted once."""
        if analyzer not in self._words:
            self._words[analyzer] = BM25Index.build(self.texts, analyzer)
        return self._words[analyzer]

    def ndcg(self, ranking: Ranking) -> np.ndarray:
        """NDCG@10 of each query, float64 [Q]."""
        values = []
        for rows, judged in zip(ranking.rows_QK[:, :CUT].tolist(), self.relevance, strict=True):
            gains = np.array([max(judged.get(row, 0), 0) for row in rows if row != NO_ROW], dtype=float)
            values.append(metrics.ndcg(gains, metrics.ideal_gains(judged)[:CUT]))
        return np.array(values)


@dataclass(frozen=True)
class Evidence:
    """What a choice is made on: queries in parts that each have a corpus of their own."""

    source: Source
    reason: str
    """The same in words."""
    parts: Sequence[JudgedQueries] = ()
    documents: Sequence[Document] = ()
    """What the rows are."""
    separation: float | None = None
    """How clearly the encoder tells the documents apart (separation.py); None where that is not known."""

    def by_document(self, values_Q: np.ndarray) -> np.ndarray:
        """Figures of all parts' queries as independent ones: of pairs, which may be asked twice, a document's mean."""
        if self.source != "corpus":
            return values_Q
        # the rounds have the pairs in the order of the first part
        asked = values_Q.reshape(-1, len(self.parts[0].queries)).mean(0)
        _, document = np.unique([next(iter(judged)) for judged in self.parts[0].relevance], return_inverse=True)
        return np.bincount(document, weights=asked) / np.bincount(document)

    def intact(self) -> "Evidence":
        """Of pairs those alone whose document still has the query's text; all of dev queries.

        Taken out is how `cloze` trains: an encoder that was trained so finds such pairs better than its base even where
        it has got worse for people's questions (docs/results.md).
        """
        return replace(self, parts=self.parts[:1]) if self.source == "corpus" else self

    def without_pairs(self) -> "Evidence":
        """What is left where the pairs say nothing."""
        if self.separation is None:
            return Evidence("nothing", f"nothing, both legs count the same: {self.reason}")
        clearly = f"how clearly the encoder tells the documents apart ({self.separation:.2f})"
        return Evidence("separation", f"{clearly}: {self.reason}", separation=self.separation)

    def records(self) -> list[dict[str, Any]]:
        """The queries as a bundle keeps them: `query`, `relevant` by document id, of pairs the document's `rest`."""
        pairs = self.source == "corpus"
        return [
            {
                "query": query,
                "relevant": {self.documents[row].doc_id: value for row, value in judged.items()},
                **({"rest": part.texts[next(iter(judged))]} if pairs else {}),
            }
            for part in self.parts[pairs:]  # the first part of pairs has them all, over the intact corpus
            for query, judged in zip(part.queries, part.relevance, strict=True)
        ]


def evidence(
    documents: Sequence[Document],
    dev: RetrievalSet | None,
    vectors: LocalIndex | None = None,
    encode: Vectors | None = None,
    separates: bool = True,
    most: int = MOST_DOCUMENTS,
) -> Evidence:
    """Judged queries over documents: of a dev part, else made of the documents themselves.

    Args:
        documents: In the order of rows.
        dev: A set's dev part; its queries count whose relevant documents are all among these.
        vectors: Of the documents; None where only words are to be searched.
        encode: Documents to vectors.
        separates: Whether the encoder's separation is wanted; it says what a convex fusion should weigh, no other.
        most: Documents of the corpus that pairs are searched in; of a larger one a sample.
    """
    if dev is None:
        return _of_corpus(documents, vectors, encode, separates, most)
    known = _dev_queries(documents, dev, vectors)
    count = f"{len(known.queries)} dev queries of {dev.name}"
    if len(known.queries) >= LEAST_DEV:
        return Evidence("dev", count, [known], documents)
    made = _of_corpus(documents, vectors, encode, separates, most)
    return replace(made, reason=f"{made.reason}, as there are {count} over these documents, below {LEAST_DEV}")


def _dev_queries(documents: Sequence[Document], dev: RetrievalSet, vectors: LocalIndex | None) -> JudgedQueries:
    """The queries of a dev part whose relevant documents are all among these, with the same text."""
    rows = {document.doc_id: row for row, document in enumerate(documents)}
    same = {
        document.doc_id for document in dev.documents if document.content == _content(documents, rows, document.doc_id)
    }
    names = [
        name
        for name, judged in dev.qrels.items()
        if (relevant := {doc_id for doc_id, relevance in judged.items() if relevance > 0}) and relevant <= same
    ]
    names = sorted(names, key=sha1)[:MOST_DEV]
    return JudgedQueries(
        Contents(documents),
        [dev.queries[name] for name in names],
        [{rows[doc_id]: value for doc_id, value in dev.qrels[name].items() if doc_id in rows} for name in names],
        AllBut([rows.get(name) if name in dev.own_documents else None for name in names], len(documents)),
        vectors,
    )


def _content(documents: Sequence[Document], rows: Mapping[str, int], doc_id: str) -> str | None:
    return documents[rows[doc_id]].content if doc_id in rows else None


def _of_corpus(
    documents: Sequence[Document], vectors: LocalIndex | None, encode: Vectors | None, separates: bool, most: int
) -> Evidence:
    """Every pair twice: its query's text taken out of the document, and left in, as people's queries do both."""
    rows = _sample(documents, most)
    sample = [documents[row] for row in rows]
    pairs = corpus_pairs(sample)
    own = None if vectors is None else vectors.vectors.of(rows)
    texts = [document.content for document in sample]
    clearness = separation(texts, own.first_ND) if separates and own is not None else None
    if len(pairs) < LEAST_PAIRS:
        reason = f"{len(pairs)} pairs can be made of the corpus, below {LEAST_PAIRS}"
        return Evidence("nothing", reason, separation=clearness).without_pairs()
    rests = None if encode is None else encode([pair.rest for pair in pairs])
    parts = [_intact(sample, pairs, own)]
    parts += [_without(sample, pairs, places, own, rests) for places in _rounds(pairs)]
    return Evidence("corpus", f"{len(pairs)} pairs made of the corpus", parts, sample, clearness)


def _sample(documents: Sequence[Document], most: int) -> np.ndarray:
    """Rows of a corpus in their order, of equal texts the first alone; of very many those whose hash is least."""
    by_digest: dict[str, int] = {}
    for row, document in enumerate(documents):
        by_digest.setdefault(digest(document), row)
    return np.sort(np.array([by_digest[name] for name in nsmallest(most, by_digest)], dtype=np.int64))


def _intact(sample: Sequence[Document], pairs: Sequence[CorpusPair], vectors: DocumentVectors | None) -> JudgedQueries:
    """All pairs, over the corpus as it is."""
    return JudgedQueries(
        [document.content for document in sample],
        [pair.query for pair in pairs],
        [{pair.row: 1} for pair in pairs],
        vectors=None if vectors is None else ExactIndex(vectors),
    )


def _without(
    sample: Sequence[Document],
    pairs: Sequence[CorpusPair],
    places: Sequence[int],
    vectors: DocumentVectors | None,
    rests: DocumentVectors | None,
) -> JudgedQueries:
    """Pairs of different documents, over the corpus without their queries' text."""
    texts = [document.content for document in sample]
    rows = [pairs[place].row for place in places]
    for place, row in zip(places, rows, strict=True):
        texts[row] = pairs[place].rest
    index = None
    if vectors is not None and rests is not None:
        index = ExactIndex(vectors.replaced(np.array(rows), rests.of(np.array(places))))
    return JudgedQueries(texts, [pairs[place].query for place in places], [{row: 1} for row in rows], vectors=index)


def _rounds(pairs: Sequence[CorpusPair]) -> list[list[int]]:
    """The places of pairs in rounds, none of which has a document twice."""
    rounds: list[list[int]] = []
    seen: Counter[int] = Counter()
    for place, pair in enumerate(pairs):
        if seen[pair.row] == len(rounds):
            rounds.append([])
        rounds[seen[pair.row]].append(place)
        seen[pair.row] += 1
    return rounds
