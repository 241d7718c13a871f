"""Whether a difference is more than chance."""

from collections.abc import Callable

import numpy as np
from scipy import stats

RESAMPLES = 1000


def interval(differences_Q: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The confidence interval of the mean of paired differences, one per query, by Student's t.

    Nothing is known of fewer than two queries: then it is from -inf to inf.
    """
    count = len(differences_Q)
    if count < 2:
        return -np.inf, np.inf
    mean, error = float(np.mean(differences_Q)), float(np.std(differences_Q, ddof=1)) / count**0.5
    reach = float(stats.t.ppf((1 + confidence) / 2, count - 1)) * error
    return mean - reach, mean + reach


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float], count: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The confidence interval of a statistic of `count` rows, by percentiles over resampled rows (Efron 1979).

    `statistic` takes row numbers, int64 [count], with repetitions; which ones follows from `count` alone.
    """
    chance = np.random.default_rng(count)
    values = [statistic(chance.integers(count, size=count)) for _ in range(RESAMPLES)]
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
