"""Queries made of a corpus itself, for whoever has none: a part of a document, and the rest to be found by it.

The documents are those that training leaves out (`data/passages.py`): no encoder of ours has seen their parts together.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from nlift.data.passages import digest, is_left_out, parts
from nlift.data.schema import Document

PAIRS = 400
PAIRS_PER_DOCUMENT = 4
LEAST_CHARACTERS = 20  # of a query
STRETCH = 12  # words of a query from a text without sentences
WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class CorpusPair:
    """A part of a document as a query, and the document without it."""

    row: int
    """The document's position in the corpus."""
    query: str
    rest: str


def corpus_pairs(documents: Sequence[Document]) -> list[CorpusPair]:
    """Pairs of documents that training leaves out, 400 at most; where there are few documents several of each.

    Which ones, follows from the documents' texts alone.
    """
    left_out = [row for row, document in enumerate(documents) if is_left_out(document)]
    rows = sorted(left_out, key=lambda row: digest(documents[row]))[:PAIRS]
    rounds = zip_longest(*(_pairs_of(row, documents[row]) for row in rows))
    return [pair for pairs in rounds for pair in pairs if pair is not None][:PAIRS]


def _pairs_of(row: int, document: Document) -> list[CorpusPair]:
    """A document's pairs, drawn at random. Only these are made: a book has many and long ones."""
    pieces = parts(document)
    if len(pieces) == 1:
        pieces = _stretches(pieces[0])
    queries = [i for i, piece in enumerate(pieces) if len(piece) >= LEAST_CHARACTERS] if len(pieces) > 1 else []
    random.Random(digest(document)).shuffle(queries)
    return [CorpusPair(row, pieces[i], " ".join(pieces[:i] + pieces[i + 1 :])) for i in queries[:PAIRS_PER_DOCUMENT]]


def _stretches(text: str) -> list[str]:
    """The words of a text that has no sentences, in stretches of about twelve; a short text is one."""
    words = WORD.findall(text)
    count = max(1, len(words) // STRETCH)
    bounds = [round(i * len(words) / count) for i in range(count + 1)]
    return [" ".join(words[start:end]) for start, end in pairwise(bounds)]
