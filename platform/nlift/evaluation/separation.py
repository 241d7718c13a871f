"""How clearly an encoder tells the documents of a corpus apart: what is known of it where there is no query.

With a document as the query, its nearest other document stands out from the rest or does not. By how many standard
deviations of its similarities it does, over what chance gives among so many (the maximum of N normal values is near
sqrt(2 ln N)), goes with how far an encoder can be trusted beside BM25: over eleven sets and three encoders, on their
dev parts, the best weight of the dense leg rises from 0 at a half to 1 at about 1.4 (docs/results.md).
"""

from collections.abc import Sequence

import numpy as np

SAMPLE = 400  # documents that are queries
NOTHING, EVERYTHING = 0.5, 1.4  # separations from which on only words, only vectors count
LEAST_DOCUMENTS = 20


def separation(texts: Sequence[str], vectors_ND: np.ndarray) -> float | None:
    """How far nearest documents stand out, about 0.5 to 1.4; None for fewer than 20 distinct texts.

    Args:
        texts: Of the documents; of equal ones the first counts.
        vectors_ND: Their unit vectors, float32 [N, D].
    """
    distinct = list({text: row for row, text in reversed(list(enumerate(texts)))}.values())
    if len(distinct) < LEAST_DOCUMENTS:
        return None
    vectors_ND = vectors_ND[np.sort(distinct)]
    count = len(vectors_ND)
    queries = np.linspace(0, count - 1, min(SAMPLE, count)).astype(int)
    similarities_QN = vectors_ND[queries] @ vectors_ND.T
    others_QN = similarities_QN[np.arange(count) != queries[:, None]].reshape(len(queries), count - 1)
    deviations_Q = others_QN.std(1)
    if not (deviations_Q > 0).all():
        return 0.0  # all vectors are the same
    standing_out_Q = (others_QN.max(1) - others_QN.mean(1)) / deviations_Q
    return float(standing_out_Q.mean() / np.sqrt(2 * np.log(count - 1)))


def trusted_weight(separation: float) -> float:
    """The weight of the dense leg, 0 to 1, that goes with a separation."""
    return float(np.clip((separation - NOTHING) / (EVERYTHING - NOTHING), 0, 1))
