"""What pages draw of vectors: every pair is counted once, and the plane is that of most variance."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from nlift.evaluation.vector_picture import of_retrieval, of_sts


def units(count, dim, seed):
    rows = np.random.default_rng(seed).normal(size=(count, dim)) + 1.0
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_cosines_of_relevant_and_other_pairs():
    queries, documents = units(20, 8, 0), units(50, 8, 1)
    relevant = np.array([[i, i] for i in range(20)])
    picture = of_retrieval(queries, documents, relevant)
    edges, counts = np.array(picture["cosines"]["edges"]), picture["cosines"]["counts"]
    wanted = np.histogram((queries * documents[:20]).sum(1), edges)[0]
    assert counts["relevant"] == wanted.tolist() and sum(counts["relevant"]) == 20
    assert 18_000 < sum(counts["other"]) < 20_000  # of twenty thousand pairs those that are judged are left out


def test_the_plane_has_the_most_variance():
    queries, documents = units(20, 8, 2), units(50, 8, 3)
    plane = of_retrieval(queries, documents, np.array([[0, 0]]))["map"]
    points = np.array(plane["documents"] + plane["queries"])
    wanted = PCA(2).fit(np.concatenate([documents, queries])).explained_variance_
    assert points.shape == (70, 2) and points.var(0, ddof=1) == pytest.approx(wanted, rel=1e-3)


def test_pairs_of_sentences():
    picture = of_sts(np.array([0.9, 0.1, 1.0000001]), np.array([True, False, True]))
    assert sum(picture["cosines"]["counts"]["similar"]) == 2 and sum(picture["cosines"]["counts"]["other"]) == 1


def test_one_document_and_no_relevant_pair():
    picture = of_retrieval(units(1, 4, 0), units(1, 4, 1), np.zeros((0, 2), dtype=int))
    assert sum(picture["cosines"]["counts"]["relevant"]) == 0 and len(picture["map"]["documents"]) == 1
