"""FAISS indexes: kinds, tuning to a recall, rescoring, storage."""

import numpy as np
import pytest

from nlift.search import faiss_index
from nlift.search.document_vectors import DocumentVectors
from nlift.search.faiss_index import FaissIndex, kind_for
from nlift.search.index_tuning import recall, tune
from nlift.search.vector_index import ExactIndex

KINDS = ["flat", "hnsw", "ivf_flat", "ivf_pq"]


def clustered(count, seed=0, dim=16):
    """Vectors as texts have them: in clusters."""
    chance = np.random.default_rng(seed)
    centres = chance.normal(size=(50, dim))
    rows = centres[chance.integers(50, size=count)] + 0.5 * chance.normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


VECTORS, QUERIES = clustered(12_000), clustered(12_100)[-100:]


@pytest.fixture(scope="module")
def built():
    return {kind: FaissIndex.build(VECTORS, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_what_was_asked_for(built, kind):
    names = {"flat": set(), "hnsw": {"links", "ef_construction", "ef_search"}, "ivf_flat": {"cells", "probes"}}
    names["ivf_pq"] = {"cells", "probes", "code_bytes"}
    assert (built[kind].kind, built[kind].size, built[kind].dim) == (kind, 12_000, 16)
    assert set(built[kind].parameters) == names[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_searches_as_widely_as_the_recall_needs_and_no_wider(kind):
    index = FaissIndex.build(VECTORS, kind)
    measured = tune(index, QUERIES)
    exact = ExactIndex(VECTORS).search(QUERIES, 10)
    assert measured.share == recall(index, QUERIES, exact) >= 0.99
    if kind in ("hnsw", "ivf_flat"):
        assert index.search_width < index.widest
        index.search_width //= 2
        assert recall(index, QUERIES, exact) < 0.99 or index.search_width < 8


def test_a_recall_that_is_out_of_reach_is_said(monkeypatch):
    monkeypatch.setattr(faiss_index, "LEAST_RESCORED", 1)
    monkeypatch.setattr(faiss_index, "RESCORED", 1)
    index = FaissIndex.build(VECTORS, "ivf_pq")
    measured = tune(index, QUERIES)
    assert measured.share < 0.99 and index.search_width == index.widest
    assert measured.as_json() == {"recall@10": round(measured.share, 4), "queries": 100}


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_exact_whatever_the_kind(built, kind):
    ranking = built[kind].search(QUERIES, 10)
    for query, rows, scores in zip(QUERIES, ranking.rows_QK, ranking.scores_QK, strict=True):
        np.testing.assert_allclose(scores, VECTORS[rows] @ query, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_survives_storage(built, kind, tmp_path):
    file = tmp_path / "faiss.index"
    built[kind].write(file)
    np.save(tmp_path / "vectors.npy", VECTORS)
    stored = FaissIndex.read(file, DocumentVectors.read(tmp_path, None))
    assert (stored.kind, stored.parameters) == (built[kind].kind, built[kind].parameters)
    for masks in (None, [np.arange(12_000) % 7 == 0] * 100):
        before, after = (index.search(QUERIES, 10, masks) for index in (built[kind], stored))
        assert np.array_equal(before.rows_QK, after.rows_QK)
    assert file.is_file() == (kind != "flat")
    np.testing.assert_allclose(stored.vectors.of(np.array([5, 3])).vectors_PD, VECTORS[[5, 3]], atol=1e-6)


def test_equal_scores_are_in_the_order_of_rows():
    twice = np.concatenate([VECTORS[:500], VECTORS[:500]])
    expected = ExactIndex(twice).search(QUERIES, 7)
    assert np.array_equal(FaissIndex.build(twice).search(QUERIES, 7).rows_QK, expected.rows_QK)


@pytest.mark.parametrize("count", [1, 5, 38])
@pytest.mark.parametrize("kind", KINDS)
def test_a_corpus_too_small_for_cells(count, kind):
    index = FaissIndex.build(VECTORS[:count], kind)
    assert tune(index, QUERIES).share == 1


@pytest.mark.parametrize(
    ("count", "wanted", "kind"),
    [(99_999, "auto", "flat"), (100_000, "auto", "hnsw"), (1_000_000, "auto", "ivf_flat"), (5, "ivf_pq", "ivf_pq")],
)
def test_the_kind_follows_from_the_size(count, wanted, kind):
    assert kind_for(count, wanted) == kind
