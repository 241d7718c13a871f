"""Searching, the same for evaluation, mining and serving: dense, by words (BM25), and both.

Shape suffixes: Q queries, N rows (documents), K ranks, D dimensions. Row 0 has the greatest document id, and so on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np

from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.fusion import Fusion, fuse
from nlift.search.ranking import NO_ROW, NO_SCORE, Ranking, best, ranking_of
from nlift.search.vector_index import Allowed, VectorIndex

Mode = Literal["dense", "lexical", "hybrid"]
WantedMode = Literal["auto", "dense", "lexical", "hybrid"]
"""What a person asks for: `auto` is the mode that was best when the bundle was built."""
Encode = Callable[[Sequence[str]], np.ndarray]
"""Queries to unit vectors, float32 [Q, D]."""
DEPTH = 100


@dataclass(frozen=True)
class SearchSettings:
    """How a corpus is searched: the section `search` of an experiment, nothing left to choose."""

    analyzer: Analyzer
    fusion: Fusion = "convex"
    alpha: float = 0.5
    """Weight of the dense leg, 0 to 1."""
    depth: int = DEPTH
    """Candidates of each leg of a hybrid search, whatever top_k is."""
    mode: Mode = "hybrid"
    """What searching means where nobody says."""


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
        self.index = index
        self._encode = lru_cache(maxsize=1)(encode)  # scores are asked for after a search

    def encode(self, queries: Sequence[str]) -> np.ndarray:
        """Unit vectors of queries, float32 [Q, D]."""
        return self._encode(tuple(queries))

    def search(self, queries: Sequence[str], top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query."""
        if not queries:
            return ranking_of([], min(top_k, self.index.size))
        return self.index.search(self.encode(queries), top_k, allowed)

    def scores(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """Cosines of queries and rows."""
        if not len(queries):
            return np.full(rows_QK.shape, NO_SCORE, dtype=np.float32)
        return self.index.scores(self.encode(queries), rows_QK)

    def nearest(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """Which passage of each row is nearest to the query, from 0, int64 [Q, K]."""
        return self.index.nearest(self.encode(queries), rows_QK)


class BM25Searcher:
    """By the words that a query and a text share; a text that shares none is not returned."""

    def __init__(self, index: BM25Index) -> None:
        self.index = index

    def search(self, queries: Sequence[str], top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query, all with a score above 0."""
        results = []
        for query, text in enumerate(queries):
            scores_N = self.index.scores(text)
            mask = None if allowed is None else allowed[query]
            if mask is not None:
                scores_N[~mask] = 0
            least = np.partition(scores_N, -top_k)[-top_k] if top_k < len(scores_N) else 0
            rows = np.flatnonzero(scores_N >= least if least > 0 else scores_N > 0)
            results.append(best(rows, scores_N[rows], top_k))
        return ranking_of(results, min(top_k, self.index.size))

    def scores(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """BM25 of queries and rows; 0 where they share no word."""
        scores_QK = np.full(rows_QK.shape, NO_SCORE, dtype=np.float32)
        for query, text in enumerate(queries):
            there = np.flatnonzero(rows_QK[query] != NO_ROW)
            scores_QK[query, there] = self.index.scores_of(text, rows_QK[query, there])
        return scores_QK


class HybridSearcher:
    """By two searchers together: the first `depth` rows of each are candidates, each with both searchers' scores."""

    def __init__(self, dense: Searcher, lexical: Searcher, *, fusion: Fusion, alpha: float, depth: int = DEPTH) -> None:
        self.dense, self.lexical = dense, lexical
        self.fusion, self.alpha, self.depth = fusion, alpha, depth

    def search(self, queries: Sequence[str], top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best of both legs' candidates."""
        dense, lexical = self.legs(queries, allowed)
        return fuse(dense, lexical, fusion=self.fusion, alpha=self.alpha, top_k=top_k)

    def legs(self, queries: Sequence[str], allowed: Allowed | None = None) -> tuple[Ranking, Ranking]:
        """What is fused: of each searcher its first rows, and for `convex` the other's candidates too."""
        dense, lexical = (leg.search(queries, self.depth, allowed=allowed) for leg in (self.dense, self.lexical))
        if self.fusion == "rrf":
            return dense, lexical
        rows_QK = _united(dense.rows_QK, lexical.rows_QK)
        return tuple(Ranking(rows_QK, leg.scores(queries, rows_QK)) for leg in (self.dense, self.lexical))  # type: ignore[return-value]

    def scores(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """Fused scores of queries and rows; 0 for a row that is no candidate."""
        candidates = self.search(queries, 2 * self.depth)
        scores_QK = np.where(rows_QK == NO_ROW, NO_SCORE, 0).astype(np.float32)
        for query, rows_K in enumerate(rows_QK):
            known = dict(zip(candidates.rows_QK[query].tolist(), candidates.scores_QK[query], strict=True))
            for place, row in enumerate(rows_K.tolist()):
                if row != NO_ROW and row in known:
                    scores_QK[query, place] = known[row]
        return scores_QK


def _united(first_QK: np.ndarray, second_QK: np.ndarray) -> np.ndarray:
    """The rows that stand in either, each once, in the order of rows; -1 fills up."""
    both = [np.unique(np.concatenate(rows)) for rows in zip(first_QK, second_QK, strict=True)]
    both = [rows[rows != NO_ROW] for rows in both]
    united_QK = np.full((len(both), max(map(len, both), default=0)), NO_ROW, dtype=np.int64)
    for query, rows in enumerate(both):
        united_QK[query, : len(rows)] = rows
    return united_QK


def known_vectors(texts: Sequence[str], vectors_ND: np.ndarray) -> Encode:
    """An `encode` for texts whose vectors are there already."""
    place = {text: i for i, text in enumerate(texts)}
    return lambda queries: vectors_ND[[place[query] for query in queries]]


def searchers(dense: DenseSearcher, lexical: Searcher, settings: SearchSettings) -> dict[Mode, Searcher]:
    """The searcher of each mode over the same rows."""
    hybrid = HybridSearcher(dense, lexical, fusion=settings.fusion, alpha=settings.alpha, depth=settings.depth)
    return {"dense": dense, "lexical": lexical, "hybrid": hybrid}
