"""How far a figure by itself is known: its 95 % interval over resampled queries, pairs or examples.

Two intervals that overlap say little of a difference: encoders are compared on the same queries (comparisons.py).
"""

import numpy as np

from nlift.evaluation import metrics
from nlift.evaluation.comparisons import PerQuery
from nlift.evaluation.significance import bootstrap_interval

APART = ("cosine", "score", "correct", "label", "predicted")  # what figures are made of, and are none


def intervals(columns: PerQuery) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each metric, by the percentiles of a bootstrap; {} where there are fewer than two rows."""
    count = len(next(iter(columns.values()), ()))
    if count < 2:
        return {}
    bounds = {name: _of_mean(columns[name]) for name in columns if name not in APART}
    if "correct" in columns:
        bounds["accuracy"] = _of_mean(columns["correct"])
    if "predicted" in columns:
        labels, predicted = (columns[name].astype(int) for name in ("label", "predicted"))
        bounds["macro_f1"] = bootstrap_interval(lambda rows: metrics.macro_f1(labels[rows], predicted[rows]), count)
    if "cosine" in columns:
        cosines, scores = columns["cosine"], columns["score"]
        bounds["spearman"] = bootstrap_interval(lambda rows: metrics.spearman(cosines[rows], scores[rows]), count)
        bounds["pearson"] = bootstrap_interval(lambda rows: metrics.pearson(cosines[rows], scores[rows]), count)
    return bounds


def _of_mean(values_Q: np.ndarray) -> tuple[float, float]:
    return bootstrap_interval(lambda rows: float(values_Q[rows].mean()), len(values_Q))
