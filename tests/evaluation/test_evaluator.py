"""Encoders and BM25 on a set: ties, metrics and geometry."""

import numpy as np
import pytest

from nlift.data.schema import Document
from nlift.evaluation.datasets import RetrievalSet, StsSet
from nlift.evaluation.evaluator import measure_bm25, measure_retrieval, measure_sts, measure_vectors
from nlift.models.encoder import Encoder
from nlift.search.document_vectors import DocumentVectors


def retrieval_set(texts, qrels):
    documents = [Document(f"d{i}", "", text, "{}") for i, text in enumerate(texts)]
    return RetrievalSet("set", documents, {query: texts[int(query)] for query in qrels}, qrels)


@pytest.fixture
def known(sentences):
    """Each query is the text of a document; half of them are judged relevant to another one."""
    qrels = {str(i): {f"d{i + (i % 2)}": 1, f"d{i + 5}": 0} for i in range(10)}
    return retrieval_set(sentences, qrels)


def test_an_encoder_on_a_retrieval_set(bert, known, sentences):
    measured = measure_retrieval("base", Encoder.load(bert), known, max_length=32)[0]
    assert (measured.name, measured.set_name, set(measured.groups)) == ("base", "set", {"retrieval", "geometry"})
    assert all(measured.run[query][0][0] == f"d{query}" for query in known.queries)
    assert all(len(hits) == len(sentences) for hits in measured.run.values())
    retrieval = measured.groups["retrieval"]
    assert (retrieval["queries"], retrieval["documents"], retrieval["recall@100"]) == (10, len(sentences), 1.0)
    assert 0.5 <= retrieval["mrr@10"] < 1
    assert measured.groups["geometry"]["uniformity"] < 0 < measured.groups["geometry"]["alignment"]


def test_prefixes_and_length_reach_the_encoder(bert, known, sentences):
    encoder = Encoder.load(bert, prefixes={"query": "the map ", "passage": "a "})
    measured = measure_retrieval("base", encoder, known, max_length=5)[0]
    queries = encoder.encode(list(known.queries.values()), role="query", max_length=5)
    documents = encoder.encode(sentences, role="passage", max_length=5)
    assert measured.run == measure_vectors("base", known, queries, DocumentVectors(documents)).run


def test_metrics_of_known_vectors():
    loaded = retrieval_set(["a", "b", "c"], {"0": {"d0": 1, "d1": 0}, "1": {"d2": 1}})
    documents = np.eye(3, dtype=np.float32)
    measured = measure_vectors("base", loaded, documents[[0, 1]], DocumentVectors(documents))
    assert measured.groups["retrieval"]["mrr@10"] == pytest.approx(
        (1 + 1 / 2) / 2
    )  # d2 ties with d0, before it by name
    assert measured.groups["geometry"]["alignment"] == pytest.approx((0 + 2) / 2)
    assert measured.groups["geometry"]["uniformity"] == pytest.approx(-4)


def test_a_set_without_a_relevant_document():
    loaded = retrieval_set(["a", "b"], {"0": {"d0": 0}})
    vectors = np.eye(2, dtype=np.float32)
    assert measure_vectors("base", loaded, vectors[:1], DocumentVectors(vectors)).groups["retrieval"]["queries"] == 0


def test_a_corpus_of_one_document():
    loaded = retrieval_set(["a"], {"0": {"d0": 1}})
    vectors = np.eye(1, dtype=np.float32)
    assert measure_vectors("base", loaded, vectors, DocumentVectors(vectors)).groups["retrieval"]["mrr@10"] == 1.0


def test_bm25_ranks_what_shares_a_word(known):
    measured = measure_bm25("bm25", known)
    assert set(measured.groups) == {"retrieval"} and measured.groups["retrieval"]["queries"] == 10
    assert all(measured.run[query][0][0] == f"d{query}" for query in known.queries)
    assert all(score > 0 for hits in measured.run.values() for _, score in hits)
    loaded = retrieval_set(["cat", "dog"], {"0": {"d1": 1}})
    assert [name for name, _ in measure_bm25("bm25", loaded).run["0"]] == ["d0"]


def test_an_encoder_on_sentence_pairs(bert, sentences):
    encoder = Encoder.load(bert)
    first, second = encoder.encode(sentences[:20]), encoder.encode(sentences[20:40])
    cosines = (first * second).sum(1)
    gold = 5 * (cosines - cosines.min()) / np.ptp(cosines)
    loaded = StsSet("sts", list(zip(sentences[:20], sentences[20:40], strict=True)), gold.tolist())
    groups = measure_sts("base", encoder, loaded).groups
    assert groups["sts"] == pytest.approx({"spearman": 1.0, "pearson": 1.0, "pairs": 20})
    distances = ((first - second) ** 2).sum(1)
    assert 0 < (gold >= 4).sum() < 20
    assert groups["geometry"]["alignment"] == pytest.approx(distances[gold >= 4].mean(), rel=1e-4)
