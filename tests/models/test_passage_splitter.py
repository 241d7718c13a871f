"""Long documents in passages: nothing is lost, nothing is longer than an encoder reads, words stay whole."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.data.schema import Document
from nlift.models.encoder import Encoder
from nlift.models.passage_splitter import PassageSplitter, passage_text, splitter

WORDS = [
    "the",
    "woman",
    "sees",
    "a",
    "map",
    "near",
    "cold",
    "rivers",
    "wonderfully",
    "internationalisation",
    "x",
    "北京",
    "naïve",
]


@pytest.fixture(scope="module")
def encoder():
    return Encoder.load("embedded", prefixes={"query": "", "passage": "passage: "})


def document(text, title=""):
    return Document("d", title, text, "{}")


def test_a_short_document_is_one_passage_as_a_whole(encoder):
    short = document("A cat sleeps.", "Cats")
    ((span,),) = PassageSplitter(encoder, 64, 8)([short])
    assert passage_text(short, span) == short.content


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=200),
    st.integers(12, 40),
    st.integers(0, 30),
    st.sampled_from(["", "A title", "a title of very many words " * 5]),
    st.sampled_from([" ", "  ", "\n"]),
)
def test_passages_have_every_word_whole_and_fit(encoder, words, max_length, overlap, title, space):
    long = document(space.join(words), title)
    (spans,) = PassageSplitter(encoder, max_length, overlap)([long])
    texts = [passage_text(long, span) for span in spans]
    assert spans[0][0] == 0 and spans[-1][1] == len(long.text)
    for (start, end), (following, last) in pairwise(spans):
        assert start < following <= end + len(space) and end < last  # nothing but space is between two
        assert long.text[end].isspace() and (long.text[following - 1].isspace())
    if not title:
        assert max(map(len, encoder.tokens(encoder.prefixed(texts, "passage")))) <= max_length


def test_passages_share_their_ends(encoder):
    long = document(" ".join(WORDS * 20))
    (apart,), (shared,) = (PassageSplitter(encoder, 32, overlap)([long]) for overlap in (0, 12))
    assert sum(end - start for start, end in apart[:-1]) <= len(long.text) < sum(end - start for start, end in shared)
    assert all(following < end for (_, end), (following, _) in pairwise(shared))


def test_a_word_longer_than_a_passage_is_cut(encoder):
    long = document("ab-" * 400)
    (spans,) = PassageSplitter(encoder, 32, 4)([long])
    assert len(spans) > 3 and spans[0][0] == 0 and spans[-1][1] == 1200
    assert all(following <= end for (_, end), (following, _) in pairwise(spans))


def test_each_passage_has_the_title(encoder):
    long = document(" ".join(WORDS * 20), "Maps of rivers")
    (spans,) = PassageSplitter(encoder, 48, 8)([long])
    texts = [passage_text(long, span) for span in spans]
    assert len(texts) > 2 and all(text.startswith("Maps of rivers ") for text in texts)
    assert max(map(len, encoder.tokens(encoder.prefixed(texts, "passage")))) <= 48


def test_without_an_overlap_there_is_no_splitter(encoder):
    assert splitter(encoder, 32, None) is None
