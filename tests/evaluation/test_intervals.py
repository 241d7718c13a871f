"""Intervals of single figures: beside scipy's bootstrap and the normal approximation."""

import numpy as np
import pytest
from scipy import stats

from nlift.evaluation import metrics
from nlift.evaluation.intervals import intervals


def test_the_interval_of_a_mean_is_near_student_s():
    values = np.random.default_rng(1).random(400)
    low, high = intervals({"ndcg@10": values})["ndcg@10"]
    wanted = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(wanted, abs=0.004)


def test_correlations_are_resampled_by_pairs():
    chance = np.random.default_rng(2)
    score = chance.normal(size=300)
    cosine = score + chance.normal(size=300)
    by_metric = intervals({"cosine": cosine, "score": score})
    assert set(by_metric) == {"spearman", "pearson"}
    peer = stats.bootstrap(
        (cosine, score), metrics.spearman, paired=True, vectorized=False, method="percentile", n_resamples=999, rng=3
    ).confidence_interval
    assert by_metric["spearman"] == pytest.approx((peer.low, peer.high), abs=0.02)


def test_a_probe_s_figures():
    chance = np.random.default_rng(3)
    label = chance.integers(0, 3, 200)
    predicted = np.where(chance.random(200) < 0.8, label, (label + 1) % 3)
    by_metric = intervals(
        {"correct": (label == predicted).astype(float), "label": label.astype(float), "predicted": predicted * 1.0}
    )
    assert set(by_metric) == {"accuracy", "macro_f1"}
    for name, value in (("accuracy", (label == predicted).mean()), ("macro_f1", metrics.macro_f1(label, predicted))):
        low, high = by_metric[name]
        assert low < value < high and 0.05 < high - low < 0.15


def test_nothing_is_known_of_one_query():
    assert intervals({"ndcg@10": np.ones(1)}) == {} == intervals({})
