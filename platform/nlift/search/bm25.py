"""BM25 over texts (Robertson and Zaragoza 2009, Foundations and Trends in IR 3(4)); bm25s weighs the words.

An index is a sparse matrix, word by word: of word `w` the documents are `rows[starts[w]:starts[w + 1]]`, ascending, and
what it adds to their scores `weights` there. Stored, it is read by memory-mapping.
"""

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import bm25s
import numpy as np

from nlift.search.analyzers import Analyzer

K1, B = 1.2, 0.75  # Lucene's defaults
WORDS_FILE = "words.json"
ARRAYS = ("starts", "rows", "weights")  # int64 [W + 1], int32 [P], float32 [P]


class BM25Index:
    """BM25 of every text for a query."""

    def __init__(
        self,
        analyzer: Analyzer,
        size: int,
        places: dict[str, int],
        arrays: dict[str, np.ndarray],
        start: int | None = None,
    ) -> None:
        self.analyzer, self.size = analyzer, size
        self._start = start  # of the texts' rows in the arrays; None where these have no others
        self._places = places
        self._starts, self._rows, self._weights = (arrays[name] for name in ARRAYS)

    @classmethod
    def build(cls, texts: Iterable[str], analyzer: Analyzer) -> "BM25Index":
        """The index of texts, in the order of their rows; they are taken one at a time."""
        seen: dict[str, int] = {}  # words become numbers of four bytes at once: a corpus of them would not fit
        ids = [array("i", [seen.setdefault(word, len(seen)) for word in analyzer(text)]) for text in texts]
        places = {word: place for place, word in enumerate(sorted(seen))}
        if not places:
            return cls(analyzer, len(ids), {}, _empty())
        renamed = [places[word] for word in seen]
        size = len(ids)
        for row, own in enumerate(ids):
            ids[row] = array("i", [renamed[place] for place in own])
        bm25 = bm25s.BM25(k1=K1, b=B)
        bm25.index((ids, places), create_empty_token=False, show_progress=False)
        arrays = {"starts": bm25.scores["indptr"], "rows": bm25.scores["indices"], "weights": bm25.scores["data"]}
        empty = _empty()
        arrays = {name: np.ascontiguousarray(values, dtype=empty[name].dtype) for name, values in arrays.items()}
        return cls(analyzer, size, places, arrays)

    def write(self, folder: Path) -> None:
        """Write the index into a folder that is there."""
        for name, values in zip(ARRAYS, (self._starts, self._rows, self._weights), strict=True):
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        (folder / WORDS_FILE).write_text(json.dumps(list(self._places), ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, analyzer: Analyzer, size: int) -> "BM25Index":
        """The index of a folder, of `size` texts; its arrays stay on the disk until they are needed."""
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
        names = json.loads((folder / WORDS_FILE).read_text(encoding="utf-8"))
        return cls(analyzer, size, {word: place for place, word in enumerate(names)}, arrays)

    def part(self, start: int, end: int) -> "BM25Index":
        """The same for the texts from `start` to before `end`, which weigh as much as among all; nothing is copied."""
        arrays = dict(zip(ARRAYS, (self._starts, self._rows, self._weights), strict=True))
        return BM25Index(self.analyzer, end - start, self._places, arrays, start + (self._start or 0))

    def scores(self, query: str) -> np.ndarray:
        """BM25 of every text, float32 [N]; zero where no word of the query occurs."""
        scores_N = np.zeros(self.size, dtype=np.float32)
        for rows, weights in self._postings(query):
            np.add.at(scores_N, rows, weights)  # in place: `+=` would gather and scatter
        return scores_N

    def scores_of(self, query: str, rows_C: np.ndarray) -> np.ndarray:
        """BM25 of some texts, float32 [C]: the same numbers, without looking at the others."""
        scores_C = np.zeros(len(rows_C), dtype=np.float32)
        rows_C = rows_C.astype(np.int32)  # else all of a word's rows would be copied for it
        for rows, weights in self._postings(query):
            if not len(rows):
                continue
            at = np.minimum(np.searchsorted(rows, rows_C), len(rows) - 1)
            there = rows[at] == rows_C
            scores_C[there] += weights[at[there]]
        return scores_C

    def _postings(self, query: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Of each known word of a query, in its order, the rows that have it and what it adds to their scores."""
        for word, count in Counter(self.analyzer(query)).items():
            place = self._places.get(word)
            if place is not None:
                within = slice(self._starts[place], self._starts[place + 1])
                rows, weights = self._rows[within], self._weights[within]
                if self._start is not None:
                    own = slice(*np.searchsorted(rows, np.array([self._start, self._start + self.size], np.int32)))
                    rows, weights = rows[own] - np.int32(self._start), weights[own]
                yield rows, weights if count == 1 else weights * np.float32(count)


def _empty() -> dict[str, np.ndarray]:
    return {"starts": np.zeros(1, np.int64), "rows": np.zeros(0, np.int32), "weights": np.zeros(0, np.float32)}
