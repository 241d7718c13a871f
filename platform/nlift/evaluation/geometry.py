"""How an encoder's vectors lie: alignment and uniformity (Wang and Isola 2020), anisotropy, effective rank.

All but alignment look at pairs of vectors or at their spectrum, and of more than 2,000 vectors at a sample of so many,
the same one for every encoder.

Shape suffixes: N vectors, D dimensions.
"""

import numpy as np

SAMPLE = 2000  # vectors: two million pairs


def alignment(first_ND: np.ndarray, second_ND: np.ndarray) -> float:
    """Mean squared distance of positive pairs of unit vectors, 0 to 4; lower is closer (arXiv 2005.10242, 4.1)."""
    return float(((first_ND - second_ND) ** 2).sum(1).mean())


def spread(vectors_ND: np.ndarray) -> dict[str, float]:
    """`uniformity`, `anisotropy` and `effective_rank` of unit vectors; {} of fewer than two."""
    if len(vectors_ND) < 2:
        return {}
    sampled_ND = _sampled(vectors_ND)
    cosines = _cosines(sampled_ND)
    return {
        "uniformity": _log_potential(cosines),
        "anisotropy": float(cosines.mean()),
        "effective_rank": effective_rank(sampled_ND),
    }


def uniformity(vectors_ND: np.ndarray, seed: int = 0) -> float:
    """log of the mean Gaussian potential exp(-2 d^2) over pairs of distinct rows; lower is more uniform.

    Wang & Isola (arXiv 2005.10242), section 4.1; -4 to 0 for unit vectors up to chance. Raises ValueError for fewer
    than two rows.
    """
    if len(vectors_ND) < 2:
        raise ValueError("uniformity needs two vectors at least")
    return _log_potential(_cosines(_sampled(vectors_ND, seed)))


def anisotropy(vectors_ND: np.ndarray, seed: int = 0) -> float:
    """The mean cosine of pairs of distinct rows, near -1 / N to 1; 0 where they point anywhere (arXiv 1909.00512, 4.1).

    Raises ValueError for fewer than two rows.
    """
    if len(vectors_ND) < 2:
        raise ValueError("anisotropy needs two vectors at least")
    return float(_cosines(_sampled(vectors_ND, seed)).mean())


def effective_rank(vectors_ND: np.ndarray, seed: int = 0) -> float:
    """How many directions vectors use: exp of the entropy of the shares of their singular values, 1 to min(N, D).

    Roy & Vetterli (2007), definition 1, of the vectors as they are: a mean that all share is a direction too.
    """
    values = np.linalg.svd(_sampled(vectors_ND, seed).astype(np.float64), compute_uv=False)
    shares = values[values > values[0] * 1e-9] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _log_potential(cosines: np.ndarray) -> float:
    squared = np.maximum(2 - 2 * cosines, 0)  # distances
    return float(np.log(np.exp(-2 * squared).mean()))


def _sampled(vectors_ND: np.ndarray, seed: int = 0) -> np.ndarray:
    if len(vectors_ND) <= SAMPLE:
        return vectors_ND
    return vectors_ND[np.random.default_rng(seed).choice(len(vectors_ND), SAMPLE, replace=False)]


def _cosines(vectors_ND: np.ndarray) -> np.ndarray:
    """The cosines of all pairs of distinct rows, float64 [N (N - 1) / 2]."""
    upper = np.triu_indices(len(vectors_ND), k=1)
    vectors_ND = vectors_ND.astype(np.float64)
    cosines: np.ndarray = (vectors_ND @ vectors_ND.T)[upper]
    return cosines
