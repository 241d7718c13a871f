"""FAISS: exact and approximate indexes over unit vectors, built, stored and searched."""

import logging
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nlift.errors import NliftError
from nlift.search.ranking import NO_ROW, Ranking, best, ranking_of
from nlift.search.vector_index import Allowed

Kind = Literal["flat", "hnsw", "ivf_flat", "ivf_pq"]
WantedKind = Literal["auto", "flat", "hnsw", "ivf_flat", "ivf_pq"]
FLAT_BELOW, HNSW_BELOW = 100_000, 1_000_000  # vectors, where the kind is chosen; measured in docs/results.md
VECTORS_PER_CELL = 39  # that FAISS wants to train one
TRAINED_ON = 64  # vectors of a cell that train it at most
DIMENSIONS_PER_CODE = 4  # of ivf_pq: a byte stands for so many
RESCORED = 10  # times the wanted results: candidates of ivf_pq that are scored again from the vectors themselves
LEAST_RESCORED = 100
EXACT_ROWS = 100_000  # that pass a filter: so many an approximate index does not search, each is looked at
DENSE_SHARE = 0.1  # of rows that pass: from here on all are multiplied, which is quicker than gathering some
HNSW = {"links": 32, "ef_construction": 200, "ef_search": 64}
INDEX_FILE, VECTORS_FILE = "index.faiss", "vectors.npy"


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


def kind_for(count: int, wanted: WantedKind) -> Kind:
    """The kind that is meant for so many vectors: `auto` is flat below 100,000, hnsw below a million, then ivf_flat."""
    if wanted != "auto":
        return wanted
    return "flat" if count < FLAT_BELOW else "hnsw" if count < HNSW_BELOW else "ivf_flat"


