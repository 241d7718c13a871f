"""How a corpus is deployed: the settings of the section `search`, and what is chosen where they leave it open.

Evaluation and index choose by the same function, from the same queries: what is measured is what is served.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nlift.data.languages import iso_639_1, language_of
from nlift.data.schema import Document
from nlift.evaluation.datasets import RetrievalSet
from nlift.evaluation.judged_queries import Evidence, evidence
from nlift.evaluation.search_choice import Choice, choose, choose_analyzer
from nlift.evaluation.text_encoder import TextEncoder, document_vectors
from nlift.models.passage_splitter import Split
from nlift.search.analyzers import Analyzer
from nlift.search.document_vectors import DocumentVectors
from nlift.search.documents import Contents
from nlift.search.vector_index import LocalIndex
from nlift.settings import SearchConfig


@dataclass(frozen=True)
class Deployment:
    """How a corpus is deployed; what is left open is chosen, on `dev` queries if there are any: nobody reports them."""

    config: SearchConfig
    expected_language: str | None = None
    """Of the corpus, where its texts do not say it clearly."""
    dev: RetrievalSet | None = None

    def language(self, documents: Sequence[Document]) -> str | None:
        """The language of a corpus, ISO 639-1; None where nobody knows."""
        if self.config.language != "auto":
            return iso_639_1(self.config.language) or self.config.language
        return language_of(Contents(documents), self.expected_language)

    def check(self, documents: Sequence[Document]) -> None:
        """Raise ConfigError for an unknown language, or an analyzer that is none for it."""
        choose_analyzer(self.config, self.language(documents), Evidence("nothing", ""))

    def analyzer(self, documents: Sequence[Document]) -> Analyzer:
        """The analyzer of documents in the order of rows."""
        return choose_analyzer(self.config, self.language(documents), evidence(documents, self.dev))

    def choice(
        self,
        documents: Sequence[Document],
        vectors: LocalIndex,
        encoder: TextEncoder,
        max_length: int,
        split: Split | None = None,
    ) -> Choice:
        """How documents in the order of rows, with their `vectors`, are to be searched with an encoder.

        `split` is what cut the documents into passages, if anything did.
        """

        def encode(queries: Sequence[str]) -> np.ndarray:
            return encoder.encode(queries, role="query", max_length=max_length)

        def encode_texts(texts: Sequence[str]) -> DocumentVectors:
            return document_vectors(encoder, [Document("", "", text, "") for text in texts], max_length, split)

        if "auto" not in (self.config.analyzer, self.config.alpha, self.config.mode):
            judged = Evidence("settings", "the settings of the section search")
        else:
            judged = evidence(documents, self.dev, vectors, encode_texts, separates=self.config.fusion == "convex")
        return choose(self.config, self.language(documents), judged, encode)
