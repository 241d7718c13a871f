"""Why a hit stands where it does: what each leg says of it, the words that match, the sentence nearest to the query.

Shape suffixes: Q queries, K ranks, D dimensions, S sentences.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from nlift.data.passages import sentences
from nlift.search.analyzers import Analyzer
from nlift.search.hits import Hit
from nlift.search.ranking import NO_ROW
from nlift.search.searchers import DenseSearcher, Encode, Mode, Searcher, SearchSettings
from nlift.search.vector_index import Allowed
from nlift.search.words import words

LEGS: tuple[Mode, ...] = ("dense", "lexical")
MOST_SENTENCES = 50  # of a text, that are compared with a query
WORD = re.compile(r"\w+")


class Explainer:
    """Explains hits of the searchers that found them."""

    def __init__(self, searchers: Mapping[Mode, Searcher], settings: SearchSettings, encode_passages: Encode) -> None:
        self.searchers, self.settings, self.encode_passages = searchers, settings, encode_passages

    def explained(
        self, queries: Sequence[str], rows_QK: np.ndarray, results: Sequence[Sequence[Hit]], allowed: Allowed | None
    ) -> list[list[Hit]]:
        """The hits of each query, each with an `explain` that JSON can hold.

        Under `dense` and `lexical` stand the leg's exact `score` of the hit and its `rank` among the leg's first hits,
        from 1, null where it is none of the first `depth`; then `words` of the
        text whose stems the query has, and the `sentence` nearest to the query by the encoder, null where none stands.

        Args:
            queries: That were searched for.
            rows_QK: Rows of the hits, int64; -1 where there is none.
            results: The hits of each query.
            allowed: Rows that the search was limited to.
        """
        legs = {mode: self._leg(mode, queries, rows_QK, allowed) for mode in LEGS}
        nearest = self._nearest(queries, results)
        explained: list[list[Hit]] = []
        for query, hits in enumerate(results):
            wanted = set(self.settings.analyzer(queries[query]))
            explained.append([])
            for place, hit in enumerate(hits):
                said: dict[str, Any] = {mode: legs[mode][query][place] for mode in LEGS}
                said["words"] = matching_words(self.settings.analyzer, wanted, f"{hit.title} {hit.text}")
                said["sentence"] = nearest[query][place]
                explained[-1].append(replace(hit, explain=said))
        return explained

    def _leg(
        self, mode: Mode, queries: Sequence[str], rows_QK: np.ndarray, allowed: Allowed | None
    ) -> list[list[dict[str, Any]]]:
        """Score and rank of each row by one leg."""
        searcher, depth = self.searchers[mode], self.settings.depth
        scores_QK = searcher.scores(queries, rows_QK)
        first_QK = searcher.search(queries, depth, allowed=allowed).rows_QK
        said = []
        for rows, scores, first in zip(rows_QK, scores_QK, first_QK, strict=True):
            ranks = {row: rank for rank, row in enumerate(first.tolist(), 1) if row != NO_ROW}
            pairs = zip(rows.tolist(), scores.tolist(), strict=True)
            said.append([{"score": score, "rank": ranks.get(row)} for row, score in pairs if row != NO_ROW])
        return said

    def _nearest(self, queries: Sequence[str], results: Sequence[Sequence[Hit]]) -> list[list[str | None]]:
        """Of each hit the sentence nearest to the query, of a long text the nearest one of its best passage."""
        parts = [[sentences(hit.passage or hit.text)[:MOST_SENTENCES] for hit in hits] for hits in results]
        known = list(dict.fromkeys(chain.from_iterable(chain.from_iterable(parts))))
        if not known:
            return [[None] * len(hits) for hits in results]
        place = {sentence: i for i, sentence in enumerate(known)}
        vectors_SD = self.encode_passages(known)
        dense = self.searchers["dense"]
        assert isinstance(dense, DenseSearcher)
        nearest: list[list[str | None]] = []
        for vector_D, texts in zip(dense.encode(queries), parts, strict=True):
            scores = [vectors_SD[[place[sentence] for sentence in text]] @ vector_D if text else None for text in texts]
            nearest.append(
                [None if own is None else text[int(np.argmax(own))] for text, own in zip(texts, scores, strict=True)]
            )
        return nearest


def matching_words(analyzer: Analyzer, wanted: set[str], text: str) -> list[str]:
    """The words of a text, as they stand there, that an analyzer makes one of the wanted words of; each once.

    Of a stretch of a script without spaces they are its characters and pairs that are wanted.
    """
    matching: dict[str, None] = {}
    for piece in dict.fromkeys(WORD.findall(text)):
        parts = words(piece)
        if len(parts) > 1:
            matching |= dict.fromkeys(part for part in parts if part in wanted)
        elif not wanted.isdisjoint(analyzer(piece)):
            matching[piece] = None
    return list(matching)
