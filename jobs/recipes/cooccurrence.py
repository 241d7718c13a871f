"""Word vectors from counts: what the base encoder's embeddings start from.

Positive pointwise mutual information of tokens that occur near each other, or in the two sides of
an aligned pair, factorised to a few dimensions (Levy, Goldberg and Dagan, TACL 2015, sections 2
and 3). Half a minute of counting replaces hours of masked language modelling: the embeddings of
a small model are most of its parameters and learn slowest.
"""

import numpy as np
from scipy import sparse

WINDOW = 5  # a neighbour at distance k counts 1 / k
CONTEXT_POWER = 0.75  # smooths the contexts' distribution, against a bias for rare ones
SINGULAR_POWER = 0.5
ALIGNED_WEIGHT = 2.0  # an aligned sentence as a whole counts as so many neighbours
SPECIAL = 5  # [PAD] [UNK] [CLS] [SEP] [MASK]


def vectors(sentences: list[list[int]], pairs: list[tuple[list[int], list[int]]], size: int, dim: int) -> np.ndarray:
    """Float32 [size, dim], centred, unit norm; zeros for tokens that never occur."""
    counts = _near(sentences, size) + _aligned(pairs, size)
    counts = (counts + counts.T).tocoo()
    totals = np.bincount(counts.row, weights=counts.data, minlength=size)
    contexts = totals**CONTEXT_POWER
    information = np.log(counts.data / (totals[counts.row] * (contexts / contexts.sum())[counts.col]))
    positive = information > 0
    ppmi = sparse.csr_matrix(
        (information[positive].astype(np.float32), (counts.row[positive], counts.col[positive])), shape=(size, size)
    )
    left, singular = _svd(ppmi, dim)
    embeddings = left * singular**SINGULAR_POWER
    embeddings[totals > 0] -= embeddings[totals > 0].mean(0)
    embeddings[totals == 0] = 0.0
    return embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-6)


def _near(sentences: list[list[int]], size: int) -> sparse.csr_matrix:
    gap = [0] * WINDOW  # a special token between sentences: none is a neighbour of the next
    flat = np.array([token for sentence in sentences for token in (*sentence, *gap)], dtype=np.int64)
    counts = sparse.csr_matrix((size, size), dtype=np.float32)
    for distance in range(1, WINDOW + 1):
        left, right = flat[:-distance], flat[distance:]
        both = (left >= SPECIAL) & (right >= SPECIAL)
        weights = np.full(int(both.sum()), 1 / distance, dtype=np.float32)
        counts = counts + sparse.csr_matrix((weights, (left[both], right[both])), shape=(size, size))
    return counts


def _aligned(pairs: list[tuple[list[int], list[int]]], size: int) -> sparse.csr_matrix:
    rows, columns, weights = [], [], []
    for source, target in pairs:
        first = [token for token in source if token >= SPECIAL]
        second = [token for token in target if token >= SPECIAL]
        rows.append(np.repeat(np.array(first, dtype=np.int64), len(second)))
        columns.append(np.tile(np.array(second, dtype=np.int64), len(first)))
        weight = ALIGNED_WEIGHT / max(len(first), len(second), 1)
        weights.append(np.full(len(first) * len(second), weight, dtype=np.float32))
    if not pairs:
        return sparse.csr_matrix((size, size), dtype=np.float32)
    positions = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_matrix((np.concatenate(weights), positions), shape=(size, size))


def _svd(matrix: sparse.csr_matrix, dim: int, rounds: int = 4, spare: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """The leading left singular vectors and values.

    By randomised subspace iteration (arXiv 0909.4061, algorithm 4.4).
    """
    basis = np.random.default_rng(0).normal(size=(matrix.shape[1], dim + spare)).astype(np.float32)
    for _ in range(rounds):
        basis, _ = np.linalg.qr(matrix @ (matrix.T @ basis))
    left, singular, _ = np.linalg.svd((matrix.T @ basis).T, full_matrices=False)
    return (basis @ left)[:, :dim], singular[:dim]
