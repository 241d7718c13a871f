"""Intervals of paired differences, and of statistics over resampled rows."""

import numpy as np
import pytest
from scipy import stats

from nlift.evaluation.significance import RESAMPLES, bootstrap_interval, interval


def test_the_interval_is_students():
    differences = np.random.default_rng(1).normal(0.1, 1, size=50)
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert interval(differences) == pytest.approx((expected.low, expected.high))


def test_it_holds_the_mean_about_as_often_as_it_says():
    random = np.random.default_rng(2)
    held = [low <= 0.2 <= high for low, high in (interval(random.normal(0.2, 1, size=30)) for _ in range(1000))]
    assert 0.93 < np.mean(held) < 0.97


def test_nothing_is_known_of_one_query():
    assert interval(np.array([0.5])) == (-np.inf, np.inf)
    assert interval(np.zeros(0)) == (-np.inf, np.inf)


def test_no_difference_at_all():
    assert interval(np.zeros(10)) == (0, 0)


def test_the_interval_over_resampled_rows_of_a_mean_is_near_students():
    values = np.random.default_rng(3).normal(0.1, 1, size=300)
    low, high = bootstrap_interval(lambda rows: float(values[rows].mean()), len(values))
    assert (low, high) == pytest.approx(interval(values), abs=0.02)


def test_a_statistic_of_pairs_has_an_interval_around_it():
    random = np.random.default_rng(4)
    first = random.normal(size=200)
    second = first + random.normal(size=200)

    def correlation(rows):
        return float(np.corrcoef(first[rows], second[rows])[0, 1])

    low, high = bootstrap_interval(correlation, 200)
    assert low < correlation(np.arange(200)) < high and 0.1 < high - low < 0.25  # Fisher's is 0.14
    narrow = bootstrap_interval(correlation, 200, confidence=0.5)
    assert low < narrow[0] < narrow[1] < high


def test_rows_are_drawn_with_repetitions_and_the_same_every_time():
    drawn = []

    def first_row(rows):
        drawn.append(rows)
        return float(rows[0])

    assert bootstrap_interval(first_row, 10) == bootstrap_interval(first_row, 10)
    half = len(drawn) // 2
    assert half == RESAMPLES and all(np.array_equal(*rows) for rows in zip(drawn[:half], drawn[half:], strict=True))
    assert all(rows.shape == (10,) and rows.min() >= 0 and rows.max() < 10 for rows in drawn)
    assert set(np.concatenate(drawn).tolist()) == set(range(10)) and any(len(set(rows)) < 10 for rows in drawn)


def test_what_is_the_same_in_all_rows_is_sure():
    assert bootstrap_interval(lambda rows: 0.25, 7) == (0.25, 0.25)
