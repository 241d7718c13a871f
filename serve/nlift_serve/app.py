"""The HTTP routes; what they answer with is in answering.py, the deployment in replica.py."""

import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from ray import serve

from nlift.errors import NliftError
from nlift.search.fields import FilterError
from nlift.search.hits import escaped, hits_to_json
from nlift_serve import metrics
from nlift_serve.answering import Answering, Embedded, SearchAnswer, in_base64, texts_of
from nlift_serve.batching import DeadlineError, OverloadedError
from nlift_serve.config import Limits
from nlift_serve.middleware import Guard
from nlift_serve.query_log import QueryLog
from nlift_serve.schemas import (
    EmbeddingsRequest,
    EmbeddingsResponse,
    Failure,
    FieldOfMetadata,
    Health,
    Model,
    Models,
    Refusal,
    SearchRequest,
    SearchResponse,
)

MAX_MISTAKES = 20  # that are listed of a request
MAX_CHARACTERS = 100  # of a field's name in an answer
RETRY_AFTER_S = 1
FORM = re.compile(
    r"(function-\w+|list)\[|constrained-"
)  # which of several forms a value was tried as, in pydantic's words
UI = Path(__file__).parent / "ui"
MODEL, EMBEDDINGS = "nlift", "/v1/embeddings"
FIELDS = {*SearchRequest.model_fields, *EmbeddingsRequest.model_fields}
FAILURES: dict[int | str, dict[str, Any]] = {
    400: {"model": Failure, "description": "No JSON, or cut off"},
    401: {"model": Failure, "description": "A key is missing or wrong"},
    413: {"model": Failure, "description": "The body is too large"},
    503: {"model": Failure, "description": "Too much to do; Retry-After says when to ask again"},
}

# no redirects: the address of one is made of what the request says that the server is called
api = FastAPI(title="nlift", docs_url=None, redoc_url=None, redirect_slashes=False)


class Json(Response):
    """JSON that is already made of what JSON has."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The content's bytes."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def refusal(request: Request, status: int, detail: Any, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says why there is none; OpenAI's clients look for it under `error`."""
    content = {"detail": detail}
    if request.url.path == EMBEDDINGS:
        lines = detail if isinstance(detail, str) else "; ".join(f"{row['loc'][-1]}: {row['msg']}" for row in detail)
        content["error"] = {"message": lines, "type": "invalid_request_error" if status < 500 else "server_error"}
    return JSONResponse(content, status_code=status, headers=headers)


@api.exception_handler(RequestValidationError)
async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer 422 with what is wrong and where, without what was sent: it may be nothing that JSON can hold."""
    return refusal(request, 422, [_mistake(row) for row in error.errors()[:MAX_MISTAKES]])


@api.exception_handler(FilterError)
async def refuse_filter(request: Request, error: FilterError) -> JSONResponse:
    """Answer 422 for a filter that the documents do not have."""
    loc = ["body", "filter", *(escaped(part[:MAX_CHARACTERS]) for part in error.loc)]
    return refusal(request, 422, [{"loc": loc, "msg": escaped(error.why), "type": "value_error"}])


@api.exception_handler(NliftError)
async def refuse_search(request: Request, error: NliftError) -> JSONResponse:
    """Answer 422 for what only the bundle knows to be wrong; the message begins with the field."""
    name, colon, why = str(error).partition(": ")
    loc, why = (["body", escaped(name)], why) if colon and name in FIELDS else (["body"], str(error))
    return refusal(request, 422, [{"loc": loc, "msg": escaped(why), "type": "value_error"}])


@api.exception_handler(OverloadedError)
@api.exception_handler(DeadlineError)
async def ask_again(request: Request, error: Exception) -> JSONResponse:
    """Answer 503: there is too much to do now."""
    return refusal(request, 503, str(error), {"retry-after": str(RETRY_AFTER_S)})


def _mistake(row: dict[str, Any]) -> dict[str, Any]:
    parts = [part for part in row["loc"] if not (isinstance(part, str) and FORM.match(part))]
    loc = [escaped(part[:MAX_CHARACTERS]) if isinstance(part, str) else part for part in parts]
    why = f"{row['msg']}: {row['ctx']['error']}" if row["type"] == "json_invalid" else row["msg"]
    return {"loc": loc, "msg": escaped(why), "type": row["type"]}


def limits() -> Limits:
    """What the replica that a request has come to allows."""
    return answering().limits


api.add_middleware(Guard, limits=limits)


def answering() -> Answering:
    """What answers in the replica that a request has come to."""
    replica: Any = serve.get_replica_context().servable_object
    held: Answering = replica.answering
    return held


def query_log() -> QueryLog | None:
    """Where the replica writes queries down; None unless that was asked for."""
    replica: Any = serve.get_replica_context().servable_object
    log: QueryLog | None = replica.query_log
    return log


Held = Annotated[Answering, Depends(answering)]
Log = Annotated[QueryLog | None, Depends(query_log)]


@api.get("/", response_class=FileResponse)
async def page() -> FileResponse:
    """The search page."""
    return FileResponse(UI / "index.html")


@api.get("/ui/page.css", response_class=FileResponse, include_in_schema=False)
async def style() -> FileResponse:
    """How the page looks."""
    return FileResponse(UI / "page.css")


@api.get("/ui/page.js", response_class=FileResponse, include_in_schema=False)
async def script() -> FileResponse:
    """What the page does."""
    return FileResponse(UI / "page.js")


@api.get("/healthz", response_model_exclude_none=True)
async def healthz(held: Held) -> Health:
    """What is served, and which version did not take over."""
    bundle, refused = held.served.current, held.served.refused
    refusal = Refusal(version=refused.version, why=refused.why) if refused else None
    return Health(status="ok", version=bundle.version, documents=len(bundle.documents), refused=refusal)


@api.get("/metrics", response_class=Response)
async def prometheus() -> Response:
    """Counters in Prometheus' text format."""
    return Response(metrics.text(), media_type=metrics.CONTENT_TYPE_LATEST)


