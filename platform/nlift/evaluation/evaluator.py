"""An encoder, or anything that searches, on a data set: similarity, retrieval and geometry.

Shape suffixes: Q queries, N documents, D dimensions of a vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nlift.evaluation import metrics
from nlift.evaluation.datasets import RetrievalSet, StsSet
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.judged_queries import CUT
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.evaluation.probes import probe, triplet_accuracy
from nlift.evaluation.search_choice import gain, means
from nlift.evaluation.text_encoder import TextEncoder, document_vectors
from nlift.evaluation.trec import Hits, Run
from nlift.models.passage_splitter import Split
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.document_vectors import DocumentVectors
from nlift.search.ranking import Ranking, row_order
from nlift.search.searchers import BM25Searcher, DenseSearcher, Searcher, known_vectors, searchers
from nlift.search.vector_index import AllBut, Allowed, ExactIndex
from nlift.settings import SearchConfig

RUN_DEPTH = 1000
PLAIN = Analyzer()
CLOSE_SHARE = 0.8  # STS pairs scored this high, of the scale's top, count as positives for alignment


@dataclass
class Measured:
    """What was measured by one name on one set: metrics by group, and for retrieval the run."""

    name: str
    set_name: str
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    run: Mapping[str, Hits] = field(default_factory=dict)
    per_query: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The metrics of every query that has an answer; by number `cosine` and `score` of pairs, or `correct` of what a
    probe predicts."""
    deployed: dict[str, Any] | None = None
    """Of a hybrid: how the set's corpus would be searched (`Choice.as_json`), and `reported`: what that gives here."""


def measure_searcher(name: str, dataset: RetrievalSet, searcher: Searcher, depth: int = RUN_DEPTH) -> Measured:
    """Retrieval by a searcher whose rows are the set's documents by descending id."""
    ranking = searcher.search(list(dataset.queries.values()), depth, allowed=_allowed(dataset))
    return _of_ranking(name, dataset, ranking)


def measure_bm25(name: str, dataset: RetrievalSet, analyzer: Analyzer = PLAIN) -> Measured:
    """BM25 on a retrieval set, of its words as they are where no analyzer is named."""
    texts = [document.content for document in dataset.in_row_order()]
    return measure_searcher(name, dataset, BM25Searcher(BM25Index.build(texts, analyzer)))


def measure_retrieval(
    name: str,
    encoder: TextEncoder,
    dataset: RetrievalSet,
    max_length: int,
    hybrid: str | None = None,
    deployment: Deployment | None = None,
    split: Split | None = None,
) -> list[Measured]:
    """An encoder on a retrieval set, then, named `hybrid`, the encoder together with BM25; texts are encoded once.

    `split` cuts documents into passages, as an index does.
    """
    queries, documents = encode_set(encoder, dataset, max_length, split)
    results = [measure_vectors(name, dataset, queries, documents)]
    if hybrid is not None:
        deployment = deployment or Deployment(SearchConfig())
        index, rows = ExactIndex(documents.of(_rows(dataset))), dataset.in_row_order()
        choice = deployment.choice(rows, index, encoder, max_length, split)
        words = BM25Index.build([document.content for document in rows], choice.settings.analyzer)
        encode = known_vectors(list(dataset.queries.values()), queries)
        by_mode = searchers(DenseSearcher(index, encode), BM25Searcher(words), choice.settings)
        results.append(measure_searcher(hybrid, dataset, by_mode["hybrid"]))
        lexical = measure_searcher("lexical", dataset, by_mode["lexical"], depth=CUT)
        ndcg_Q = {"dense": _ndcg(results[0]), "lexical": _ndcg(lexical), "hybrid": _ndcg(results[1])}
        reported = {"ndcg@10": means(ndcg_Q), "gain": gain(ndcg_Q, choice.settings.mode)}
        results[1].deployed = {**choice.as_json(), "reported": reported}
    return results


def _ndcg(measured: Measured) -> np.ndarray:
    return np.array([metrics["ndcg@10"] for metrics in measured.per_query.values()])


def encode_set(
    encoder: TextEncoder, dataset: RetrievalSet, max_length: int, split: Split | None = None
) -> tuple[np.ndarray, DocumentVectors]:
    """Unit vectors of a set's queries, float32 [Q, D], and of its documents, in their order."""
    documents = document_vectors(encoder, dataset.documents, max_length, split)
    queries = encoder.encode(list(dataset.queries.values()), role="query", max_length=max_length)
    return queries, documents


