"""Vectors of queries that were asked lately."""

import numpy as np

from nlift.search.query_vectors import QueryVectors


class Encode:
    """Gives each text its length; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, texts):
        self.asked.append(list(texts))
        return np.array([[len(text), 1] for text in texts], dtype=np.float32)


def test_what_is_known_is_not_encoded_again():
    encode = Encode()
    vectors = QueryVectors(encode, 10)
    assert vectors(["a", "bb", "a"])[:, 0].tolist() == [1, 2, 1]
    assert vectors(["ccc", "bb"])[:, 0].tolist() == [3, 2]
    assert encode.asked == [["a", "bb"], ["ccc"]] and (vectors.hits, vectors.misses) == (1, 3)


def test_what_was_not_asked_for_longest_goes_first():
    encode = Encode()
    vectors = QueryVectors(encode, 2)
    for query in ("a", "bb", "a", "ccc", "a", "bb"):
        vectors([query])
    assert encode.asked == [["a"], ["bb"], ["ccc"], ["bb"]]


def test_more_at_once_than_are_kept():
    assert QueryVectors(Encode(), 1)(["a", "bb", "ccc"])[:, 0].tolist() == [1, 2, 3]


def test_a_vector_that_is_kept_does_not_keep_its_batch():
    vectors = QueryVectors(Encode(), 1)
    vectors([f"{i}" for i in range(100)])
    assert all(vector.base is None for vector in vectors._known.values())
