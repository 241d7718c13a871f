"""The HTTP routes; the deployment that answers them is in replica.py."""

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from ray import serve
from starlette.requests import ClientDisconnect

from nlift.search.bundle import Bundle, escaped, hits_to_json
from nlift_serve.schemas import Health, SearchHit, SearchRequest, SearchResponse

MAX_BODY_BYTES = 2**20
MAX_MISTAKES = 20  # that are listed of a request
MAX_CHARACTERS = 100  # of a field's name in an answer
PAGE = Path(__file__).parent / "ui" / "index.html"

# no redirects: the address of one is made of what the request says that the server is called
api = FastAPI(title="nlift", docs_url=None, redoc_url=None, redirect_slashes=False)


@api.middleware("http")
async def limit_body(request: Request, call_next: Any) -> Any:
    """Answer 413 for a body over 1 MiB, whatever it says of its length, and 400 for one that was cut off."""
    read = bytearray()
    try:
        async for part in request.stream():
            read += part
            if len(read) > MAX_BODY_BYTES:
                return JSONResponse({"detail": f"the body is over {MAX_BODY_BYTES} bytes"}, status_code=413)
    except ClientDisconnect:
        return JSONResponse({"detail": "the body was cut off"}, status_code=400)
    request._body = bytes(read)  # what request.body() would have kept for the endpoint
    return await call_next(request)


@api.exception_handler(RequestValidationError)
async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
    """Answer 422 with what is wrong and where, without what was sent: it may be nothing that JSON can hold."""
    return JSONResponse({"detail": [_mistake(row) for row in error.errors()[:MAX_MISTAKES]]}, status_code=422)


def _mistake(row: dict[str, Any]) -> dict[str, Any]:
    loc = [escaped(part[:MAX_CHARACTERS]) if isinstance(part, str) else part for part in row["loc"]]
    why = f"{row['msg']}: {row['ctx']['error']}" if row["type"] == "json_invalid" else row["msg"]
    return {"loc": loc, "msg": escaped(why), "type": row["type"]}


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
    answer = partial(_answer, held.bundle, queries, request)
    results = await asyncio.get_running_loop().run_in_executor(held.executor, answer)
    took_ms = round(1000 * (time.perf_counter() - began), 2)
    mode = held.bundle.mode(request.mode)
    return SearchResponse(version=held.bundle.version, mode=mode, took_ms=took_ms, results=results)


def _answer(bundle: Bundle, queries: list[str], request: SearchRequest) -> list[list[SearchHit]]:
    results = bundle.search(queries, request.top_k, mode=request.mode)
    return [[SearchHit(**hit) for hit in hits_to_json(hits)] for hits in results]
