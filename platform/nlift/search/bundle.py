"""A loaded bundle: an encoder, its index and its documents, which answer queries as evaluation measured them."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from nlift.errors import ArtifactError, NliftError
from nlift.models.encoder import Encoder
from nlift.models.passage_splitter import Span
from nlift.search.bundle_format import (
    read_documents,
    read_index,
    read_info,
    read_settings,
    read_vectors,
    read_words,
    verify,
)
from nlift.search.bundle_store import resolve
from nlift.search.documents import Documents
from nlift.search.explanation import Explainer
from nlift.search.fields import Filter
from nlift.search.hits import Hit, query_texts, shortened
from nlift.search.query_vectors import QueryVectors
from nlift.search.ranking import NO_ROW
from nlift.search.searchers import (
    BM25Searcher,
    DenseSearcher,
    Mode,
    Searcher,
    SearchSettings,
    WantedMode,
    searchers,
)
from nlift.search.vector_index import VectorIndex

Shards = Callable[[Path, int], tuple[VectorIndex, Searcher]]
"""Vectors and words of a bundle that others have, by its folder and the number of its documents."""


class Bundle:
    """A loaded bundle; `search` answers queries."""

    def __init__(
        self,
        folder: Path,
        info: dict[str, Any],
        settings: SearchSettings,
        encoder: Encoder,
        index: VectorIndex,
        words: Searcher,
        documents: Documents,
        cached_queries: int = 0,
    ) -> None:
        self.folder, self.info, self.settings = folder, info, settings
        self.encoder, self.index, self.documents = encoder, index, documents
        length = info.get("max_length")
        encode = partial(encoder.encode, role="query", max_length=length)  # as measured
        self.query_vectors = QueryVectors(encode, cached_queries)
        self.dense = DenseSearcher(index, self.query_vectors)
        self.searchers = searchers(self.dense, words, settings)
        self.explainer = Explainer(self.searchers, settings, partial(encoder.encode, role="passage", max_length=length))

    @property
    def version(self) -> str:
        """The bundle's name."""
        return str(self.info["version"])

    @classmethod
    def load(cls, path: str | Path, *, cached_queries: int = 0, shards: Shards | None = None) -> "Bundle":
        """A bundle with every file checked.

        Args:
            path: A bundle's folder, or a folder of bundles, whose production version is taken; of these also the URI.
            cached_queries: Vectors of queries that are kept, for a server.
            shards: Who has the vectors and the words, where it is not this process; takes the bundle's folder and the
                number of documents.

        Returns:
            The bundle, its encoder in the precision that its documents were embedded in.

        Raises:
            ArtifactError: A file is missing or was changed, or parts do not belong together.
        """
        folder = resolve(path)
        info = read_info(folder)
        verify(folder, info)
        settings = read_settings(folder, info)
        encoder = Encoder.load(folder / "encoder", compute_type=info.get("compute_type", "float32"))
        documents = read_documents(folder, info)
        vectors = read_vectors(folder, info, documents)
        if encoder.dim != vectors.dim:
            raise ArtifactError(
                f"{folder}: an encoder of {encoder.dim} dimensions and vectors of {vectors.dim} do not belong together"
            )
        if shards is None:
            index, words = read_index(folder, info, vectors), read_words(folder, info, settings.analyzer, documents)
            return cls(folder, info, settings, encoder, index, BM25Searcher(words), documents, cached_queries)
        return cls(folder, info, settings, encoder, *shards(folder, len(documents)), documents, cached_queries)

    def mode(self, wanted: WantedMode = "auto") -> Mode:
        """The mode that is meant: `auto` is the one that was best when the bundle was built.

        Raises NliftError for what is no mode.
        """
        mode = self.settings.mode if wanted == "auto" else wanted
        if mode not in self.searchers:
            raise NliftError(f"mode: found {shortened(wanted)}, expected auto, dense, lexical or hybrid")
        return mode

    def search(
        self,
        queries: Sequence[str],
        top_k: int = 10,
        *,
        mode: WantedMode = "auto",
        filter: Filter | None = None,
        explain: bool = False,
    ) -> list[list[Hit]]:
        """The best documents of each query, as evaluation ranks them.

        Args:
            queries: Texts; several at once are encoded together.
            top_k: Results of a query at most. A hybrid search has no candidates beyond the first `depth` of each leg.
            mode: `dense` (the encoder), `lexical` (BM25), `hybrid` (both), or `auto`, what was best when the bundle was
                built.
            filter: Fields of the metadata, each with the value that a document must have, a list of values of which it
                must have one, or `{"gte": least, "lte": greatest}`; a document must fit all of them. The best of the
                documents that fit are returned: dense ones as many as there are, up to `top_k`.
            explain: Whether each hit says why it stands there: `explain` of explanation.py.

        Returns:
            One list per query, in their order: hits, best first; of equal scores the higher document id first.

        Raises:
            NliftError: `queries` is no list of texts, a query holds half of a surrogate pair, as a half emoji is, or
                `top_k` or `mode` is none; FilterError for a filter that the documents' fields do not have.
        """
        texts = query_texts(queries)
        if not isinstance(top_k, Integral) or isinstance(top_k, bool) or top_k < 1:
            raise NliftError(f"top_k: found {shortened(top_k)}, expected a whole number above 0")
        searcher = self.searchers[self.mode(mode)]
        allowed = [self.documents.fields.mask(filter)] * len(texts) if filter else None
        ranking = searcher.search(texts, int(top_k), allowed=allowed)
        passages = self._passages(texts, ranking.rows_QK, self.mode(mode))
        results = [
            [self._hit(*of_hit) for of_hit in zip(rows, scores, spans, strict=True) if of_hit[0] != NO_ROW]
            for rows, scores, spans in zip(ranking.rows_QK, ranking.scores_QK, passages, strict=True)
        ]
        return self.explainer.explained(texts, ranking.rows_QK, results, allowed) if explain else results

    def _passages(self, queries: Sequence[str], rows_QK: np.ndarray, mode: Mode) -> list[list[Span | None]]:
        """Of each hit the best passage, None where the document has one alone: the nearest, or by the query's words."""
        starts = self.documents.starts
        spans: list[list[Span | None]] = [[None] * len(rows_K) for rows_K in rows_QK]
        if starts is None or not rows_QK.size:
            return spans
        several_QK = (rows_QK != NO_ROW) & (starts[rows_QK + 1] - starts[rows_QK] > 1)
        nearest_QK = None if mode == "lexical" else self.dense.nearest(queries, np.where(several_QK, rows_QK, NO_ROW))
        for query, place in np.argwhere(several_QK).tolist():
            row = int(rows_QK[query, place])
            own = self.documents.passages(row)
            if nearest_QK is None:
                spans[query][place] = self._most_words(queries[query], self.documents[row].text, own)
            else:
                spans[query][place] = own[int(nearest_QK[query, place])]
        return spans

    def _most_words(self, query: str, text: str, spans: Sequence[Span]) -> Span:
        """The passage that has most of a query's words, of several the first."""
        wanted = set(self.settings.analyzer(query))
        return max(spans, key=lambda span: len(wanted.intersection(self.settings.analyzer(text[slice(*span)]))))

    def _hit(self, row: int, score: float, span: Span | None) -> Hit:
        document = self.documents[int(row)]
        passage = None if span is None else document.text[slice(*span)]
        metadata = json.loads(document.metadata or "{}")
        return Hit(document.doc_id, float(score), document.title, document.text, metadata, passage)
