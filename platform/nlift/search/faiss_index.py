"""FAISS: exact and approximate search in unit vectors, built, stored and searched.

The vectors lie in one file, memory-mapped, whatever the kind: a flat index is that file, hnsw and ivf have what FAISS
built beside it. Narrow filters, exact scores and scoring again what codes found go by the file.

Shape suffixes: Q queries, N documents, P passages, C candidates of a query, D dimensions.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from nlift.search.document_vectors import DocumentVectors
from nlift.search.faiss_gpu import add_to_cells, import_faiss, knn, learn_cells
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
ADDED_AT_ONCE = 65_536  # vectors
DENSE_SHARE = 0.1  # of rows that pass: from here on all are multiplied, which is quicker than gathering some
HNSW = {"links": 32, "ef_construction": 200, "ef_search": 64}

Best = tuple[np.ndarray, np.ndarray]
"""Rows and scores of a query, best first."""


def kind_for(count: int, wanted: WantedKind) -> Kind:
    """The kind that is meant for so many vectors: `auto` is flat below 100,000, hnsw below a million, then ivf_flat."""
    if wanted != "auto":
        return wanted
    return "flat" if count < FLAT_BELOW else "hnsw" if count < HNSW_BELOW else "ivf_flat"


class FaissIndex:
    """Documents by the nearest of their passages' vectors: all are looked at, or what FAISS built over them finds.

    Attributes:
        vectors: Of the documents; memory-mapped once stored.
        index: FAISS's approximate index of the passages by inner product; None for a flat one, which is the vectors.
    """

    def __init__(self, vectors: DocumentVectors, index: Any = None) -> None:
        self.vectors, self.index = vectors, index

    @classmethod
    def build(cls, vectors: DocumentVectors | np.ndarray, kind: Kind = "flat") -> "FaissIndex":
        """An index over unit vectors, float32; an approximate one searches as widely as `search_width` says."""
        vectors = vectors if isinstance(vectors, DocumentVectors) else DocumentVectors(vectors)
        if kind == "flat":
            return cls(vectors)
        faiss = import_faiss()
        count, dim = vectors.vectors_PD.shape
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(dim, HNSW["links"], faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction, index.hnsw.efSearch = HNSW["ef_construction"], HNSW["ef_search"]
        else:
            index = _cells(count, dim, kind)
            learn_cells(index, _sample(vectors.vectors_PD, TRAINED_ON * index.nlist))
            index.nprobe = max(1, index.nlist // 8)
        for start in range(0, count, ADDED_AT_ONCE):  # else FAISS would have a second copy of all of them
            piece = np.ascontiguousarray(vectors.vectors_PD[start : start + ADDED_AT_ONCE])
            if kind == "hnsw":
                index.add(piece)
            else:
                add_to_cells(index, piece)
        return cls(vectors, index)

    @classmethod
    def read(cls, file: Path, vectors: DocumentVectors) -> "FaissIndex":
        """The index of these vectors that `write` wrote; a flat one where there is no file."""
        return cls(vectors, import_faiss().read_index(str(file)) if file.is_file() else None)

    def write(self, file: Path) -> None:
        """Write what FAISS built; nothing where the vectors are all there is. They are written elsewhere."""
        if self.index is not None:
            import_faiss().write_index(self.index, str(file))

    @property
    def size(self) -> int:
        """Number of documents."""
        return len(self.vectors)

    @property
    def passages(self) -> int:
        """Number of vectors."""
        return len(self.vectors.vectors_PD)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.vectors.dim

    @property
    def kind(self) -> Kind:
        """What the index is."""
        if self.index is None:
            return "flat"
        kinds: dict[str, Kind] = {"IndexHNSWFlat": "hnsw", "IndexIVFFlat": "ivf_flat"}
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
        return self.passages if self.kind == "hnsw" else int(self.index.nlist)

    def search(self, queries_QD: np.ndarray, top_k: int, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query; among the rows that a query allows there are as many as there can be.

        A flat index is exact. An approximate one is where at most 100,000 rows are allowed.
        """
        width = min(top_k, self.size)
        if not len(queries_QD) or not width:
            return ranking_of([(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries_QD), width)
        clear = self._search_clear(queries_QD, width) if allowed is None else None
        if clear is not None:
            return clear
        masks = [None] * len(queries_QD) if allowed is None else [allowed[query] for query in range(len(queries_QD))]
        free = [query for query, mask in enumerate(masks) if mask is None]
        results = dict(zip(free, self._search_all(queries_QD[free], width), strict=True)) if free else {}
        for query, mask in enumerate(masks):
            if mask is not None:
                results[query] = self._search_allowed(queries_QD[query], mask, width)
        return ranking_of([results[query] for query in range(len(masks))], width)

    def scores(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The exact scores of given rows, float32 [Q, K]; -inf where a row is -1."""
        return self.vectors.scores_of(queries_QD, rows_QK)

    def nearest(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """Which passage of each row is nearest to the query, from 0, int64 [Q, K]; 0 where a row is -1."""
        return self.vectors.nearest_of(queries_QD, rows_QK)

    def _search_clear(self, queries_QD: np.ndarray, top_k: int) -> Ranking | None:
        """The best of all rows as FAISS has them; None where there is more to it: equal scores, passages, codes."""
        if self.vectors.starts is not None or self.kind == "ivf_pq":
            return None
        scores_QC, rows_QC = self._nearest_passages(queries_QD, min(top_k + 1, self.size))
        if (rows_QC[:, -1] == NO_ROW).any() or (scores_QC[:, 1:] == scores_QC[:, :-1]).any():
            return None
        return Ranking(rows_QC[:, :top_k], scores_QC[:, :top_k])

    def _search_allowed(self, query_D: np.ndarray, mask_N: np.ndarray, top_k: int) -> Best:
        """The best of the rows that are allowed."""
        rows = np.flatnonzero(mask_N)
        wanted = min(top_k, len(rows))
        if self.index is not None and len(rows) > EXACT_ROWS:
            results = self._search_selected(query_D, mask_N, wanted)
            if len(results[0]) == wanted:
                return results
        if len(rows) > DENSE_SHARE * self.size:
            return best(rows, self.vectors.best_of(self.vectors.vectors_PD @ query_D)[rows], top_k)
        return best(rows, self.vectors.scores(query_D, rows), top_k)

    def _search_selected(self, query_D: np.ndarray, mask_N: np.ndarray, top_k: int) -> Best:
        """What an approximate index finds among the allowed rows; it may find too few."""
        faiss = import_faiss()
        mask_P = mask_N if self.vectors.starts is None else mask_N[self.vectors.documents_P]
        selector = faiss.IDSelectorBitmap(np.packbits(mask_P, bitorder="little"))
        depth = self._depth(top_k)
        if self.kind == "hnsw":
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=max(self.index.hnsw.efSearch, 2 * depth))
        else:
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=self.index.nprobe)
        scores, passages = self.index.search(query_D[None], depth, params=parameters)
        return self._best(query_D, passages[0], scores[0], top_k)

    def _search_all(self, queries_QD: np.ndarray, top_k: int) -> list[Best]:
        """The best of all rows. FAISS cuts among equal scores as it likes: so many are asked for that none is cut."""
        results: list[Best | None] = [None] * len(queries_QD)
        waiting, depth = list(range(len(queries_QD))), self._depth(min(top_k + 1, self.size))
        while waiting:
            scores_QC, passages_QC = self._nearest_passages(queries_QD[waiting], depth)
            short = []
            for query, passages_C, scores_C in zip(waiting, passages_QC, scores_QC, strict=True):
                rows, scores = self._best(queries_QD[query], passages_C, scores_C, top_k)
                whole = depth >= self.passages or (len(rows) == top_k and scores_C[-1] < self._cut(scores, scores_C))
                if whole and len(rows) == top_k:
                    results[query] = rows, scores
                elif passages_C[-1] == NO_ROW or whole:  # cells that hold too few
                    results[query] = self._search_allowed(queries_QD[query], np.ones(self.size, dtype=bool), top_k)
                else:
                    short.append(query)
            waiting, depth = short, min(2 * depth, self.passages)
        return [result for result in results if result is not None]

    def _cut(self, scores: np.ndarray, scores_C: np.ndarray) -> float:
        """The score below which no passage can matter; of codes, whose scores are no exact ones, any."""
        return float(scores[-1]) if self.kind != "ivf_pq" else np.inf

    def _nearest_passages(self, queries_QD: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and numbers of the best passages."""
        if self.index is not None:
            scores_QC, passages_QC = self.index.search(queries_QD, depth)
            return scores_QC, passages_QC
        return knn(queries_QD, self.vectors.vectors_PD, depth)

    def _depth(self, top_k: int) -> int:
        """Passages that are asked for: of several to a document, and of codes, which are scored again, more."""
        depth = -(-top_k * self.passages // self.size) if self.vectors.starts is not None else top_k
        if self.kind == "ivf_pq":
            depth = max(RESCORED * depth, LEAST_RESCORED)
        return min(depth, self.passages)

    def _best(self, query_D: np.ndarray, passages_C: np.ndarray, scores_C: np.ndarray, top_k: int) -> Best:
        """The best documents of the passages that FAISS gave for a query, best first, by exact scores."""
        there = passages_C != NO_ROW
        passages_C, scores_C = passages_C[there], scores_C[there]
        if self.kind == "ivf_pq":
            scores_C = self.vectors.vectors_PD[passages_C] @ query_D
        if self.vectors.starts is None:
            return best(passages_C, scores_C, top_k)
        if self.index is not None:  # a document's best passage may be one that was not found
            rows_C = np.unique(self.vectors.documents_P[passages_C])
            return best(rows_C, self.vectors.scores(query_D, rows_C), top_k)
        order = np.lexsort((passages_C, -scores_C))
        rows_C, first = np.unique(self.vectors.documents_P[passages_C[order]], return_index=True)
        return best(rows_C, scores_C[order][first], top_k)


def _sample(vectors_PD: np.ndarray, most: int) -> np.ndarray:
    """Some of the vectors, evenly spread: what cells are learned from."""
    if len(vectors_PD) <= most:
        return np.asarray(vectors_PD)
    return np.asarray(vectors_PD[np.linspace(0, len(vectors_PD) - 1, most).astype(np.int64)])


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
