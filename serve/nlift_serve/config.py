"""config.yaml: Ray Serve's settings and our own, every key checked before anything starts."""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nlift.errors import ConfigError, first_line

DEFAULT = Path(__file__).parent / "config.yaml"
Positive = Annotated[int, Field(ge=1)]
Model = TypeVar("Model", bound=BaseModel)


class Limits(BaseModel):
    """The section `service`: what a replica allows itself and others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_characters: Positive = 8192
    """Of queries that are encoded together."""
    cached_queries: Positive = 10_000
    """Vectors of queries that are kept."""
    max_waiting: Positive = 512
    """Requests that may wait in a replica; more are answered 503 with Retry-After."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0
    """After which a request is answered 503."""
    max_body_bytes: Positive = 2**20
    """Of a request; a larger one is answered 413."""
    max_results: Positive = 20_000
    """Queries times top_k of a request."""
    max_explained: Positive = 100
    """The same where `explain` is asked for."""
    shards: Positive = 1
    """Deployments that have a part of the vectors and words each; 1 keeps all of them in the replica. An approximate
    index must have been built in as many (`index.shards`)."""
    poll_s: Annotated[float, Field(gt=0)] = 2.0
    """How often an alias is looked at."""
    threads: Positive | None = None
    """That a replica computes with; as many as its `num_cpus` when null."""
    hosts: list[str] | None = None
    """Names that a request may call the server by; another one is answered 421. When null any, but on a loopback
    address its own names alone: a web page of somebody else can call a server on this machine by a name of its own."""
    query_log: str | None = None
    """Folder for a file of queries per day; nothing of a query is written anywhere when null."""


class ServiceConfig(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    http: dict[str, Any] = {}
    """Of Ray Serve's HTTPOptions: host, port, request_timeout_s, keep_alive_timeout_s and others."""
    deployment: dict[str, Any] = {}
    """Of Ray Serve's DeploymentSchema: num_replicas, autoscaling_config, max_ongoing_requests and others."""
    shard: dict[str, Any] = {}
    """The same of each shard, where `service.shards` is more than 1."""
    service: Limits = Limits()

    @property
    def http_options(self) -> dict[str, Any]:
        """The section `http`, with host and port whatever it says."""
        return {**Address().model_dump(), **self.http}

    def overridden(self, host: Any = None, port: Any = None, num_replicas: Any = None) -> "ServiceConfig":
        """The same with what the command line, or an experiment, says of it."""
        http = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
        replicas = {} if num_replicas is None else {"num_replicas": num_replicas}
        if replicas and self.deployment.get("autoscaling_config") is not None:
            raise ConfigError(
                "deployment.autoscaling_config: the number of replicas is given too; expected one of both"
            )
        changes = {"http": {**self.http, **http}, "deployment": {**self.deployment, **replicas}}
        return self.model_copy(update=changes)


def read_config(path: Path = DEFAULT) -> ServiceConfig:
    """The settings of a file. Raises ConfigError for an unknown key or a value that is not allowed, by its line."""
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(
            f"{path}: not readable ({error.strerror}); expected a copy of serve/nlift_serve/config.yaml"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8; expected a text file of YAML") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not YAML ({getattr(error, 'problem', error)})") from None
    except ValueError as error:  # a date that is none
        raise ConfigError(f"{path}: not YAML ({first_line(error)})") from None
    if not isinstance(content or {}, dict):
        raise ConfigError(f"{path}: found {type(content).__name__}, expected keys http, deployment, shard and service")
    try:
        return _checked(content or {})
    except _MistakeError as mistake:
        raise ConfigError(f"{path}{_line(text, mistake.loc)}: {mistake.name}: {mistake.why}") from None


def config_of(content: dict[str, Any]) -> ServiceConfig:
    """The settings that a mapping holds, as a file would. Raises ConfigError for what a file may not have either."""
    try:
        return _checked(content)
    except _MistakeError as mistake:
        raise ConfigError(f"{mistake.name}: {mistake.why}") from None


def _checked(content: dict[str, Any]) -> ServiceConfig:
    if isinstance(content.get("service"), dict):
        _check_keys(("service",), content["service"], Limits)
    config = _validated((), ServiceConfig, content)
    _check_ray(config)
    return config


class _MistakeError(Exception):
    def __init__(self, loc: tuple[Any, ...], why: str) -> None:
        self.loc, self.why = loc, why

    @property
    def name(self) -> str:
        """The key, as `http.port`."""
        return ".".join(map(str, self.loc))


class Address(BaseModel):
    """Where the server listens; Ray takes texts for numbers."""

    model_config = ConfigDict(strict=True)

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000


def _check_ray(config: ServiceConfig) -> None:
    """Ray Serve's own schemas take a misspelt key and leave it out: keys are compared with theirs."""
    from ray.serve.config import AutoscalingConfig, HTTPOptions
    from ray.serve.schema import DeploymentSchema, RayActorOptionsSchema

    _check_keys(("http",), config.http, HTTPOptions)
    for section, content in (("deployment", config.deployment), ("shard", config.shard)):
        _check_keys((section,), content, DeploymentSchema)
        for name, model in (("ray_actor_options", RayActorOptionsSchema), ("autoscaling_config", AutoscalingConfig)):
            if isinstance(content.get(name), dict):
                _check_keys((section, name), content[name], model)
    _validated(("http",), Address, {key: config.http[key] for key in ("host", "port") if key in config.http})
    _validated(("http",), HTTPOptions, config.http)
    _validated(("deployment",), DeploymentSchema, {**config.deployment, "name": "Replica"})
    _validated(("shard",), DeploymentSchema, {**config.shard, "name": "Shard"})


def _check_keys(loc: tuple[str, ...], content: dict[str, Any], model: type[BaseModel]) -> None:
    known = sorted(set(model.model_fields) - {"name"})
    for key in content:
        if key not in known:
            close = get_close_matches(str(key), known, 1)
            advice = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
            raise _MistakeError((*loc, str(key)), f"unknown key; {advice}")


def _validated(loc: tuple[str, ...], model: type[Model], content: dict[str, Any]) -> Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        named = re.search(r"`(\w+)`", first["msg"])  # a mistake that a whole section's check found
        own = (named[1],) if named and named[1] in content and not first["loc"] else first["loc"]
        raise _MistakeError((*loc, *own), first_line(ValueError(first["msg"]))) from None


def _line(text: str, loc: tuple[Any, ...]) -> str:
    """Where a key stands, as `:12`; nothing where that is not known."""
    line = 0
    lines = text.splitlines()
    for part in loc:
        key = re.compile(rf"\s*{re.escape(str(part))}\s*:")
        place = next((i for i in range(line, len(lines)) if key.match(lines[i])), None)
        if place is None:
            break
        line = place + 1
    return f":{line}" if line else ""
