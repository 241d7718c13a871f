"""FAISS indexes: recall, parameters, storage."""

import numpy as np
import pytest

from nlift.search.faiss_index import FaissIndex, measure_recall


def random_vectors(count, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("kind", "low", "high"), [("flat", 1, 1), ("hnsw", 0.95, 1), ("ivf", 0.1, 0.95)])
def test_recall_is_measured(kind, low, high):
    vectors = random_vectors(2000)
    index = FaissIndex.build(vectors, kind)
    assert index.size == 2000 and low <= measure_recall(index, vectors) <= high
    assert (
        set(index.parameters)
        == {"flat": set(), "hnsw": {"links", "ef_construction", "ef_search"}, "ivf": {"cells", "probes"}}[kind]
    )


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_search_parameters_survive_storage(tmp_path, kind):
    vectors = random_vectors(2000)
    index = FaissIndex.build(vectors, kind)
    index.write(tmp_path / "x")
    stored = FaissIndex.read(tmp_path / "x")
    assert np.array_equal(stored.search(vectors[:50], 10).rows_QK, index.search(vectors[:50], 10).rows_QK)
    assert (stored.index.hnsw.efSearch if kind == "hnsw" else stored.index.nprobe) > 1


@pytest.mark.parametrize("count", [1, 5, 38])
def test_a_corpus_too_small_for_cells(count):
    index = FaissIndex.build(random_vectors(count), "ivf")
    assert measure_recall(index, random_vectors(count)) == 1
