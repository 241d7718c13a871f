"""An index in shards: each has the vectors of neighbouring rows, all are asked, and their answers meet.

A flat index gives the same scores so as in one piece. Of an approximate one each shard has an index of its own, in one
process or in several: the answer is the same.

Shape suffixes: Q queries, K ranks, D dimensions.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from nlift.search.ranking import NO_ROW, NO_SCORE, Ranking, best, ranking_of
from nlift.search.searchers import Searcher
from nlift.search.vector_index import Allowed, VectorIndex

Bounds = Sequence[int]
"""Where each shard's rows start, and the end of the last."""
Map = Callable[[Callable[..., Any], Iterable[int]], Iterable[Any]]
"""As the builtin map: calls a function with the number of each shard."""


def bounds_of(size: int, shards: int) -> list[int]:
    """How so many rows are shared out: into equal parts, as nearly as can be."""
    return [size * shard // shards for shard in range(shards + 1)]


class ShardedIndex:
    """Vectors in shards, as one index."""

    def __init__(self, shards: Sequence[VectorIndex], bounds: Bounds, mapped: Map = map) -> None:
        self.shards, self.bounds, self._map = shards, bounds, mapped

    @property
    def size(self) -> int:
        """Number of documents."""
        return self.bounds[-1]

    def search(self, queries_QD: np.ndarray, top_k: int, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query, of all shards."""

        def ask(shard: int) -> Ranking:
            return self.shards[shard].search(queries_QD, top_k, part_of(allowed, self.bounds, shard))

        return merged(list(self._map(ask, range(len(self.shards)))), self.bounds, top_k)

    def scores(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The exact scores of given rows."""

        def ask(shard: int) -> np.ndarray:
            return self.shards[shard].scores(queries_QD, own_rows(rows_QK, self.bounds, shard))

        return np.maximum.reduce(list(self._map(ask, range(len(self.shards)))))

    def nearest(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The nearest passage of given rows."""

        def ask(shard: int) -> np.ndarray:
            return self.shards[shard].nearest(queries_QD, own_rows(rows_QK, self.bounds, shard))

        return np.maximum.reduce(list(self._map(ask, range(len(self.shards)))))


class ShardedSearcher:
    """A searcher of each shard, as one: of words, which all shards weigh by the whole corpus."""

    def __init__(self, shards: Sequence[Searcher], bounds: Bounds, mapped: Map = map) -> None:
        self.shards, self.bounds, self._map = shards, bounds, mapped

    def search(self, queries: Sequence[str], top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query, of all shards."""

        def ask(shard: int) -> Ranking:
            return self.shards[shard].search(queries, top_k, allowed=part_of(allowed, self.bounds, shard))

        return merged(list(self._map(ask, range(len(self.shards)))), self.bounds, top_k)

    def scores(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """The exact scores of given rows."""

        def ask(shard: int) -> np.ndarray:
            return self.shards[shard].scores(queries, own_rows(rows_QK, self.bounds, shard))

        return np.maximum.reduce(list(self._map(ask, range(len(self.shards)))))


def part_of(allowed: Allowed | None, bounds: Bounds, shard: int) -> Allowed | None:
    """The masks of a shard's own rows."""
    if allowed is None:
        return None
    masks = [allowed[query] for query in range(len(allowed))]
    return [None if mask is None else mask[bounds[shard] : bounds[shard + 1]] for mask in masks]


def own_rows(rows_QK: np.ndarray, bounds: Bounds, shard: int) -> np.ndarray:
    """Rows as a shard numbers them; -1 for those of others."""
    start, end = bounds[shard], bounds[shard + 1]
    return np.where((rows_QK >= start) & (rows_QK < end), rows_QK - start, NO_ROW)


def merged(rankings: Sequence[Ranking], bounds: Bounds, top_k: int) -> Ranking:
    """The best of what shards found, best first; of equal scores the lower row first."""
    rows_QC = np.concatenate(
        [
            np.where(ranking.rows_QK == NO_ROW, NO_ROW, ranking.rows_QK + start)
            for ranking, start in zip(rankings, bounds, strict=False)
        ],
        axis=1,
    )
    scores_QC = np.concatenate([ranking.scores_QK for ranking in rankings], axis=1)
    results = []
    for rows_C, scores_C in zip(rows_QC, scores_QC, strict=True):
        there = (rows_C != NO_ROW) & (scores_C > NO_SCORE)
        results.append(best(rows_C[there], scores_C[there], top_k))
    return ranking_of(results, min(top_k, bounds[-1]))
