"""Requests that nobody means: each is answered, or refused with JSON that says why; none is an error of the server."""

import asyncio
import json
import math

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_process import answered

from nlift.data.schema import Document
from nlift.models.encoder import Encoder
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import BM25Index
from nlift.search.bundle import Bundle
from nlift.search.bundle_format import write_bundle
from nlift.search.faiss_index import FaissIndex
from nlift.search.hits import Hit
from nlift_serve.app import api
from nlift_serve.config import Limits

DEEP = '{"a": ' * 400 + "1" + "}" * 400
METADATA = ['{"x": NaN, "y": [Infinity, -Infinity]}', '{"z": "\\ud83d", "\\ud83d": 1}', f'{{"n": {10**40}}}', DEEP]
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def bundle(bert, sentences, tmp_path_factory):
    encoder = tmp_path_factory.mktemp("encoder")
    Encoder.load(bert).save(encoder)
    texts = sentences[: len(METADATA)]
    documents = [Document(f"d{9 - i}", "", *row) for i, row in enumerate(zip(texts, METADATA, strict=True))]
    vectors = Encoder.load(encoder).encode([document.content for document in documents])
    index = FaissIndex.build(vectors, "flat")
    words = BM25Index.build([document.content for document in documents], Analyzer())
    search = {"analyzer": "none", "language": None, "analyzer_version": words.analyzer.version, "fusion": "convex"}
    search |= {"alpha": 0.5, "depth": 100, "mode": "hybrid"}
    info = {"version": "v1", "dim": vectors.shape[1], "index": {"kind": "flat"}, "search": search}
    folder = tmp_path_factory.mktemp("bundles")
    parts = {"encoder": encoder, "documents": documents, "index": index, "words": words, "judged": []}
    return Bundle.load(write_bundle(folder, **parts, info=info))


@pytest.fixture(scope="module")
def ask(bundle):
    """Sends a request to the routes in this process; what the routes raise is raised here."""

    async def sent(method, path, **request):
        transport = httpx.ASGITransport(app=api)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path, **request)

    with answered(bundle, Limits()), asyncio.Runner() as runner:
        yield lambda method, path, **request: runner.run(sent(method, path, **request))


@pytest.fixture(scope="module")
def post(ask):
    return lambda body, headers=JSON: ask("POST", "/v1/search", content=body, headers=headers)


def strict(answer):
    """The answer's JSON, which any reader of JSON can read."""
    text = answer.content.decode("utf-8")
    content = json.loads(text, parse_constant=pytest.fail)
    json.dumps(content, ensure_ascii=False).encode("utf-8")
    return content


def refused(answer, status):
    assert answer.status_code == status, answer.text
    detail = strict(answer)["detail"]
    assert len(answer.content) < 10_000
    if status == 422:
        assert all(set(row) == {"loc", "msg", "type"} for row in detail)
    return detail


@pytest.mark.parametrize(
    "top_k", ["NaN", "Infinity", "-Infinity", "1e400", "1e3", "1.5", "9" * 30, "-1", "true", "null"]
)
def test_a_number_of_results_that_is_none(post, top_k):
    (row,) = refused(post(f'{{"query": "a map", "top_k": {top_k}}}'), 422)
    assert row["loc"] == ["body", "top_k"]


HALVES = {
    "query": ('{"query": "a \\ud83d"}', ["body", "query"]),
    "a query": ('{"queries": ["a", "b\\ude00"]}', ["body", "queries", 1]),
    "mode": ('{"query": "a", "mode": "\\ud83d"}', ["body", "mode"]),
    "a field's name": ('{"query": "a", "\\ud83d": 1}', ["body"]),
}


@pytest.mark.parametrize("where", HALVES)
def test_half_an_emoji_is_refused_where_it_stands(post, where):
    body, loc = HALVES[where]
    (row,) = refused(post(body), 422)
    assert row["loc"] == loc
    assert "half of a surrogate pair" in row["msg"] or where == "mode"


@pytest.mark.parametrize("text", ["\\u0000", "a\\u0000map", "👍🏽", "\\ud83d\\ude00", "\\u0301", "北京", "\\ufeff"])
@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_any_other_text_is_answered(post, text, mode):
    answer = post(f'{{"query": "{text}", "mode": "{mode}"}}'.encode())
    assert answer.status_code == 200
    strict(answer)


def test_what_the_corpus_has_is_answered_as_json(post):
    (hits,) = strict(post('{"query": "a map"}'))["results"]
    metadata = {hit["doc_id"]: hit["metadata"] for hit in hits}
    assert metadata["d9"] == {"x": None, "y": [None, None]}
    assert metadata["d8"] == {"z": "\\ud83d", "\\ud83d": 1}
    assert metadata["d7"] == {"n": 10**40}
    assert '{"a":null}' in post('{"query": "a map"}').text


@pytest.mark.parametrize("score", [math.nan, -math.inf, math.inf])
def test_a_score_that_is_no_number_is_null(post, bundle, monkeypatch, score):
    results = bundle.search(["a map"])
    monkeypatch.setattr(bundle, "_hit", lambda *_: Hit(**{**vars(results[0][0]), "score": score}))
    (hits,) = strict(post('{"query": "a map"}'))["results"]
    assert {hit["score"] for hit in hits} == {None}


