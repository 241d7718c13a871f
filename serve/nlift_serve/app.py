"""The HTTP routes; the deployment that answers them is in replica.py."""

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse
from ray import serve

from nlift.search.bundle import Bundle, hits_to_json
from nlift_serve.schemas import Health, SearchHit, SearchRequest, SearchResponse

MAX_BODY_BYTES = 2**20
PAGE = Path(__file__).parent / "ui" / "index.html"

api = FastAPI(title="nlift", docs_url=None, redoc_url=None)


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


@dataclass
class Loaded:
    """What a replica holds."""

    bundle: Bundle
    executor: Executor
    """Where searches run: on the replica's own event loop they would starve its health checks."""


def loaded() -> Loaded:
    """What the replica holds that a request has come to."""
    replica: Any = serve.get_replica_context().servable_object
    held: Loaded = replica.loaded
    return held


Held = Annotated[Loaded, Depends(loaded)]


@api.get("/")
async def page() -> FileResponse:
    """The search page."""
    return FileResponse(PAGE)


@api.get("/healthz")
async def healthz(held: Held) -> Health:
    """That the bundle is there."""
    bundle = held.bundle
    return Health(status="ok", version=bundle.version, documents=len(bundle.documents))


@api.post("/v1/search")
async def search(request: SearchRequest, held: Held) -> SearchResponse:
    """The best documents of each query."""
    began = time.perf_counter()
    queries = request.queries or [request.query or ""]
    if not all(query.strip() for query in queries):
        raise HTTPException(422, [{"loc": ["body", "query"], "msg": "a query is empty"}])
    answer = partial(_answer, held.bundle, queries, request)
    results = await asyncio.get_running_loop().run_in_executor(held.executor, answer)
    took_ms = round(1000 * (time.perf_counter() - began), 2)
    return SearchResponse(version=held.bundle.version, took_ms=took_ms, results=results)


def _answer(bundle: Bundle, queries: list[str], request: SearchRequest) -> list[list[SearchHit]]:
    results = bundle.search(queries, request.top_k, mode=request.mode)
    return [[SearchHit(**hit) for hit in hits_to_json(hits)] for hits in results]
