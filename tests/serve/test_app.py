"""The HTTP server, by Ray Serve, on the tiny run's bundle."""

import json
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from over_http import free_port

from nlift.errors import ResourceError
from nlift.evaluation.datasets import load_set
from nlift.search.aliases import promote, resolve
from nlift.search.bundle_format import read_info
from nlift.settings import ClusterConfig
from nlift_serve import replica
from nlift_serve.config import ServiceConfig


@pytest.fixture(scope="module")
def bundles(tiny_run, tmp_path_factory):
    """The tiny run's bundles, and beside the one in production a copy of another version."""
    folder = shutil.copytree(tiny_run.folder / "index", tmp_path_factory.mktemp("served") / "bundles")
    other = shutil.copytree(resolve(folder), folder / "other")
    info = read_info(other)
    (other / "bundle.json").write_text(json.dumps({**info, "version": "other"}))
    return folder


@pytest.fixture(scope="module")
def server(ray_session, bundles):
    from ray import serve

    port = free_port()
    settings = ServiceConfig(http={"port": port}, service={"poll_s": 0.1})
    replica.start(bundles, "production", settings, ClusterConfig())
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client
    serve.shutdown()


def test_health(server):
    answer = server.get("/healthz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok" and answer.json()["documents"] == 30


def test_auto_is_what_was_best_when_the_bundle_was_built(server, tiny_run):
    search = read_info(resolve(tiny_run.folder / "index"))["search"]
    answers = [server.post("/v1/search", json={"query": "książka", **mode}).json() for mode in ({}, {"mode": "auto"})]
    explicit = server.post("/v1/search", json={"query": "książka", "mode": search["mode"]}).json()
    assert {answer["mode"] for answer in answers} == {search["mode"]} == {explicit["mode"]}
    assert all(answer["results"] == explicit["results"] for answer in answers)


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_search(server, mode):
    answer = server.post("/v1/search", json={"query": "książka", "top_k": 3, "mode": mode}).json()
    assert answer["version"] and answer["took_ms"] > 0 and answer["mode"] == mode
    (hits,) = answer["results"]
    assert len(hits) <= 3
    assert all(set(hit) - {"passage"} == {"doc_id", "score", "title", "text", "metadata"} for hit in hits)
    assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)


def evaluated(run, name):
    """Query id -> documents and scores, best first, of a TREC run of the tiny set."""
    rankings = {}
    for line in (run.folder / "evaluate" / "runs" / f"tiny.{name}.trec").read_text().splitlines():
        query, _, doc_id, _, score, _ = line.split()
        rankings.setdefault(query, []).append((doc_id, float(score)))
    return rankings


@pytest.mark.parametrize(("mode", "name"), [("dense", "tuned"), ("lexical", "bm25"), ("hybrid", "hybrid")])
def test_a_served_answer_is_the_evaluated_ranking(server, tiny_run, mode, name):
    dataset = load_set(next(dataset for dataset in tiny_run.evaluate.sets if dataset.name == "tiny"))
    rankings = evaluated(tiny_run, name)
    assert rankings
    for query, ranking in rankings.items():
        asked = {"query": dataset.queries[query], "top_k": 1000, "mode": mode}
        (hits,) = server.post("/v1/search", json=asked).json()["results"]
        scores = dict(ranking)
        assert {hit["doc_id"] for hit in hits} == scores.keys()
        for hit, (doc_id, score) in zip(hits, ranking, strict=True):
            assert hit["score"] == pytest.approx(score, abs=1e-5)
            assert hit["doc_id"] == doc_id or scores[hit["doc_id"]] == pytest.approx(score, abs=1e-5)


