"""How a corpus is to be searched, chosen on queries that nobody reports (judged_queries.py).

The analyzer is chosen by the lexical leg alone, then the weight of the dense leg and the mode by NDCG@10 over these
queries, with the searchers and the fusion that answer people later.

Shape suffixes: Q queries, A weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from nlift.evaluation.judged_queries import CUT, Evidence, JudgedQueries
from nlift.evaluation.separation import trusted_weight
from nlift.evaluation.significance import interval
from nlift.search.analyzers import Analyzer, analyzer_named, analyzers_of, check_language
from nlift.search.fusion import fuse
from nlift.search.ranking import Ranking
from nlift.search.searchers import BM25Searcher, DenseSearcher, Encode, HybridSearcher, Mode, SearchSettings
from nlift.settings import SearchConfig

ALPHAS_A = np.arange(21) / 20
LEAST_NDCG = 0.05  # of the better leg on pairs; below, they say nothing


@dataclass(frozen=True)
class Choice:
    """How a corpus is to be searched, and the figures that say so."""

    settings: SearchSettings
    evidence: Evidence
    queries: int = 0
    """On which the figures are; 0 where there are none."""
    ndcg: dict[str, float | None] = field(default_factory=dict)
    """NDCG@10 on them, by mode."""
    gain: dict[str, Any] = field(default_factory=dict)
    """NDCG@10 of the chosen mode above the better single leg beside it: `above`, `mean`, and of its 95 % interval `low`
    and `high`."""

    def as_json(self) -> dict[str, Any]:
        """The choice as bundle.json and metrics.json have it."""
        settings, analyzer = self.settings, self.settings.analyzer
        return {
            "mode": settings.mode,
            "alpha": settings.alpha,
            "analyzer": analyzer.name,
            "language": analyzer.language,
            "analyzer_version": analyzer.version,
            "fusion": settings.fusion,
            "depth": settings.depth,
            "chosen_on": self.evidence.source,
            "reason": self.evidence.reason,
            "queries": self.queries,
            "ndcg@10": self.ndcg,
            "gain": self.gain,
        }


def choose_analyzer(config: SearchConfig, language: str | None, evidence: Evidence) -> Analyzer:
    """The analyzer that is wanted; where that is left open the language's usual one, unless another is surely better.

    Surely: the 95 % interval of the difference in NDCG@10 is above 0. Raises ConfigError for an unknown language, or an
    analyzer that is none for it.
    """
    if config.analyzer != "auto":
        return analyzer_named(config.analyzer, language)
    check_language(language)
    usual, *others = analyzers_of(language)
    if others and evidence.parts:
        before = _lexical_ndcg(usual, evidence)
        for other in others:
            if interval(evidence.by_document(_lexical_ndcg(other, evidence) - before))[0] > 0:
                return other
    return usual


def choose(config: SearchConfig, language: str | None, evidence: Evidence, encode: Encode) -> Choice:
    """The best way to search by the evidence; what the settings say is taken as it is.

    Args:
        config: The section `search`.
        language: Of the corpus, ISO 639-1; None where nobody knows.
        evidence: Judged queries, with vectors of the documents.
        encode: Queries to vectors.

    Returns:
        The choice. On dev queries the weight is the best one there. On pairs of the corpus, which are fewer and less
        like people's queries, it is the mean of that and of what goes with the encoder's separation; where there are no
        pairs, or neither leg finds them, the latter alone. The mode is hybrid unless a leg alone is surely better.

    Raises:
        ConfigError: An unknown language, or an analyzer that is none for it.
    """
    settings = SearchSettings(
        analyzer=choose_analyzer(config, language, evidence),
        fusion=config.fusion,
        alpha=0.5 if config.alpha == "auto" else config.alpha,
        depth=config.depth,
        mode="hybrid" if config.mode == "auto" else config.mode,
    )
    legs = [_Legs.of(part, settings, encode) for part in evidence.parts]
    if evidence.source == "corpus" and not _says_something(legs[1:]):
        legs, evidence = [], replace(evidence, reason=f"neither leg finds {evidence.reason}").without_pairs()
    if config.alpha == "auto":
        settings = replace(settings, alpha=_weight(settings, legs, evidence))
    if not legs:
        return Choice(settings, evidence)
    by_leg = {
        "dense": np.concatenate([leg.dense_Q for leg in legs]),
        "lexical": np.concatenate([leg.lexical_Q for leg in legs]),
        "hybrid": np.concatenate([leg.fused(settings) for leg in legs]),
    }
    ndcg_Q = {mode: evidence.by_document(values_Q) for mode, values_Q in by_leg.items()}
    if config.mode == "auto":
        settings = replace(settings, mode=_mode(ndcg_Q))
    return Choice(settings, evidence, len(evidence.records()), means(ndcg_Q), gain(ndcg_Q, settings.mode))


def _weight(settings: SearchSettings, legs: Sequence["_Legs"], evidence: Evidence) -> float:
    """The weight of the dense leg."""
    weights = []
    if evidence.separation is not None:
        weights.append(trusted_weight(evidence.separation))
    if legs:
        means_A = [
            np.concatenate([leg.fused(replace(settings, alpha=float(alpha))) for leg in legs]).mean()
            for alpha in ALPHAS_A
        ]
        weights.append(float(ALPHAS_A[_middle_of_best(np.array(means_A))]))
    return round(float(np.mean(weights)), 2) if weights else settings.alpha


def _says_something(legs: Sequence["_Legs"]) -> bool:
    """Whether the better leg finds some of the documents without their queries' text."""
    alone = (np.concatenate([getattr(leg, name) for leg in legs]).mean() for name in ("dense_Q", "lexical_Q"))
    return bool(max(alone) >= LEAST_NDCG)


