"""Whether an encoder got better by training: base, tuned and averages of their weights, beside each other.

Looked at is what nobody reports: the dev part of a set, or pairs of the documents that training left out
(judged_queries.py). Each encoder is judged with and without soft whitening of its vectors, and alone, without words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np

from nlift.evaluation import metrics
from nlift.evaluation.datasets import StsSet
from nlift.evaluation.judged_queries import CUT, Evidence
from nlift.evaluation.significance import bootstrap_interval, interval
from nlift.evaluation.text_encoder import Role, TextEncoder
from nlift.models.whitening import whitened
from nlift.search.searchers import DenseSearcher
from nlift.search.vector_index import ExactIndex


@dataclass(frozen=True)
class Candidate:
    """What may be saved: a share of the base model's weights, and the power of a whitening."""

    base_share: float
    whitening: float | None = None

    @property
    def name(self) -> str:
        """What tables call it."""
        plain = {0.0: "tuned", 1.0: "base"}.get(self.base_share, f"{self.base_share:.0%} base")
        return plain if self.whitening is None else f"{plain}, whitened"


class Judge(Protocol):
    """Something to look at: what it is, and how good an encoder is at it."""

    @property
    def name(self) -> str:
        """What it is, in words."""
        ...

    @property
    def metric(self) -> str:
        """What its figure is."""
        ...

    def values(self, encoder: TextEncoder, max_length: int) -> np.ndarray:
        """What an encoder has for each query or pair, float64 [Q]."""
        ...

    def figure(self, values_Q: np.ndarray) -> float:
        """What it comes to."""
        ...

    def above(self, values_Q: np.ndarray, others_Q: np.ndarray) -> tuple[float, float, float]:
        """How far the figure is above another's, and the 95 % interval of that."""
        ...


@dataclass(frozen=True)
class RetrievalJudge:
    """NDCG@10 of dense search."""

    name: str
    evidence: Evidence
    metric: str = "ndcg@10"

    def values(self, encoder: TextEncoder, max_length: int) -> np.ndarray:
        """NDCG@10 of each query; of pairs a document's mean."""
        values = []
        for part in self.evidence.parts:
            documents = ExactIndex(encoder.encode(part.texts, role="passage", max_length=max_length))
            searcher = DenseSearcher(documents, partial(encoder.encode, role="query", max_length=max_length))
            values.append(part.ndcg(searcher.search(part.queries, CUT, allowed=part.allowed)))
        return self.evidence.by_document(np.concatenate(values))

    def figure(self, values_Q: np.ndarray) -> float:
        """The mean over queries."""
        return float(values_Q.mean())

    def above(self, values_Q: np.ndarray, others_Q: np.ndarray) -> tuple[float, float, float]:
        """The mean difference, with Student's interval."""
        differences_Q = values_Q - others_Q
        return (float(differences_Q.mean()), *interval(differences_Q))


@dataclass(frozen=True)
class StsJudge:
    """Spearman's correlation of cosines with people's scores."""

    name: str
    dataset: StsSet
    metric: str = "spearman"

    def values(self, encoder: TextEncoder, max_length: int) -> np.ndarray:
        """The cosine of each pair."""
        first, second = (encoder.encode([pair[side] for pair in self.dataset.pairs]) for side in (0, 1))
        return np.asarray((first * second).sum(1), dtype=np.float64)

    def figure(self, values_Q: np.ndarray) -> float:
        """The correlation."""
        return metrics.spearman(values_Q, np.array(self.dataset.scores))

    def above(self, values_Q: np.ndarray, others_Q: np.ndarray) -> tuple[float, float, float]:
        """The difference of correlations, with the interval over resampled pairs."""
        gold_Q = np.array(self.dataset.scores)

        def difference(rows: np.ndarray) -> float:
            return metrics.spearman(values_Q[rows], gold_Q[rows]) - metrics.spearman(others_Q[rows], gold_Q[rows])

        return (difference(np.arange(len(gold_Q))), *bootstrap_interval(difference, len(gold_Q)))


