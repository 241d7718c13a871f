"""What evaluation needs of an encoder, and how documents get their vectors by it."""

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from nlift.data.schema import Document
from nlift.models.passage_splitter import Split, passages_of
from nlift.search.document_vectors import DocumentVectors

Role = Literal["query", "passage"] | None


class TextEncoder(Protocol):
    """Anything that turns texts into unit vectors."""

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: Role = None,
        max_length: int | None = None,
    ) -> np.ndarray:
        """Unit vectors, float32 [N, D]."""
        ...


def document_vectors(
    encoder: TextEncoder, documents: Sequence[Document], max_length: int, split: Split | None = None
) -> DocumentVectors:
    """The vectors of documents, as an index has them.

    Args:
        encoder: What encodes.
        documents: In any order.
        max_length: Tokens of a passage.
        split: Cuts documents into passages; None embeds the first part of each.
    """
    spans, texts = passages_of(documents, split)
    vectors_PD = encoder.encode(texts, role="passage", max_length=max_length)
    return DocumentVectors.of_counts(vectors_PD, [len(own) for own in spans])
