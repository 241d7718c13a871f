"""How a corpus is deployed: the settings of the section `search`, and what is chosen where they leave it open.

Evaluation and index choose by the same function, from the same queries: what is measured is what is served.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from nlift.data.languages import iso_639_1, language_of
from nlift.data.schema import Document
from nlift.evaluation.datasets import RetrievalSet
from nlift.evaluation.judged_queries import Evidence, evidence
from nlift.evaluation.search_choice import Choice, choose, choose_analyzer
from nlift.evaluation.text_encoder import Role, TextEncoder
from nlift.search.analyzers import Analyzer
from nlift.search.searchers import Encode
from nlift.search.vector_index import VectorIndex
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
        return language_of([document.content for document in documents], self.expected_language)

    def check(self, documents: Sequence[Document]) -> None:
        """Raise ConfigError for an unknown language, or an analyzer that is none for it."""
        choose_analyzer(self.config, self.language(documents), Evidence("nothing", ""))

    def analyzer(self, documents: Sequence[Document]) -> Analyzer:
        """The analyzer of documents in the order of rows."""
        return choose_analyzer(self.config, self.language(documents), evidence(documents, self.dev))

    def choice(
        self, documents: Sequence[Document], vectors: VectorIndex, encoder: TextEncoder, max_length: int
    ) -> Choice:
        """How documents in the order of rows, with their `vectors`, are to be searched with an encoder."""

        def encode(role: Role) -> Encode:
            return lambda texts: encoder.encode(texts, role=role, max_length=max_length)

        if "auto" not in (self.config.analyzer, self.config.alpha, self.config.mode):
            judged = Evidence("settings", "the settings of the section search")
        else:
            judged = evidence(documents, self.dev, vectors, encode("passage"), separates=self.config.fusion == "convex")
        return choose(self.config, self.language(documents), judged, encode("query"))
