"""How close an approximate index comes to exact search: in the nearest documents, and in what people would find.

Shape suffixes: Q queries, D dimensions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nlift.evaluation import metrics
from nlift.evaluation.judged_queries import CUT, Evidence
from nlift.search.document_vectors import DocumentVectors
from nlift.search.documents import Documents
from nlift.search.faiss_index import FaissIndex
from nlift.search.ranking import NO_ROW, Ranking
from nlift.search.shards import Bounds, ShardedIndex


def approximation(
    shards: Sequence[FaissIndex],
    bounds: Bounds,
    vectors: DocumentVectors,
    documents: Documents,
    evidence: Evidence,
    queries_QD: np.ndarray,
) -> dict[str, Any]:
    """What bundle.json says of it: recall@10, on how many queries, and NDCG@10 of judged ones above exact search.

    Args:
        shards: The index.
        bounds: Where each shard's rows start.
        vectors: Of all documents.
        documents: The documents.
        evidence: Judged queries, which are the first of `queries_QD`.
        queries_QD: Queries that nobody reports, and where there are few of them sentences of the corpus.
    """
    exact = FaissIndex(vectors).search(queries_QD, CUT)
    answered = ShardedIndex(shards, bounds).search(queries_QD, CUT)
    pairs = zip(exact.rows_QK, answered.rows_QK, strict=True)
    recall = float(np.mean([len(np.intersect1d(near, rows)) / len(near) for near, rows in pairs]))
    measured: dict[str, Any] = {"recall@10": round(recall, 4), "queries": len(queries_QD)}
    records = evidence.records()
    if records:
        ids = documents.ids
        ndcg, ndcg_exact = (_ndcg(ranking, records, ids) for ranking in (answered, exact))
        measured["ndcg@10_above_exact"] = round(ndcg - ndcg_exact, 4)
    return measured


def _ndcg(ranking: Ranking, records: Sequence[dict[str, Any]], ids: Sequence[str]) -> float:
    values = []
    for rows_K, record in zip(ranking.rows_QK, records, strict=False):
        judged = record["relevant"]
        gains = np.array([max(judged.get(ids[row], 0), 0) for row in rows_K.tolist() if row != NO_ROW], dtype=float)
        values.append(metrics.ndcg(gains, metrics.ideal_gains(judged)[:CUT]))
    return float(np.mean(values))