class RememberingEncoder:
    """An encoder that encodes no text twice."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.encoder = encoder
        self.vectors: dict[tuple[Role, int | None, str], np.ndarray] = {}

    def encode(self, texts: Sequence[str], *, role: Role = None, max_length: int | None = None) -> np.ndarray:
        """Unit vectors, float32 [N, D]."""
        key = (role, max_length)
        new = [text for text in dict.fromkeys(texts) if (*key, text) not in self.vectors]
        if new:
            encoded = self.encoder.encode(new, role=role, max_length=max_length)
            self.vectors |= {(*key, text): vector for text, vector in zip(new, encoded, strict=True)}
        return np.stack([self.vectors[*key, text] for text in texts])


@dataclass(frozen=True)
class WhitenedEncoder:
    """An encoder with a whitening after it."""

    encoder: TextEncoder
    whitening: Any

    def encode(self, texts: Sequence[str], *, role: Role = None, max_length: int | None = None) -> np.ndarray:
        """Unit vectors, float32 [N, D]."""
        return whitened(self.encoder.encode(texts, role=role, max_length=max_length), self.whitening)


@dataclass(frozen=True)
class Verdict:
    """Which candidate is kept, and the figures that say so."""

    chosen: Candidate
    judges: Sequence[Judge]
    values: Mapping[Candidate, Sequence[np.ndarray]]
    """Of each candidate, what it has for each judge's queries."""
    held_back: Sequence[Candidate] = field(default_factory=tuple)
    """Those that lose too much on a set beside the first."""

    def figure(self, candidate: Candidate, place: int = 0) -> float:
        """What a candidate has on a judge's queries."""
        return self.judges[place].figure(self.values[candidate][place])

    def as_json(self) -> dict[str, Any]:
        """The verdict as guard.json has it."""
        beside = [
            candidate for candidate in self.values if candidate.base_share in (0, 1) and candidate.whitening is None
        ]
        return {
            "chosen": self.chosen.name,
            "base_share": self.chosen.base_share,
            "whitening": self.chosen.whitening,
            "sets": [
                {"name": judge.name, "metric": judge.metric, "queries": len(self.values[self.chosen][place])}
                for place, judge in enumerate(self.judges)
            ],
            "candidates": [
                {
                    "name": candidate.name,
                    "base_share": candidate.base_share,
                    "whitening": candidate.whitening,
                    "figures": [round(self.figure(candidate, place), 4) for place in range(len(self.judges))],
                    "held_back": candidate in self.held_back,
                }
                for candidate in self.values
            ],
            "above": {candidate.name: self._above(candidate) for candidate in beside},
        }

    def _above(self, other: Candidate) -> list[dict[str, float]]:
        """How far the chosen one is above another, by judge."""
        rows = []
        for place, judge in enumerate(self.judges):
            mean, low, high = judge.above(self.values[self.chosen][place], self.values[other][place])
            rows.append({"mean": round(mean, 4), "low": round(low, 4), "high": round(high, 4)})
        return rows


def choose(judges: Sequence[Judge], values: Mapping[Candidate, Sequence[np.ndarray]], margin: float) -> Verdict:
    """The candidate that is best by the first judge and loses no more than `margin` to the base by any other.

    Of equally good ones the nearest to the tuned weights, without whitening. `values` has the base without whitening
    where there are further judges: it loses nothing.
    """
    base = values.get(Candidate(1.0))
    held_back = [
        candidate
        for candidate, by_judge in values.items()
        if base is not None
        and any(
            judge.figure(mine) < judge.figure(theirs) - margin
            for judge, mine, theirs in zip(judges[1:], by_judge[1:], base[1:], strict=True)
        )
    ]
    allowed = sorted(
        (c for c in values if c not in held_back),
        key=lambda c: (c.base_share, -1 if c.whitening is None else c.whitening),
    )
    chosen = max(allowed, key=lambda candidate: judges[0].figure(values[candidate][0]))
    return Verdict(chosen, judges, values, tuple(held_back))
