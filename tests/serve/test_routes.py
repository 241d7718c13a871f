"""The routes in this process: filters, explanations, embeddings, keys, limits, metrics."""

import asyncio
import base64
import json
import logging

import httpx
import numpy as np
import pytest
from in_process import answered

from nlift_serve.answering import answers
from nlift_serve.app import api, query_log
from nlift_serve.config import Limits
from nlift_serve.middleware import Guard
from nlift_serve.query_log import QueryLog
from nlift_serve.schemas import EmbeddingsRequest, SearchRequest

SECRET = {"authorization": "Bearer s3cret"}


@pytest.fixture
def held(bundle):
    with answered(bundle, Limits(max_results=500, max_explained=20)) as held:
        yield held


def send(requests, target=api):
    """The answers to requests that are sent at once."""

    async def all_of_them():
        transport = httpx.ASGITransport(app=target, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await asyncio.gather(*(client.request(method, path, **more) for method, path, more in requests))

    return asyncio.run(all_of_them())


def post(body, path="/v1/search"):
    return send([("POST", path, {"json": body})])[0]


def test_only_documents_that_pass_the_filter(held, bundle):
    answer = post({"query": "a map", "mode": "dense", "top_k": 100, "filter": {"odd": True, "row": {"lte": 9}}}).json()
    assert {hit["metadata"]["row"] for hit in answer["results"][0]} == {1, 3, 5, 7, 9}
    assert "explain" not in answer["results"][0][0]


@pytest.mark.parametrize(
    ("wanted", "loc"),
    [
        ({"rwo": 1}, ["body", "filter", "rwo"]),
        ({"row": "1"}, ["body", "filter", "row"]),
        ({"row": {"gte": "a"}}, ["body", "filter", "row", "gte"]),
        ({"row": []}, ["body", "filter", "row"]),
        ({"row": None}, ["body", "filter", "row"]),
        ({"row": {"gt": 1}}, ["body", "filter", "row"]),
        ({"row": [[1]]}, ["body", "filter", "row"]),
        ({"\ud83d": 1}, ["body", "filter"]),
        ({"odd": "\ud83d"}, ["body", "filter", "odd"]),
        ([1], ["body", "filter"]),
    ],
)
def test_a_filter_that_is_none_is_refused_where_it_is_wrong(held, wanted, loc):
    body = json.dumps({"query": "a map", "filter": wanted}).encode()
    (answer,) = send([("POST", "/v1/search", {"content": body, "headers": {"content-type": "application/json"}})])
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][: len(loc)] == loc and answer.json()["detail"][0]["msg"]


def test_why_a_hit_stands_there(held, bundle):
    body = {"query": "the small dog", "top_k": 3, "explain": True}
    hits = post(body).json()["results"][0]
    expected = bundle.search(["the small dog"], 3, explain=True)[0]
    assert [hit["explain"] for hit in hits] == [hit.explain for hit in expected]
    assert hits[0]["explain"]["words"] and hits[0]["explain"]["dense"]["rank"]


@pytest.mark.parametrize("body", [{"top_k": 501}, {"queries": ["a"] * 51}, {"top_k": 21, "explain": True}])
def test_a_request_for_too_many_results(held, body):
    answer = post({**({} if "queries" in body else {"query": "a"}), **body})
    assert answer.status_code == 422 and "expected at most" in answer.json()["detail"][0]["msg"]


def test_requests_at_once_are_answered_as_one_by_one(held, bundle):
    queries = ["a map", "the small dog", "an old man", "a map"]
    kinds = [
        {"mode": mode, "filter": wanted}
        for mode in ("dense", "lexical", "hybrid", "auto")
        for wanted in ({}, {"odd": True})
    ]
    bodies = [{"query": query, "top_k": top_k, **kind} for kind in kinds for top_k, query in enumerate(queries, 2)]
    together = send([("POST", "/v1/search", {"json": body}) for body in bodies])
    for body, answer in zip(bodies, together, strict=True):
        expected = bundle.search([body["query"]], body["top_k"], mode=body["mode"], filter=body["filter"])[0]
        (hits,) = answer.json()["results"]
        assert [hit["doc_id"] for hit in hits] == [hit.doc_id for hit in expected]
        assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in expected], abs=1e-5)


def test_a_wrong_filter_is_the_mistake_of_its_own_request_alone(bundle):
    good, bad = SearchRequest(query="a map"), SearchRequest(query="a map", filter={"rwo": 1})
    done = answers(bundle, [good, bad, good, EmbeddingsRequest(model="nlift", input="a")])
    assert [type(answer).__name__ for answer in done] == ["SearchAnswer", "FilterError", "SearchAnswer", "Embedded"]