BODIES = {
    "nothing": (b"", 422),
    "a space": (b" ", 422),
    "null": (b"null", 422),
    "a list": (b"[]", 422),
    "a text": (b'"a map"', 422),
    "a number": (b"3", 422),
    "NaN": (b"NaN", 422),
    "no JSON": (b"{", 422),
    "no UTF-8": (b'{"query": "\xff"}', 400),
    "UTF-16": ('{"query": "a map"}'.encode("utf-16"), 200),  # JSON's other encodings
    "a byte order mark": (b'\xef\xbb\xbf{"query": "a map"}', 200),
    "brackets": (b"[" * 100_000, 400),
    "objects": (b'{"a":' * 100_000, 400),
    "a deep field": (('{"query": "a", "b": ' + "[" * 900 + "]" * 900 + "}").encode(), 422),
    "a number without end": (b'{"query": "a", "top_k": ' + b"1" * 100_000 + b"}", 400),
    "a field twice": (b'{"query": "a map", "query": "a dog"}', 200),
    "a NUL": (b'{"query": "a map"}\x00', 422),
    "thousands of unknown fields": (json.dumps({str(i): i for i in range(50_000)}).encode(), 422),
    "thousands of wrong queries": (json.dumps({"queries": [0] * 1000}).encode(), 422),
    "a long name of a field": (json.dumps({"query": "a", "b" * 900_000: 1}).encode(), 422),
    "too much": (b'{"query": "' + b"a" * 2**20 + b'"}', 413),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(post, name):
    body, status = BODIES[name]
    answer = post(body)
    if status == 200:
        assert answer.status_code == 200 and strict(answer)["results"][0]
    else:
        refused(answer, status)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "", "a\xffb", "application/json; charset=x", "/", ";"]
)
def test_content_types(post, kind):
    answer = post(b'{"query": "a map"}', {"content-type": kind.encode("latin-1")})
    assert answer.status_code in (200, 422)
    strict(answer)


@pytest.mark.parametrize("length", ["", "0", "3", "abc", "-1", "²", "9" * 5000, "1048577"])
@pytest.mark.parametrize("size", [10, 2**20 + 1])
def test_what_is_said_of_the_length_is_not_believed(post, length, size):
    body = b'{"query": "a map"}' + b" " * size
    answer = post(body, {**JSON, "content-length": length.encode("latin-1")})
    assert answer.status_code == (200 if size == 10 else 413)
    strict(answer)


def test_a_body_that_is_cut_off(ask):
    sent, parts = [], [{"type": "http.request", "body": b'{"query"', "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return parts.pop(0)

    async def send(message):
        sent.append(message)

    path = {"path": "/v1/search", "raw_path": b"/v1/search", "query_string": b"", "headers": []}
    asyncio.run(api({"type": "http", "method": "POST", "http_version": "1.1", "scheme": "http", **path}, receive, send))
    assert sent[0]["status"] == 400


def test_the_largest_body(post):
    assert post(b'{"query": "a map"}'.ljust(2**20)).status_code == 200


@pytest.mark.parametrize(
    "method", ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "HEAD", "PATCH", "CONNECT", "BREW", "ß"]
)
def test_odd_methods(ask, method):
    assert ask(method, "/v1/search").status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/v1/search/",
        "/healthz/",
        "/%",
        "/%f",
        "/%ff",
        "/%ed%a0%bd",
        "/%00",
        "/v1//search",
        "/../etc",
        "/a" * 5000,
    ],
)
@pytest.mark.parametrize("host", [b"server", b"[", b"\xff"])
def test_odd_paths(ask, path, host):
    for method in ("GET", "POST"):
        assert refused(ask(method, path, headers={"host": host}), 404) == "Not Found"


def test_odd_parameters(ask):
    assert ask("GET", "/healthz?%ff=%&a&a=").status_code == 200


texts = st.text() | st.text(alphabet=st.characters()) | st.sampled_from(["\ud83d", "a\ude00", "a map", ""])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "query": texts | values,
        "queries": st.lists(texts, max_size=3) | values,
        "top_k": st.integers(0, 1001) | values,
        "mode": st.sampled_from(["dense", "lexical", "hybrid"]) | values,
        "\ud83d": values,
    },
)
quick = settings(
    max_examples=150,
    deadline=None,
    print_blob=True,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@quick
@given(body=st.binary(max_size=200) | (fields | values).map(lambda value: json.dumps(value).encode()))
def test_no_body_is_an_error_of_the_server(post, body):
    answer = post(body)
    assert answer.status_code in (200, 400, 422)
    strict(answer)


@quick
@given(
    method=st.sampled_from(["GET", "POST"]),
    path=st.binary(max_size=20).map(lambda raw: "".join(f"%{byte:02x}" for byte in raw)),
    kind=st.binary(max_size=20).filter(lambda raw: not set(raw) & set(b"\r\n\0")),
)
def test_no_path_is_an_error_of_the_server(ask, method, path, kind):
    assert ask(method, f"/{path}", headers={"content-type": kind}).status_code in (200, 404, 405)
