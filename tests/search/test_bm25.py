"""BM25 against its formula, as Lucene has it, in memory and from its files."""

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import ARRAYS, K1, WORDS_FILE, B, BM25Index

PLATFORM = Path(__file__).parents[2] / "platform"
NONE, STEM = Analyzer("none", "pl"), Analyzer("stem", "pl")
ANALYZERS = pytest.mark.parametrize(
    "analyzer", [NONE, STEM, Analyzer("stem", "en"), Analyzer("bigrams", "zh")], ids=str
)
TEXTS = [
    "A cat sat on a mat",
    "the cat, the cat and the dog",
    "Żółw i pies",
    "dog",
    "",
    "a house on a hill in the park, and cats",
    "Książki o żółwiach 北京烤鸭",
]
QUERIES = ["cat", "the dog", "CAT dog!", "żółw", "a cat and unheardof", "cat cat dog", "książkami", "北京", "cats"]


def reference(query, texts, analyzer):
    documents = [analyzer(text) for text in texts]
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for word in analyzer(query):
            holding = sum(word in holder for holder in documents)
            count = Counter(document)[word]
            inverse = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            score += inverse * count / (count + K1 * (1 - B + B * len(document) / average)) if count else 0.0
        scores.append(score)
    return scores


def stored(index, folder, **changes):
    """An index as another process finds it."""
    index.write(folder)
    return BM25Index.read(folder, changes.get("analyzer", index.analyzer), changes.get("size", index.size))


@ANALYZERS
@pytest.mark.parametrize("query", QUERIES)
def test_scores_follow_the_formula(query, analyzer):
    scores = BM25Index.build(TEXTS, analyzer).scores(query)
    assert scores.shape == (len(TEXTS),) and scores.dtype == np.float32
    np.testing.assert_allclose(scores, reference(query, TEXTS, analyzer), atol=1e-6)
    assert scores.any() == (query != "książkami" or analyzer == STEM)


@ANALYZERS
def test_scores_are_those_of_bm25s(analyzer):
    theirs = bm25s.BM25(k1=K1, b=B)
    theirs.index([analyzer(text) for text in TEXTS], show_progress=False)
    index = BM25Index.build(TEXTS, analyzer)
    for query in QUERIES:
        known = [word for word in analyzer(query) if word in theirs.vocab_dict]
        expected = theirs.get_scores(known) if known else np.zeros(len(TEXTS))
        np.testing.assert_allclose(index.scores(query), expected, atol=1e-6)


def test_the_analyzer_says_which_words_meet():
    with_stems, without = (BM25Index.build(TEXTS, analyzer).scores("książkami kota") for analyzer in (STEM, NONE))
    assert np.flatnonzero(with_stems).tolist() == [6] and not without.any()
    turkish, other = (BM25Index.build(["ısı", "isi"], Analyzer("none", code)).scores("ISI") for code in ("tr", "en"))
    assert (turkish > 0).tolist() == [True, False] and (other > 0).tolist() == [True, True]


def test_a_word_that_is_said_twice_counts_twice():
    index = BM25Index.build(TEXTS, NONE)
    assert index.scores("cat cat") == pytest.approx(2 * index.scores("cat"))


@pytest.mark.parametrize("query", ["", "!?", "unheardof"])
def test_a_query_without_a_known_word_finds_nothing(query):
    index = BM25Index.build(TEXTS, NONE)
    assert index.scores(query).tolist() == [0.0] * len(TEXTS)
    assert index.scores_of(query, np.array([3, 0])).tolist() == [0.0, 0.0]


VOCABULARY = ["kot", "kota", "koty", "pies", "psy", "a", "北京", "京都", "2024", "!"]
SENTENCES = st.lists(st.sampled_from(VOCABULARY), max_size=12).map(" ".join)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(
    texts=st.lists(SENTENCES, min_size=1, max_size=12),
    query=SENTENCES,
    analyzer=st.sampled_from([NONE, STEM]),
    data=st.data(),
)
def test_scores_of_rows_are_the_scores_at_these_rows(texts, query, analyzer, data):
    index = BM25Index.build(texts, analyzer)
    rows = np.array(data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=20)), dtype=np.int64)
    scores, row_scores = index.scores(query), index.scores_of(query, rows)
    assert row_scores.dtype == scores.dtype == np.float32
    assert row_scores.tobytes() == scores[rows].tobytes()
    np.testing.assert_allclose(scores, reference(query, texts, analyzer) if any(scores) else 0, atol=1e-5)


@ANALYZERS
def test_a_stored_index_gives_the_same_scores(tmp_path, analyzer):
    index = BM25Index.build(TEXTS, analyzer)
    again = stored(index, tmp_path)
    assert (again.size, again.analyzer) == (len(TEXTS), analyzer)
    for query in QUERIES:
        assert again.scores(query).tobytes() == index.scores(query).tobytes()
        rows = np.array([5, 1, 1, 6, 0])
        assert again.scores_of(query, rows).tobytes() == index.scores(query)[rows].tobytes()


def test_a_stored_index_is_words_and_three_plain_arrays(tmp_path):
    stored(BM25Index.build(["psy b", "a b", "b b"], NONE), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {WORDS_FILE, "starts.npy", "rows.npy", "weights.npy"}
    assert json.loads((tmp_path / WORDS_FILE).read_text(encoding="utf-8")) == ["a", "b", "psy"]
    starts, rows, weights = (np.load(tmp_path / f"{name}.npy", allow_pickle=False) for name in ARRAYS)
    assert (starts.tolist(), rows.tolist()) == ([0, 1, 4, 5], [1, 0, 1, 2, 0]) and (weights > 0).all()
    assert (starts.dtype, rows.dtype, weights.dtype) == (np.int64, np.int32, np.float32)


@pytest.mark.parametrize("texts", [TEXTS, [], ["", "!"]])
def test_the_arrays_of_a_stored_index_stay_on_the_disk(tmp_path, texts):
    again = stored(BM25Index.build(texts, NONE), tmp_path)
    for array in (again._starts, again._rows, again._weights):
        assert isinstance(array, np.memmap) and not array.flags.writeable


@pytest.mark.parametrize("texts", [[], ["", "!"], ["", "!", "👍🏽"]])
def test_a_corpus_without_words(tmp_path, texts):
    index = BM25Index.build(texts, STEM)
    for each in (index, stored(index, tmp_path)):
        assert each.scores("cat").tolist() == [0.0] * len(texts) == each.scores("").tolist()
        rows = np.arange(len(texts))
        assert each.scores_of("cat", rows).tolist() == [0.0] * len(texts)


WRITING = """
import sys
from pathlib import Path
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
texts = [f"kot{i % 7} pies{i % 5} a b c d e f g {i} żółw" for i in range(60)]
BM25Index.build(texts, Analyzer("stem", "pl")).write(Path(sys.argv[1]))
"""


def test_the_files_do_not_depend_on_the_order_of_hashes(tmp_path):
    written = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(PLATFORM), "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", WRITING, str(folder)], env=environment, check=True, timeout=300)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert written[0] == written[1] and len(written[0]) == 4
