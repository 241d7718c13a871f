"""Whether a difference is more than chance: intervals, a randomisation test, and what so few queries can show.

No sign or Wilcoxon test: they answer another question than whether the means differ (Fuhr 2017; arXiv 2305.02461).

Shape suffix: Q queries, pairs or examples: what is drawn independently.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 1000
PERMUTATIONS = 10_000
AT_ONCE = 2**22  # numbers in memory
POWER, LEVEL = 0.8, 0.05  # of the smallest difference that can be shown


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


@dataclass(frozen=True)
class Difference:
    """How far one figure is above another on the same queries."""

    mean: float
    low: float
    """The 95 % interval's ends, by the paired bootstrap."""
    high: float
    p: float
    """How often chance alone gives so large a difference: the paired randomisation test, two-sided."""
    effect: float
    """The mean difference in standard deviations of the differences (Cohen's d of pairs); 0 where none differs."""
    detectable: float
    """The smallest difference that so many queries show four times out of five."""
    count: int


def mean_difference(values_Q: np.ndarray, others_Q: np.ndarray) -> Difference:
    """How far the mean of values is above that of others, by query.

    The test is Fisher's (1935): under the null hypothesis each difference might as well have the other sign.
    """
    differences_Q = np.asarray(values_Q, dtype=np.float64) - others_Q
    count = len(differences_Q)
    chance = np.random.default_rng(count)
    means, signed = [], []
    rows = max(1, AT_ONCE // max(count, 1))
    for start in range(0, PERMUTATIONS, rows):
        size = min(rows, PERMUTATIONS - start)
        bits = np.unpackbits(chance.integers(256, size=(size, -(-count // 8)), dtype=np.uint8), axis=1, count=count)
        signed.append((2 * (bits.astype(np.float64) @ differences_Q) - differences_Q.sum()) / count)
        if start < RESAMPLES:
            means.append(differences_Q[chance.integers(count, size=(min(size, RESAMPLES), count))].mean(1))
    low, high = np.quantile(np.concatenate(means), [LEVEL / 2, 1 - LEVEL / 2])
    mean = float(differences_Q.mean())
    return Difference(
        mean, float(low), float(high), _p(mean, np.concatenate(signed)), *_size(differences_Q, mean), count
    )


def statistic_difference(
    statistic: Callable[[np.ndarray, np.ndarray], float], values_Q: np.ndarray, others_Q: np.ndarray, gold_Q: np.ndarray
) -> Difference:
    """How far a statistic of values and gold, as a correlation, is above that of others and the same gold.

    The test exchanges the two predictions of a pair, as ranks: their scales may differ.
    """
    count = len(gold_Q)
    difference = statistic(values_Q, gold_Q) - statistic(others_Q, gold_Q)
    first_Q, second_Q = stats.rankdata(values_Q), stats.rankdata(others_Q)
    chance = np.random.default_rng(count)
    resampled, exchanged = [], []
    for _ in range(RESAMPLES):
        rows = chance.integers(count, size=count)
        own = gold_Q[rows]
        resampled.append(statistic(values_Q[rows], own) - statistic(others_Q[rows], own))
        swap = chance.integers(2, size=count).astype(bool)
        left_Q, right_Q = np.where(swap, second_Q, first_Q), np.where(swap, first_Q, second_Q)
        exchanged.append(statistic(left_Q, gold_Q) - statistic(right_Q, gold_Q))
    low, high = np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2])
    deviation = float(np.std(resampled, ddof=1))
    effect = difference / (deviation * count**0.5) if deviation else 0.0
    detectable = _reach() * deviation
    return Difference(
        difference, float(low), float(high), _p(difference, np.array(exchanged)), effect, detectable, count
    )


def _p(difference: float, by_chance: np.ndarray) -> float:
    """The share of chance's differences that are as large; never 0: the observed one is among them."""
    as_large = int((np.abs(by_chance) >= abs(difference) - 1e-12).sum())
    return (as_large + 1) / (len(by_chance) + 1)


def _size(differences_Q: np.ndarray, mean: float) -> tuple[float, float]:
    """The effect, and the difference that can be shown."""
    if len(differences_Q) < 2:
        return 0.0, np.inf
    deviation = float(np.std(differences_Q, ddof=1))
    return (mean / deviation if deviation else 0.0), _reach() * deviation / len(differences_Q) ** 0.5


def _reach() -> float:
    """Standard errors that a difference must have."""
    return float(stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER))


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of several tests at once, so that one false finding among all is as rare as one test's (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, row in enumerate(order.tolist()):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[row]))
        adjusted[row] = highest
    return adjusted
