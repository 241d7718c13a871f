"""What dense search needs of an index of vectors, and the exact one, which is a matrix."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from nlift.search.document_vectors import DocumentVectors
from nlift.search.faiss_gpu import inner_products
from nlift.search.ranking import Ranking, best, ranking_of

SCORES_AT_ONCE = 2**28  # similarities in memory, 1 GiB of float32

Allowed = Sequence[np.ndarray | None]
"""For each query the rows that may be returned, bool [N]; None for all of them."""


class AllBut(Sequence[Any]):
    """For each query a mask that leaves a row out, bool [N], or None for all rows; made when it is asked for."""

    def __init__(self, left_out: Sequence[int | None], size: int) -> None:
        self.left_out, self.size = left_out, size

    def __len__(self) -> int:
        return len(self.left_out)

    def __getitem__(self, query: Any) -> Any:
        row = self.left_out[query]
        return None if row is None else np.arange(self.size) != row


class VectorIndex(Protocol):
    """N documents by vectors of D dimensions, searched by inner product: by the nearest passage of each."""

    @property
    def size(self) -> int:
        """N."""
        ...

    def search(self, queries_QD: np.ndarray, top_k: int, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query."""
        ...

    def scores(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The exact scores of given rows, float32 [Q, K]; -inf where a row is -1."""
        ...

    def nearest(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """Which passage of each row is nearest to the query, from 0, int64 [Q, K]; 0 where a row is -1."""
        ...


class LocalIndex(VectorIndex, Protocol):
    """One whose vectors are in this process."""

    @property
    def vectors(self) -> DocumentVectors:
        """All of them."""
        ...


class ExactIndex:
    """All similarities, by one matrix product."""

    def __init__(self, vectors: DocumentVectors | np.ndarray) -> None:
        self.vectors = vectors if isinstance(vectors, DocumentVectors) else DocumentVectors(vectors)

    @property
    def size(self) -> int:
        """Number of documents."""
        return len(self.vectors)

    def search(self, queries_QD: np.ndarray, top_k: int, allowed: Allowed | None = None) -> Ranking:
        """The exact best rows of each query."""
        rows_N, results = np.arange(self.size), []
        queries_at_once = max(1, SCORES_AT_ONCE // max(len(self.vectors.vectors_PD), 1))
        for start in range(0, len(queries_QD), queries_at_once):
            similarities = inner_products(queries_QD[start : start + queries_at_once], self.vectors.vectors_PD)
            similarities = self.vectors.best_of(similarities)
            for query, scores_N in enumerate(similarities, start):
                mask = None if allowed is None else allowed[query]
                chosen = slice(None) if mask is None else np.flatnonzero(mask)
                results.append(best(rows_N[chosen], scores_N[chosen], top_k))
        return ranking_of(results, min(top_k, self.size))

    def scores(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The scores of given rows."""
        return self.vectors.scores_of(queries_QD, rows_QK)

    def nearest(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The nearest passage of given rows."""
        return self.vectors.nearest_of(queries_QD, rows_QK)