@api.get("/v1/fields", response_model_exclude_none=True)
async def fields(held: Held) -> dict[str, FieldOfMetadata]:
    """What documents can be filtered by."""
    described = held.served.current.documents.fields.described
    return {name: FieldOfMetadata(**field) for name, field in described.items()}


@api.post("/v1/search", response_model=SearchResponse, responses=FAILURES)
async def search(asked: SearchRequest, request: Request, held: Held, log: Log) -> Response:
    """The best documents of each query."""
    _check_size(asked, held)
    answer = await held.answer(asked)
    assert isinstance(answer, SearchAnswer)
    request.state.mode = answer.mode
    results = [hits_to_json(hits) for hits in answer.results]
    took_ms = round(1000 * (time.perf_counter() - request.state.began), 2)
    if log is not None:
        log.write(request.state.request_id, answer, texts_of(asked), took_ms)
    return Json({"version": answer.version, "mode": answer.mode, "took_ms": took_ms, "results": results})


def _check_size(asked: SearchRequest, held: Answering) -> None:
    wanted, limits = len(texts_of(asked)) * asked.top_k, held.limits
    if wanted > limits.max_results:
        raise NliftError(f"top_k: found {wanted} results in all, expected at most {limits.max_results}")
    if asked.explain and wanted > limits.max_explained:
        raise NliftError(f"explain: found {wanted} results in all, expected at most {limits.max_explained}")


@api.get("/v1/models")
async def models(held: Held) -> Models:
    """The encoder that is served, under its two names."""
    info = held.served.current.info
    created = int(datetime.fromisoformat(info["created"]).timestamp())
    return Models(data=[Model(id=name, created=created) for name in (MODEL, info["version"])])


@api.post(EMBEDDINGS, response_model=EmbeddingsResponse, responses={**FAILURES, 404: {"model": Failure}})
async def embeddings(asked: EmbeddingsRequest, request: Request, held: Held) -> Response:
    """Unit vectors of texts, as OpenAI's API gives them."""
    bundle = held.served.current
    if asked.model not in (MODEL, bundle.version):
        detail = f"model {escaped(asked.model[:MAX_CHARACTERS])!r}: not here; expected {MODEL} or {bundle.version}"
        return refusal(request, 404, detail)
    if asked.dimensions is not None and asked.dimensions > bundle.encoder.dim:
        raise NliftError(f"dimensions: found {asked.dimensions}, expected at most {bundle.encoder.dim}")
    special = bundle.encoder.tokenizer.num_special_tokens_to_add()
    if asked.truncate_prompt_tokens is not None and 0 <= asked.truncate_prompt_tokens <= special:
        raise NliftError(f"truncate_prompt_tokens: found {asked.truncate_prompt_tokens}, expected over {special}")
    embedded = await held.answer(asked)
    assert isinstance(embedded, Embedded)
    if asked.model not in (MODEL, embedded.version):  # another version took over meanwhile
        return refusal(request, 404, f"model {asked.model!r}: is {embedded.version} now")
    as_text = asked.encoding_format == "base64"
    data = [
        {"object": "embedding", "index": i, "embedding": in_base64(vector_D) if as_text else vector_D.tolist()}
        for i, vector_D in enumerate(embedded.vectors_ND)
    ]
    usage = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
    return Json({"object": "list", "data": data, "model": asked.model, "usage": usage})
