"""docs/deploy: accepted by strict schemas, a misspelt key refused at any depth, and what it names is there.

KUBERAY_CRDS names a folder of KubeRay's own definitions (ray.io_*.yaml) to hold the files against as well.
"""

import copy
import fnmatch
import os
import re
import shlex
from functools import cache
from pathlib import Path

import jsonschema_rs
import pytest
import typer
import yaml
from kubernetes_validate.utils import schema_contents
from test_cluster_yaml import SECRETS

import nlift
from nlift.config import load_experiment

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
KUBERNETES = "1.33"
FILES = sorted(path.name for path in DEPLOY.glob("*.yaml"))
RAY = {"raycluster.yaml": "RayCluster", "rayjob.yaml": "RayJob", "rayservice.yaml": "RayService"}
OWN = {  # of other kinds: where their schema stands in Kubernetes' definitions
    "PersistentVolumeClaim": "core.v1.PersistentVolumeClaim",
    "PodDisruptionBudget": "policy.v1.PodDisruptionBudget",
    "NetworkPolicy": "networking.v1.NetworkPolicy",
}
FREE = {"labels", "matchLabels", "rayStartParams", "requests", "limits"}  # their keys are whatever one likes
RESOURCES = {"cpu", "memory", "storage", "nvidia.com/gpu"}
CRDS = os.environ.get("KUBERAY_CRDS")


def documents(name):
    return list(yaml.safe_load_all((DEPLOY / name).read_text(encoding="utf-8")))


DOCUMENTS = [(name, index) for name in FILES for index in range(len(documents(name)))]


@cache
def definitions():
    return schema_contents(f"kubernetes-json-schema/v{KUBERNETES}.0-local-strict/_definitions.json", KUBERNETES)


@cache
def validator(kind):
    """What Kubernetes or KubeRay has to say of a kind, every unknown key refused."""
    if kind in OWN:
        schema = {"$ref": f"/api/_definitions.json#/$defs/io.k8s.api.{OWN[kind]}", "$id": "https://kubernetes.io/api/x"}
    else:
        schema = yaml.safe_load((ROOT / "tests" / "kuberay.schema.yaml").read_text())
        schema = {**{key: schema[key] for key in ("$id", "$schema", "$defs")}, "$ref": f"#/$defs/{kind}"}
    registry = jsonschema_rs.Registry([("https://kubernetes.io/api/_definitions.json", definitions())])
    return jsonschema_rs.Draft202012Validator(schema, registry=registry)


def mistakes(validator, document):
    return [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(document)]