def test_several_queries_answer_as_one_by_one(server):
    queries = ["pies", "miasto w Polsce"]
    together = server.post("/v1/search", json={"queries": queries, "top_k": 5}).json()["results"]
    alone = [server.post("/v1/search", json={"query": query, "top_k": 5}).json()["results"][0] for query in queries]
    assert [[hit["doc_id"] for hit in hits] for hits in together] == [[hit["doc_id"] for hit in hits] for hits in alone]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": "a", "topk": 3}, "topk"),
        ({"query": "a", "top_k": 0}, "top_k"),
        ({"query": "a", "top_k": "3"}, "top_k"),
        ({"query": "a", "mode": "magic"}, "mode"),
        ({"query": 3}, "query"),
        ({"query": "  "}, "query"),
        ({"query": "a", "queries": ["b"]}, "query"),
        ({}, "query"),
    ],
)
def test_wrong_requests_name_the_field(server, body, field):
    answer = server.post("/v1/search", json=body)
    assert answer.status_code == 422
    assert field in answer.text


@pytest.mark.parametrize(
    "body", ['{"query": "a", "top_k": NaN}', '{"query": "\\ud83d"}', '{"query": "a", "\\ud83d": 1}']
)
def test_a_request_that_cannot_be_written_back_is_refused(server, body):
    answer = server.post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422 and answer.json()["detail"][0]["msg"]


def test_a_large_body_is_refused(server):
    assert server.post("/v1/search", content=b"x" * (2**20 + 1)).status_code == 413


def test_a_large_body_of_unknown_length_is_refused(server):
    assert server.post("/v1/search", content=(b"x" * 2**16 for _ in range(20))).status_code == 413


def test_a_small_body_of_unknown_length_is_read(server):
    body = (part for part in (b'{"query": ', b'"pies"}'))
    answer = server.post("/v1/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200 and answer.json()["results"][0]


def test_the_search_page(server):
    answer = server.get("/")
    assert answer.status_code == 200 and '<form id="form"' in answer.text


def test_what_is_promoted_takes_over_and_no_request_fails(server, bundles):
    first, answers, done = server.get("/healthz").json()["version"], [], threading.Event()

    def ask():
        with httpx.Client(base_url=server.base_url, timeout=60) as client:
            while not done.is_set():
                answers.append(client.post("/v1/search", json={"query": "książka", "mode": "hybrid"}))

    def follow(version):
        promote(bundles, version)
        deadline = time.monotonic() + 60
        while server.get("/healthz").json()["version"] != version:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(ask) for _ in range(8)]
        try:
            follow("other")
            follow(first)
        finally:
            done.set()
        for task in tasks:
            task.result()
    assert {answer.status_code for answer in answers} == {200} and len(answers) > 20
    assert {answer.json()["version"] for answer in answers} == {first, "other"}
    assert len({json.dumps(answer.json()["results"]) for answer in answers}) == 1


def test_a_version_that_was_damaged_is_refused_and_said(server, bundles):
    before = server.get("/healthz").json()["version"]
    damaged = shutil.copytree(bundles / "other", bundles / "damaged")
    (damaged / "documents" / "rows.arrow").write_bytes(b"none")
    promote(bundles, "damaged")
    deadline = time.monotonic() + 60
    while "refused" not in (health := server.get("/healthz").json()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert health["version"] == before and health["refused"]["version"] == "damaged"
    assert "rows.arrow: changed since" in health["refused"]["why"]
    assert server.post("/v1/search", json={"query": "książka"}).status_code == 200
    promote(bundles, before)


def test_metrics_and_embeddings_over_http(server):
    embedded = server.post("/v1/embeddings", json={"model": "nlift", "input": ["pies", "kot"]}).json()
    assert len(embedded["data"]) == 2
    text = server.get("/metrics").text
    assert 'nlift_requests_total{mode="",route="/v1/embeddings",status="200"}' in text
    assert 'nlift_swaps_total{outcome="refused"} 1.0' in text and 'nlift_swaps_total{outcome="done"} 2.0' in text


def test_a_port_in_use(server):
    def start(port):
        replica.start(Path("none"), "production", ServiceConfig(http={"port": port}), ClusterConfig())

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ResourceError, match="choose another --port"):
            start(taken.getsockname()[1])
    with pytest.raises(ResourceError, match="serves already, at another one"):
        start(free_port())
