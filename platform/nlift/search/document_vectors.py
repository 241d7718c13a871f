"""The vectors of documents: one of each, of a long one one of each of its passages.

Shape suffixes: N documents, P passages, D dimensions, R rows (documents), Q queries, K ranks.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from nlift.search.ranking import NO_ROW, NO_SCORE

VECTORS_FILE = "vectors.npy"


class DocumentVectors:
    """Unit vectors of N documents in P passages, those of a document beside each other.

    Attributes:
        vectors_PD: Of the passages, float32; memory-mapped where they were read.
        starts: Where each document's passages start, and the end of the last, int64 [N + 1]; None where each
            document is one passage.
    """

    def __init__(self, vectors_PD: np.ndarray, starts: np.ndarray | None = None) -> None:
        self.vectors_PD = vectors_PD
        self.starts = None if starts is None or len(starts) == len(vectors_PD) + 1 else starts

    @classmethod
    def of_counts(cls, vectors_PD: np.ndarray, counts_N: Sequence[int] | np.ndarray) -> "DocumentVectors":
        """Vectors of documents that have so many passages each, at least one."""
        return cls(vectors_PD, np.concatenate([[0], np.cumsum(counts_N)]).astype(np.int64))

    @classmethod
    def read(cls, folder: Path, starts: np.ndarray | None) -> "DocumentVectors":
        """The vectors of a folder; they stay on the disk until they are needed."""
        return cls(np.load(folder / VECTORS_FILE, mmap_mode="r", allow_pickle=False), starts)

    def __len__(self) -> int:
        return len(self.vectors_PD) if self.starts is None else len(self.starts) - 1

    @property
    def dim(self) -> int:
        """D."""
        return int(self.vectors_PD.shape[1])

    @cached_property
    def documents_P(self) -> np.ndarray:
        """The document of each passage, int64."""
        if self.starts is None:
            return np.arange(len(self.vectors_PD))
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def first_ND(self) -> np.ndarray:
        """The vector of each document's first passage."""
        return self.vectors_PD if self.starts is None else self.vectors_PD[self.starts[:-1]]

    def part(self, start: int, end: int) -> "DocumentVectors":
        """Those of the documents from `start` to before `end`, not copied."""
        if self.starts is None:
            return DocumentVectors(self.vectors_PD[start:end])
        starts = self.starts[start : end + 1]
        return DocumentVectors(self.vectors_PD[starts[0] : starts[-1]], starts - starts[0])

    def of(self, rows_R: np.ndarray) -> "DocumentVectors":
        """Those of some documents."""
        if self.starts is None:
            return DocumentVectors(np.asarray(self.vectors_PD[rows_R]))
        passages, counts_R = self._passages_of(rows_R)
        return DocumentVectors.of_counts(np.asarray(self.vectors_PD[passages]), counts_R)

    def replaced(self, rows_R: np.ndarray, others: "DocumentVectors") -> "DocumentVectors":
        """The same with other vectors of some documents, which are each there once."""
        if self.starts is None and others.starts is None:
            vectors_ND = np.array(self.vectors_PD)
            vectors_ND[rows_R] = others.vectors_PD
            return DocumentVectors(vectors_ND)
        both = DocumentVectors.of_counts(
            np.concatenate([self.vectors_PD, others.vectors_PD]), np.concatenate([self.counts_N, others.counts_N])
        )
        wanted = np.arange(len(self))
        wanted[rows_R] = len(self) + np.arange(len(others))
        return both.of(wanted)

    @property
    def counts_N(self) -> np.ndarray:
        """How many passages each document has."""
        return np.ones(len(self), dtype=np.int64) if self.starts is None else np.diff(self.starts)

    def best_of(self, scores_QP: np.ndarray) -> np.ndarray:
        """Of each document the best of its passages' scores, float32 [Q, N]."""
        if self.starts is None or not len(self):
            return scores_QP
        best_QN: np.ndarray = np.maximum.reduceat(scores_QP, self.starts[:-1], axis=-1)
        return best_QN

    def scores(self, query_D: np.ndarray, rows_R: np.ndarray) -> np.ndarray:
        """The inner product of a query and each document's nearest passage, float32 [R]."""
        own = self.of(rows_R)
        return own.best_of(own.vectors_PD @ query_D)

    def scores_of(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The same of several queries; -inf where a row is -1."""
        scores_QK = np.full(rows_QK.shape, NO_SCORE, dtype=np.float32)
        for query, query_D in enumerate(queries_QD):
            there = np.flatnonzero(rows_QK[query] != NO_ROW)
            scores_QK[query, there] = self.scores(query_D, rows_QK[query, there])
        return scores_QK

    def nearest(self, query_D: np.ndarray, rows_R: np.ndarray) -> np.ndarray:
        """Which of each document's passages is nearest to a query, from 0; of equal ones the first."""
        if self.starts is None:
            return np.zeros(len(rows_R), dtype=np.int64)
        own = self.of(rows_R)
        scores_P, starts = own.vectors_PD @ query_D, own.starts
        if starts is None:
            return np.zeros(len(rows_R), dtype=np.int64)
        return np.array([int(np.argmax(scores_P[a:b])) for a, b in pairwise(starts)])

    def nearest_of(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The same of several queries; 0 where a row is -1."""
        nearest_QK = np.zeros(rows_QK.shape, dtype=np.int64)
        for query, query_D in enumerate(queries_QD if self.starts is not None else ()):
            there = np.flatnonzero(rows_QK[query] != NO_ROW)
            nearest_QK[query, there] = self.nearest(query_D, rows_QK[query, there])
        return nearest_QK

    def _passages_of(self, rows_R: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The passages of some documents, in their order, and how many each has."""
        assert self.starts is not None
        firsts, counts_R = self.starts[rows_R], self.starts[np.asarray(rows_R) + 1] - self.starts[rows_R]
        ends = np.cumsum(counts_R)
        within = np.arange(int(ends[-1]) if len(ends) else 0) - np.repeat(ends - counts_R, counts_R)
        return np.repeat(firsts, counts_R) + within, counts_R