def measure_vectors(name: str, dataset: RetrievalSet, queries_QD: np.ndarray, documents: DocumentVectors) -> Measured:
    """Dense retrieval and geometry from a set's queries and documents, in their order.

    The geometry of a document is that of its first passage.
    """
    index = ExactIndex(documents.of(_rows(dataset)))
    measured = _of_ranking(name, dataset, index.search(queries_QD, RUN_DEPTH, _allowed(dataset)))
    measured.groups["geometry"] = _geometry(dataset, queries_QD, documents.first_ND)
    return measured


def measure_sts(name: str, encoder: TextEncoder, dataset: StsSet) -> Measured:
    """An encoder on sentence pairs: correlation of cosine and human score, and geometry."""
    first = encoder.encode([sentence for sentence, _ in dataset.pairs])
    second = encoder.encode([sentence for _, sentence in dataset.pairs])
    gold, predicted = np.array(dataset.scores), (first * second).sum(1)
    sts = {
        "spearman": metrics.spearman(predicted, gold),
        "pearson": metrics.pearson(predicted, gold),
        "pairs": len(gold),
    }
    geometry = {"uniformity": metrics.uniformity(np.concatenate([first, second]))}
    close = gold >= CLOSE_SHARE * gold.max()
    if close.any():
        geometry["alignment"] = metrics.alignment(first[close], second[close])
    per_pair = {
        str(i): {"cosine": float(cosine), "score": float(score)}
        for i, (cosine, score) in enumerate(zip(predicted, gold, strict=True))
    }
    return Measured(name, dataset.name, {"sts": sts, "geometry": geometry}, per_query=per_pair)


def measure_labelled(name: str, encoder: TextEncoder, dataset: LabelledSet) -> Measured:
    """What a linear probe over an encoder's vectors predicts; of NLI pairs how often entailment is nearer, too."""
    probed = probe(encoder, dataset)
    groups = {"transfer": {**probed.metrics(), **triplet_accuracy(encoder, dataset)}}
    per_example = {str(i): {"correct": float(correct)} for i, correct in enumerate(probed.correct)}
    return Measured(name, dataset.name, groups, per_query=per_example)


def _geometry(dataset: RetrievalSet, queries_QD: np.ndarray, documents_ND: np.ndarray) -> dict[str, float]:
    """Alignment of queries with their relevant documents, uniformity of the documents."""
    place = {document.doc_id: i for i, document in enumerate(dataset.documents)}
    pairs = [
        (i, place[doc_id])
        for i, query in enumerate(dataset.queries)
        for doc_id, relevance in dataset.qrels[query].items()
        if relevance > 0 and doc_id in place
    ]
    queries, documents = np.array(pairs, dtype=int).reshape(-1, 2).T
    geometry = {"alignment": metrics.alignment(queries_QD[queries], documents_ND[documents])} if pairs else {}
    if len(documents_ND) > 1:
        geometry["uniformity"] = metrics.uniformity(documents_ND)
    return geometry


def _of_ranking(name: str, dataset: RetrievalSet, ranking: Ranking) -> Measured:
    """The metrics of a ranking, and the run: documents by name."""
    doc_ids = [document.doc_id for document in dataset.in_row_order()]
    run = Run(list(dataset.queries), doc_ids, ranking, dataset.own_documents, RUN_DEPTH)
    per_query: dict[str, dict[str, float]] = {}
    for query in run:  # one at a time: a run of many queries is large as Python has it
        hits = {query: [doc_id for doc_id, _ in run[query]]}
        per_query |= metrics.ranking_metrics(hits, {query: dataset.qrels[query]})
    sizes = {"queries": len(per_query), "documents": len(dataset.documents)}
    return Measured(name, dataset.name, {"retrieval": {**metrics.means(per_query), **sizes}}, run, per_query)


def _allowed(dataset: RetrievalSet) -> Allowed | None:
    """The rows that each query may find: all but its own document, where it is one; as they are chosen by, too."""
    if not dataset.own_documents:
        return None
    rows = {document.doc_id: row for row, document in enumerate(dataset.in_row_order())}
    own = [rows.get(query) if query in dataset.own_documents else None for query in dataset.queries]
    return AllBut(own, len(rows))


def _rows(dataset: RetrievalSet) -> np.ndarray:
    """Positions of the set's documents in the order of rows, int64 [N]."""
    return row_order([document.doc_id for document in dataset.documents])
