"""The searchers: the same rows and scores, whichever index is behind them."""

import numpy as np
import pytest

from nlift.search.bm25 import BM25Index
from nlift.search.faiss_index import FaissIndex
from nlift.search.fusion import fuse
from nlift.search.ranking import NO_ROW
from nlift.search.searchers import DEPTH, known_vectors, searchers
from nlift.search.vector_index import ExactIndex

COUNT, DIM = 300, 16
QUERIES = ["the cat 3", "a dog 14 15", "unheardof"]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def vectors():
    """Unit vectors, some of them twice, so that there are ties."""
    rows = unit(np.random.default_rng(1).normal(size=(COUNT, DIM)).astype(np.float32))
    rows[200:240] = rows[0]
    return rows


@pytest.fixture(scope="module")
def texts():
    return [f"the {'cat' if i % 3 else 'dog'} {i} {i % 20}" for i in range(COUNT)]


@pytest.fixture(scope="module")
def encode(vectors):
    queries = unit(np.random.default_rng(2).normal(size=(len(QUERIES), DIM)).astype(np.float32))
    queries[0] = vectors[0]
    return known_vectors(QUERIES, queries)


@pytest.fixture(scope="module")
def exact(vectors, encode, texts):
    return searchers(ExactIndex(vectors), encode, texts)


@pytest.fixture(params=["exact", "flat", "hnsw", "ivf"])
def index(request, vectors):
    return ExactIndex(vectors) if request.param == "exact" else FaissIndex.build(vectors, request.param)


def test_dense_scores_are_inner_products(exact, vectors, encode):
    ranking = exact["dense"].search(QUERIES, 10)
    for query, rows, scores in zip(encode(QUERIES), ranking.rows_QK, ranking.scores_QK, strict=True):
        products = vectors @ query
        assert scores == pytest.approx(np.sort(products)[::-1][:10], abs=1e-6)
        assert scores == pytest.approx(products[rows], abs=1e-6)


def test_equal_vectors_stand_in_the_order_of_rows(exact):
    rows = exact["dense"].search(QUERIES[:1], 41).rows_QK[0]
    assert rows.tolist() == [0, *range(200, 240)]


@pytest.mark.parametrize("top_k", [1, 7, 41, COUNT, COUNT + 50])
def test_faiss_cuts_ties_as_the_exact_index_does(vectors, encode, top_k):
    queries = encode(QUERIES)
    flat, exact = FaissIndex.build(vectors).search(queries, top_k), ExactIndex(vectors).search(queries, top_k)
    assert np.array_equal(flat.rows_QK[0], exact.rows_QK[0])
    np.testing.assert_allclose(flat.scores_QK, exact.scores_QK, atol=1e-6)


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_scores_of_given_rows_are_those_of_the_search(exact, mode):
    ranking = exact[mode].search(QUERIES, 20)
    scores = exact[mode].scores(QUERIES, ranking.rows_QK)
    np.testing.assert_allclose(scores, ranking.scores_QK, atol=1e-6)


def test_scores_of_rows_that_would_not_be_returned(exact):
    rows = np.array([[5, NO_ROW]] * len(QUERIES))
    assert exact["lexical"].scores(QUERIES, rows)[2].tolist() == [0.0, -np.inf]
    assert exact["hybrid"].scores(["the cat 3"], np.array([[299, NO_ROW]]))[0, 1] == -np.inf


def test_vectors_of_rows_come_back(index, vectors):
    rows = np.array([5, 0, 250, 5])
    np.testing.assert_allclose(index.vectors(rows), vectors[rows], atol=1e-6)
    np.testing.assert_allclose(index.vectors(rows), vectors[rows], atol=1e-6)


def test_only_allowed_rows_are_returned(index, vectors, encode, texts):
    mask = np.zeros(COUNT, dtype=bool)
    mask[[3, 14, 15, 77]] = True
    for mode, searcher in searchers(index, encode, texts).items():
        allowed = searcher.search(QUERIES, 10, allowed=[mask, None, ~mask])
        free = searcher.search(QUERIES, 10)
        assert set(allowed.rows_QK[0].tolist()) <= {3, 14, 15, 77, NO_ROW}, mode
        assert np.array_equal(allowed.rows_QK[1], free.rows_QK[1]), mode
        assert not set(allowed.rows_QK[2].tolist()) & {3, 14, 15, 77}, mode
    dense = searchers(index, encode, texts)["dense"].search(QUERIES[:1], 10, allowed=[mask])
    assert set(dense.rows_QK[0].tolist()) == {3, 14, 15, 77, NO_ROW}


def test_lexical_returns_what_shares_a_word_and_nothing_else(exact, texts):
    ranking = exact["lexical"].search(QUERIES, COUNT)
    scores = BM25Index(texts).scores(QUERIES[1])
    assert (ranking.rows_QK[1] != NO_ROW).sum() == (scores > 0).sum()
    assert set(ranking.rows_QK[2].tolist()) == {NO_ROW}


def test_hybrid_candidates_do_not_depend_on_top_k(exact):
    few, many = exact["hybrid"].search(QUERIES, 5), exact["hybrid"].search(QUERIES, COUNT)
    assert np.array_equal(few.rows_QK, many.rows_QK[:, :5])
    dense, lexical = (exact[mode].search(QUERIES, DEPTH) for mode in ("dense", "lexical"))
    fused = fuse(dense, lexical, top_k=COUNT)
    assert np.array_equal(many.rows_QK, fused.rows_QK)
    assert (many.rows_QK[2] != NO_ROW).sum() == DEPTH  # of a query whose words are nowhere


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_no_query_no_ranking(exact, mode):
    assert len(exact[mode].search([], 5).rows_QK) == 0


def test_a_corpus_without_documents():
    empty = FaissIndex.build(np.zeros((0, DIM), dtype=np.float32))
    assert empty.search(np.ones((2, DIM), dtype=np.float32), 3).rows_QK.shape == (2, 0)
