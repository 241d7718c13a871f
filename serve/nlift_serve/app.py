"""A bundle behind HTTP: one Ray Serve deployment that holds encoder, index and documents.

Encoder and index share a replica: every hop between deployments costs more than the search.
"""

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field, model_validator
from ray import serve

from nlift import cluster
from nlift.bundle import Bundle, Mode, hits_to_json
from nlift.errors import ResourceError
from nlift.sections import ClusterConfig, ServeConfig

MAX_BODY_BYTES = 2**20
PAGE = Path(__file__).parent / "ui" / "index.html"
Query = Annotated[str, Field(min_length=1, max_length=10_000)]

api = FastAPI(title="nlift", docs_url=None, redoc_url=None)


class SearchRequest(BaseModel):
    """One query or several."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: Query | None = None
    queries: Annotated[list[Query], Field(min_length=1, max_length=1000)] | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 10
    mode: Mode = "dense"

    @model_validator(mode="after")
    def _one_form(self) -> "SearchRequest":
        if (self.query is None) == (self.queries is None):
            raise ValueError("give exactly one of query and queries")
        return self


class SearchHit(BaseModel):
    """A document that was found; higher scores are better."""

    doc_id: str
    score: float
    title: str
    text: str
    metadata: dict[str, Any]


class SearchResponse(BaseModel):
    """The results of each query, in the order asked."""

    version: str
    took_ms: float
    results: list[list[SearchHit]]


class Health(BaseModel):
    """What is being served."""

    status: str
    version: str
    documents: int


def _too_large() -> JSONResponse:
    return JSONResponse({"detail": f"the body is over {MAX_BODY_BYTES} bytes"}, status_code=413)


@api.middleware("http")
async def limit_body(request: Request, call_next: Any) -> Any:
    """Answer 413 for a body over 1 MiB, whether or not it says its length."""
    size = request.headers.get("content-length", "")
    if size.isdigit() and int(size) > MAX_BODY_BYTES:
        return _too_large()
    if not size:
        read = b""
        async for part in request.stream():
            read += part
            if len(read) > MAX_BODY_BYTES:
                return _too_large()
        request._body = read  # what request.body() would have kept for the endpoint
    return await call_next(request)


@serve.deployment(ray_actor_options={"num_cpus": 1})
@serve.ingress(api)
class SearchServer:
    """Loads one bundle and answers from it."""

    def __init__(self, folder: str) -> None:
        self.bundle = Bundle.load(folder)
        self.bundle.search(["warm up"], mode="hybrid")
        # Searching on the replica's own event loop would starve its health checks.
        self.worker = ThreadPoolExecutor(max_workers=1)

    @api.get("/")
    async def page(self) -> FileResponse:
        return FileResponse(PAGE)

    @api.get("/healthz")
    async def healthz(self) -> Health:
        return Health(status="ok", version=self.bundle.version, documents=len(self.bundle.documents))

    @api.post("/v1/search")
    async def search(self, request: SearchRequest) -> SearchResponse:
        began = time.perf_counter()
        queries = request.queries or [request.query or ""]
        if not all(query.strip() for query in queries):
            raise HTTPException(422, [{"loc": ["body", "query"], "msg": "a query is empty"}])
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self.worker, self.bundle.search, queries, request.top_k, request.mode)
        results = [[SearchHit(**hit) for hit in hits_to_json(hits)] for hits in found]
        took_ms = round(1000 * (time.perf_counter() - began), 2)
        return SearchResponse(version=self.bundle.version, took_ms=took_ms, results=results)


def start(folder: Path, config: ServeConfig, where: ClusterConfig) -> None:
    """Deploy a bundle; returns when it answers. Raises ResourceError where the port is taken."""
    _check_port(config.host, config.port)
    os.environ.setdefault("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1")  # measured: 39 to 53 requests/s on two cores
    cluster.connect(where)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options={"host": config.host, "port": config.port})
    application = SearchServer.options(num_replicas=config.num_replicas).bind(str(folder))  # type: ignore[attr-defined]
    serve.run(application, name="nlift", route_prefix="/")


def run(folder: Path, config: ServeConfig, where: ClusterConfig) -> None:
    """Serve a bundle until interrupted."""
    start(folder, config, where)
    print(f"serving {folder.name} on http://{config.host}:{config.port}  (ctrl-c to stop)", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        serve.shutdown()


def _check_port(host: str, port: int) -> None:
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceError(f"{host}:{port}: cannot listen here ({error.strerror}); choose another --port") from None
