"""Vectors of queries that were asked lately: who turns a page, or changes a filter, asks the same again."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np

from nlift.search.searchers import Encode


class QueryVectors:
    """An `Encode` that remembers; the least recently used vector goes first."""

    def __init__(self, encode: Encode, size: int) -> None:
        self._encode, self._size = encode, size
        self._known: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = Lock()
        self.hits = self.misses = 0

    def __call__(self, queries: Sequence[str]) -> np.ndarray:
        """Unit vectors of queries, float32 [Q, D]."""
        with self._lock:
            vectors = {query: self._known[query] for query in queries if query in self._known}
            for query in vectors:
                self._known.move_to_end(query)
        new = [query for query in dict.fromkeys(queries) if query not in vectors]
        self.hits += len(vectors)
        self.misses += len(new)
        if new:
            # copies: a row of the batch's array would keep all of it
            vectors |= {query: vector.copy() for query, vector in zip(new, self._encode(new), strict=True)}
            with self._lock:
                self._known |= {query: vectors[query] for query in new}
                while len(self._known) > self._size:
                    self._known.popitem(last=False)
        return np.stack([vectors[query] for query in queries])
