"""The deployment: one replica holds encoder, index and documents.

Encoder and index share a replica: every hop between deployments costs more than the search.
"""

import logging
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ray import serve

from nlift import cluster
from nlift.errors import ResourceError
from nlift.search.bundle import Bundle
from nlift.settings import ClusterConfig, ServeConfig
from nlift_serve.app import Loaded, api

logger = logging.getLogger("nlift")


@serve.deployment(ray_actor_options={"num_cpus": 1})
@serve.ingress(api)
class Replica:
    """Loads one bundle, which the routes answer from."""

    def __init__(self, folder: str) -> None:
        bundle = Bundle.load(folder)
        bundle.search(["warm up"], mode="hybrid")
        self.loaded = Loaded(bundle, ThreadPoolExecutor(max_workers=1))


def start(folder: Path, config: ServeConfig, where: ClusterConfig) -> None:
    """Deploy a bundle; returns when it answers. Raises ResourceError where the port is taken."""
    _check_port(config.host, config.port)
    os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")  # measured: 39 to 53 requests/s on two cores
    cluster.connect(where)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options={"host": config.host, "port": config.port})
    application = Replica.options(num_replicas=config.num_replicas).bind(str(folder))  # type: ignore[attr-defined]
    serve.run(application, name="nlift", route_prefix="/")


def run(folder: Path, config: ServeConfig, where: ClusterConfig) -> None:
    """Serve a bundle until interrupted."""
    start(folder, config, where)
    logger.info("serving %s on http://%s:%d  (ctrl-c to stop)", folder.name, config.host, config.port)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        serve.shutdown()


def _check_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceError(
                f"{host}:{port}: cannot listen here ({error.strerror}); choose another --port"
            ) from None
