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
EXACT_ROWS = 100_000  # that pass a filter: so many an approximate index does not search, each is looked at
DENSE_SHARE = 0.1  # of rows that pass: from here on all are multiplied, which is quicker than gathering some
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
        """The best rows of each query; among the rows that a query allows there are as many as there can be.

        A flat index is exact. An approximate one is where at most 100,000 rows are allowed.
        """
        width = min(top_k, self.size)
        if not len(queries_QD) or not width:
            return ranking_of([(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries_QD), width)
        masks = [None] * len(queries_QD) if allowed is None else [allowed[query] for query in range(len(queries_QD))]
        free = [query for query, mask in enumerate(masks) if mask is None]
        results = dict(zip(free, self._search_all(queries_QD[free], width), strict=True)) if free else {}
        for query, mask in enumerate(masks):
            if mask is not None:
                results[query] = self._search_allowed(queries_QD[query], mask, width)
        return ranking_of([results[query] for query in range(len(masks))], width)

    def _search_allowed(self, query_D: np.ndarray, mask_N: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """The best of the rows that are allowed."""
        rows = np.flatnonzero(mask_N)
        if not self.is_flat and len(rows) > EXACT_ROWS:
            results = self._search_selected(query_D, mask_N, min(top_k, len(rows)))
            if len(results[0]) == min(top_k, len(rows)):
                return results
        vectors_ND = self._stored()
        if vectors_ND is not None and len(rows) > DENSE_SHARE * self.size:
            return best(rows, (vectors_ND @ query_D)[rows], top_k)
        return best(rows, self.vectors(rows) @ query_D, top_k)

    def _search_selected(self, query_D: np.ndarray, mask_N: np.ndarray, top_k: int) -> tuple[np.ndarray, np.ndarray]:
        """What an approximate index finds among the allowed rows; it may find too few."""
        faiss = import_faiss()
        selector = faiss.IDSelectorBitmap(np.packbits(mask_N, bitorder="little"))
        if hasattr(self.index, "hnsw"):
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=max(self.index.hnsw.efSearch, 2 * top_k))
        else:
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=self.index.nprobe)
        scores, rows = self.index.search(query_D[None], top_k, params=parameters)
        return best(rows[0][rows[0] != NO_ROW], scores[0][rows[0] != NO_ROW], top_k)

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

    @property
    def is_flat(self) -> bool:
        """Whether every search is exact."""
        return type(self.index).__name__ == "IndexFlatIP"

    def _stored(self) -> np.ndarray | None:
        """All vectors as they lie in the index, float32 [N, D]; None where they lie in cells."""
        faiss = import_faiss()
        flat = self.index if self.is_flat else getattr(self.index, "storage", None)
        if flat is None:
            return None
        values = faiss.rev_swig_ptr(faiss.downcast_index(flat).get_xb(), self.size * self.dim)
        return np.asarray(values).reshape(self.size, self.dim)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of rows."""
        stored_ND = self._stored()
        if stored_ND is not None:
            return stored_ND[rows]
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
