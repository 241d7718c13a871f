"""Long documents cut into passages that an encoder can read: by its own tokens, at word ends, each with the title."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from nlift.data.schema import Document
from nlift.models.encoder import Encoder

Span = tuple[int, int]
"""Where a passage starts and ends in its document's text, in characters."""

TITLE_SHARE = 4  # a title takes this part of a passage at most; of a longer one each passage has the first part


def passage_text(document: Document, span: Span) -> str:
    """What is embedded of a passage: the document's title, and the part of its text."""
    start, end = span
    return f"{document.title} {document.text[start:end]}".strip()


Split = Callable[[Sequence[Document]], list[list[Span]]]
"""Documents to their passages, one at least each."""


def passages_of(documents: Sequence[Document], split: Split | None) -> tuple[list[list[Span]], list[str]]:
    """The passages of documents, and what is embedded of each, one after the other; the whole where nothing splits."""
    spans = split(documents) if split else [[(0, len(document.text))] for document in documents]
    return spans, [passage_text(document, span) for document, own in zip(documents, spans, strict=True) for span in own]


class PassageSplitter:
    """Cuts documents into passages.

    Args:
        encoder: Whose tokens are counted. One whose tokenizer does not say where in a text a token stands reads the
            first part of a document alone.
        max_length: Tokens of a passage, with title, prefix and special tokens; the encoder's own where that is less.
        overlap: Tokens that a passage shares with the one before.
    """

    def __init__(self, encoder: Encoder, max_length: int, overlap: int) -> None:
        self.encoder, self.overlap = encoder, overlap
        self.limit = min(max_length, encoder.max_length)
        (fixed,) = encoder.tokens(encoder.prefixed([""], "passage"))
        self.room = self.limit - len(fixed)

    def __call__(self, documents: Sequence[Document]) -> list[list[Span]]:
        """The passages of each document, in the order of its text; one that is short is a passage as a whole."""
        whole = [[(0, len(document.text))] for document in documents]
        if not self.encoder.tokenizer.is_fast:
            return whole
        # a token has one character at least: what is shorter than that needs no tokenizer
        long = [place for place, document in enumerate(documents) if len(document.content) > self.room]
        titles = self._offsets([documents[place].title for place in long])
        texts = self._offsets([documents[place].text for place in long])
        for place, title, text in zip(long, titles, texts, strict=True):
            if len(title) + len(text) > self.room:
                room = max(self.room - min(len(title), self.room // TITLE_SHARE), 1)
                whole[place] = self._spans(documents[place].text, text, room)
        return whole

    def _offsets(self, texts: Sequence[str]) -> list[list[Span]]:
        """Where the tokens of texts start and end, without special tokens."""
        if not texts:
            return []
        fast = self.encoder.tokenizer.backend_tokenizer
        fast.no_truncation()
        fast.no_padding()
        lowered = [text.lower() if self.encoder.lower_case else text for text in texts]
        return [encoding.offsets for encoding in fast.encode_batch(lowered, add_special_tokens=False)]

    def _spans(self, text: str, offsets: Sequence[Span], room: int) -> list[Span]:
        """Stretches of whole words of at most `room` tokens, each starting `overlap` tokens before the end of the last.

        The last one is as long as the others: what is left over is read with what stands before it. A word that has
        more tokens than there is room for is cut.
        """
        words = [i for i, (start, _) in enumerate(offsets) if start == 0 or text[start - 1].isspace()]
        overlap = min(self.overlap, room // 2)
        spans: list[Span] = []
        first = before = 0
        while first + room < len(offsets):
            end = _last_below(words, first + room, above=first) or first + room
            if end <= before:  # with what is shared there is no room for the next word
                first = before
                continue
            spans.append((offsets[first][0] if first else 0, offsets[end - 1][1]))
            first, before = _last_below(words, end - overlap, above=first) or end, end
        rest = len(offsets) - room
        at = bisect_left(words, rest) if rest > 0 else len(words)
        if at < len(words) and words[at] < first:
            first = words[at]
        spans.append((offsets[first][0] if first else 0, len(text)))
        return spans


def _last_below(words: Sequence[int], token: int, *, above: int) -> int | None:
    """The last start of a word up to a token, beyond another one; None where there is none."""
    place = bisect_right(words, token) - 1
    return words[place] if place >= 0 and words[place] > above else None


def splitter(encoder: Encoder, max_length: int, overlap: int | None) -> PassageSplitter | None:
    """What cuts documents into passages; None where `overlap` is None, and the first part of each is embedded."""
    return None if overlap is None else PassageSplitter(encoder, max_length, overlap)
