"""What FAISS computes on a GPU where one is: the same as numpy and FAISS's CPU, with either."""

import faiss
import numpy as np
import pytest

from nlift.search import faiss_gpu
from nlift.search.document_vectors import DocumentVectors
from nlift.search.vector_index import ExactIndex

needs_gpu = pytest.mark.skipif(not faiss_gpu.gpus(), reason="needs faiss-gpu and a GPU")


def unit_vectors(count, seed=0, dim=16):
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


VECTORS, QUERIES = unit_vectors(9000), unit_vectors(300, seed=1)


def cells_index(kind):
    quantizer = faiss.IndexFlatIP(16)
    if kind == "ivf_flat":
        return faiss.IndexIVFFlat(quantizer, 16, 20, faiss.METRIC_INNER_PRODUCT)
    return faiss.IndexIVFPQ(quantizer, 16, 20, 4, 5, faiss.METRIC_INNER_PRODUCT)


@pytest.mark.parametrize("queries", [1, 255, 256, 300])  # around the number from which a GPU is used
def test_the_nearest_are_those_with_the_largest_inner_products(queries):
    products = QUERIES[:queries] @ VECTORS.T
    scores, rows = faiss_gpu.knn(QUERIES[:queries], VECTORS, 10)
    np.testing.assert_allclose(scores, -np.sort(-products, axis=1)[:, :10], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(products, rows, axis=1), scores, atol=1e-5)
    np.testing.assert_allclose(faiss_gpu.inner_products(QUERIES[:queries], VECTORS), products, atol=1e-5)


def test_more_results_than_a_gpu_gives_are_there_too():
    scores, rows = faiss_gpu.knn(QUERIES, VECTORS, 3000)
    assert scores.shape == rows.shape == (300, 3000)
    assert len(np.unique(rows[0])) == 3000


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_pq"])
def test_an_index_of_cells_is_the_one_that_faiss_makes_alone(kind):
    ours, alone = cells_index(kind), cells_index(kind)
    faiss_gpu.learn_cells(ours, VECTORS)
    for start in range(0, len(VECTORS), 4000):
        faiss_gpu.add_to_cells(ours, VECTORS[start : start + 4000])
    alone.train(VECTORS)
    alone.add(VECTORS)
    assert ours.ntotal == alone.ntotal == len(VECTORS)
    if not faiss_gpu.gpus():
        assert (faiss.serialize_index(ours) == faiss.serialize_index(alone)).all()
    best = faiss_gpu.knn(QUERIES, VECTORS, 10)[1]
    recalls = [recall_of(index, best) for index in (ours, alone)]
    assert recalls[0] == pytest.approx(recalls[1], abs=0.03)
    assert recalls[0] > (0.99 if kind == "ivf_flat" else 0.05)


def recall_of(index, best):
    """The share of the ten nearest that an index finds, with all its cells."""
    index.nprobe = index.nlist
    results = index.search(QUERIES, 10)[1]
    return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(results, best, strict=True)])


@needs_gpu
def test_a_gpu_computes_what_the_cpu_does(monkeypatch):
    monkeypatch.setattr(faiss_gpu, "GPU_BYTES", 2**17)  # so that vectors go there in pieces
    index = ExactIndex(DocumentVectors(VECTORS))
    there = index.search(QUERIES, 10)
    monkeypatch.setattr(faiss_gpu, "QUERIES_FOR_GPU", 10**9)
    np.testing.assert_allclose(there.scores_QK, index.search(QUERIES, 10).scores_QK, atol=1e-5)
    assert (there.rows_QK == index.search(QUERIES, 10).rows_QK).mean() > 0.999
