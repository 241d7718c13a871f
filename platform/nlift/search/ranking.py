"""A ranking, and the one rule of who comes first.

Row 0 has the greatest document id, and so on down. Of equal scores the lower row comes first: the greater id, as
trec_eval has it.

Shape suffixes: Q queries, N rows (documents), K ranks, C candidates of one query, D dimensions of a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NO_ROW = -1
NO_SCORE = -np.inf


@dataclass(frozen=True)
class Ranking:
    """The best rows of Q queries, best first."""

    rows_QK: np.ndarray
    """int64; -1 where there is none, always at the end."""
    scores_QK: np.ndarray
    """float32; -inf where there is no row."""


def row_order(doc_ids: Sequence[str]) -> np.ndarray:
    """Positions int64 [N] of documents in the order of their rows: by descending id, as trec_eval compares them."""
    return np.array(sorted(range(len(doc_ids)), key=doc_ids.__getitem__, reverse=True), dtype=np.int64)


def best(rows_C: np.ndarray, scores_C: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `top_k` best of one query's candidates: rows and scores, best first; of equal scores the lower row first."""
    if len(scores_C) > top_k:
        least = np.partition(scores_C, -top_k)[-top_k]
        kept = np.flatnonzero(scores_C >= least)
        rows_C, scores_C = rows_C[kept], scores_C[kept]
    order = np.lexsort((rows_C, -scores_C))[:top_k]
    return rows_C[order], scores_C[order]


def ranking_of(results: Sequence[tuple[np.ndarray, np.ndarray]], width: int) -> Ranking:
    """A ranking of what `best` gave for each query, at most `width` rows each; what is short is filled up."""
    rows_QK = np.full((len(results), width), NO_ROW, dtype=np.int64)
    scores_QK = np.full((len(results), width), NO_SCORE, dtype=np.float32)
    for query, (rows, scores) in enumerate(results):
        rows_QK[query, : len(rows)] = rows
        scores_QK[query, : len(rows)] = scores
    return Ranking(rows_QK, scores_QK)
