"""A loaded bundle: an encoder, its index and its documents, which answer queries as evaluation measured them."""

import json
from collections.abc import Sequence
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from nlift.errors import ArtifactError, NliftError
from nlift.models.encoder import Encoder
from nlift.search.aliases import resolve
from nlift.search.bm25 import BM25Index
from nlift.search.bundle_format import read_info, read_settings, read_words, verify
from nlift.search.documents import Documents
from nlift.search.explanation import Explainer
from nlift.search.faiss_index import FaissIndex
from nlift.search.fields import Filter
from nlift.search.hits import Hit, query_texts, shortened
from nlift.search.query_vectors import QueryVectors
from nlift.search.ranking import NO_ROW, row_order
from nlift.search.searchers import Mode, SearchSettings, WantedMode, searchers


class Bundle:
    """A loaded bundle; `search` answers queries."""

    def __init__(
        self,
        folder: Path,
        info: dict[str, Any],
        settings: SearchSettings,
        encoder: Encoder,
        index: FaissIndex,
        words: BM25Index,
        documents: Documents,
        cached_queries: int = 0,
    ) -> None:
        self.folder, self.info, self.settings = folder, info, settings
        self.encoder, self.index, self.documents = encoder, index, documents
        length = info.get("max_length")
        encode = partial(encoder.encode, role="query", max_length=length)  # as measured
        self.query_vectors = QueryVectors(encode, cached_queries)
        self.searchers = searchers(index, self.query_vectors, words, self.settings)
        self.explainer = Explainer(self.searchers, settings, partial(encoder.encode, role="passage", max_length=length))

    @property
    def version(self) -> str:
        """The bundle's name."""
        return str(self.info["version"])

    @classmethod
    def load(cls, path: str | Path, *, cached_queries: int = 0) -> "Bundle":
        """A bundle with every file checked.

        Args:
            path: A bundle's folder, or a folder of bundles, whose production version is taken.
            cached_queries: Vectors of queries that are kept, for a server.

        Returns:
            The bundle, its encoder in the precision that its documents were embedded in.

        Raises:
            ArtifactError: A file is missing or was changed, or parts do not belong together.
        """
        folder = resolve(Path(path))
        info = read_info(folder)
        verify(folder, info)
        settings = read_settings(folder, info)
        encoder = Encoder.load(folder / "encoder", compute_type=info.get("compute_type", "float32"))
        index = FaissIndex.read(folder / "index")
        documents = Documents.read(folder / "documents")
        words = read_words(folder, info, settings.analyzer, documents)
        if not encoder.dim == index.dim == info["dim"] or not len(documents) == index.size == info["documents"]:
            raise ArtifactError(
                f"{folder}: encoder of {encoder.dim} dimensions, index of {index.dim} x {index.size}, "
                f"{len(documents)} documents do not belong together"
            )
        if not np.array_equal(row_order(documents.ids), np.arange(len(documents))):
            raise ArtifactError(f"{folder}: its documents are not in order of descending ids; build it again")
        return cls(folder, info, settings, encoder, index, words, documents, cached_queries)

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
        results = [
            [self._hit(int(row), float(score)) for row, score in zip(rows, scores, strict=True) if row != NO_ROW]
            for rows, scores in zip(ranking.rows_QK, ranking.scores_QK, strict=True)
        ]
        return self.explainer.explained(texts, ranking.rows_QK, results, allowed) if explain else results

    def _hit(self, row: int, score: float) -> Hit:
        document = self.documents[row]
        return Hit(document.doc_id, score, document.title, document.text, json.loads(document.metadata or "{}"))
