"""What a page draws of an encoder's vectors: cosines as histograms, and texts as points in a plane.

Shape suffixes: Q queries, N documents, P pairs, D dimensions.
"""

from typing import Any

import numpy as np

EDGES = np.linspace(-1, 1, 41)
OTHERS = 20_000  # pairs that are not judged relevant
POINTS = 400  # of each kind


def of_retrieval(queries_QD: np.ndarray, documents_ND: np.ndarray, relevant_P2: np.ndarray) -> dict[str, Any]:
    """Cosines of queries with their relevant documents and with others; some of both in a plane.

    Args:
        queries_QD: Unit vectors.
        documents_ND: Unit vectors.
        relevant_P2: Places of a query and of a document that is relevant to it, int64 [P, 2].
    """
    chance = np.random.default_rng(0)
    places_P2 = np.stack([chance.integers(len(side), size=OTHERS) for side in (queries_QD, documents_ND)], axis=1)
    own = np.unique(relevant_P2 @ [len(documents_ND), 1])
    others_P2 = places_P2[~np.isin(places_P2 @ [len(documents_ND), 1], own)]
    cosines = {
        name: (queries_QD[pairs[:, 0]] * documents_ND[pairs[:, 1]]).sum(1)
        for name, pairs in (("relevant", relevant_P2), ("other", others_P2))
    }
    queries, documents = (side[np.sort(chance.permutation(len(side))[:POINTS])] for side in (queries_QD, documents_ND))
    return {"cosines": _histograms(cosines), "map": _plane(queries, documents)}


def of_sts(cosines_P: np.ndarray, close_P: np.ndarray) -> dict[str, Any]:
    """Cosines of pairs that people call close, and of the others."""
    return {"cosines": _histograms({"similar": cosines_P[close_P], "other": cosines_P[~close_P]})}


def _histograms(cosines: dict[str, np.ndarray]) -> dict[str, Any]:
    counts = {name: np.histogram(values.clip(-1, 1), EDGES)[0].tolist() for name, values in cosines.items()}
    return {"edges": EDGES.round(3).tolist(), "counts": counts}


def _plane(queries_QD: np.ndarray, documents_ND: np.ndarray) -> dict[str, Any]:
    """Both along the two directions in which they vary most (principal components)."""
    both = np.concatenate([documents_ND, queries_QD]).astype(np.float64)
    centred = both - both.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])  # as a singular vector's sign is arbitrary
    flat = (centred @ (axes * signs[:, None]).T).round(4)
    return {"documents": flat[: len(documents_ND)].tolist(), "queries": flat[len(documents_ND) :].tolist()}
