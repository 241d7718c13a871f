"""BM25 against its formula, as Lucene has it."""

import math
from collections import Counter

import numpy as np
import pytest

from nlift.search.bm25 import K1, B, BM25Index, words

TEXTS = [
    "A cat sat on a mat",
    "the cat, the cat and the dog",
    "Żółw i pies",
    "dog",
    "",
    "a house on a hill in the park",
]


def reference(query, texts):
    documents = [words(text) for text in texts]
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for word in words(query):
            holding = sum(word in holder for holder in documents)
            count = Counter(document)[word]
            inverse = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            score += inverse * count / (count + K1 * (1 - B + B * len(document) / average)) if count else 0.0
        scores.append(score)
    return scores


@pytest.mark.parametrize("query", ["cat", "the dog", "CAT dog!", "żółw", "a cat and unheardof", "cat cat dog"])
def test_scores_follow_the_formula(query):
    scores = BM25Index(TEXTS).scores(query)
    assert scores.shape == (len(TEXTS),) and scores.max() > 0
    np.testing.assert_allclose(scores, reference(query, TEXTS), atol=1e-6)


@pytest.mark.parametrize("query", ["", "!?", "unheardof"])
def test_a_query_without_a_known_word_finds_nothing(query):
    assert not BM25Index(TEXTS).scores(query).any()


@pytest.mark.parametrize("texts", [[], ["", "!"]])
def test_a_corpus_without_words(texts):
    assert BM25Index(texts).scores("cat").tolist() == [0.0] * len(texts)


def test_words_are_lower_case_letters_and_digits():
    assert words("Łódź, 2024: PÓŁ-litra_x") == ["łódź", "2024", "pół", "litra_x"]
