"""One ranking of two.

Shape suffixes: Q queries, K ranks, C candidates of one query.
"""

from typing import Literal

import numpy as np

from nlift.search.ranking import NO_ROW, Ranking, best, ranking_of

Fusion = Literal["convex", "rrf"]
LEAST_WEIGHT = 1e-3  # of a leg in a convex fusion: what the other leg leaves equal is in its order
RANK_CONSTANT = 60  # as published (Cormack, Clarke and Buettcher, SIGIR 2009)


def fuse(dense: Ranking, lexical: Ranking, *, fusion: Fusion, alpha: float, top_k: int) -> Ranking:
    """Both rankings of the same queries as one.

    `convex` adds the scores, each leg's brought to 0 to 1 between its least and its greatest of this query (Bruch et
    al., arXiv 2210.11934, section 3): `alpha` times the dense one and 1 - `alpha` times the lexical one. A row that a
    ranking lacks has that leg's least score. Where the scores of one leg are all the same, the other decides alone;
    what a leg of all the weight leaves within a thousandth is in the order of the other. `rrf` is reciprocal rank
    fusion (Cormack et al., SIGIR 2009): a row's score is the sum of 1 / (60 + rank) over the rankings that have it; at
    an `alpha` of a half both count 1, as published.

    Args:
        dense: Rows and scores of each query by the encoder.
        lexical: Rows and scores by words.
        fusion: `convex` or `rrf`.
        alpha: Weight of the dense ranking, 0 to 1.
        top_k: Rows of a query at most.

    Returns:
        The fused ranking; of equal scores the lower row first.

    Raises:
        ValueError: There is no such fusion, or alpha is outside 0 to 1.
    """
    if fusion not in ("convex", "rrf"):
        raise ValueError(f"fusion {fusion!r}; expected convex or rrf")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha:g}; expected 0 to 1")
    shares_of = _unit_scores if fusion == "convex" else _reciprocal_ranks
    results = []
    for query in range(len(dense.rows_QK)):
        legs = [(leg.rows_QK[query], leg.scores_QK[query]) for leg in (dense, lexical)]
        legs = [(rows[rows != NO_ROW], scores[rows != NO_ROW]) for rows, scores in legs]
        rows_C, place = np.unique(np.concatenate([rows for rows, _ in legs]), return_inverse=True)
        weights = _weights([scores for _, scores in legs], alpha) if fusion == "convex" else (2 * alpha, 2 - 2 * alpha)
        shares = [weight * shares_of(scores) for weight, (_, scores) in zip(weights, legs, strict=True)]
        scores_C = np.bincount(place, weights=np.concatenate(shares), minlength=len(rows_C)).astype(np.float32)
        results.append(best(rows_C, scores_C, top_k))
    return ranking_of(results, min(top_k, dense.rows_QK.shape[1] + lexical.rows_QK.shape[1]))


def _weights(scores: list[np.ndarray], alpha: float) -> tuple[float, float]:
    """What the dense and the lexical leg count for."""
    dense_says, lexical_says = (len(leg) > 1 and bool(leg.min() < leg.max()) for leg in scores)
    if dense_says != lexical_says:
        alpha = 1.0 if dense_says else 0.0
    alpha = min(max(alpha, LEAST_WEIGHT), 1 - LEAST_WEIGHT)
    return alpha, 1 - alpha


def _unit_scores(scores_K: np.ndarray) -> np.ndarray:
    """Scores between 0, the least, and 1, the greatest, float64 [K]; 0 where all are the same: they order nothing."""
    if not len(scores_K):
        return np.zeros(0)
    least, greatest = float(scores_K.min()), float(scores_K.max())
    return (scores_K.astype(np.float64) - least) / ((greatest - least) or 1)


def _reciprocal_ranks(scores_K: np.ndarray) -> np.ndarray:
    """One over 60 and the rank, float64 [K], of scores that stand best first."""
    return 1 / (RANK_CONSTANT + np.arange(1, len(scores_K) + 1))