def test_an_error_within_is_its_own_request_s(bundle, monkeypatch):
    real = bundle.search
    monkeypatch.setattr(
        bundle, "search", lambda queries, *a, **k: 1 / 0 if "bad" in queries else real(queries, *a, **k)
    )
    done = answers(bundle, [SearchRequest(query=query) for query in ("a map", "bad", "the small dog")])
    assert [type(answer).__name__ for answer in done] == ["SearchAnswer", "ZeroDivisionError", "SearchAnswer"]


def test_an_error_of_the_server_has_its_number_and_says_no_more(held, monkeypatch, caplog):
    monkeypatch.setattr(held.served.current, "search", lambda *_, **__: 1 / 0)
    answer = post({"query": "a secret"})
    assert answer.status_code == 500 and answer.headers["x-request-id"] and "x-frame-options" in answer.headers
    assert "division" not in answer.text and "ZeroDivisionError" in caplog.text and "secret" not in caplog.text


def test_what_is_said_of_a_hit_does_not_depend_on_who_asks_beside(held):
    body = {"query": "the small dog", "top_k": 3, "explain": True, "mode": "dense"}
    others = [("POST", "/v1/search", {"json": {**body, "top_k": 6, "query": "a map"}}) for _ in range(3)]
    alone = post(body).json()["results"]
    beside = send([*others, ("POST", "/v1/search", {"json": body}), *others])[3].json()["results"]
    assert beside == alone


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1:8000", 200), ("LOCALHOST", 200), ("[::1]:80", 200), ("evil.example:8000", 421)]
)
def test_only_names_of_the_server_are_answered(held, host, status):
    guarded = Guard(api, lambda: Limits(hosts=["127.0.0.1", "localhost", "::1"]), [])
    assert send([("GET", "/healthz", {"headers": {"host": host}})], guarded)[0].status_code == status


def embedded(held, **body):
    return post({"model": "nlift", **body}, "/v1/embeddings")


def test_embeddings_are_the_encoder_s(held, encoder_of):
    texts = ["a map", "the small dog"]
    answer = embedded(held, input=texts).json()
    vectors = np.array([row["embedding"] for row in answer["data"]])
    np.testing.assert_allclose(vectors, encoder_of.encode(texts), atol=1e-6)
    assert [row["index"] for row in answer["data"]] == [0, 1] and answer["object"] == "list"
    assert answer["usage"]["total_tokens"] == sum(map(len, encoder_of.tokens(texts)))
    for role in ("query", "passage"):
        vectors = [row["embedding"] for row in embedded(held, input=texts, input_type=role).json()["data"]]
        np.testing.assert_allclose(vectors, encoder_of.encode(texts, role=role), atol=1e-6)


