"""An encoder, or anything that searches, on a data set: similarity, retrieval and geometry.

Shape suffixes: Q queries, N documents, D dimensions of a vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nlift.evaluation import geometry, measures, metrics, vector_picture
from nlift.evaluation.datasets import RetrievalSet, StsSet
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.judged_queries import CUT
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.evaluation.probes import probe, triplet_accuracy
from nlift.evaluation.search_choice import gain, means
from nlift.evaluation.sts_figures import by_subset
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
    """The metrics of every query that has an answer; by number `cosine` and `score` of pairs, or of what a probe
    predicts `correct`, and the classes `label` and `predicted` as numbers."""
    picture: dict[str, Any] | None = None
    """What a page draws of the vectors (vector_picture.py)."""
    deployed: dict[str, Any] | None = None
    """Of a hybrid: how the set's corpus would be searched (`Choice.as_json`), and `reported`: what that gives here."""


def measure_searcher(name: str, dataset: RetrievalSet, searcher: Searcher, depth: int = RUN_DEPTH) -> Measured:
    """Retrieval by a searcher whose rows are the set's documents by descending id."""
    ranking = searcher.search(list(dataset.queries.values()), depth, allowed=_allowed(dataset))
    return measure_run(name, dataset, _run(dataset, ranking))


def measure_run(name: str, dataset: RetrievalSet, run: Mapping[str, Hits]) -> Measured:
    """Retrieval by a run, which ranks documents for each query; a query that it lacks has found nothing."""
    per_query: dict[str, dict[str, float]] = {}
    for query, judged in dataset.qrels.items():  # one at a time: a run of many queries is large as Python has it
        hits = [doc_id for doc_id, _ in run.get(query, ())]
        per_query |= metrics.ranking_metrics({query: hits}, {query: judged})
    sizes = {"queries": len(per_query), "documents": len(dataset.documents)}
    return Measured(name, dataset.name, {"retrieval": {**metrics.means(per_query), **sizes}}, run, per_query)


def measure_further(measured: Measured, dataset: RetrievalSet, names: Sequence[str]) -> None:
    """Add what other measures say of a retrieval measurement, by query and on average (measures.py)."""
    further = measures.by_query(names, measured.run, {query: dataset.qrels[query] for query in measured.per_query})
    measured.per_query = {query: {**own, **further[query]} for query, own in measured.per_query.items()}
    measured.groups["retrieval"] |= metrics.means(further)


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
    results[0].picture = vector_picture.of_retrieval(queries, documents.first_ND, _relevant(dataset))
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
    measured = measure_run(name, dataset, _run(dataset, index.search(queries_QD, RUN_DEPTH, _allowed(dataset))))
    relevant_P2, first_ND = _relevant(dataset), documents.first_ND
    near = geometry.alignment(queries_QD[relevant_P2[:, 0]], first_ND[relevant_P2[:, 1]]) if len(relevant_P2) else None
    measured.groups["geometry"] = {**({} if near is None else {"alignment": near}), **geometry.spread(first_ND)}
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
        **by_subset(dataset.subsets, predicted, gold),
    }
    lie = geometry.spread(np.concatenate([first, second]))
    close = gold >= CLOSE_SHARE * gold.max()
    if close.any():
        lie["alignment"] = geometry.alignment(first[close], second[close])
    per_pair = {
        str(i): {"cosine": float(cosine), "score": float(score)}
        for i, (cosine, score) in enumerate(zip(predicted, gold, strict=True))
    }
    groups = {"sts": sts, "geometry": lie}
    return Measured(name, dataset.name, groups, per_query=per_pair, picture=vector_picture.of_sts(predicted, close))


def measure_labelled(name: str, encoder: TextEncoder, dataset: LabelledSet) -> Measured:
    """What a linear probe over an encoder's vectors predicts; of NLI pairs how often entailment is nearer, too."""
    probed = probe(encoder, dataset)
    groups = {"transfer": {**probed.metrics(), **triplet_accuracy(encoder, dataset)}}
    labels, predicted = probed.numbers
    per_example = {
        str(i): {"correct": float(label == guess), "label": float(label), "predicted": float(guess)}
        for i, (label, guess) in enumerate(zip(labels, predicted, strict=True))
    }
    return Measured(name, dataset.name, groups, per_query=per_example)


def _relevant(dataset: RetrievalSet) -> np.ndarray:
    """Places of queries and of the documents that are relevant to them, int64 [P, 2]."""
    place = {document.doc_id: i for i, document in enumerate(dataset.documents)}
    pairs = [
        (i, place[doc_id])
        for i, query in enumerate(dataset.queries)
        for doc_id, relevance in dataset.qrels[query].items()
        if relevance > 0 and doc_id in place
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _run(dataset: RetrievalSet, ranking: Ranking) -> Run:
    """A ranking as a run: documents by name."""
    doc_ids = [document.doc_id for document in dataset.in_row_order()]
    return Run(list(dataset.queries), doc_ids, ranking, dataset.own_documents, RUN_DEPTH)


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
