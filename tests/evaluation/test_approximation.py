"""How close an approximate index comes to exact search."""

from types import SimpleNamespace

import numpy as np
import pytest

from nlift.evaluation.approximation import approximation
from nlift.evaluation.judged_queries import Evidence, JudgedQueries
from nlift.search.document_vectors import DocumentVectors
from nlift.search.faiss_index import FaissIndex


def unit(count, seed):
    rows = np.random.default_rng(seed).normal(size=(count, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def parts():
    vectors, queries = unit(3000, 0), unit(60, 1)
    nearest = (queries @ vectors.T).argmax(1)
    documents = [SimpleNamespace(doc_id=f"d{row:04}") for row in range(3000)]
    part = JudgedQueries([""] * 3000, [f"q{i}" for i in range(60)], [{int(row): 1} for row in nearest])
    ids = SimpleNamespace(ids=[document.doc_id for document in documents])
    return DocumentVectors(vectors), queries, ids, Evidence("dev", "", [part], documents)


def test_an_exact_index_loses_nothing(parts):
    vectors, queries, documents, evidence = parts
    halves = [FaissIndex(vectors.part(0, 1000)), FaissIndex(vectors.part(1000, 3000))]
    measured = approximation(halves, [0, 1000, 3000], vectors, documents, evidence, queries)
    assert measured == {"recall@10": 1.0, "queries": 60, "ndcg@10_above_exact": 0.0}


def test_what_a_narrow_search_loses_is_counted(parts):
    vectors, queries, documents, evidence = parts
    index = FaissIndex.build(vectors, "ivf_flat")
    index.search_width = 1
    measured = approximation([index], [0, 3000], vectors, documents, evidence, queries)
    rows_QK = index.search(queries, 10).rows_QK
    exact = np.argsort(-(queries @ vectors.vectors_PD.T), axis=1)[:, :10]
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(rows_QK.tolist(), exact.tolist(), strict=True)]
    assert measured["recall@10"] == pytest.approx(np.mean(shares), abs=1e-4) and measured["recall@10"] < 0.9
    first = np.mean(
        [exact[i, 0] in rows_QK[i] for i in range(60)]
    )  # where the one relevant document is found it is first
    assert measured["ndcg@10_above_exact"] == pytest.approx(first - 1, abs=1e-4)


def test_without_judged_queries_there_is_recall_alone(parts):
    vectors, queries, documents, _ = parts
    measured = approximation([FaissIndex(vectors)], [0, 3000], vectors, documents, Evidence("nothing", ""), queries)
    assert measured == {"recall@10": 1.0, "queries": 60}