def test_embeddings_in_base64_are_the_same(held):
    plain, coded = (embedded(held, input="a map", encoding_format=form).json() for form in ("float", "base64"))
    vector = np.frombuffer(base64.b64decode(coded["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_array_equal(vector, np.array(plain["data"][0]["embedding"], dtype=np.float32))


def test_shorter_embeddings_are_of_unit_length(held):
    whole = np.array(embedded(held, input="a map").json()["data"][0]["embedding"])
    short = np.array(embedded(held, input="a map", dimensions=8).json()["data"][0]["embedding"])
    np.testing.assert_allclose(short, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)
    assert embedded(held, input="a map", dimensions=33).status_code == 422


def test_many_texts_are_embedded_in_pieces(held, encoder_of, monkeypatch):
    held.limits = held.limits.model_copy(update={"batch_characters": 20})
    taken = []
    real = held.queue.submit
    monkeypatch.setattr(held.queue, "submit", lambda job, cost: taken.append(cost) or real(job, cost))
    texts = ["a map", "the small dog near the river", "an old man", "a red ball", ""] * 3
    texts = [text or "x" for text in texts]
    answer = embedded(held, input=texts).json()
    vectors = np.array([row["embedding"] for row in answer["data"]])
    np.testing.assert_allclose(vectors, encoder_of.encode(texts), atol=1e-6)
    assert len(taken) > 3 and answer["usage"]["total_tokens"] == sum(map(len, encoder_of.tokens(texts)))


@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_no_text_fits_beside_the_special_tokens(held, tokens):
    assert embedded(held, input="a map", truncate_prompt_tokens=tokens).status_code == 422


def test_texts_are_cut_where_the_client_wants(held, encoder_of):
    vector = embedded(held, input="the small dog sees a red ball", truncate_prompt_tokens=4).json()["data"][0][
        "embedding"
    ]
    expected = encoder_of.encode(["the small dog sees a red ball"], max_length=4)[0]
    np.testing.assert_allclose(vector, expected, atol=1e-6)


@pytest.mark.parametrize("body", [{"input": []}, {"input": ""}, {"input": [1, 2]}, {"input": "a", "x": 1}, {}])
def test_what_cannot_be_embedded(held, body):
    assert embedded(held, **body).status_code == 422


def test_models(held):
    ids = [row["id"] for row in send([("GET", "/v1/models", {})])[0].json()["data"]]
    assert ids == ["nlift", "v1"]
    assert [post({"model": name, "input": "a"}, "/v1/embeddings").status_code for name in (*ids, "x")] == [
        200,
        200,
        404,
    ]


def test_fields(held):
    described = send([("GET", "/v1/fields", {})])[0].json()
    assert described["row"] == {"kind": "number", "least": 0, "greatest": 47}
    assert described["odd"] == {"kind": "boolean", "values": [False, True]}


def test_the_page_and_every_answer_have_headers_that_protect(held):
    for answer in send([("GET", "/", {}), ("GET", "/healthz", {}), ("GET", "/nowhere", {})]):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "access-control-allow-origin" not in answer.headers


def test_requests_have_numbers(held):
    own, other, none = send(
        [
            ("GET", "/healthz", {"headers": {"x-request-id": "my-own_1"}}),
            ("GET", "/healthz", {"headers": {"x-request-id": "a\tb" * 30}}),
            ("GET", "/healthz", {}),
        ]
    )
    assert own.headers["x-request-id"] == "my-own_1"
    assert len({other.headers["x-request-id"], none.headers["x-request-id"]}) == 2
    assert len(other.headers["x-request-id"]) == 32


def test_keys(held):
    guarded = Guard(api, lambda: Limits(max_body_bytes=100), ["other", "s3cret"])
    open_paths = send([("GET", "/", {}), ("GET", "/healthz", {})], guarded)
    assert [answer.status_code for answer in open_paths] == [200, 200]
    body = {"json": {"query": "a map"}}
    given = [
        {},
        {"headers": {"authorization": "Bearer x"}},
        {"headers": {"authorization": "s3cret"}},
        {"headers": SECRET},
    ]
    statuses = [
        answer.status_code for answer in send([("POST", "/v1/search", {**body, **more}) for more in given], guarded)
    ]
    assert statuses == [401, 401, 401, 200]
    assert [answer.status_code for answer in send([("GET", "/metrics", {}), ("GET", "/v1/models", {})], guarded)] == [
        401,
        401,
    ]
    large = ("POST", "/v1/search", {"json": {"query": "a" * 200}, "headers": SECRET})
    assert send([large], guarded)[0].status_code == 413


def test_metrics_count_requests(held):
    def count(name):
        lines = send([("GET", "/metrics", {})])[0].text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    names = ['nlift_requests_total{mode="dense",route="/v1/search",status="200"']
    names += [f'nlift_query_vectors_total{{outcome="{outcome}"' for outcome in ("miss", "hit")]
    before = [count(name) for name in names]
    for _ in range(2):
        post({"query": "a query of the metrics", "mode": "dense"})
    assert [count(name) - old for name, old in zip(names, before, strict=True)] == [2, 1, 1]


def test_the_log_has_no_query(held, caplog):
    with caplog.at_level(logging.INFO, "nlift.requests"):
        post({"query": "a very secret query"})
    (row,) = [json.loads(record.message) for record in caplog.records if record.name == "nlift.requests"]
    assert (row["route"], row["status"], row["mode"]) == ("/v1/search", 200, "hybrid") and row["request_id"]
    assert "secret" not in caplog.text


def test_queries_are_written_down_where_that_is_wanted(held, tmp_path):
    log = QueryLog(tmp_path / "log")
    api.dependency_overrides[query_log] = lambda: log
    answer = post({"queries": ["żółw", "a map"], "top_k": 2}).json()
    (file,) = (tmp_path / "log").iterdir()
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [row["query"] for row in rows] == ["żółw", "a map"]
    assert [row["hits"] for row in rows] == [[hit["doc_id"] for hit in hits] for hits in answer["results"]]
    assert rows[0]["version"] == "v1" and rows[0]["mode"] == "hybrid"


def test_too_many_requests_are_asked_to_come_again(held):
    held.queue._most_waiting = 0
    answer = post({"query": "a map"})
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def test_the_contract_is_described(held):
    schema = send([("GET", "/openapi.json", {})])[0].json()
    assert {"/v1/search", "/v1/embeddings", "/v1/models", "/healthz", "/metrics", "/v1/fields", "/"} == set(
        schema["paths"]
    )
