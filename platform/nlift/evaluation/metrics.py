"""How rankings and similarities are judged; ranking metrics follow trec_eval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

DocIds = Sequence[str]  # of a ranking, best first
Qrels = Mapping[str, Mapping[str, int]]  # relevance by doc id by query id


def spearman(predicted: np.ndarray, gold: np.ndarray) -> float:
    """Spearman's rank correlation, -1 to 1; 0 where either side is constant."""
    return pearson(stats.rankdata(predicted), stats.rankdata(gold))  # scipy's own takes ten times as long


def pearson(predicted: np.ndarray, gold: np.ndarray) -> float:
    """Pearson's correlation, -1 to 1; 0 where either side is constant."""
    if not (np.ptp(predicted) and np.ptp(gold)):
        return 0.0
    first, second = (side - side.mean() for side in (predicted.astype(np.float64), gold.astype(np.float64)))
    value = float(first @ second / np.sqrt((first @ first) * (second @ second)))
    return min(1.0, max(-1.0, value))


def macro_f1(labels: np.ndarray, predicted: np.ndarray) -> float:
    """The mean over classes of F1, 0 to 1; the classes, numbers from 0, are those of either side."""
    size = int(max(labels.max(), predicted.max())) + 1
    right = np.bincount(labels[labels == predicted], minlength=size)
    either = np.bincount(labels, minlength=size) + np.bincount(predicted, minlength=size)
    there = either > 0
    return float((2 * right[there] / either[there]).mean())


def ranking_metrics(run: Mapping[str, DocIds], qrels: Qrels) -> dict[str, dict[str, float]]:
    """ndcg@10, recall@10, recall@100, precision@10, mrr@10 and map of each judged query, 0 to 1.

    A judged query without a ranking counts as zero; one without a relevant document is left out.
    """
    per_query = {}
    for query, judged in qrels.items():
        if any(relevance > 0 for relevance in judged.values()):
            per_query[query] = _judge(run.get(query, ()), judged)
    return per_query


def means(per_query: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric over queries; {} where there is none."""
    rows = list(per_query.values())
    return {name: float(np.mean([row[name] for row in rows])) for name in (rows[0] if rows else {})}


def ndcg(gains: np.ndarray, ideal: np.ndarray) -> float:
    """NDCG of a ranking's gains, 0 to 1, beside the best there is; both best first, cut where the ranking is cut."""
    return _dcg(gains) / _dcg(ideal)


def ideal_gains(judged: Mapping[Any, int]) -> np.ndarray:
    """The gains of the best ranking of one query, float64 [R] of its R relevant documents."""
    return np.sort([relevance for relevance in judged.values() if relevance > 0])[::-1].astype(float)


def _judge(ranking: DocIds, judged: Mapping[str, int]) -> dict[str, float]:
    gains = np.array([max(judged.get(doc, 0), 0) for doc in ranking], dtype=float)
    ideal = ideal_gains(judged)
    relevant = gains > 0
    ranks = np.flatnonzero(relevant) + 1
    precisions = np.arange(1, len(ranks) + 1) / ranks
    first = ranks[0] if len(ranks) else np.inf
    return {
        "ndcg@10": ndcg(gains[:10], ideal[:10]),
        "recall@10": float(relevant[:10].sum() / len(ideal)),
        "recall@100": float(relevant[:100].sum() / len(ideal)),
        "precision@10": float(relevant[:10].sum() / 10),
        "mrr@10": float(1 / first) if first <= 10 else 0.0,
        "map": float(precisions.sum() / len(ideal)),
    }


def _dcg(gains: np.ndarray) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())
