"""All encoders of an evaluation beside each other: differences on the same queries, with intervals and tests.

Shape suffix: Q queries, pairs of sentences or examples.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nlift.evaluation import metrics
from nlift.evaluation.significance import LEVEL, Difference, holm, mean_difference, statistic_difference

PerQuery = Mapping[str, np.ndarray]
"""What a name has on a set, float64 [Q] by column: metrics, `cosine` and `score` of pairs, `correct` of a probe."""
AVERAGED = ("ndcg@10", "recall@100")
BM25, BM25_PLAIN, HYBRID = "bm25", "bm25_plain", "hybrid"
BASE_HYBRID = f"base+{BM25}"


@dataclass(frozen=True)
class Comparison:
    """How far a name is above another on a set, by a metric."""

    set_name: str
    metric: str
    name: str
    against: str
    value: float
    other: float
    difference: Difference
    p_holm: float
    """P of the test, corrected for all names that are compared with the same one."""

    @property
    def is_shown(self) -> bool:
        """Whether the difference is more than chance."""
        return self.p_holm < LEVEL

    @property
    def words(self) -> str:
        """What is to be said of it in a sentence."""
        difference = self.difference
        figures = f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"
        if self.is_shown:
            way = "above" if difference.mean > 0 else "below"
            return f"{self.name} is {way} {self.against} by {metric_name(self.metric)}, {figures}"
        return (
            f"no difference of {self.name} and {self.against} is shown by {metric_name(self.metric)}, {figures}; "
            f"{difference.count:,} can show {difference.detectable:.3f}"
        )

    def as_json(self) -> dict[str, Any]:
        """The comparison as comparisons.json has it."""
        figures = {name: _rounded(value) for name, value in asdict(self.difference).items()}
        return {
            "set": self.set_name,
            "metric": self.metric,
            "name": self.name,
            "against": self.against,
            "value": _rounded(self.value),
            "against_value": _rounded(self.other),
            "difference": figures["mean"],
            **{name: figures[name] for name in ("low", "high", "p")},
            "p_holm": _rounded(self.p_holm),
            **{name: figures[name] for name in ("effect", "detectable", "count")},
            "words": self.words,
        }


def compare_all(results: Mapping[str, Mapping[str, PerQuery]], baselines: Sequence[str]) -> list[Comparison]:
    """Every name with each baseline, and what is fused with what it is made of, set by set and metric by metric.

    Args:
        results: By set and name, all names of a set over the same queries in the same order.
        baselines: Names that others are compared with, as base, bm25 and base+bm25.
    """
    compared = []
    for set_name, by_name in results.items():
        for metric in _metrics(by_name):
            for against in (name for name in baselines if name in by_name):
                rivals = _rivals(against, by_name, baselines)
                compared += _family(set_name, metric, against, {name: by_name[name] for name in rivals}, by_name)
    return compared


def _rivals(against: str, names: Iterable[str], baselines: Sequence[str]) -> list[str]:
    """Who is compared with a baseline: with a fused one what is fused; with BM25 no other baseline."""
    rivals = [name for name in names if name not in (against, BM25_PLAIN)]
    if is_fused(against):
        return [name for name in rivals if is_fused(name) and name not in baselines]
    rivals = [name for name in rivals if not (is_fused(name) and name in baselines)]
    return [name for name in rivals if name not in baselines] if against == BM25 else rivals


def is_fused(name: str) -> bool:
    """Whether a name is an encoder's together with BM25."""
    return name == HYBRID or name.endswith(f"+{BM25}")


def _metrics(by_name: Mapping[str, PerQuery]) -> Iterator[str]:
    columns = set.intersection(*(set(per_query) for per_query in by_name.values()))
    if "cosine" in columns:
        yield "spearman"
    if "correct" in columns:
        yield "accuracy"
    yield from (name for name in AVERAGED if name in columns)


def _family(
    set_name: str, metric: str, against: str, rivals: Mapping[str, PerQuery], by_name: Mapping[str, PerQuery]
) -> list[Comparison]:
    """Several names beside the same one: so many tests are corrected for."""
    other = by_name[against]
    differences = {name: _difference(metric, own, other) for name, own in rivals.items()}
    corrected = holm([difference.p for difference in differences.values()])
    return [
        Comparison(
            set_name, metric, name, against, _value(metric, rivals[name]), _value(metric, other), difference, p_holm
        )
        for (name, difference), p_holm in zip(differences.items(), corrected, strict=True)
    ]


def _difference(metric: str, own: PerQuery, other: PerQuery) -> Difference:
    if metric == "spearman":
        return statistic_difference(metrics.spearman, own["cosine"], other["cosine"], own["score"])
    column = "correct" if metric == "accuracy" else metric
    return mean_difference(own[column], other[column])


def _value(metric: str, own: PerQuery) -> float:
    if metric == "spearman":
        return metrics.spearman(own["cosine"], own["score"])
    return float(own["correct" if metric == "accuracy" else metric].mean())


def metric_name(metric: str) -> str:
    """A metric as sentences have it."""
    return {"ndcg@10": "NDCG@10", "recall@100": "Recall@100", "spearman": "Spearman"}.get(metric, metric)


def _rounded(value: float) -> float | None:
    """A figure as files have it; None for what is not finite."""
    return round(float(value), 4) if np.isfinite(value) else None
