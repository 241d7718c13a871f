"""Filters are exact: among the rows that pass, the same answer as from all rows sorted, in every mode and kind."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.search import faiss_index
from nlift.search.faiss_index import FaissIndex
from nlift.search.fields import FilterError
from nlift.search.ranking import NO_ROW, best


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
@pytest.mark.parametrize("wanted", [{"odd": True}, {"row": {"gte": 5, "lte": 11}}, {"row": [3, 4]}, {"row": -1}])
def test_only_documents_that_pass(bundle, several_sentences, mode, wanted):
    passing = {several_sentences[row].doc_id for row in np.flatnonzero(bundle.documents.fields.mask(wanted)).tolist()}
    (hits,) = bundle.search(["the small dog near the river"], 100, mode=mode, filter=wanted)
    assert {hit.doc_id for hit in hits} <= passing
    if mode == "dense":
        assert {hit.doc_id for hit in hits} == passing
        (everything,) = bundle.search(["the small dog near the river"], 100, mode=mode)
        assert [hit.doc_id for hit in hits] == [hit.doc_id for hit in everything if hit.doc_id in passing]


def test_a_filter_that_all_pass_changes_nothing(bundle):
    queries = ["the small dog near the river", "a map"]
    wanted = {"odd": [True, False]}
    for mode in ("dense", "lexical", "hybrid"):
        plain = bundle.search(queries, 5, mode=mode, filter={})
        assert plain == bundle.search(queries, 5, mode=mode)
        filtered = bundle.search(queries, 5, mode=mode, filter=wanted)
        assert all(hit.doc_id != "empty" for hits in filtered for hit in hits)


def test_an_unknown_field(bundle):
    with pytest.raises(FilterError, match="did you mean row"):
        bundle.search(["a"], filter={"rwo": 1})


def unit_vectors(count, seed, dim=8):
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


VECTORS = unit_vectors(300, 1)
INDEXES = {kind: FaissIndex.build(VECTORS, kind) for kind in ("flat", "hnsw", "ivf_flat")}


@given(
    kind=st.sampled_from(["flat", "hnsw", "ivf_flat"]),
    share=st.sampled_from([0.0, 0.005, 0.03, 0.3, 0.9, 1.0]),
    top_k=st.integers(1, 320),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=200, deadline=None)
def test_among_the_allowed_rows_the_search_is_brute_force(kind, share, top_k, seed):
    chance = np.random.default_rng(seed)
    masks = [chance.random(300) < share, None, chance.random(300) < share]
    queries = unit_vectors(3, seed)
    ranking = INDEXES[kind].search(queries, top_k, masks)
    for query in (0, 2):
        rows = np.flatnonzero(masks[query])
        expected, scores = best(rows, VECTORS[rows] @ queries[query], top_k)
        kept = ranking.rows_QK[query] != NO_ROW
        assert kept.sum() == min(top_k, len(rows))
        np.testing.assert_allclose(ranking.scores_QK[query][kept], scores, atol=1e-6)
        assert set(ranking.rows_QK[query][kept]) == set(expected) or len(set(np.round(scores, 5))) < len(scores)


@pytest.mark.parametrize("kind", ["hnsw", "ivf_flat"])
def test_where_many_rows_pass_an_approximate_index_still_fills_its_answer(monkeypatch, kind):
    monkeypatch.setattr(faiss_index, "EXACT_ROWS", 5)
    mask = np.arange(300) % 10 == 0
    ranking = INDEXES[kind].search(unit_vectors(2, 3), 30, [mask, mask])
    assert (ranking.rows_QK % 10 == 0).all()
    assert all(sorted(rows) == list(range(0, 300, 10)) for rows in ranking.rows_QK.tolist())
