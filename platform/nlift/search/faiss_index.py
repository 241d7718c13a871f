"""FAISS: exact and approximate indexes over unit vectors, built, stored and searched."""

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nlift.errors import NliftError
from nlift.search.ranking import NO_ROW, Ranking, best, ranking_of
from nlift.search.vector_index import Allowed

Kind = Literal["flat", "hnsw", "ivf"]
PROBES = 200  # documents searched to measure an approximate index
VECTORS_PER_CELL = 39  # that FAISS wants to train one
HNSW = {"links": 32, "ef_construction": 200, "ef_search": 128}


def import_faiss() -> Any:
    """The faiss module. Raises NliftError with the fix where it is not installed."""
    logging.getLogger("faiss.loader").setLevel(logging.ERROR)  # it reports the instruction sets it tried
    try:
        import faiss
    except ImportError:
        raise NliftError(
            "faiss is not installed; run `pip install nlift[cpu]`, or nlift[gpu], exactly one of them"
        ) from None
    return faiss


class FaissIndex:
    """A FAISS index by inner product."""

    def __init__(self, index: Any, parameters: dict[str, int] | None = None) -> None:
        self.index, self.parameters = index, parameters or {}

    @classmethod
    def build(cls, vectors_ND: np.ndarray, kind: Kind = "flat") -> "FaissIndex":
        """An index over unit vectors, float32; `parameters` says how an approximate one was made."""
        faiss = import_faiss()
        count, dim = vectors_ND.shape
        parameters: dict[str, int] = {}
        if kind == "hnsw":
            parameters = HNSW
            index = faiss.IndexHNSWFlat(dim, HNSW["links"], faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction, index.hnsw.efSearch = HNSW["ef_construction"], HNSW["ef_search"]
        elif kind == "ivf":
            cells = max(1, min(int(4 * count**0.5), count // VECTORS_PER_CELL))
            parameters = {"cells": cells, "probes": max(1, cells // 8)}
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
            index.train(vectors_ND)
            index.nprobe = parameters["probes"]
        else:
            index = faiss.IndexFlatIP(dim)
        index.add(vectors_ND)
        return cls(index, parameters)

    @classmethod
    def read(cls, path: Path) -> "FaissIndex":
        """The index of a file."""
        return cls(import_faiss().read_index(str(path)))

    def write(self, path: Path) -> None:
        """Write the index to a file."""
        import_faiss().write_index(self.index, str(path))

    @property
    def size(self) -> int:
        """Number of vectors."""
        return int(self.index.ntotal)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.index.d)

    def search(self, queries_QD: np.ndarray, top_k: int, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query; among the rows that a query allows the search is exact."""
        width = min(top_k, self.size)
        if not len(queries_QD) or not width:
            return ranking_of([(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries_QD), width)
        results = self._search_all(queries_QD, width)
        for query, mask in enumerate(allowed or ()):
            if mask is not None:
                rows = np.flatnonzero(mask)
                results[query] = best(rows, self.vectors(rows) @ queries_QD[query], width)
        return ranking_of(results, width)

    def _search_all(self, queries_QD: np.ndarray, top_k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best of all rows. FAISS cuts among equal scores as it likes: so many are asked for that none is cut."""
        depth = min(top_k + 1, self.size)
        while True:
            scores_QC, rows_QC = self.index.search(queries_QD, depth)
            if depth == self.size or not (scores_QC[:, -1] == scores_QC[:, top_k - 1]).any():
                break
            depth = min(2 * depth, self.size)
        kept = (rows != NO_ROW for rows in rows_QC)
        return [
            best(rows[mask], scores[mask], top_k) for rows, scores, mask in zip(rows_QC, scores_QC, kept, strict=True)
        ]

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of rows."""
        if hasattr(self.index, "make_direct_map"):
            self.index.make_direct_map()  # cells do not know where a row is; nothing is done the second time
        vectors: np.ndarray = self.index.reconstruct_batch(np.ascontiguousarray(rows, dtype=np.int64))
        return vectors


def measure_recall(index: FaissIndex, vectors_ND: np.ndarray) -> float:
    """Share of the exact ten nearest documents that the index finds, over a sample of documents."""
    sample = vectors_ND[np.linspace(0, len(vectors_ND) - 1, min(PROBES, len(vectors_ND))).astype(int)]
    depth = min(10, len(vectors_ND))
    exact = import_faiss().IndexFlatIP(vectors_ND.shape[1])
    exact.add(vectors_ND)
    nearest, answered = exact.search(sample, depth)[1], index.index.search(sample, depth)[1]
    return float(np.mean([len(set(a) & set(b)) / depth for a, b in zip(nearest, answered, strict=True)]))
