"""Intervals and tests beside scipy's, and on data whose answer is known."""

import numpy as np
import pytest
from scipy import stats

from nlift.evaluation import metrics
from nlift.evaluation.comparisons import compare_all
from nlift.evaluation.significance import (
    bootstrap_interval,
    holm,
    interval,
    mean_difference,
    statistic_difference,
)


def pairs(count, shift, seed=0):
    chance = np.random.default_rng(seed)
    values = chance.random(count)
    return values + shift + 0.3 * chance.normal(size=count), values


def test_an_interval_is_that_of_students_t():
    values, others = pairs(80, 0.1)
    expected = stats.ttest_rel(values, others).confidence_interval(0.95)
    assert interval(values - others) == pytest.approx((expected.low, expected.high))
    assert interval(np.array([0.3])) == (-np.inf, np.inf)


@pytest.mark.parametrize("shift", [0.0, 0.03, 0.1])
def test_a_randomisation_test_is_near_the_t_test_where_that_holds(shift):
    values, others = pairs(400, shift)
    difference = mean_difference(values, others)
    assert difference.mean == pytest.approx((values - others).mean()) and difference.count == 400
    assert difference.p == pytest.approx(stats.ttest_rel(values, others).pvalue, abs=0.02)
    assert (difference.low, difference.high) == pytest.approx(interval(values - others), abs=0.004)
    assert difference.effect == pytest.approx((values - others).mean() / (values - others).std(ddof=1))


def test_all_sign_changes_of_few_queries_are_what_the_test_counts():
    differences = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    exact = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert mean_difference(differences, np.zeros(5)).p == pytest.approx(exact.pvalue, abs=0.01)


def test_a_difference_of_nothing_is_none():
    same = np.linspace(0, 1, 50)
    difference = mean_difference(same, same)
    assert (difference.mean, difference.low, difference.high, difference.p, difference.effect) == (0, 0, 0, 1, 0)


def test_what_can_be_shown_is_shown_four_times_out_of_five():
    _, others = pairs(200, 0)
    detectable = mean_difference(*pairs(200, 0)).detectable
    shown = [mean_difference(*pairs(200, detectable, seed)).p < 0.05 for seed in range(60)]
    assert 0.6 < np.mean(shown) < 0.95 and len(others) == 200


def test_one_test_in_twenty_is_wrong_where_there_is_nothing():
    wrong = [mean_difference(*pairs(60, 0, seed)).p < 0.05 for seed in range(200)]
    assert np.mean(wrong) < 0.1


def test_correlations_are_compared_on_the_same_pairs():
    chance = np.random.default_rng(0)
    gold = chance.random(400)
    good, bad = gold + 0.3 * chance.normal(size=400), gold + 0.9 * chance.normal(size=400)
    difference = statistic_difference(metrics.spearman, good, bad, gold)
    assert difference.mean == pytest.approx(stats.spearmanr(good, gold)[0] - stats.spearmanr(bad, gold)[0])
    assert difference.low > 0 and difference.p < 0.01 and difference.detectable < difference.mean
    own = statistic_difference(metrics.spearman, good, good * 7 + 3, gold)  # another scale
    assert own.mean == pytest.approx(0, abs=1e-12) and own.p == 1


def test_a_bootstrap_interval_of_a_mean_is_near_the_normal_one():
    values = np.random.default_rng(1).normal(size=500)
    low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), 500)
    error = values.std(ddof=1) / 500**0.5
    assert (low, high) == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.01)


def test_holm_corrects_as_it_should():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == [] and holm([0.02]) == [0.02]


def test_names_are_compared_with_their_baselines():
    chance = np.random.default_rng(0)
    base = chance.random(300)

    def queries(shift):
        return {"ndcg@10": base + shift + 0.1 * chance.normal(size=300), "recall@100": base, "map": base}

    by_name = {
        "base": queries(0),
        "tuned": queries(0.1),
        "bm25": queries(0.05),
        "bm25_plain": queries(0),
        "hybrid": queries(0.12),
    }
    compared = compare_all({"places": by_name}, ["base", "bm25"])
    against = {(row.name, row.against) for row in compared}
    assert against == {("tuned", "base"), ("bm25", "base"), ("hybrid", "base"), ("tuned", "bm25"), ("hybrid", "bm25")}
    fused = compare_all({"places": {**by_name, "base+bm25": queries(0.1)}}, ["base", "bm25", "base+bm25"])
    added = {(row.name, row.against) for row in fused} - against
    assert added == {("hybrid", "base+bm25")} and len(fused) == len(compared) + 2
    assert {row.metric for row in compared} == {"ndcg@10", "recall@100"}
    (tuned,) = [row for row in compared if (row.name, row.against, row.metric) == ("tuned", "base", "ndcg@10")]
    assert tuned.is_shown and tuned.words.startswith("tuned is above base by NDCG@10, +0.")
    (same,) = [row for row in compared if (row.name, row.against, row.metric) == ("tuned", "base", "recall@100")]
    assert not same.is_shown and "no difference" in same.words and same.as_json()["difference"] == 0
