"""How encoders are judged. Ranking metrics follow trec_eval, geometry follows arXiv 2005.10242."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

DocIds = Sequence[str]  # of a ranking, best first
Qrels = Mapping[str, Mapping[str, int]]  # relevance by doc id by query id
GEOMETRY_PAIRS = 2_000_000  # above this, uniformity samples rows


def spearman(predicted: np.ndarray, gold: np.ndarray) -> float:
    """Spearman's rank correlation, -1 to 1; 0 where either side is constant."""
    value = stats.spearmanr(predicted, gold).statistic if np.ptp(predicted) and np.ptp(gold) else 0.0
    return float(value)


def pearson(predicted: np.ndarray, gold: np.ndarray) -> float:
    """Pearson's correlation, -1 to 1; 0 where either side is constant."""
    value = stats.pearsonr(predicted, gold).statistic if np.ptp(predicted) and np.ptp(gold) else 0.0
    return float(value)


def ranking_metrics(run: Mapping[str, DocIds], qrels: Qrels) -> dict[str, dict[str, float]]:
    """ndcg@10, recall@10, recall@100, mrr@10 and map of each judged query, 0 to 1.

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
        "mrr@10": float(1 / first) if first <= 10 else 0.0,
        "map": float(precisions.sum() / len(ideal)),
    }


def _dcg(gains: np.ndarray) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


def alignment(first_ND: np.ndarray, second_ND: np.ndarray) -> float:
    """Mean squared distance of positive pairs of unit vectors, 0 to 4; lower is closer (section 4.1)."""
    return float(((first_ND - second_ND) ** 2).sum(1).mean())


def uniformity(vectors_ND: np.ndarray, seed: int = 0) -> float:
    """log of the mean Gaussian potential exp(-2 d^2) over pairs of distinct rows; lower is more uniform.

    Wang & Isola (arXiv 2005.10242), section 4.1; -4 to 0 for unit vectors. Rows are sampled where
    there are more than two million pairs. Raises ValueError for fewer than two rows.
    """
    count = len(vectors_ND)
    if count < 2:
        raise ValueError("uniformity needs two vectors at least")
    limit = int((2 * GEOMETRY_PAIRS) ** 0.5)
    if count > limit:
        vectors_ND = vectors_ND[np.random.default_rng(seed).choice(count, limit, replace=False)]
    upper = np.triu_indices(len(vectors_ND), k=1)
    squared = np.maximum(2 - 2 * (vectors_ND.astype(np.float64) @ vectors_ND.T.astype(np.float64))[upper], 0)
    return float(np.log(np.exp(-2 * squared).mean()))
