"""The application by a Serve config, as KubeRay's operator deploys it, asked over HTTP; Kubernetes is not needed."""

import json
import shutil
import time
from pathlib import Path

import httpx
import pytest
import yaml
from over_http import free_port

from nlift.errors import ArtifactError, ConfigError
from nlift.search.aliases import promote, resolve
from nlift.search.bundle_format import read_info
from nlift_serve.application import Arguments, build

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bundles(tiny_run, tmp_path_factory):
    folder = shutil.copytree(tiny_run.folder / "index", tmp_path_factory.mktemp("applied") / "bundles")
    other = shutil.copytree(resolve(folder), folder / "other")
    info = read_info(other)
    (other / "bundle.json").write_text(json.dumps({**info, "version": "other"}))
    return folder


def config_of_the_service(bundles, port):
    """What docs/deploy's RayService deploys, on one machine of two CPUs and with other bundles."""
    service = yaml.safe_load((ROOT / "docs" / "deploy" / "rayservice.yaml").read_text(encoding="utf-8"))
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    arguments = config["applications"][0]["args"]
    arguments["bundles"] = str(bundles)
    arguments["deployment"]["autoscaling_config"]["min_replicas"] = 1
    arguments["deployment"]["ray_actor_options"]["num_cpus"] = 1
    arguments["service"] |= {"threads": 1, "poll_s": 0.1}
    return config


@pytest.fixture(scope="module")
def server(ray_session, bundles):
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    port = free_port()
    config = config_of_the_service(bundles, port)
    serve.start(http_options=config["http_options"])
    _get_global_client().deploy_apps(ServeDeploySchema.model_validate(config))
    while (application := serve.status().applications["nlift"]).status not in ("RUNNING", "DEPLOY_FAILED"):
        time.sleep(0.1)
    assert application.status == "RUNNING", application.message
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client
    serve.shutdown()


def test_it_is_served_as_nlift_serve_would(server):
    assert server.get("/healthz").json()["status"] == "ok"
    (hits,) = server.post("/v1/search", json={"query": "książka", "top_k": 3}).json()["results"]
    assert 0 < len(hits) <= 3


def test_what_is_promoted_takes_over(server, bundles):
    before = server.get("/healthz").json()["version"]
    promote(bundles, "other")
    while server.get("/healthz").json()["version"] == before:
        time.sleep(0.1)
    assert server.get("/healthz").json()["version"] == "other"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deployment": {"num_replica": 1}}, "deployment.num_replica: unknown key; did you mean num_replicas?"),
        ({"service": {"pol_s": 1}}, "service.pol_s: unknown key; did you mean poll_s?"),
        ({"bundles": "runs/demo/index"}, "bundles: found runs/demo/index, expected a URI or an absolute path"),
    ],
)
def test_a_mistake_is_one_line(bundles, arguments, message):
    with pytest.raises(ConfigError) as caught:
        build(Arguments.model_validate({"bundles": str(bundles), **arguments}))
    assert str(caught.value).startswith(message) and len(str(caught.value).splitlines()) == 1


def test_a_bundle_that_is_damaged_is_refused(bundles, tmp_path):
    damaged = shutil.copytree(bundles, tmp_path / "bundles")
    (resolve(damaged) / "documents" / "rows.arrow").write_bytes(b"")
    with pytest.raises(ArtifactError):
        build(Arguments(bundles=str(damaged)))
