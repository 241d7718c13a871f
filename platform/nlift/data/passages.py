"""A document's parts, and which documents no encoder is trained on."""

import hashlib
import re
from collections.abc import Sequence
from itertools import pairwise

from nlift.data.schema import Document

LEFT_OUT_PERCENT = 10
END = re.compile(r"""[.!?…।؟]["'”»’)\]]*\s+|[。！？]["'」』）]*\s*|\n\s*""")


def is_left_out(document: Document) -> bool:
    """Whether a document belongs to the tenth, by its text, that training leaves out: pairs made of it judge encoders.

    Documents of equal text are all left out, or none is.
    """
    return percentile(document.content) < LEFT_OUT_PERCENT


def trained_on(documents: Sequence[Document]) -> Sequence[Document]:
    """The documents that training may see: all but those left out; all of them where that would be none."""
    return [document for document in documents if not is_left_out(document)] or documents


def percentile(text: str) -> int:
    """Which of a hundred equal parts a text belongs to, 0 to 99: by its hash, so that it stays there for good."""
    return int(sha1(text), 16) % 100


def digest(document: Document) -> str:
    """SHA-1 of a document's title and text, hexadecimal."""
    return sha1(document.content)


def sha1(text: str) -> str:
    """SHA-1 of a text, hexadecimal."""
    return hashlib.sha1(text.encode()).hexdigest()


def parts(document: Document) -> list[str]:
    """A document's title, where it has one, and its sentences."""
    return [part for part in (document.title.strip(), *sentences(document.text)) if part]


def sentences(text: str) -> list[str]:
    """A text's sentences, split at closing punctuation and at line ends.

    What starts in lower case goes on with the sentence before it.
    """
    pieces: list[list[str]] = []
    ends = (match.end() for match in END.finditer(text))
    for start, end in pairwise([0, *ends, len(text)]):
        piece = " ".join(text[start:end].split())
        if pieces and piece[:1].islower():
            pieces[-1].append(piece)
        elif piece:
            pieces.append([piece])
    return [" ".join(piece) for piece in pieces]
