"""Intervals of paired differences."""

import numpy as np
import pytest
from scipy import stats

from nlift.evaluation.significance import interval


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
