"""Searching, the same for evaluation, mining and serving: dense, by words (BM25), and both.

Shape suffixes: Q queries, N rows (documents), K ranks, D dimensions. Row 0 has the greatest document id, and so on.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from nlift.search.bm25 import BM25Index
from nlift.search.fusion import fuse
from nlift.search.ranking import NO_ROW, NO_SCORE, Ranking, best, ranking_of
from nlift.search.vector_index import Allowed, VectorIndex

Mode = Literal["dense", "lexical", "hybrid"]
Encode = Callable[[Sequence[str]], np.ndarray]
"""Queries to unit vectors, float32 [Q, D]."""
DEPTH = 100  # candidates of each leg of a hybrid search, whatever top_k is


class Searcher(Protocol):
    """Answers queries with rows."""

    def search(self, queries: Sequence[str], top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query, at most `top_k`; of `allowed` rows alone where a query has a mask, bool [N]."""
        ...

    def scores(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """The exact scores of given rows, float32 [Q, K]; -inf where a row is -1."""
        ...


class DenseSearcher:
    """By the inner product of unit vectors: cosine."""

    def __init__(self, index: VectorIndex, encode: Encode) -> None:
        self.index, self.encode = index, encode

    def search(self, queries: Sequence[str], top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query."""
        if not queries:
            return ranking_of([], min(top_k, self.index.size))
        return self.search_vectors(self.encode(queries), top_k, allowed=allowed)

    def search_vectors(self, queries_QD: np.ndarray, top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best rows of queries that are vectors already, float32 [Q, D]."""
        return self.index.search(queries_QD, top_k, allowed)

    def scores(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """Cosines of queries and rows."""
        scores_QK = np.full(rows_QK.shape, NO_SCORE, dtype=np.float32)
        for query, vector in enumerate(self.encode(queries) if len(queries) else ()):
            there = np.flatnonzero(rows_QK[query] != NO_ROW)
            scores_QK[query, there] = self.index.vectors(rows_QK[query, there]) @ vector
        return scores_QK


class BM25Searcher:
    """By the words that a query and a text share; a text that shares none is not returned."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    @cached_property
    def index(self) -> BM25Index:
        """Built at the first search."""
        return BM25Index(self.texts)

    def search(self, queries: Sequence[str], top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query, all with a score above 0."""
        results = []
        for query, text in enumerate(queries):
            scores_N = self.index.scores(text)
            matching = scores_N > 0
            mask = None if allowed is None else allowed[query]
            rows = np.flatnonzero(matching if mask is None else matching & mask)
            results.append(best(rows, scores_N[rows], top_k))
        return ranking_of(results, min(top_k, len(self.texts)))

    def scores(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """BM25 of queries and rows; 0 where they share no word."""
        scores_QK = np.full(rows_QK.shape, NO_SCORE, dtype=np.float32)
        for query, text in enumerate(queries):
            there = np.flatnonzero(rows_QK[query] != NO_ROW)
            scores_QK[query, there] = self.index.scores(text)[rows_QK[query, there]]
        return scores_QK


class HybridSearcher:
    """By two searchers' rankings, fused."""

    def __init__(self, dense: Searcher, lexical: Searcher, *, fusion: str = "rrf", alpha: float = 0.5) -> None:
        self.dense, self.lexical = dense, lexical
        self.fusion, self.alpha = fusion, alpha

    def search(self, queries: Sequence[str], top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best of both legs' first `DEPTH` rows."""
        legs = [leg.search(queries, DEPTH, allowed=allowed) for leg in (self.dense, self.lexical)]
        return fuse(*legs, fusion=self.fusion, alpha=self.alpha, top_k=top_k)

    def scores(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """Fused scores of queries and rows; 0 for a row that is no candidate."""
        candidates = self.search(queries, 2 * DEPTH)
        scores_QK = np.where(rows_QK == NO_ROW, NO_SCORE, 0).astype(np.float32)
        for query, rows_K in enumerate(rows_QK):
            known = dict(zip(candidates.rows_QK[query].tolist(), candidates.scores_QK[query], strict=True))
            for place, row in enumerate(rows_K.tolist()):
                if row != NO_ROW and row in known:
                    scores_QK[query, place] = known[row]
        return scores_QK


def known_vectors(texts: Sequence[str], vectors_ND: np.ndarray) -> Encode:
    """An `encode` for texts whose vectors are there already."""
    place = {text: i for i, text in enumerate(texts)}
    return lambda queries: vectors_ND[[place[query] for query in queries]]


def searchers(index: VectorIndex, encode: Encode, texts: Sequence[str]) -> dict[Mode, Searcher]:
    """The searcher of each mode over the same rows: their vectors in `index`, their `texts` in the order of rows."""
    dense, lexical = DenseSearcher(index, encode), BM25Searcher(texts)
    return {"dense": dense, "lexical": lexical, "hybrid": HybridSearcher(dense, lexical)}