def _mode(ndcg_Q: dict[str, np.ndarray]) -> Mode:
    """Hybrid, unless a leg alone is surely better: the 95 % interval of the difference is above 0."""
    leg: Mode = "dense" if ndcg_Q["dense"].mean() > ndcg_Q["lexical"].mean() else "lexical"
    return leg if interval(ndcg_Q[leg] - ndcg_Q["hybrid"])[0] > 0 else "hybrid"


@dataclass(frozen=True)
class _Legs:
    """What both legs find for some queries, and how good it is."""

    part: JudgedQueries
    dense: Ranking
    lexical: Ranking
    dense_Q: np.ndarray
    lexical_Q: np.ndarray

    @classmethod
    def of(cls, part: JudgedQueries, settings: SearchSettings, encode: Encode) -> "_Legs":
        assert part.vectors is not None
        dense = DenseSearcher(part.vectors, encode)
        lexical = BM25Searcher(part.words(settings.analyzer))
        alone = (leg.search(part.queries, CUT, allowed=part.allowed) for leg in (dense, lexical))
        hybrid = HybridSearcher(dense, lexical, fusion=settings.fusion, alpha=settings.alpha, depth=settings.depth)
        return cls(part, *hybrid.legs(part.queries, part.allowed), *map(part.ndcg, alone))

    def fused(self, settings: SearchSettings) -> np.ndarray:
        """NDCG@10 of both together, float64 [Q]."""
        fused = fuse(self.dense, self.lexical, fusion=settings.fusion, alpha=settings.alpha, top_k=CUT)
        return self.part.ndcg(fused)


def _lexical_ndcg(analyzer: Analyzer, evidence: Evidence) -> np.ndarray:
    """NDCG@10 of BM25, float64 [Q]."""
    values = []
    for part in evidence.parts:
        searcher = BM25Searcher(part.words(analyzer))
        values.append(part.ndcg(searcher.search(part.queries, CUT, allowed=part.allowed)))
    return np.concatenate(values)


def _middle_of_best(values_A: np.ndarray) -> int:
    """The place of the greatest value; of several the middle one, which is farthest from what is worse."""
    best = np.flatnonzero(values_A == values_A.max())
    return int(best[len(best) // 2])


def means(ndcg_Q: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """The mean of each mode's NDCG@10."""
    return {mode: _rounded(values.mean()) for mode, values in ndcg_Q.items()}


def gain(ndcg_Q: Mapping[str, np.ndarray], mode: Mode) -> dict[str, Any]:
    """What a mode has above the better single leg beside it, by NDCG@10 of each query and mode, as `Choice.gain`."""
    rival = max((leg for leg in ("dense", "lexical") if leg != mode), key=lambda leg: ndcg_Q[leg].mean())
    differences_Q = ndcg_Q[mode] - ndcg_Q[rival]
    low, high = interval(differences_Q)
    return {"above": rival, "mean": _rounded(differences_Q.mean()), "low": _rounded(low), "high": _rounded(high)}


def _rounded(value: float) -> float | None:
    """A figure as files have it; None for what is not finite."""
    return round(float(value), 4) if np.isfinite(value) else None
