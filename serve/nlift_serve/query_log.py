"""What was asked, a file per day; written only where an operator asks for it."""

import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from nlift.data.files import append_jsonl
from nlift_serve.answering import SearchAnswer

logger = logging.getLogger("nlift")


class QueryLog:
    """A folder of files of JSON lines; nothing but the queries and what came of them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def write(self, request_id: str, answer: SearchAnswer, queries: Sequence[str], took_ms: float) -> None:
        """Add a line per query; a full disk is said in the log, and answers go on."""
        now = datetime.now(UTC)
        row = {"at": now.isoformat(timespec="milliseconds"), "request_id": request_id, "took_ms": took_ms}
        row |= {"version": answer.version, "mode": answer.mode}
        try:
            for query, hits in zip(queries, answer.results, strict=True):
                ids = [hit.doc_id for hit in hits[:10]]
                append_jsonl(self._folder / f"queries-{now:%Y-%m-%d}.jsonl", {**row, "query": query, "hits": ids})
        except OSError as error:
            logger.error(json.dumps({"query_log": str(error)}))
