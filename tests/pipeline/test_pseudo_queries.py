"""Queries made of a corpus's own text: titles, stretches and words of sentences, in the corpus's own forms."""

import random
import re

import pytest

from nlift.data.passages import sentences
from nlift.data.schema import Document
from nlift.pipeline.pseudo_queries import STRETCH, SUBSET, forms_of, pseudo_queries, varied
from nlift.search.analyzers import Analyzer

PLAIN, STEM = Analyzer("none", "en"), Analyzer("stem", "en")
TEXT = (
    "The old bridge over the river connects both parts of the town since long ago. "
    "Walkers like walking there when the weather allows a walk at all. No. "
    "It was connected again after a great flood had taken two of its seven arches."
)
BRIDGE = Document("d1", "Bridges of the town", TEXT, "{}")


def documents(count):
    """Documents of two sentences each, all different."""
    return [
        Document(f"d{i}", "", f"The number {i} stands in this sentence. Another one of {i} has more words in it.", "{}")
        for i in range(count)
    ]


def is_stretch(query, sentence):
    return f" {query} " in f" {sentence} "


def is_subset(query, sentence):
    """Whether some words stand in a sentence in their order."""
    words = iter(sentence.split())
    return all(word in words for word in query.split())


def test_a_title_and_of_each_sentence_a_stretch_and_some_words():
    title, *queries = pseudo_queries([BRIDGE], PLAIN, seed=1)
    long = [sentence for sentence in sentences(TEXT) if len(sentence) >= 20]
    assert title == BRIDGE.title and len(queries) == 2 * len(long) == 6
    for sentence, stretch, subset in zip(long, queries[::2], queries[1::2], strict=True):
        assert is_stretch(stretch, sentence) and STRETCH[0] <= len(stretch.split()) <= STRETCH[1]
        assert is_subset(subset, sentence) and SUBSET[0] <= len(subset.split()) <= SUBSET[1]


def test_lengths_and_places_are_drawn():
    queries = [query for seed in range(40) for query in pseudo_queries([BRIDGE], PLAIN, seed)[1:]]
    stretches, subsets = ({len(query.split()) for query in queries[start::2]} for start in (0, 1))
    assert stretches == set(range(STRETCH[0], STRETCH[1] + 1)) and subsets == set(range(SUBSET[0], SUBSET[1] + 1))
    starts = {query.split()[0] for query in queries[0::6]}
    assert len(starts) > 3
    scattered = [query for query in queries[1::6] if not is_stretch(query, sentences(TEXT)[0])]
    assert len(scattered) > 10


@pytest.mark.parametrize(
    ("title", "text", "count"),
    [
        ("", "A single sentence that is long enough for a query.", 0),
        ("A title", "A single sentence that is long enough for a query.", 3),
        ("A title", "", 0),
        ("", "Too few words. Incomprehensibilities incomprehensibly misunderstood.", 0),
        ("", "One or two of us. So it is as it was.", 0),
        ("  ", "A single sentence that is long enough for a query.", 0),
        (" A title ", "Tiny.", 1),
    ],
)
def test_what_would_be_the_whole_document_or_too_short_is_no_query(title, text, count):
    queries = pseudo_queries([Document("d", title, text, "{}")], PLAIN, seed=1)
    assert len(queries) == count and (not title.strip() or not count or queries[0] == "A title")


def test_the_same_seed_draws_the_same():
    first = pseudo_queries(documents(30), PLAIN, seed=1)
    assert first == pseudo_queries(documents(30), PLAIN, seed=1) != pseudo_queries(documents(30), PLAIN, seed=2)


def test_a_query_stands_once():
    twice = [BRIDGE, Document("d2", BRIDGE.title, "Other words stand in this other document. So it is.", "{}")]
    queries = pseudo_queries(twice, PLAIN, seed=1)
    assert queries.count(BRIDGE.title) == 1 and len(set(queries)) == len(queries)


def test_a_limit_draws_from_all_documents_in_their_order():
    everything = pseudo_queries(documents(50), PLAIN, seed=1)
    limited = pseudo_queries(documents(50), PLAIN, seed=1, limit=40)
    assert len(everything) > 150 and len(limited) == 40
    assert limited == [query for query in everything if query in set(limited)]
    numbers = {number for query in limited for number in re.findall(r"\d+", query)}
    assert len(numbers) > 10 and limited != everything[:40]
    assert limited == pseudo_queries(documents(50), PLAIN, seed=1, limit=40)
    for limit in (len(everything), 10**6, None):
        assert pseudo_queries(documents(50), PLAIN, seed=1, limit=limit) == everything


def test_forms_are_words_of_one_stem():
    forms = forms_of([TEXT, "WALKED and Walks."], STEM)
    assert {"walk", "walks", "walked", "walking"} <= set(next(words for words in forms.values() if "walk" in words))
    assert ["connected", "connects"] in [sorted(words) for words in forms.values()]
    assert all(len(words) > 1 for words in forms.values())
    assert forms_of([TEXT], PLAIN) == {} and forms_of(["one two"], STEM) == {}


def test_most_words_that_have_other_forms_are_drawn_anew():
    forms = {"walk": ["walk", "walking"]}
    queries = [varied("walk, the Walk: map", forms, STEM, random.Random(i)) for i in range(400)]
    assert set(queries) == {f"{a}, the {b}: map" for a in ("walk", "walking") for b in ("Walk", "Walking")}
    changed = sum(query.startswith("walking") for query in queries) / 400
    assert 0.28 < changed < 0.42  # half of the seven tenths that are drawn anew
    assert varied("walk the Walk", {}, STEM, random.Random(1)) == "walk the Walk"


def test_queries_have_forms_of_the_corpus_where_words_are_stemmed():
    others = [Document("d2", "", "They walked and connected the arch. A walk connects the floods of rivers.", "{}")]
    plain = {query for seed in range(20) for query in pseudo_queries([BRIDGE, *others], PLAIN, seed)}
    stemmed = {query for seed in range(20) for query in pseudo_queries([BRIDGE, *others], STEM, seed)}
    pieces = [sentence for document in (BRIDGE, *others) for sentence in [document.title, *sentences(document.text)]]
    assert all(any(is_subset(query, piece) for piece in pieces) for query in plain)
    new = [query for query in stemmed if not any(is_subset(query, piece) for piece in pieces)]
    assert len(new) > len(stemmed) / 10
    words = {word.lower() for piece in pieces for word in re.findall(r"\w+", piece)}
    assert {word.lower() for query in stemmed for word in re.findall(r"\w+", query)} <= words
