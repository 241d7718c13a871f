"""The dev part of `train.dev` during training: measured over all ranks, and when to stop."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nlift.encoder import Encoder
from nlift.judging import judge, judge_vectors
from nlift.sections import EvaluationSet, direction
from nlift.sets import RetrievalSet, StsSet, load_set


@dataclass
class Patience:
    """Counts measurements since the best one; `limit` None never ends the training."""

    metric: str | None
    limit: int | None
    best: float | None = None
    stale: int = 0

    def saw(self, values: dict[str, float]) -> None:
        """Take a measurement into account."""
        if self.metric is None or self.metric not in values:
            return
        value = values[self.metric] * (-1 if direction(self.metric) == "min" else 1)
        better = self.best is None or value > self.best
        self.best, self.stale = (value, 0) if better else (self.best, self.stale + 1)

    @property
    def ended(self) -> bool:
        """Whether nothing got better for too long."""
        return self.limit is not None and self.stale >= self.limit


class DevPart:
    """The dev part of a set; every rank embeds its share of the documents."""

    def __init__(self, config: dict[str, Any], max_length: int, rank: int, ranks: int) -> None:
        loaded = load_set(EvaluationSet.model_validate(config))
        assert isinstance(loaded, RetrievalSet | StsSet)
        self.set, self.max_length, self.rank, self.ranks = loaded.part(dev=True), max_length, rank, ranks

    def measure(self, encoder: Encoder) -> dict[str, float]:
        """Every metric of the set by its name, the same on every rank."""
        if isinstance(self.set, RetrievalSet):
            documents = self._documents(encoder, self.set)
            values = self._judge_queries(encoder, self.set, documents) if self.rank == 0 else {}
        else:
            values = _flat(judge("dev", encoder, self.set, self.max_length).groups) if self.rank == 0 else {}
        return from_rank_zero(values, self.ranks)

    def _documents(self, encoder: Encoder, watched: RetrievalSet) -> np.ndarray:
        texts = [document.content for document in watched.documents]
        mine = encoder.encode(texts[self.rank :: self.ranks], role="passage", max_length=self.max_length)
        documents = np.zeros((len(texts), encoder.dim), dtype=np.float32)
        parts: list[Any] = [mine] * self.ranks
        if self.ranks > 1:
            torch.distributed.all_gather_object(parts, mine)
        for other, part in enumerate(parts):
            documents[other :: self.ranks] = part
        return documents

    def _judge_queries(self, encoder: Encoder, watched: RetrievalSet, documents_ND: np.ndarray) -> dict[str, float]:
        queries = encoder.encode(list(watched.queries.values()), role="query", max_length=self.max_length)
        return _flat(judge_vectors("dev", watched, queries, documents_ND).groups)


def from_rank_zero(value: Any, ranks: int) -> Any:
    """Rank 0's value on every rank."""
    box = [value]
    if ranks > 1:
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def _flat(groups: dict[str, dict[str, float]]) -> dict[str, float]:
    return {name: value for group in groups.values() for name, value in group.items()}
