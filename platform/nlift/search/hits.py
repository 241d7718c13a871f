"""What a search answers with, and the same as JSON; what a query may be."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nlift.errors import NliftError
from nlift.visible import SURROGATE

OPTIONAL = ("passage", "explain")
MAX_DEPTH = 100  # of metadata as JSON; more is null


@dataclass(frozen=True)
class Hit:
    """One result.

    Attributes:
        doc_id: The document's id.
        score: Cosine (dense, -1 to 1), BM25 (lexical, above 0) or both together (hybrid, 0 to 1); higher is better.
        title: The document's title, empty where it has none.
        text: The document's text.
        metadata: The corpus's other columns.
        passage: The part of a long text that answers best; None where the text is one passage.
        explain: Why it stands there, where that was asked for (explanation.py).
    """

    doc_id: str
    score: float
    title: str
    text: str
    metadata: dict[str, Any]
    passage: str | None = None
    explain: dict[str, Any] | None = None


def hits_to_json(hits: list[Hit]) -> list[dict[str, Any]]:
    """Hits as the HTTP answer has them: JSON, whatever the corpus has; what is no number in JSON is null."""
    return [
        {
            name: _as_json(value)
            for name, value in vars(hit).items()
            if name not in ("passage", "explain") or value is not None
        }
        for hit in hits
    ]


def _as_json(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list) and depth > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {escaped(key): _as_json(item, depth + 1) for key, item in value.items()}
    return [_as_json(item, depth + 1) for item in value] if isinstance(value, list) else value


def escaped(text: str) -> str:
    """A text that can be written: half of a surrogate pair, as of an emoji that was cut, becomes its escape."""
    return SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def fault(query: str) -> str | None:
    """Why a query cannot be searched for, in the words of the command line and of HTTP; None where it can."""
    half = SURROGATE.search(query)
    if half is None:
        return None
    return f"found half of a surrogate pair ({escaped(half[0])}, character {half.start() + 1}), expected Unicode text"


def query_texts(queries: Iterable[str]) -> list[str]:
    """The queries. Raises NliftError where they are no list of texts."""
    if isinstance(queries, str | bytes) or not isinstance(queries, Iterable):
        raise NliftError(f"queries: found {shortened(queries)}, expected a list of texts")
    texts = list(queries)
    for place, text in enumerate(texts):
        why = fault(text) if isinstance(text, str) else f"found {shortened(text)}, expected a text"
        if why is not None:
            raise NliftError(f"queries[{place}]: {why}")
    return texts


def shortened(value: object) -> str:
    """A value as messages show it."""
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
