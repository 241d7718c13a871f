"""BM25 over texts (Robertson and Zaragoza 2009, Foundations and Trends in IR 3(4)), computed by bm25s."""

from collections.abc import Sequence

import bm25s
import numpy as np

from nlift.search.words import words

K1, B = 1.2, 0.75  # Lucene's defaults


class BM25Index:
    """BM25 of every text for a query."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.size = len(texts)
        tokens = [words(text) for text in texts]
        self._index = bm25s.BM25(k1=K1, b=B) if any(tokens) else None
        if self._index is not None:
            self._index.index(tokens, show_progress=False)

    def scores(self, query: str) -> np.ndarray:
        """BM25 of every text, float32 [N]; zero where no word of the query occurs."""
        known = [word for word in words(query) if self._index is not None and word in self._index.vocab_dict]
        if self._index is None or not known:
            return np.zeros(self.size, dtype=np.float32)
        scores_N: np.ndarray = self._index.get_scores(known)
        return scores_N
