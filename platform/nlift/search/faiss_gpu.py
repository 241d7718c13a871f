"""FAISS's heavy work, on a GPU where there is one and there is work enough, else on the CPU.

A GPU serves here for a moment, piece by piece: vectors stay in memory, or in the file that they are mapped from, and
every index that is built is one for the CPU. A process sees the GPUs that Ray gave it; without any nothing changes.

Shape suffixes: Q queries, P vectors that are searched, D dimensions.
"""

import logging
from functools import lru_cache
from typing import Any

import numpy as np

from nlift.errors import NliftError

QUERIES_FOR_GPU = 256  # from so many on, multiplying costs more than carrying the vectors to the GPU
MOST_FROM_GPU = 2048  # results of a query that FAISS gives on a GPU
GPU_BYTES = 2**30  # of vectors, and of queries, on the GPU at a time


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


def gpus() -> int:
    """How many GPUs FAISS can use in this process; 0 with faiss-cpu."""
    faiss = import_faiss()
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def knn(queries_QD: np.ndarray, vectors_PD: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors with the largest inner products, exactly.

    Args:
        queries_QD: Queries, float32 [Q, D].
        vectors_PD: What is searched, float32 [P, D]; may be memory-mapped.
        depth: How many of each query, 1 to P.

    Returns:
        Inner products, float32 [Q, depth], largest first, and the rows that have them, int64 [Q, depth].
    """
    faiss = import_faiss()
    metric = faiss.METRIC_INNER_PRODUCT
    if depth <= MOST_FROM_GPU and _worth_a_gpu(queries_QD):
        limits = {"vectorsMemoryLimit": GPU_BYTES, "queriesMemoryLimit": GPU_BYTES}
        return faiss.knn_gpu(_resources(), queries_QD, vectors_PD, depth, metric=metric, device=0, **limits)
    return faiss.knn(queries_QD, vectors_PD, depth, metric=metric)


def inner_products(queries_QD: np.ndarray, vectors_PD: np.ndarray) -> np.ndarray:
    """All of them, float32 [Q, P], of queries [Q, D] and vectors [P, D], both float32."""
    if not _worth_a_gpu(queries_QD):
        return queries_QD @ vectors_PD.T
    faiss = import_faiss()
    products_QP = np.empty((len(queries_QD), len(vectors_PD)), dtype=np.float32)
    at_once = max(1, GPU_BYTES // (4 * vectors_PD.shape[1]))
    for start in range(0, len(vectors_PD), at_once):
        part = slice(start, start + at_once)
        piece = (queries_QD, np.ascontiguousarray(vectors_PD[part]))
        products_QP[:, part] = faiss.pairwise_distance_gpu(
            _resources(), *piece, metric=faiss.METRIC_INNER_PRODUCT, device=0
        )
    return products_QP


def learn_cells(index: Any, sample_PD: np.ndarray) -> None:
    """Train an index of cells on some vectors, float32 [P, D]; k-means, nearly all of it, on a GPU where one is."""
    faiss = import_faiss()
    on_gpu = faiss.index_cpu_to_gpu(_resources(), 0, faiss.IndexFlatIP(index.d)) if gpus() else None
    index.clustering_index = on_gpu  # FAISS keeps the address alone: the name above keeps the object
    index.train(sample_PD)
    index.clustering_index = None


def add_to_cells(index: Any, vectors_PD: np.ndarray) -> None:
    """Add vectors, float32 [P, D], to a trained index of cells, each to the nearest cell as `knn` finds it."""
    faiss = import_faiss()
    _, cells_P1 = knn(vectors_PD, index.quantizer.reconstruct_n(0, index.nlist), 1)
    cells_P = np.ascontiguousarray(cells_P1[:, 0])
    index.add_core(len(vectors_PD), faiss.swig_ptr(vectors_PD), None, faiss.swig_ptr(cells_P))


def _worth_a_gpu(queries_QD: np.ndarray) -> bool:
    return len(queries_QD) >= QUERIES_FOR_GPU and gpus() > 0


@lru_cache(maxsize=1)
def _resources() -> Any:
    """FAISS's memory and streams on the GPU, made once for a process."""
    return import_faiss().StandardGpuResources()