def mappings(value, path=()):
    """Every mapping whose keys are given, and where it stands."""
    if isinstance(value, dict):
        if not path or path[-1] not in FREE:
            yield path, value
        for key, part in value.items():
            yield from mappings(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from mappings(part, (*path, index))


def misspelt(document):
    """The document again and again, each time with one key misspelt."""
    for path, mapping in list(mappings(document)):
        for key in mapping:
            changed = copy.deepcopy(document)
            part = changed
            for step in path:
                part = part[step]
            part[f"{key}x"] = part.pop(key)
            yield (*path, key), changed


def ray_clusters():
    """Each RayCluster's spec, by the file it stands in."""
    for name, kind in RAY.items():
        (document,) = documents(name)
        inside = {"RayCluster": None, "RayJob": "rayClusterSpec", "RayService": "rayClusterConfig"}[kind]
        yield name, document["spec"] if inside is None else document["spec"][inside]


def pods():
    """Every Pod template: file, group, template, rayStartParams."""
    for name, spec in ray_clusters():
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            yield name, group.get("groupName", "head"), group["template"], group["rayStartParams"]


PODS = [pytest.param(*pod[1:], id=f"{pod[0]}-{pod[1]}") for pod in pods()]


@pytest.mark.parametrize("name, index", DOCUMENTS)
def test_schemas_accept_it(name, index):
    document = documents(name)[index]
    assert not mistakes(validator(document["kind"]), document)


@pytest.mark.parametrize("name, index", DOCUMENTS)
def test_a_misspelt_key_is_refused_at_any_depth(name, index):
    document = documents(name)[index]
    valid = validator(document["kind"]).is_valid
    tried = 0
    for path, changed in misspelt(document):
        tried += 1
        assert not valid(changed), ".".join(map(str, path))
    assert tried >= 8


def strict(schema):
    """A schema of KubeRay that refuses every key which it does not name."""
    if isinstance(schema, dict):
        schema = {key: strict(value) for key, value in schema.items()}
        if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        if schema.get("x-kubernetes-int-or-string"):
            schema.pop("type", None)
    elif isinstance(schema, list):
        schema = [strict(part) for part in schema]
    return schema


@pytest.mark.skipif(CRDS is None, reason="KUBERAY_CRDS names no folder")
@pytest.mark.parametrize("name", RAY)
def test_kuberays_own_definitions_accept_it(name):
    (document,) = documents(name)
    file = Path(CRDS) / f"ray.io_{RAY[name].lower()}s.yaml"
    versions = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    schema = strict(next(version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1"))
    schema["properties"]["metadata"] = {"type": "object"}
    own = jsonschema_rs.Draft202012Validator(schema)
    assert not mistakes(own, document)
    assert not [path for path, changed in misspelt(document) if path[0] != "metadata" and own.is_valid(changed)]


@pytest.mark.parametrize("name", FILES)
def test_no_secret_in_a_file(name):
    text = (DEPLOY / name).read_text(encoding="utf-8")
    assert not [kind for kind, pattern in SECRETS.items() if re.search(pattern, text)]
    assert not re.search(r"^kind: Secret", text, re.MULTILINE)  # they are made by a command


def test_a_token_is_asked_for_everywhere():
    for _, spec in ray_clusters():
        assert spec["authOptions"] == {"mode": "token", "secretName": "nlift-ray-token"}
        assert spec["headGroupSpec"]["serviceType"] == "ClusterIP"
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_versions_are_those_of_the_checkout():
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert {spec["rayVersion"] for _, spec in ray_clusters()} == {pinned[1]}
    images = {container["image"] for _, _, template, _ in pods() for container in template["spec"]["containers"]}
    assert images == {f"registry.example.com/nlift:{nlift.__version__}"}
    assert all(image in (DEPLOY / "Dockerfile").read_text() for image in images)


@pytest.mark.parametrize("group, template, params", PODS)
def test_a_pod(group, template, params):
    from ray.scripts.scripts import start

    known = {option for parameter in start.params for option in parameter.opts}
    assert {f"--{name}" for name in params} <= known
    (container,) = template["spec"]["containers"]
    resources = container["resources"]
    assert resources["requests"] == resources["limits"] and set(resources["limits"]) <= RESOURCES
    assert resources["limits"]["cpu"].isdigit()  # Ray counts whole ones
    assert ("nvidia.com/gpu" in resources["limits"]) == (group == "gpu")
    assert template["spec"]["securityContext"]["runAsNonRoot"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert "client" not in {port["name"] for port in container.get("ports", [])}


@pytest.mark.parametrize("group, template, params", PODS)
def test_a_pods_volume_and_environment(group, template, params):
    import ray.serve._private.constants as serve_constants

    from nlift_serve.middleware import KEYS

    (claim,) = documents("storage.yaml")
    (container,) = template["spec"]["containers"]
    (volume,) = template["spec"]["volumes"]
    (mount,) = container["volumeMounts"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert mount["name"] == volume["name"] and mount["mountPath"] == "/srv/nlift"
    for name in (variable["name"] for variable in container["env"]):
        assert name in ("HF_HOME", "HF_TOKEN", KEYS) or hasattr(serve_constants, name), name


def test_the_job_runs_an_experiment_that_is_there():
    from ray.runtime_env import RuntimeEnv

    (job,) = documents("rayjob.yaml")
    python, script, *arguments = shlex.split(job["spec"]["entrypoint"])
    runtime = yaml.safe_load(job["spec"]["runtimeEnvYAML"])
    assert python == "python" and set(runtime) <= RuntimeEnv.known_fields
    for path in (script, arguments[0]):
        assert (ROOT / path).is_file() and admitted(path)
    assert runtime["working_dir"] == workdir()
    flag, override = arguments[1:]
    assert flag in flags("run")
    assert load_experiment(ROOT / arguments[0], [override]).output_dir == "/srv/nlift/runs"


def test_the_job_survives_its_head():
    (job,) = documents("rayjob.yaml")
    spec = job["spec"]
    assert spec["submissionMode"] == "SidecarMode" and spec["backoffLimit"] >= 1 and spec["shutdownAfterJobFinishes"]
    assert spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["entrypointNumCpus"] >= 1  # the head has none


def serve_config():
    (service,) = documents("rayservice.yaml")
    return yaml.safe_load(service["spec"]["serveConfigV2"])


def check_serve_config(config):
    """As Ray Serve and nlift check it; Ray leaves misspelt keys out, so these are looked for first."""
    from ray.serve.schema import HTTPOptionsSchema, ServeApplicationSchema, ServeDeploySchema

    from nlift_serve.application import Arguments

    assert set(config) <= set(ServeDeploySchema.model_fields)
    assert set(config["http_options"]) <= set(HTTPOptionsSchema.model_fields)
    ServeDeploySchema.model_validate(config)
    (application,) = config["applications"]
    assert set(application) <= set(ServeApplicationSchema.model_fields)
    arguments = Arguments.model_validate(application["args"])
    assert arguments.config.deployment
    return application, arguments


def test_the_service_is_configured_as_ray_serve_and_nlift_have_it():
    from ray._common.utils import import_attr

    from nlift_serve.application import build

    application, arguments = check_serve_config(serve_config())
    assert import_attr(application["import_path"]) is build
    experiment = load_experiment(ROOT / "jobs/experiments/demo.yaml", ["output_dir=/srv/nlift/runs"])
    assert arguments.bundles == f"{experiment.output_dir}/{experiment.name}/index"  # what the job has made


def test_a_misspelt_key_of_the_serve_config_is_refused_at_any_depth():
    for path, changed in misspelt(serve_config()):
        with pytest.raises((AssertionError, ValueError, KeyError, nlift.errors.NliftError)):
            check_serve_config(changed)
            pytest.fail(".".join(map(str, path)), pytrace=False)


def test_replicas_fit_into_workers():
    _, arguments = check_serve_config(serve_config())
    (service,) = documents("rayservice.yaml")
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    replica, scaling = arguments.config.deployment, arguments.config.deployment["autoscaling_config"]
    assert replica["ray_actor_options"]["num_cpus"] == int(container["resources"]["limits"]["cpu"])
    assert (scaling["min_replicas"], scaling["max_replicas"]) == (group["minReplicas"], group["maxReplicas"])
    assert arguments.config.service.threads == replica["ray_actor_options"]["num_cpus"]


def test_the_redis_of_the_readme_fits_into_the_service():
    (service,) = documents("rayservice.yaml")
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(gcsFaultToleranceOptions:.*?)```", text, re.DOTALL)
    service["spec"]["rayClusterConfig"] |= yaml.safe_load(block)
    assert not mistakes(validator("RayService"), service)
    assert not [path for path, changed in misspelt(service) if validator("RayService").is_valid(changed)]


def test_readiness_asks_a_route_that_is_there():
    from nlift_serve.middleware import KNOWN_PATHS

    template = next(template for _, group, template, _ in pods() if group == "search")
    (container,) = template["spec"]["containers"]
    asked = container["readinessProbe"]["httpGet"]
    assert asked["port"] == serve_config()["http_options"]["port"] == container["ports"][0]["containerPort"]
    assert asked["path"] in KNOWN_PATHS


def labels_of(kind):
    """The labels of Pods: ours, and the one that KubeRay adds."""
    return [
        {**template["metadata"]["labels"], "ray.io/node-type": "head" if group == "head" else "worker"}
        for name, group, template, _ in pods()
        if kind is None or name == kind
    ]


def chosen(selector, pods):
    return [labels for labels in pods if selector["matchLabels"].items() <= labels.items()]


def test_budgets_and_policies_select_pods_that_are_there():
    for document in documents("pdb.yaml"):
        assert len(chosen(document["spec"]["selector"], labels_of("rayservice.yaml"))) == 1
    among, operator, search = (document["spec"] for document in documents("networkpolicy.yaml"))
    everybody = labels_of(None)
    assert chosen(among["podSelector"], everybody) == everybody
    assert [rule["podSelector"] for rule in among["ingress"][0]["from"]] == [among["podSelector"]]
    assert chosen(operator["podSelector"], everybody) == [row for row in everybody if row["ray.io/node-type"] == "head"]
    assert len(chosen(search["podSelector"], everybody)) == 1


def test_only_the_proxys_port_is_open_and_only_to_whom_is_labelled():
    _, operator, search = (document["spec"] for document in documents("networkpolicy.yaml"))
    assert [port["port"] for port in search["ingress"][0]["ports"]] == [serve_config()["http_options"]["port"]]
    assert [port["port"] for port in operator["ingress"][0]["ports"]] == [8265]
    for policy in (operator, search):
        (rule,) = policy["ingress"]
        assert all(peer["podSelector"]["matchLabels"] for peer in rule["from"])  # nobody else


def instructions():
    """The Dockerfile's instructions, lines that go on put together."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def workdir():
    return [value for name, value in instructions() if name == "WORKDIR"][-1]


def flags(command):
    """What a command of nlift can be told."""
    from nlift.cli import app

    parameters = typer.main.get_command(app).commands[command].params
    return {option for parameter in parameters for option in parameter.opts}


def admitted(path):
    """Whether .dockerignore lets a path of the checkout through; its last word counts."""
    allowed = True
    for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.lstrip("!").removeprefix("**/")
        if (
            line
            and line[0] != "#"
            and any(
                fnmatch.fnmatch(str(part), pattern) or ("**/" in line and fnmatch.fnmatch(part.name, pattern))
                for part in (Path(path), *Path(path).parents[:-1])
            )
        ):
            allowed = line.startswith("!")
    return allowed


def test_the_dockerfile():
    lines = instructions()
    known = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "CMD"}
    assert {name for name, _ in lines} <= known
    bases = [value.split()[0] for name, value in lines if name == "FROM"]
    assert len(bases) == 2 and all(re.fullmatch(r"python:3\.12\.\d+-slim-\w+", base) for base in bases)
    assert [value for name, value in lines if name == "USER"] == ["1000:1000"]
    last = lines[max(index for index, line in enumerate(lines) if line[0] == "FROM") :]
    said = " ".join(" ".join(line) for line in last)
    assert not re.search(r"\b(apt-get|gcc|g\+\+|build-essential|pip install)\b", said)
    assert "/healthz" in next(value for name, value in last if name == "HEALTHCHECK")
    text = (DEPLOY / "Dockerfile").read_text()
    assert not [kind for kind, pattern in SECRETS.items() if re.search(pattern, text)]


def test_the_image_is_made_of_what_is_there():
    copied = [value.split()[:-1] for name, value in instructions() if name == "COPY" and "--from" not in value]
    sources = {source for files in copied for source in files}
    needed = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "NOTICE"}
    assert sources == {"platform", "serve", "jobs", *needed}
    assert all((ROOT / source).exists() and admitted(source) for source in sources)
    wanted = ("platform/nlift/cli/app.py", "jobs/experiments/demo.yaml", "jobs/run_tune.py")
    refused = (".git", ".venv/bin/python", "runs/demo", "tests", "jobs/recipes/build.py", "serve/x/__pycache__")
    assert [path for path in (*wanted, *refused) if admitted(path)] == list(wanted)
    assert any("constraints.txt" in value and "[cpu," in value for name, value in instructions() if name == "RUN")


def test_the_readme_names_what_is_there():
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    files = re.findall(r"-f (docs/deploy/\S+)", text)
    assert not [link for link in links if not (DEPLOY / link).exists()]
    assert len(files) >= 6 and not [path for path in files if not (ROOT / path).exists()]
    names = {"nlift-demo", "nlift-head-svc", "nlift-search", "nlift-search-serve-svc"}  # as KubeRay makes them
    assert all(name in text for name in names)
    assert {document["metadata"]["name"] for name in RAY for document in documents(name)} == {
        "nlift",
        "nlift-demo",
        "nlift-search",
    }


def test_the_images_command():
    program, command, path, *options = yaml.safe_load(next(value for name, value in instructions() if name == "CMD"))
    assert (program, command, path) == ("nlift", "serve", "/srv/nlift/bundles")
    assert {option for option in options if option.startswith("--")} <= flags("serve")
