"""A client for Python programs: it keeps its connection, and asks again where a replica was lost or is too busy."""

import http.client
import json
import random
import time
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from nlift.errors import NliftError

AGAIN = (408, 500, 502, 503, 504)  # 408, 500: the replica was lost on the way; a search can be asked twice
LONGEST_WAIT_S = 10.0


class Client:
    """Searches a server; use it in a `with` block, in one thread.

    Args:
        url: The server's, as http://127.0.0.1:8000.
        key: Sent as `Authorization: Bearer KEY`; none when None.
        attempts: How often a request is sent at most.
        timeout_s: That an answer may take.
    """

    def __init__(self, url: str, *, key: str | None = None, attempts: int = 5, timeout_s: float = 30.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NliftError(f"{url}: expected a server's address, as http://127.0.0.1:8000")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        self._path, self._attempts = parts.path.rstrip("/"), max(attempts, 1)
        self._headers = {"content-type": "application/json"}
        self._headers |= {"authorization": f"Bearer {key}"} if key else {}

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def search(self, *queries: str, **settings: Any) -> list[list[dict[str, Any]]]:
        """The hits of each query, as `POST /v1/search` gives them.

        Args:
            queries: Texts.
            settings: top_k, mode, filter, explain.

        Raises:
            NliftError: The server refuses the request, or did not answer it in so many attempts.
        """
        answer = self._ask("/v1/search", {"queries": list(queries), **settings})
        results: list[list[dict[str, Any]]] = answer["results"]
        return results

    def _ask(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        body, why = json.dumps(content).encode(), ""
        for attempt in range(self._attempts):
            wait_s = 0.1 * 2**attempt
            try:
                self._connection.request("POST", self._path + path, body, self._headers)
                response = self._connection.getresponse()
                text = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                why = f"{type(error).__name__}: {error}"
            else:
                if response.status == http.HTTPStatus.OK:
                    answer: dict[str, Any] = json.loads(text)
                    return answer
                why = f"{response.status} {text[:500].decode(errors='replace')}"
                if response.status not in AGAIN:
                    break
                wait_s = max(wait_s, _seconds(response.getheader("retry-after")))
            if attempt + 1 < self._attempts:
                time.sleep(min(wait_s, LONGEST_WAIT_S) * random.uniform(0.75, 1.25))  # not all at once
        raise NliftError(f"{self._connection.host}:{self._connection.port}{path}: {why}")


def _seconds(header: str | None) -> float:
    return float(header) if header and header.isdigit() else 0.0
