"""One ranking of two."""

import numpy as np

from nlift.search.ranking import NO_ROW, Ranking, best, ranking_of

RANK_CONSTANT = 60  # as published (Cormack, Clarke and Buettcher, SIGIR 2009)


def fuse(dense: Ranking, lexical: Ranking, *, fusion: str = "rrf", alpha: float = 0.5, top_k: int) -> Ranking:
    """Both rankings of the same queries as one.

    `rrf` is reciprocal rank fusion (Cormack et al., SIGIR 2009): a row's score is the sum of 1 / (60 + rank) over the
    rankings that have it. `alpha` is the share of the dense one, 0 to 1; at a half both count 1, as published. Raises
    ValueError for another fusion or alpha.
    """
    if fusion != "rrf":
        raise ValueError(f"fusion {fusion!r}; expected rrf")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha:g}; expected 0 to 1")
    results = []
    for dense_K, lexical_K in zip(dense.rows_QK, lexical.rows_QK, strict=True):
        rows_C, place = np.unique(np.concatenate((dense_K, lexical_K)), return_inverse=True)
        shares = np.concatenate((_reciprocal_ranks(dense_K, 2 * alpha), _reciprocal_ranks(lexical_K, 2 * (1 - alpha))))
        scores_C = np.bincount(place, weights=shares, minlength=len(rows_C)).astype(np.float32)
        kept = rows_C != NO_ROW
        results.append(best(rows_C[kept], scores_C[kept], top_k))
    return ranking_of(results, min(top_k, dense.rows_QK.shape[1] + lexical.rows_QK.shape[1]))


def _reciprocal_ranks(rows_K: np.ndarray, weight: float) -> np.ndarray:
    """What each rank adds to its row's score, float64 [K]."""
    return weight / (RANK_CONSTANT + np.arange(1, len(rows_K) + 1))
