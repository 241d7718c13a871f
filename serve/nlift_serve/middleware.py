"""What every request passes: a key where keys are wanted, the limit of its body, a number, a line in the log."""

import hmac
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nlift_serve import metrics
from nlift_serve.config import Limits

logger = logging.getLogger("nlift.requests")
KEYS = "NLIFT_API_KEYS"  # one or more, separated by commas
OPEN_PATHS = (
    "/",
    "/ui/page.css",
    "/ui/page.js",
    "/healthz",
)  # without a key: the page, which asks for one, and the load balancer's question
KNOWN_PATHS = ("/", "/healthz", "/metrics", "/v1/search", "/v1/fields", "/v1/embeddings", "/v1/models", "/openapi.json")
REQUEST_ID = 64  # characters of a client's own number
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:"
HEADERS = [
    (b"content-security-policy", f"{POLICY}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'".encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


def keys_of(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The keys that a variable of the environment holds."""
    return tuple(key.strip() for key in variables.get(KEYS, "").split(",") if key.strip())


class Guard:
    """Answers 401, 413 and 400 itself; gives everything else on, with its body read."""

    def __init__(self, app: ASGIApp, limits: Callable[[], Limits], keys: Sequence[str] | None = None) -> None:
        self.app, self.limits = app, limits
        self.keys = [key.encode() for key in (keys_of(os.environ) if keys is None else keys)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the routes do so."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, request_id = time.perf_counter(), _request_id(scope)
        scope["state"] = {**scope.get("state", {}), "request_id": request_id, "began": began}
        status: int | None = None

        async def numbered(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *HEADERS, (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._guarded(scope, receive, numbered)
        except Exception:
            logger.exception("request %s", request_id)
            if status is None:
                await _answer(numbered, 500, "an error of the server; its log says more under this request's number")
        finally:
            seconds = time.perf_counter() - began
            route = scope["path"] if scope["path"] in KNOWN_PATHS else "other"
            mode = scope["state"].get("mode", "")
            metrics.REQUESTS.labels(route, status or 500, mode).inc()
            metrics.SECONDS_OF.labels(route).observe(seconds)
            if logger.isEnabledFor(logging.INFO):
                row = {"request_id": request_id, "method": scope["method"], "route": route, "status": status}
                logger.info(json.dumps({**row, "mode": mode, "ms": round(1000 * seconds, 2)}))

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.keys and scope["path"] not in OPEN_PATHS and not self._known(scope):
            await _answer(send, 401, "a key is missing or wrong; expected the header `Authorization: Bearer KEY`")
            return
        limits = self.limits()
        if limits.hosts is not None and _host(scope) not in limits.hosts:
            await _answer(send, 421, "not the name of this server; service.hosts in its settings has those that are")
            return
        body, most = bytearray(), limits.max_body_bytes
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                await _answer(send, 400, "the body was cut off")
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > most:
                await _answer(send, 413, f"the body is over {most} bytes")
                return
        read = False

        async def replay() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, replay, send)

    def _known(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        key = given[7:] if given[:7].lower() == b"bearer " else b""
        return sum(hmac.compare_digest(key, known) for known in self.keys) > 0  # all of them: in constant time


def _host(scope: Scope) -> str:
    """The name that a request calls the server by, without the port."""
    given = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
    return given[1:].partition("]")[0] if given.startswith("[") else given.partition(":")[0]


def _request_id(scope: Scope) -> str:
    """The client's own number where that is one, else a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"").decode("latin-1")
    plain = given.isascii() and given.replace("-", "").replace("_", "").isalnum() and len(given) <= REQUEST_ID
    return given if plain else uuid.uuid4().hex


async def _answer(send: Send, status: int, detail: str) -> None:
    content = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    start: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": content})
