"""Whether a bundle may take the place of another: both answer queries with known answers, as they would people's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlift.evaluation import metrics
from nlift.evaluation.judged_queries import CUT
from nlift.evaluation.significance import interval
from nlift.search.bundle import Bundle

MARGIN = 0.01
"""NDCG@10 that a version may lose."""
LEAST_QUERIES = 20
ROUNDING = 1e-9


@dataclass(frozen=True)
class Judged:
    """Queries with known answers; relevance by document id."""

    source: str
    """Where they are from, in words."""
    queries: Sequence[str]
    relevance: Sequence[Mapping[str, int]]
    by_document: bool = False
    """Whether several queries are made of a document, and so count as one."""

    @classmethod
    def of_records(cls, records: Sequence[Mapping[str, Any]]) -> "Judged":
        """The queries that a bundle keeps (`Evidence.records`)."""
        pairs = any("rest" in record for record in records)
        source = "pairs made of the corpus" if pairs else "dev queries"
        return cls(source, [row["query"] for row in records], [row["relevant"] for row in records], pairs)

    def of_both(self, new: Bundle, current: Bundle) -> "Judged":
        """The queries whose relevant documents are in both bundles, with the same text under the same id."""
        rows, rows_before = ({name: row for row, name in enumerate(bundle.documents.ids)} for bundle in (new, current))

        def same(doc_id: str) -> bool:
            if doc_id not in rows or doc_id not in rows_before:
                return False
            return new.documents[rows[doc_id]].content == current.documents[rows_before[doc_id]].content

        kept = [
            place
            for place, judged in enumerate(self.relevance)
            if all(same(doc_id) for doc_id, value in judged.items() if value > 0)
        ]
        queries = [self.queries[place] for place in kept]
        return Judged(self.source, queries, [self.relevance[place] for place in kept], self.by_document)

    def ndcg(self, bundle: Bundle) -> np.ndarray:
        """NDCG@10 of a bundle's answers, as it answers when nobody says how; float64, one per query or document."""
        values = []
        for hits, judged in zip(bundle.search(self.queries, CUT), self.relevance, strict=True):
            gains = np.array([max(judged.get(hit.doc_id, 0), 0) for hit in hits], dtype=float)
            values.append(metrics.ndcg(gains, metrics.ideal_gains(judged)[:CUT]))
        if not self.by_document:
            return np.array(values)
        of_document: dict[str, list[float]] = {}
        for judged, value in zip(self.relevance, values, strict=True):
            of_document.setdefault(next(iter(judged)), []).append(value)
        return np.array([np.mean(group) for group in of_document.values()])


@dataclass(frozen=True)
class Comparison:
    """A version beside the current one, by NDCG@10 of the same queries."""

    version: str
    current: str
    source: str
    queries: int
    new: float
    old: float
    low: float
    high: float
    margin: float

    @property
    def difference(self) -> float:
        """What the new version has above the current one."""
        return self.new - self.old

    @property
    def refused(self) -> bool:
        """Whether the new version is worse by more than the margin, or surely worse: the 95 % interval below 0."""
        return self.difference < -self.margin - ROUNDING or self.high < 0

    def __str__(self) -> str:
        interval = f"[{self.low:+.3f}, {self.high:+.3f}]"
        figures = f"{self.version} {self.new:.3f}, {self.current} {self.old:.3f}, {self.difference:+.3f} {interval}"
        return f"NDCG@10 of {self.queries} {self.source}: {figures}"

    def as_json(self) -> dict[str, Any]:
        """The comparison as the log of aliases has it."""
        figures = {
            name: round(getattr(self, name), 4) for name in ("new", "old", "difference", "low", "high", "margin")
        }
        return {"compared_with": self.current, "on": self.source, "queries": self.queries, **figures}


def compare(new: Bundle, current: Bundle, judged: Judged, margin: float = MARGIN) -> Comparison | None:
    """Both bundles on the queries whose relevant documents both have, unchanged; None for fewer than 20."""
    common = judged.of_both(new, current)
    if len(common.queries) < LEAST_QUERIES:
        return None
    values, before = common.ndcg(new), common.ndcg(current)
    low, high = interval(values - before)
    means = float(values.mean()), float(before.mean())
    return Comparison(
        new.version, current.version, common.source, len(common.queries), *means, float(low), float(high), margin
    )
