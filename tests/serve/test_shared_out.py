"""An index that is shared out among deployments answers as one process does, through swaps and lost shards."""

import json
import os
import shutil
import signal
import subprocess
import time

import httpx
import pytest
from over_http import free_port

from nlift.errors import ArtifactError
from nlift.pipeline.index import build
from nlift.search.aliases import promote
from nlift.search.bundle import Bundle
from nlift.settings import ClusterConfig, IndexConfig, SearchConfig
from nlift_serve import replica
from nlift_serve.config import ServiceConfig

QUERIES = ["a map", "red rivers", "Wisła", "the woman near the river"]


def rows(names):
    texts = ["The woman sees map {}.", "Red rivers near Wisła {}. " * 20, "A small dog {}."]
    return [{"_id": name, "text": texts[i % 3].replace("{}", name), "odd": i % 2} for i, name in enumerate(names)]


@pytest.fixture(scope="module")
def bundles(ray_session, encoder_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    for version, names in (("first", range(60)), ("second", range(30, 90))):
        corpus = folder / f"{version}.jsonl"
        corpus.write_text("".join(json.dumps(row) + "\n" for row in rows([f"{name:03}" for name in names])))
        config = IndexConfig(corpus=str(corpus), max_length=32, overlap=4, kind="hnsw", shards=2)
        built = build(config, SearchConfig(language="en"), encoder_folder, folder / "bundles")
        shutil.copytree(built.folder, folder / version)
        promote(folder / "bundles", built.folder.name)
        time.sleep(1.1)  # `created` is in whole seconds
    promote(folder / "bundles", Bundle.load(folder / "first").version)
    return folder


@pytest.fixture(scope="module")
def server(bundles):
    from ray import serve

    port = free_port()
    config = ServiceConfig(
        http={"port": port},
        deployment={"ray_actor_options": {"num_cpus": 0}},
        shard={"ray_actor_options": {"num_cpus": 0}},
        service={"poll_s": 0.1, "shards": 2},
    )
    replica.start(bundles / "bundles", "production", config, ClusterConfig())
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client
    serve.shutdown()


def answers(server, **asked):
    return server.post("/v1/search", json={"queries": QUERIES, "top_k": 7, **asked}).json()


def assert_same(server, bundle):
    for mode in ("dense", "lexical", "hybrid"):
        for wanted in (None, {"odd": 1}):
            answer = answers(server, mode=mode, **({"filter": wanted} if wanted else {}))
            assert answer["version"] == bundle.version
            expected = bundle.search(QUERIES, 7, mode=mode, filter=wanted)
            for hits, own in zip(answer["results"], expected, strict=True):
                assert [(hit["doc_id"], hit.get("passage")) for hit in hits] == [
                    (hit.doc_id, hit.passage) for hit in own
                ]
                assert [hit["score"] for hit in hits] == pytest.approx([hit.score for hit in own], abs=1e-6)


def test_shards_answer_as_one_process(server, bundles):
    assert_same(server, Bundle.load(bundles / "first"))
    explained = answers(server, explain=True)["results"]
    expected = Bundle.load(bundles / "first").search(QUERIES, 7, explain=True)
    assert [hit["explain"]["words"] for hits in explained for hit in hits] == [
        hit.explain["words"] for hits in expected for hit in hits
    ]


def test_shards_follow_the_alias(server, bundles):
    second = Bundle.load(bundles / "second")
    promote(bundles / "bundles", second.version)
    deadline = time.monotonic() + 60
    while server.get("/healthz").json()["version"] != second.version:
        assert time.monotonic() < deadline, server.get("/healthz").json()
        time.sleep(0.1)
    assert_same(server, second)


def test_a_shard_that_is_killed_comes_back(server, bundles):
    listing = subprocess.run(
        ["pgrep", "-f", "ray::ServeReplica:nlift:Shard1"], capture_output=True, text=True, check=False
    )
    before = answers(server)
    for pid in listing.stdout.split():
        os.kill(int(pid), signal.SIGKILL)
    assert listing.stdout.split()
    statuses, deadline = [], time.monotonic() + 60
    while not statuses or statuses[-1] != 200:
        response = server.post("/v1/search", json={"query": "not asked before", "mode": "dense"})
        statuses.append(response.status_code)
        assert time.monotonic() < deadline, statuses
    assert set(statuses) <= {200, 503}
    assert answers(server)["results"] == before["results"]


def test_shards_that_an_index_does_not_have_are_refused(bundles):
    config = ServiceConfig(service={"shards": 3})
    with pytest.raises(ArtifactError, match=r"in 2 shards, the server's service.shards is 3"):
        replica._shards(config, bundles / "bundles", "production")
