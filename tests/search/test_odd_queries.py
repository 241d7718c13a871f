"""Queries that nobody types on purpose: answered, or refused in one line, the same words in every mode."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nlift.data.schema import Document
from nlift.errors import NliftError
from nlift.models.encoder import Encoder
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import write_bundle
from nlift.search.faiss_index import FaissIndex
from nlift.search.hits import Hit, hits_to_json

ANALYZER = Analyzer("stem", "en")
MODES = ["dense", "lexical", "hybrid", "auto"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(bert, sentences, tmp_path_factory):
    encoder = tmp_path_factory.mktemp("encoder")
    Encoder.load(bert).save(encoder)
    documents = [Document(f"d{9 - i}", "", text, '{"share": NaN}') for i, text in enumerate(sentences[:10])]
    vectors = Encoder.load(encoder).encode([document.content for document in documents])
    index = FaissIndex.build(vectors, "flat")
    search = {"mode": "dense", "alpha": 0.5, "fusion": "convex", "depth": 100, "analyzer": "stem", "language": "en"}
    search |= {"analyzer_version": ANALYZER.version}
    return write_bundle(
        tmp_path_factory.mktemp("b"),
        encoder=encoder,
        documents=documents,
        index=index,
        words=BM25Index.build([document.content for document in documents], ANALYZER),
        judged=[],
        info={"version": "v1", "dim": vectors.shape[1], "index": {"kind": "flat"}, "search": search},
    )


@pytest.fixture(scope="module")
def bundle(folder):
    return Bundle.load(folder)


def refusal(bundle, queries, *arguments, **settings):
    with pytest.raises(NliftError) as caught:
        bundle.search(queries, *arguments, **settings)
    assert len(str(caught.value).splitlines()) == 1 and str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("half", ["\ud83d", "a map \ude00 here"])
def test_half_an_emoji_is_refused_in_the_same_words_in_every_mode(bundle, half):
    messages = {refusal(bundle, ["a map", half], mode=mode) for mode in MODES}
    assert len(messages) == 1 and "half of a surrogate pair" in messages.pop()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "query", ["", " ", "\x00", "a\x00map", "\u0301\u0301", "\ufeff", "👍🏽", "a map " * 170_000, "ı" * 9]
)
def test_any_other_text_is_answered(bundle, mode, query):
    (hits,) = bundle.search([query], top_k=3, mode=mode)
    assert len(hits) <= 3 and all(math.isfinite(hit.score) for hit in hits)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("queries", ["a map", "", b"a map", None, 3])
def test_what_is_no_list_of_texts_is_refused(bundle, mode, queries):
    assert "expected a list of texts" in refusal(bundle, queries, mode=mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("query", [None, 3, b"map", ["a map"], math.nan])
def test_a_query_that_is_no_text_is_named_by_its_place(bundle, mode, query):
    assert "queries[1]" in refusal(bundle, ["a map", query], mode=mode)


@pytest.mark.parametrize("queries", [("a map",), np.array(["a map"]), (text for text in ["a map"]), {"a map": 1}])
def test_texts_may_come_in_any_order_of_texts(bundle, queries):
    assert bundle.search(queries) == bundle.search(["a map"]) != [[]]


@pytest.mark.parametrize("top_k", [0, -1, 1.5, math.nan, "3", None, True])
def test_a_number_of_results_that_is_none_is_refused(bundle, top_k):
    assert refusal(bundle, ["a map"], top_k).startswith("top_k: found ")


def test_a_number_of_results_without_end(bundle):
    assert len(bundle.search(["a map"], 10**30)[0]) == 10 == len(bundle.search(["a map"], np.int64(10))[0])


def test_a_mode_that_is_none_is_refused(bundle):
    assert refusal(bundle, ["a map"], mode="magic") == "mode: found 'magic', expected auto, dense, lexical or hybrid"


def test_what_json_does_not_have_is_null_and_text_that_is_none_is_escaped(bundle):
    (hit,) = bundle.search(["a map"], top_k=1)[0]
    assert math.isnan(hit.metadata["share"])
    metadata = {"a": [math.inf, {"b\ud83d": -math.inf}], "c": "\ud83d", "d": 1.5, "e": None, "f": True}
    odd = [replace(hit, metadata=metadata, title="\ude00"), replace(hit, score=-math.inf)]
    first, second = hits_to_json(odd)
    assert first["metadata"] == {"a": [None, {"b\\ud83d": None}], "c": "\\ud83d", "d": 1.5, "e": None, "f": True}
    assert first["title"] == "\\ude00" and second["score"] is None and second["metadata"] == {"share": None}
    json.dumps([first, second], allow_nan=False, ensure_ascii=False).encode()
    assert hits_to_json([Hit("d", 0.5, "t", "x", {})])[0]["score"] == 0.5


def searched(*arguments):
    """What `nlift search` prints, its lines of errors and its exit code."""
    paths = f"{ROOT / 'platform'}{os.pathsep}{ROOT / 'serve'}"
    command = [sys.executable, "-m", "nlift.cli", "search", *arguments]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True)
    return done.stdout.decode(), done.stderr.decode().splitlines(), done.returncode


def test_half_an_emoji_after_nlift_search_is_one_line(folder):
    printed, errors, code = searched(str(folder), b"a map \xff")
    assert (printed, code) == ("", 2) and len(errors) == 1 and "half of a surrogate pair" in errors[0]


def test_json_of_nlift_search_is_json(folder):
    printed, errors, code = searched(str(folder), "a map", "--json")
    assert code == 0, errors
    hits = json.loads(printed, parse_constant=pytest.fail)
    assert len(hits) == 10 and hits[0]["metadata"] == {"share": None}
