"""What is said of a hit: both legs, matching words, the nearest sentence."""

import numpy as np
import pytest

from nlift.search.analyzers import Analyzer
from nlift.search.explanation import matching_words


@pytest.mark.parametrize(
    ("analyzer", "query", "text", "words"),
    [
        (Analyzer("stem", "pl"), "koty", "Kot, kota i KOTEM; kotlet. Kot", ["Kot", "kota", "KOTEM"]),
        (Analyzer("none", "pl"), "koty", "Kot kota", []),
        (Analyzer("none", "pl"), "Łódź łodzi", "ŁÓDŹ, łódź", ["ŁÓDŹ", "łódź"]),
        (Analyzer("bigrams", "zh"), "北京", "我在北京 abc", ["北", "京", "北京"]),
        (Analyzer("stem", "en"), "北京 cats", "我在北京 cat", ["北", "京", "北京", "cat"]),
        (Analyzer("none", None), "", "a b", []),
        (Analyzer("none", None), "a", "", []),
    ],
)
def test_words_stand_as_in_the_text(analyzer, query, text, words):
    assert matching_words(analyzer, set(analyzer(query)), text) == words


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_both_legs_say_what_they_say_alone(bundle, mode):
    queries = ["the small dog near the river", "a map"]
    plain = bundle.search(queries, 7, mode=mode)
    explained = bundle.search(queries, 7, mode=mode, explain=True)
    assert [[(h.doc_id, h.score) for h in hits] for hits in plain] == [
        [(h.doc_id, h.score) for h in hits] for hits in explained
    ]
    assert all(hit.explain is None for hits in plain for hit in hits)
    for leg in ("dense", "lexical"):
        alone = bundle.search(queries, 10, mode=leg)
        for hits, own in zip(explained, alone, strict=True):
            places = {hit.doc_id: (rank, hit.score) for rank, hit in enumerate(own, 1)}
            for hit in hits:
                rank, score = places.get(hit.doc_id, (None, None))
                assert hit.explain[leg]["rank"] == rank
                if rank is not None:
                    assert hit.explain[leg]["score"] == pytest.approx(score, abs=1e-5)
    assert {None} < {hit.explain["dense"]["rank"] for hits in explained for hit in hits} or mode == "dense"


def test_the_nearest_sentence_is_one_of_the_text(bundle, encoder_of):
    (hits,) = bundle.search(["the small dog near the river"], 5, explain=True)
    query = encoder_of.encode(["the small dog near the river"], role="query")[0]
    for hit in hits:
        parts = [part.strip() + "." for part in hit.text.rstrip(".").split(".")]
        scores = encoder_of.encode(parts, role="passage") @ query
        assert hit.explain["sentence"] == parts[int(np.argmax(scores))] and len(parts) > 1


def test_a_text_without_sentences(bundle):
    hits = {hit.doc_id: hit for hit in bundle.search(["a map"], 100, mode="dense", explain=True)[0]}
    assert hits["empty"].explain["sentence"] is None and hits["empty"].explain["words"] == ["a", "map"]


def test_a_query_that_finds_nothing(bundle):
    assert bundle.search(["zzz"], mode="lexical", explain=True) == [[]]
    assert bundle.search([], explain=True) == []
