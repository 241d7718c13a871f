"""Shards and passages: the answer is that of brute force over everything, in one piece or in several."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.document_vectors import DocumentVectors
from nlift.search.faiss_index import FaissIndex
from nlift.search.ranking import NO_ROW, NO_SCORE
from nlift.search.searchers import BM25Searcher
from nlift.search.shards import ShardedIndex, ShardedSearcher, bounds_of
from nlift.search.vector_index import ExactIndex

DIM = 8


def unit(chance, count):
    rows = chance.normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@st.composite
def corpora(draw):
    """Documents of one to five passages, some of them equal."""
    chance = np.random.default_rng(draw(st.integers(0, 10**6)))
    counts = draw(st.lists(st.sampled_from([1, 1, 1, 2, 5]), min_size=1, max_size=60))
    vectors = unit(chance, sum(counts))
    vectors[chance.integers(len(vectors), size=len(vectors) // 4)] = vectors[0]
    return DocumentVectors.of_counts(vectors, counts), unit(chance, 3), chance


def brute_force(vectors, query, mask, top_k):
    starts = np.concatenate([[0], np.cumsum(vectors.counts_N)])
    scores = [(vectors.vectors_PD[a:b] @ query).max() for a, b in pairwise(starts)]
    rows = [row for row in range(len(vectors)) if mask is None or mask[row]]
    return sorted(rows, key=lambda row: (-scores[row], row))[:top_k], scores


@settings(max_examples=80, deadline=None)
@given(corpora(), st.sampled_from([1, 3, 10, 100]), st.booleans(), st.integers(1, 4), st.sampled_from(["flat", "hnsw"]))
def test_a_document_is_found_by_its_nearest_passage(corpus, top_k, filtered, shards, kind):
    vectors, queries, chance = corpus
    masks = [chance.random(len(vectors)) < 0.4 for _ in queries] if filtered else None
    shards = min(shards, len(vectors))
    bounds = bounds_of(len(vectors), shards)
    parts = [vectors.part(a, b) for a, b in pairwise(bounds)]
    indexes = [ExactIndex(vectors), FaissIndex.build(vectors, kind)]
    indexes.append(ShardedIndex([FaissIndex.build(part, kind) for part in parts], bounds))
    for index in indexes:
        ranking = index.search(queries, top_k, masks)
        for query, rows_K, scores_K, mask in zip(
            queries, ranking.rows_QK, ranking.scores_QK, masks or [None] * 3, strict=True
        ):
            expected, scores = brute_force(vectors, query, mask, top_k)
            there = rows_K[rows_K != NO_ROW].tolist()
            assert len(there) == len(expected)
            np.testing.assert_allclose(scores_K[: len(there)], [scores[row] for row in expected], atol=1e-5)
            np.testing.assert_allclose([scores[row] for row in there], scores_K[: len(there)], atol=1e-5)
        np.testing.assert_allclose(index.scores(queries, ranking.rows_QK), ranking.scores_QK, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(corpora(), st.integers(1, 4))
def test_shards_say_the_same_nearest_passage_and_scores(corpus, shards):
    vectors, queries, chance = corpus
    shards = min(shards, len(vectors))
    bounds = bounds_of(len(vectors), shards)
    sharded = ShardedIndex([FaissIndex(vectors.part(a, b)) for a, b in pairwise(bounds)], bounds)
    rows = chance.integers(-1, len(vectors), size=(len(queries), 7))
    whole = FaissIndex(vectors)
    np.testing.assert_allclose(sharded.scores(queries, rows), whole.scores(queries, rows), atol=1e-6)
    assert np.array_equal(sharded.nearest(queries, rows), whole.nearest(queries, rows))
    assert (whole.scores(queries, rows)[rows == NO_ROW] == NO_SCORE).all()
    for query, row, place in zip(queries, rows[:, 0], whole.nearest(queries, rows)[:, 0], strict=True):
        if row != NO_ROW:
            own = vectors.part(row, row + 1).vectors_PD @ query
            assert own[place] == pytest.approx(own.max(), abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["a map", "the red map", "cold rivers", "a map of maps", ""]), min_size=1, max_size=40))
@pytest.mark.parametrize("shards", [1, 3])
def test_words_of_shards_weigh_what_they_weigh_in_the_whole(shards, texts):
    shards = min(shards, len(texts))
    words = BM25Index.build(texts, Analyzer())
    bounds = bounds_of(len(texts), shards)
    parts = [BM25Searcher(words.part(a, b)) for a, b in pairwise(bounds)]
    whole, sharded = BM25Searcher(words), ShardedSearcher(parts, bounds)
    masks = [np.arange(len(texts)) % 3 != 1, None]
    queries = ["red map", "rivers of maps"]
    for allowed in (None, masks):
        first, second = (searcher.search(queries, 5, allowed=allowed) for searcher in (whole, sharded))
        assert np.array_equal(first.rows_QK, second.rows_QK) and np.array_equal(first.scores_QK, second.scores_QK)
        assert np.array_equal(whole.scores(queries, first.rows_QK), sharded.scores(queries, first.rows_QK))


def test_vectors_of_some_documents_are_replaced():
    chance = np.random.default_rng(0)
    vectors = DocumentVectors.of_counts(unit(chance, 6), [1, 3, 2])
    others = DocumentVectors.of_counts(unit(chance, 3), [2, 1])
    changed = vectors.replaced(np.array([2, 0]), others)
    assert changed.counts_N.tolist() == [1, 3, 2]
    expected = np.concatenate([others.vectors_PD[2:], vectors.vectors_PD[1:4], others.vectors_PD[:2]])
    assert np.array_equal(changed.vectors_PD, expected)
    assert np.array_equal(vectors.of(np.array([1])).vectors_PD, vectors.vectors_PD[1:4])
