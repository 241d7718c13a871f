"""One encoder, or BM25, on one loaded set: similarity, retrieval and geometry."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from nlift import metrics
from nlift.encoder import Encoder
from nlift.lexical import LexicalIndex
from nlift.sets import RetrievalSet, StsSet

RUN_DEPTH = 1000
CLOSE_SHARE = 0.8  # STS pairs scored this high, of the scale's top, count as positives for alignment


@dataclass
class Measured:
    """One encoder on one set: its metrics by group, and for retrieval the ranking of every query."""

    name: str
    set_name: str
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    run: dict[str, list[tuple[str, float]]] = field(default_factory=dict)


def judge(name: str, encoder: Encoder, loaded: RetrievalSet | StsSet, max_length: int) -> Measured:
    """An encoder on a loaded set."""
    if isinstance(loaded, StsSet):
        return _judge_sts(name, encoder, loaded)
    texts = [document.content for document in loaded.documents]
    documents = encoder.encode(texts, role="passage", max_length=max_length)
    queries = encoder.encode(list(loaded.queries.values()), role="query", max_length=max_length)
    return judge_vectors(name, loaded, queries, documents)


def judge_vectors(name: str, loaded: RetrievalSet, queries_QD: np.ndarray, documents_ND: np.ndarray) -> Measured:
    """Retrieval and geometry from unit vectors of the set's queries and documents, in their order."""
    names = [document.doc_id for document in loaded.documents]
    row = {doc_id: i for i, doc_id in enumerate(names)}
    similarity = queries_QD @ documents_ND.T
    run = {query: rank(names, similarity[i]) for i, query in enumerate(loaded.queries)}
    pairs = [
        (i, row[doc_id])
        for i, query in enumerate(loaded.queries)
        for doc_id, relevance in loaded.qrels[query].items()
        if relevance > 0
    ]
    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    geometry = {"alignment": metrics.alignment(queries_QD[first], documents_ND[second])} if pairs else {}
    if len(documents_ND) > 1:
        geometry["uniformity"] = metrics.uniformity(documents_ND)
    return Measured(name, loaded.name, {"retrieval": _retrieval(loaded, run), "geometry": geometry}, run)


def judge_bm25(name: str, loaded: RetrievalSet) -> Measured:
    """BM25 on a retrieval set."""
    index = LexicalIndex([document.content for document in loaded.documents])
    names = [document.doc_id for document in loaded.documents]
    run = {query: rank(names, index.scores(text), above=0.0) for query, text in loaded.queries.items()}
    return Measured(name, loaded.name, {"retrieval": _retrieval(loaded, run)}, run)


def rank(names: Sequence[str], scores: np.ndarray, above: float | None = None) -> list[tuple[str, float]]:
    """The best documents and their scores; ties as trec_eval breaks them, by doc id descending."""
    best = np.argsort(-scores, kind="stable")
    if len(best) > RUN_DEPTH:
        best = np.flatnonzero(scores >= scores[best[RUN_DEPTH - 1]])
    ranked = sorted(((float(scores[i]), names[i]) for i in best), reverse=True)[:RUN_DEPTH]
    return [(doc_id, score) for score, doc_id in ranked if above is None or score > above]


def _judge_sts(name: str, encoder: Encoder, loaded: StsSet) -> Measured:
    first = encoder.encode([a for a, _ in loaded.pairs])
    second = encoder.encode([b for _, b in loaded.pairs])
    gold, predicted = np.array(loaded.scores), (first * second).sum(1)
    sts = {"spearman": metrics.spearman(predicted, gold), "pearson": metrics.pearson(predicted, gold), "pairs": len(gold)}
    geometry = {"uniformity": metrics.uniformity(np.concatenate([first, second]))}
    close = gold >= CLOSE_SHARE * gold.max()
    if close.any():
        geometry["alignment"] = metrics.alignment(first[close], second[close])
    return Measured(name, loaded.name, {"sts": sts, "geometry": geometry})


def _retrieval(loaded: RetrievalSet, run: dict[str, list[tuple[str, float]]]) -> dict[str, float]:
    ranked = {query: [doc_id for doc_id, _ in hits] for query, hits in run.items()}
    per_query = metrics.ranking_metrics(ranked, loaded.qrels)
    return {**metrics.means(per_query), "queries": len(per_query), "documents": len(loaded.documents)}
