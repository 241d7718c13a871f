"""Whether a difference is more than chance."""

import numpy as np
from scipy import stats


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