class FaissIndex:
    """A FAISS index by inner product.

    Attributes:
        index: FAISS's own.
        originals_ND: The vectors themselves where the index has only codes of them; memory-mapped once stored.
    """

    def __init__(self, index: Any, originals_ND: np.ndarray | None = None) -> None:
        self.index, self.originals_ND = index, originals_ND

    @classmethod
    def build(cls, vectors_ND: np.ndarray, kind: Kind = "flat") -> "FaissIndex":
        """An index over unit vectors, float32; an approximate one searches as widely as `search_width` says."""
        faiss = import_faiss()
        count, dim = vectors_ND.shape
        if kind == "flat":
            index = faiss.IndexFlatIP(dim)
        elif kind == "hnsw":
            index = faiss.IndexHNSWFlat(dim, HNSW["links"], faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction, index.hnsw.efSearch = HNSW["ef_construction"], HNSW["ef_search"]
        else:
            index = _cells(count, dim, kind)
            index.train(vectors_ND)
            index.nprobe = max(1, index.nlist // 8)
        index.add(vectors_ND)
        return cls(index, vectors_ND if isinstance(index, faiss.IndexIVFPQ) else None)

    @classmethod
    def read(cls, folder: Path) -> "FaissIndex":
        """The index of a folder."""
        index = import_faiss().read_index(str(folder / INDEX_FILE))
        vectors = folder / VECTORS_FILE
        return cls(index, np.load(vectors, mmap_mode="r", allow_pickle=False) if vectors.is_file() else None)

    def write(self, folder: Path) -> None:
        """Write the index into a folder that is there."""
        import_faiss().write_index(self.index, str(folder / INDEX_FILE))
        if self.originals_ND is not None:
            np.save(folder / VECTORS_FILE, self.originals_ND, allow_pickle=False)

    @property
    def size(self) -> int:
        """Number of vectors."""
        return int(self.index.ntotal)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.index.d)

    @property
    def kind(self) -> Kind:
        """What the index is."""
        kinds: dict[str, Kind] = {"IndexFlatIP": "flat", "IndexHNSWFlat": "hnsw", "IndexIVFFlat": "ivf_flat"}
        return kinds.get(type(self.index).__name__, "ivf_pq")  # IndexIVFPQ

    @property
    def parameters(self) -> dict[str, int]:
        """How an approximate index was made, and how widely it searches."""
        if self.kind == "flat":
            return {}
        if self.kind == "hnsw":
            return {**HNSW, "ef_search": self.search_width}
        code = {"code_bytes": int(self.index.pq.M)} if self.kind == "ivf_pq" else {}
        return {"cells": int(self.index.nlist), "probes": self.search_width, **code}

    @property
    def search_width(self) -> int:
        """Of an approximate index: candidates kept on the way (hnsw), or cells looked into (ivf)."""
        return int(self.index.hnsw.efSearch if self.kind == "hnsw" else self.index.nprobe)

    @search_width.setter
    def search_width(self, width: int) -> None:
        if self.kind == "hnsw":
            self.index.hnsw.efSearch = width
        else:
            self.index.nprobe = width

    @property
    def widest(self) -> int:
        """The width at which an approximate index leaves out next to nothing."""
        return self.size if self.kind == "hnsw" else int(self.index.nlist)

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
        if self.kind != "flat" and len(rows) > EXACT_ROWS:
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
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=max(self.index.hnsw.efSearch, 2 * top_k))
        else:
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=self.index.nprobe)
        depth = self._depth(top_k)
        scores, rows = self.index.search(query_D[None], depth, params=parameters)
        return self._best(query_D, rows[0], scores[0], top_k)

    def _search_all(self, queries_QD: np.ndarray, top_k: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The best of all rows. FAISS cuts among equal scores as it likes: so many are asked for that none is cut."""
        depth = self._depth(min(top_k + 1, self.size))
        while True:
            scores_QC, rows_QC = self.index.search(queries_QD, depth)
            if depth >= self.size or not (scores_QC[:, -1] == scores_QC[:, top_k - 1]).any():
                break
            depth = min(2 * depth, self.size)
        return [self._best(*of_query, top_k) for of_query in zip(queries_QD, rows_QC, scores_QC, strict=True)]

    def _depth(self, top_k: int) -> int:
        """Rows that are asked for: of codes more, which are scored again."""
        if self.originals_ND is None:
            return top_k
        return min(max(RESCORED * top_k, LEAST_RESCORED), self.size)

    def _best(
        self, query_D: np.ndarray, rows_C: np.ndarray, scores_C: np.ndarray, top_k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The best of what FAISS gave for a query, by exact scores."""
        there = rows_C != NO_ROW
        rows_C, scores_C = rows_C[there], scores_C[there]
        if self.originals_ND is not None:
            scores_C = self.vectors(rows_C) @ query_D
        return best(rows_C, scores_C, top_k)

    def _stored(self) -> np.ndarray | None:
        """All vectors as they lie in memory or in their file, float32 [N, D]; None where they lie in cells."""
        if self.originals_ND is not None:
            return self.originals_ND
        faiss = import_faiss()
        flat = self.index if self.kind == "flat" else getattr(self.index, "storage", None)
        if flat is None:
            return None
        values = faiss.rev_swig_ptr(faiss.downcast_index(flat).get_xb(), self.size * self.dim)
        return np.asarray(values).reshape(self.size, self.dim)

    def vectors(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of rows."""
        stored_ND = self._stored()
        if stored_ND is not None:
            return np.asarray(stored_ND[rows])
        if hasattr(self.index, "make_direct_map"):
            self.index.make_direct_map()  # cells do not know where a row is; nothing is done the second time
        vectors: np.ndarray = self.index.reconstruct_batch(np.ascontiguousarray(rows, dtype=np.int64))
        return vectors


def _cells(count: int, dim: int, kind: Kind) -> Any:
    """An untrained index of cells."""
    faiss = import_faiss()
    cells = max(1, min(int(4 * count**0.5), count // VECTORS_PER_CELL))
    quantizer = faiss.IndexFlatIP(dim)
    if kind == "ivf_flat" or count < 256 * VECTORS_PER_CELL:  # too few to learn codes from
        index = faiss.IndexIVFFlat(quantizer, dim, cells, faiss.METRIC_INNER_PRODUCT)
    else:
        codes = max(size for size in range(1, dim // DIMENSIONS_PER_CODE + 1) if dim % size == 0)
        index = faiss.IndexIVFPQ(quantizer, dim, cells, codes, 8, faiss.METRIC_INNER_PRODUCT)
    index.cp.max_points_per_centroid = TRAINED_ON
    return index
