"""The searchers: the same rows and scores, whichever index is behind them."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from nlift.search import searchers as by_name
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.faiss_index import FaissIndex
from nlift.search.fusion import LEAST_WEIGHT, fuse
from nlift.search.ranking import NO_ROW
from nlift.search.searchers import DEPTH, BM25Searcher, DenseSearcher, SearchSettings, known_vectors
from nlift.search.vector_index import ExactIndex

COUNT, DIM = 300, 16
QUERIES = ["the cat 3", "a dog 14 15", "unheardof"]
SETTINGS = SearchSettings(Analyzer())
KINDS = ["exact", "flat", "hnsw", "ivf_flat"]
MODES = ["dense", "lexical", "hybrid"]
FUSIONS = pytest.mark.parametrize("fusion", ["convex", "rrf"])


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
def words(texts):
    return BM25Index.build(texts, Analyzer())


def searchers(index, encode, words, settings):
    return by_name.searchers(DenseSearcher(index, encode), BM25Searcher(words), settings)


@pytest.fixture(scope="module")
def exact(vectors, encode, words):
    return searchers(ExactIndex(vectors), encode, words, SETTINGS)


def index_of(kind, vectors):
    return ExactIndex(vectors) if kind == "exact" else FaissIndex.build(vectors, kind)


@pytest.fixture(params=KINDS)
def index(request, vectors):
    return index_of(request.param, vectors)


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


@pytest.mark.parametrize("mode", MODES)
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
    np.testing.assert_allclose(index.vectors.of(rows).vectors_PD, vectors[rows], atol=1e-6)
    np.testing.assert_allclose(index.vectors.of(rows).vectors_PD, vectors[rows], atol=1e-6)


@FUSIONS
def test_only_allowed_rows_are_returned(index, encode, words, fusion):
    by_mode = searchers(index, encode, words, replace(SETTINGS, fusion=fusion))
    mask = np.zeros(COUNT, dtype=bool)
    mask[[3, 14, 15, 77]] = True
    for mode, searcher in by_mode.items():
        allowed = searcher.search(QUERIES, 10, allowed=[mask, None, ~mask])
        free = searcher.search(QUERIES, 10)
        assert set(allowed.rows_QK[0].tolist()) <= {3, 14, 15, 77, NO_ROW}, mode
        assert np.array_equal(allowed.rows_QK[1], free.rows_QK[1]), mode
        assert not set(allowed.rows_QK[2].tolist()) & {3, 14, 15, 77}, mode
    dense = by_mode["dense"].search(QUERIES[:1], 10, allowed=[mask])
    assert set(dense.rows_QK[0].tolist()) == {3, 14, 15, 77, NO_ROW}


def test_lexical_returns_what_shares_a_word_and_nothing_else(exact, words):
    ranking = exact["lexical"].search(QUERIES, COUNT)
    scores = words.scores(QUERIES[1])
    assert (ranking.rows_QK[1] != NO_ROW).sum() == (scores > 0).sum()
    assert set(ranking.rows_QK[2].tolist()) == {NO_ROW}


def test_lexical_scores_of_given_rows_are_bm25_s(exact, words):
    rows = np.array([[5, 299, NO_ROW], [0, 0, 14], [NO_ROW, 1, NO_ROW]])
    scores = exact["lexical"].scores(QUERIES, rows)
    for query, rows_K, scores_K in zip(QUERIES, rows, scores, strict=True):
        assert scores_K.tolist() == np.where(rows_K == NO_ROW, -np.inf, words.scores(query)[rows_K]).tolist()
    assert (scores > 0).any()


@FUSIONS
@pytest.mark.parametrize("depth", [DEPTH, 7])
def test_hybrid_candidates_do_not_depend_on_top_k(vectors, encode, words, fusion, depth):
    by_mode = searchers(ExactIndex(vectors), encode, words, replace(SETTINGS, fusion=fusion, depth=depth))
    many = by_mode["hybrid"].search(QUERIES, COUNT)
    for top_k in (1, 5, 120):
        few = by_mode["hybrid"].search(QUERIES, top_k)
        width = few.rows_QK.shape[1]
        assert np.array_equal(few.rows_QK, many.rows_QK[:, :width]) and width == min(top_k, many.rows_QK.shape[1])
        assert np.array_equal(few.scores_QK, many.scores_QK[:, :width])
    dense, lexical = (by_mode[mode].search(QUERIES, depth).rows_QK for mode in ("dense", "lexical"))
    for query in range(len(QUERIES)):
        candidates = set(many.rows_QK[query].tolist()) - {NO_ROW}
        assert candidates == {*dense[query].tolist(), *lexical[query].tolist()} - {NO_ROW}
        assert depth < len(candidates) <= 2 * depth or query == 2
    assert (many.rows_QK[2] != NO_ROW).sum() == depth  # of a query whose words are nowhere


def test_reciprocal_ranks_fuse_what_both_legs_return(vectors, encode, words):
    by_mode = searchers(ExactIndex(vectors), encode, words, replace(SETTINGS, fusion="rrf", alpha=0.3, depth=40))
    legs = [by_mode[mode].search(QUERIES, 40) for mode in ("dense", "lexical")]
    expected = fuse(*legs, fusion="rrf", alpha=0.3, top_k=9)
    ranking = by_mode["hybrid"].search(QUERIES, 9)
    assert np.array_equal(ranking.rows_QK, expected.rows_QK) and np.array_equal(ranking.scores_QK, expected.scores_QK)


def by_brute_force(dense_N, lexical_N, alpha, depth, mask):
    """All rows that a convex hybrid search has, best first, and their scores."""
    matching = np.flatnonzero(mask & (lexical_N > 0))
    first = [
        sorted(np.flatnonzero(mask).tolist(), key=lambda row: (-dense_N[row], row))[:depth],
        sorted(matching.tolist(), key=lambda row: (-lexical_N[row], row))[:depth],
    ]
    rows = sorted({*first[0], *first[1]})
    total = np.zeros(len(rows))
    says = [np.ptp(scores_N[rows]) > 0 for scores_N in (dense_N, lexical_N)]
    alpha = alpha if says[0] == says[1] else float(says[0])
    alpha = np.clip(alpha, LEAST_WEIGHT, 1 - LEAST_WEIGHT)
    for weight, scores_N in ((alpha, dense_N), (1 - alpha, lexical_N)):
        scores = scores_N[rows]
        if scores.max() > scores.min():
            total += weight * (scores - scores.min()) / (scores.max() - scores.min())
    order = np.lexsort((rows, -total.round(7)))
    return np.array(rows)[order], total[order]


# an approximate index is exact among the rows that a query allows
@pytest.mark.parametrize(
    ("kind", "masked"),
    [("exact", False), ("flat", False), *((kind, True) for kind in KINDS)],
)
@pytest.mark.parametrize(("alpha", "depth"), [(0.5, DEPTH), (0.8, 13), (0, 40), (1, 40), (0.3, COUNT)])
def test_hybrid_candidates_have_both_legs_exact_scores(kind, masked, vectors, encode, words, alpha, depth):
    index = index_of(kind, vectors)
    settings = SearchSettings(Analyzer(), "convex", alpha, depth)
    mask = np.arange(COUNT) % 5 < 3 if masked else np.ones(COUNT, dtype=bool)
    ranking = searchers(index, encode, words, settings)["hybrid"].search(
        QUERIES, COUNT, allowed=[mask] * len(QUERIES) if masked else None
    )
    for place, query in enumerate(QUERIES):
        dense_N = (vectors.astype(np.float64) @ encode([query])[0].astype(np.float64)).round(7)
        rows, scores = by_brute_force(dense_N, words.scores(query).astype(np.float64), alpha, depth, mask)
        assert ranking.rows_QK[place, : len(rows)].tolist() == rows.tolist()
        assert ranking.scores_QK[place, : len(rows)] == pytest.approx(scores, abs=1e-6)
        assert (ranking.rows_QK[place, len(rows) :] == NO_ROW).all()


def test_legs_of_a_hybrid_search_have_the_same_rows(index, vectors, encode, words):
    dense, lexical = searchers(index, encode, words, replace(SETTINGS, depth=20))["hybrid"].legs(QUERIES)
    assert np.array_equal(dense.rows_QK, lexical.rows_QK)
    there = dense.rows_QK != NO_ROW
    assert (there[:, :-1] >= there[:, 1:]).all() and not there[2, -1]  # what fills up stands at the end
    for query, vector in enumerate(encode(QUERIES)):
        rows = dense.rows_QK[query][there[query]]
        assert rows.tolist() == sorted(set(rows.tolist())) and len(rows) >= 20
        assert dense.scores_QK[query][there[query]] == pytest.approx(vectors[rows] @ vector, abs=1e-6)
        assert lexical.scores_QK[query][there[query]].tolist() == words.scores(QUERIES[query])[rows].tolist()


@pytest.mark.parametrize("alpha", [0.5, 1])
def test_equal_texts_with_equal_vectors_stand_in_the_order_of_rows_in_a_hybrid_search(vectors, encode, alpha):
    words = BM25Index.build(["the cat"] * COUNT, Analyzer())
    by_mode = searchers(ExactIndex(vectors), encode, words, replace(SETTINGS, alpha=alpha))
    assert by_mode["hybrid"].search(QUERIES[:1], 41).rows_QK[0].tolist() == [0, *range(200, 240)]


@FUSIONS
def test_hybrid_scores_of_given_rows(vectors, encode, words, fusion):
    hybrid = searchers(ExactIndex(vectors), encode, words, replace(SETTINGS, fusion=fusion, depth=10))["hybrid"]
    ranking = hybrid.search(QUERIES, COUNT)
    rows = np.array([[NO_ROW, *np.random.default_rng(3).permutation(COUNT).tolist()]] * len(QUERIES))
    scores = hybrid.scores(QUERIES, rows)
    assert scores.dtype == np.float32 and (scores[:, 0] == -np.inf).all()
    for query in range(len(QUERIES)):
        known = dict(zip(ranking.rows_QK[query].tolist(), ranking.scores_QK[query].tolist(), strict=True))
        assert scores[query, 1:].tolist() == [known.get(row, 0) for row in rows[query, 1:].tolist()]
        assert 0 < (scores[query] > 0).sum() <= 20


class Counted:
    """An encoder that knows how often it was asked."""

    def __init__(self, encode):
        self.encode, self.asked = encode, []

    def __call__(self, queries):
        self.asked.append(list(queries))
        return self.encode(queries)


@FUSIONS
def test_queries_are_encoded_once_for_a_hybrid_search(index, encode, words, fusion):
    counted = Counted(encode)
    by_mode = searchers(index, counted, words, replace(SETTINGS, fusion=fusion))
    ranking = by_mode["hybrid"].search(QUERIES, 10)
    assert counted.asked == [QUERIES]
    by_mode["hybrid"].scores(QUERIES, ranking.rows_QK)
    by_mode["dense"].search(QUERIES, 3)
    by_mode["dense"].scores(QUERIES, ranking.rows_QK)
    assert counted.asked == [QUERIES]


def test_other_queries_are_encoded_anew(exact, vectors, encode, words):
    counted = Counted(encode)
    dense = searchers(ExactIndex(vectors), counted, words, SETTINGS)["dense"]
    for queries in (QUERIES, QUERIES[:1], QUERIES[1:], QUERIES[::-1], QUERIES):
        ranking = dense.search(queries, 5)
        assert np.array_equal(ranking.rows_QK, exact["dense"].index.search(encode(queries), 5).rows_QK)
        assert dense.scores(queries, ranking.rows_QK) == pytest.approx(ranking.scores_QK, abs=1e-6)
    assert counted.asked == [QUERIES, QUERIES[:1], QUERIES[1:], QUERIES[::-1], QUERIES]


def test_search_without_the_encoder_needs_none(vectors, words):
    by_mode = searchers(ExactIndex(vectors), lambda _: 1 / 0, words, SETTINGS)
    assert by_mode["lexical"].search(QUERIES, 3).rows_QK.shape == (3, 3)
    assert by_mode["hybrid"].search([], 3).rows_QK.shape[0] == 0


def test_search_settings():
    settings = SearchSettings(Analyzer("stem", "pl"))
    assert settings == SearchSettings(Analyzer("stem", "pl"), "convex", 0.5, DEPTH, "hybrid") and DEPTH == 100
    assert settings != replace(settings, analyzer=Analyzer("none", "pl"))
    with pytest.raises(FrozenInstanceError):
        settings.alpha = 0.7


@pytest.mark.parametrize("mode", MODES)
def test_no_query_no_ranking(exact, mode):
    assert len(exact[mode].search([], 5).rows_QK) == 0
    assert exact[mode].scores([], np.zeros((0, 5), dtype=np.int64)).shape == (0, 5)


def test_a_corpus_without_documents():
    empty = FaissIndex.build(np.zeros((0, DIM), dtype=np.float32))
    assert empty.search(np.ones((2, DIM), dtype=np.float32), 3).rows_QK.shape == (2, 0)
    words = BM25Index.build([], Analyzer())
    for searcher in searchers(
        empty, lambda queries: np.ones((len(queries), DIM), np.float32), words, SETTINGS
    ).values():
        assert (searcher.search(["a", "b"], 3).rows_QK == NO_ROW).all()
