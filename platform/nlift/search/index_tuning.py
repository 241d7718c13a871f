"""How widely an approximate index has to search: measured beside exact search, on queries that nobody reports.

Shape suffixes: Q queries, D dimensions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from nlift.search.faiss_index import FaissIndex
from nlift.search.ranking import Ranking

CUT = 10
WANTED_RECALL = 0.99
LEAST_WIDTH = 8


@dataclass(frozen=True)
class Recall:
    """Which share of the ten nearest documents an index finds."""

    share: float
    queries: int

    def as_json(self) -> dict[str, Any]:
        """The measurement as bundle.json has it."""
        return {"recall@10": round(self.share, 4), "queries": self.queries}


def recall(index: FaissIndex, queries_QD: np.ndarray, exact: Ranking) -> float:
    """The mean over queries of the share of their exact ten nearest that an index finds."""
    answered = index.search(queries_QD, CUT)
    pairs = zip(exact.rows_QK, answered.rows_QK, strict=True)
    return float(np.mean([len(np.intersect1d(near, rows)) / len(near) for near, rows in pairs]))


def tune(index: FaissIndex, queries_QD: np.ndarray) -> Recall:
    """Let an index search as widely as recall@10 of 0.99 needs, and no wider; what it reaches.

    Args:
        index: A flat one is exact already.
        queries_QD: Queries that nobody reports, or texts like them.
    """
    if index.kind == "flat" or not len(queries_QD):
        return Recall(1.0, 0)
    exact, width = FaissIndex(index.vectors).search(queries_QD, CUT), LEAST_WIDTH
    while True:
        index.search_width = min(width, index.widest)
        share = recall(index, queries_QD, exact)
        if share >= WANTED_RECALL or width >= index.widest:
            return Recall(share, len(queries_QD))
        width *= 2
