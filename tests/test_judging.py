"""Encoders and BM25 on a set: ties, metrics and geometry."""

import numpy as np
import pytest
import pytrec_eval

from nlift import judging
from nlift.encoder import Encoder
from nlift.judging import judge, judge_bm25, judge_vectors, rank
from nlift.schema import Document
from nlift.sets import RetrievalSet, StsSet


def trec_eval_order(names, scores):
    """Documents as trec_eval sorts them: the reciprocal rank of each, were it the one relevant document."""
    run = {name: dict(zip(names, map(float, scores), strict=True)) for name in names}
    evaluator = pytrec_eval.RelevanceEvaluator({name: {name: 1} for name in names}, {"recip_rank"})
    found = evaluator.evaluate(run)
    return sorted(names, key=lambda name: -found[name]["recip_rank"])


@pytest.mark.parametrize("seed", range(3))
def test_ties_are_broken_as_by_trec_eval(seed):
    generator = np.random.default_rng(seed)
    names = [*(f"d{i}" for i in generator.permutation(60)), "ż", "Z", "a-b", "10", "9"]
    scores = generator.integers(0, 5, len(names)).astype(np.float32) / 3
    ranked = rank(names, scores)
    assert [name for name, _ in ranked] == trec_eval_order(names, scores)
    assert dict(ranked) == dict(zip(names, map(float, scores), strict=True))


def test_the_cut_falls_where_trec_eval_would_cut(monkeypatch):
    scores = np.random.default_rng(0).integers(0, 4, 100).astype(np.float32)
    names = [f"d{i}" for i in range(100)]
    whole = rank(names, scores)
    monkeypatch.setattr(judging, "RUN_DEPTH", 30)
    assert rank(names, scores) == whole[:30]


def test_only_scores_above():
    assert rank(["a", "b", "c"], np.array([0.0, 2.0, 1.0]), above=0.0) == [("b", 2.0), ("c", 1.0)]


def retrieval_set(texts, qrels):
    documents = [Document(f"d{i}", "", text, "{}") for i, text in enumerate(texts)]
    return RetrievalSet("set", documents, {query: texts[int(query)] for query in qrels}, qrels)


@pytest.fixture
def known(sentences):
    """Each query is the text of a document; half of them are judged relevant to another one."""
    qrels = {str(i): {f"d{i + (i % 2)}": 1, f"d{i + 5}": 0} for i in range(10)}
    return retrieval_set(sentences, qrels)


def test_an_encoder_on_a_retrieval_set(bert, known, sentences):
    measured = judge("base", Encoder.load(bert), known, max_length=32)
    assert (measured.name, measured.set_name, set(measured.groups)) == ("base", "set", {"retrieval", "geometry"})
    assert all(measured.run[query][0][0] == f"d{query}" for query in known.queries)
    assert all(len(hits) == len(sentences) for hits in measured.run.values())
    retrieval = measured.groups["retrieval"]
    assert (retrieval["queries"], retrieval["documents"], retrieval["recall@100"]) == (10, len(sentences), 1.0)
    assert 0.5 <= retrieval["mrr@10"] < 1
    assert measured.groups["geometry"]["uniformity"] < 0 < measured.groups["geometry"]["alignment"]


def test_prefixes_and_length_reach_the_encoder(bert, known, sentences):
    encoder = Encoder.load(bert, prefixes={"query": "the map ", "passage": "a "})
    measured = judge("base", encoder, known, max_length=5)
    queries = encoder.encode(list(known.queries.values()), role="query", max_length=5)
    documents = encoder.encode(sentences, role="passage", max_length=5)
    assert measured.run == judge_vectors("base", known, queries, documents).run


def test_metrics_of_known_vectors():
    loaded = retrieval_set(["a", "b", "c"], {"0": {"d0": 1, "d1": 0}, "1": {"d2": 1}})
    documents = np.eye(3, dtype=np.float32)
    measured = judge_vectors("base", loaded, documents[[0, 1]], documents)
    assert measured.groups["retrieval"]["mrr@10"] == pytest.approx((1 + 1 / 2) / 2)  # d2 ties with d0, before it by name
    assert measured.groups["geometry"]["alignment"] == pytest.approx((0 + 2) / 2)
    assert measured.groups["geometry"]["uniformity"] == pytest.approx(-4)


def test_a_set_without_a_relevant_document():
    loaded = retrieval_set(["a", "b"], {"0": {"d0": 0}})
    vectors = np.eye(2, dtype=np.float32)
    assert judge_vectors("base", loaded, vectors[:1], vectors).groups["retrieval"]["queries"] == 0


def test_a_corpus_of_one_document():
    loaded = retrieval_set(["a"], {"0": {"d0": 1}})
    vectors = np.eye(1, dtype=np.float32)
    assert judge_vectors("base", loaded, vectors, vectors).groups["retrieval"]["mrr@10"] == 1.0


def test_bm25_ranks_what_shares_a_word(known):
    measured = judge_bm25("bm25", known)
    assert set(measured.groups) == {"retrieval"} and measured.groups["retrieval"]["queries"] == 10
    assert all(measured.run[query][0][0] == f"d{query}" for query in known.queries)
    assert all(score > 0 for hits in measured.run.values() for _, score in hits)
    loaded = retrieval_set(["cat", "dog"], {"0": {"d1": 1}})
    assert [name for name, _ in judge_bm25("bm25", loaded).run["0"]] == ["d0"]


def test_an_encoder_on_sentence_pairs(bert, sentences):
    encoder = Encoder.load(bert)
    first, second = encoder.encode(sentences[:20]), encoder.encode(sentences[20:40])
    cosines = (first * second).sum(1)
    gold = 5 * (cosines - cosines.min()) / np.ptp(cosines)
    loaded = StsSet("sts", list(zip(sentences[:20], sentences[20:40], strict=True)), gold.tolist())
    groups = judge("base", encoder, loaded, max_length=32).groups
    assert groups["sts"] == pytest.approx({"spearman": 1.0, "pearson": 1.0, "pairs": 20})
    distances = ((first - second) ** 2).sum(1)
    assert 0 < (gold >= 4).sum() < 20
    assert groups["geometry"]["alignment"] == pytest.approx(distances[gold >= 4].mean(), rel=1e-4)
