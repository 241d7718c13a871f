"""The deployment: one replica holds encoder, index and documents.

Encoder and index share a replica while they fit: every hop between deployments costs more than the search. A larger
index is shared out (shards.py).
"""

import asyncio
import http.client
import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import ray
import torch
from ray import serve

from nlift import cluster, progress
from nlift.errors import ConfigError, ResourceError
from nlift.search.bundle_format import read_info
from nlift.search.bundle_part import check_parts
from nlift.search.bundle_store import resolve
from nlift.search.faiss_gpu import import_faiss
from nlift.settings import ClusterConfig
from nlift_serve import metrics
from nlift_serve.answering import Answering
from nlift_serve.app import api
from nlift_serve.config import Limits, ServiceConfig
from nlift_serve.middleware import KEYS, keys_of
from nlift_serve.query_log import QueryLog
from nlift_serve.served import Served, load_version
from nlift_serve.shards import Shard, Shards

logger = logging.getLogger("nlift")
LOOPBACK = ["127.0.0.1", "localhost", "::1"]


@serve.deployment
@serve.ingress(api)
class Replica:
    """Holds the version that an alias means, which the routes answer from."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits it
        self, path: str, alias: str, limits: Mapping[str, Any], *shards: Any
    ) -> None:
        logging.getLogger("nlift").setLevel(logging.INFO)
        own = Limits(**limits)
        if own.threads is not None:
            torch.set_num_threads(own.threads)
            import_faiss().omp_set_num_threads(own.threads)
        loop = asyncio.get_running_loop()
        asked = Shards(shards, loop, own.timeout_s) if shards else None
        load = partial(load_version, cached_queries=own.cached_queries, shards=asked)
        self.served = served = await loop.run_in_executor(None, partial(Served, path, alias, load, own.poll_s))
        served.swapped = self._count
        self._count("", "")
        self.answering = Answering(served, own, ThreadPoolExecutor(max_workers=1, thread_name_prefix="answers"))
        self.query_log = QueryLog(Path(own.query_log)) if own.query_log else None

    def _count(self, outcome: str, before: str) -> None:
        """Let the metrics say what is served now, and what came of a swap."""
        bundle = self.served.current
        if outcome:
            metrics.SWAPS.labels(outcome).inc()
            metrics.VERSION.labels(before).set(0)
        metrics.VERSION.labels(bundle.version).set(1)
        metrics.DOCUMENTS.set(len(bundle.documents))

    def __del__(self) -> None:
        served = getattr(self, "served", None)
        if served is not None:
            served.close()


def start(
    path: Path | str, alias: str, config: ServiceConfig, where: ClusterConfig, *, production: bool = False
) -> None:
    """Deploy what an alias of a folder of bundles means, or a bundle; returns when it answers.

    Where this cluster serves already, its replicas are replaced: new ones start before the old ones stop.
    `production` lets HAProxy take the requests. Raises ResourceError where the port is taken.
    """
    listens = config.http_options
    if KEYS in os.environ and not keys_of(os.environ):
        raise ConfigError(f"{KEYS}: set, and holds no key; give one or more, separated by commas, or unset it")
    if where.address == "local" and not ray.is_initialized():
        _check_port(listens["host"], listens["port"])  # before Ray starts for nothing
    os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")  # measured: 39 to 53 requests/s on two cores
    if production:
        os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
    cluster.connect(where)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if not (serve.status().proxies and _answers(listens["port"])):  # else a server of this cluster is changed
        _check_port(listens["host"], listens["port"])
        if serve.status().proxies:
            port = listens["port"]
            raise ResourceError(f"port {port}: this cluster serves already, at another one; give its --port")
    serve.start(http_options=listens)
    if config.service.hosts is None and listens["host"] in LOOPBACK:
        own_names = config.service.model_copy(update={"hosts": LOOPBACK})
        config = config.model_copy(update={"service": own_names})
    bound = application(config, path, alias, listens["port"])
    _say_what_lacks(config)
    with progress.waiting("replicas start"):
        serve.run(bound, name="nlift", route_prefix="/")


def application(config: ServiceConfig, path: Path | str, alias: str, port: int) -> Any:
    """What Serve runs: the deployment with what it is told, and the shards it asks.

    Raises ArtifactError where the index cannot be shared out as the settings say.
    """
    shards = _shards(config, path, alias)
    return deployment(config, port).bind(str(path), alias, config.service.model_dump(), *shards)


def _say_what_lacks(config: ServiceConfig) -> None:
    """Say where the cluster has no room for the replicas, which then wait for it."""
    options = config.deployment.get("ray_actor_options") or {}
    replicas = config.deployment.get("num_replicas") or 1
    each = float(options.get("num_cpus", 1))
    shard = float((config.shard.get("ray_actor_options") or {}).get("num_cpus", 1))
    parts = config.service.shards if config.service.shards > 1 else 0
    wanted = each * (replicas if isinstance(replicas, int) else 1) + shard * parts
    free = ray.available_resources().get("CPU", 0.0)
    if wanted > free + 1e-6:
        progress.notice(
            f"the replicas want {wanted:g} CPUs, {free:g} are free: they wait for more; lower num_cpus of "
            "deployment.ray_actor_options, or replicas"
        )


def _shards(config: ServiceConfig, path: Path | str, alias: str) -> list[Any]:
    """The deployments of an index that is shared out. Raises ArtifactError where it cannot be shared out so."""
    parts = config.service.shards
    if parts == 1:
        return []
    folder = resolve(path, alias)
    check_parts(folder, read_info(folder), parts)
    options = {"ray_actor_options": {"num_cpus": 1}, "max_ongoing_requests": 64, **config.shard}
    return [
        Shard.options(**options, name=f"Shard{part}").bind(part, parts, config.service.threads)  # type: ignore[attr-defined]
        for part in range(parts)
    ]


def deployment(config: ServiceConfig, port: int) -> Any:
    """The deployment as the settings want it; the variables that its workers need go with it."""
    options = {"ray_actor_options": {"num_cpus": 1}, **config.deployment}
    actor = dict(options["ray_actor_options"])
    counted = Path(tempfile.gettempdir()) / f"nlift-metrics-{os.getuid()}-{port}"
    shutil.rmtree(counted, ignore_errors=True)  # of a server before
    environment = {metrics.FOLDER: str(counted)}
    environment |= {KEYS: os.environ[KEYS]} if keys_of(os.environ) else {}
    runtime = dict(actor.get("runtime_env") or {})
    actor["runtime_env"] = {**runtime, "env_vars": {**environment, **runtime.get("env_vars", {})}}
    return Replica.options(**{**options, "ray_actor_options": actor})  # type: ignore[attr-defined]


def run(path: Path | str, alias: str, config: ServiceConfig, where: ClusterConfig, *, production: bool = False) -> None:
    """Serve until interrupted."""
    start(path, alias, config, where, production=production)
    listens = config.http_options
    logger.info("serving %s on http://%s:%d  (ctrl-c to stop)", Path(path).name, listens["host"], listens["port"])
    if production:
        ports = "9101 (its metrics), 8404 (its state); replicas at 30000 and up"
        logger.info("HAProxy listens on all interfaces at %s: keep them from others", ports)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        serve.shutdown()


def _answers(port: int) -> bool:
    """Whether a proxy of Ray Serve answers at a port of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/-/healthz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceError(
                f"{host}:{port}: cannot listen here ({error.strerror}); choose another --port"
            ) from None
