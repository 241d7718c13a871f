"""Queries made of a corpus's own text, for which a search is to be imitated: titles, and words of its sentences.

People write few words, leave out what they do not think of, and inflect the rest as their sentence wants it. So a
query is a stretch of a sentence or some of its words in order, and words may stand in another of the forms that the
corpus has of their stem: to an encoder that cuts words into pieces, these are other words. No question of any set is
read.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence

from nlift.data.passages import sentences
from nlift.data.schema import Document
from nlift.search.analyzers import Analyzer

WORD = re.compile(r"\w+")
STRETCH = (3, 10)  # words, least and most
SUBSET = (3, 8)
LEAST_CHARACTERS = 20  # of a sentence
VARIED_SHARE = 0.7  # of the words that have other forms
Forms = Mapping[str, Sequence[str]]


def pseudo_queries(documents: Sequence[Document], analyzer: Analyzer, seed: int, limit: int | None = None) -> list[str]:
    """Distinct queries of documents, in their order; at random as many of them as the limit says.

    A document of a single sentence and no title gives none: that would be the whole of it.
    """
    forms = forms_of([document.content for document in documents], analyzer)
    chance = random.Random(f"queries {seed}")
    queries = (varied(query, forms, analyzer, chance) for query in _drawn(documents, chance))
    distinct = list(dict.fromkeys(query for query in queries if query.strip()))
    if limit is None or limit >= len(distinct):
        return distinct
    return [distinct[place] for place in sorted(chance.sample(range(len(distinct)), limit))]


def forms_of(texts: Sequence[str], analyzer: Analyzer) -> Forms:
    """The words of a corpus by their stem, in lower case, where there are several; {} where words are not stemmed."""
    if analyzer.name != "stem":
        return {}
    words = sorted({word.lower() for text in texts for word in WORD.findall(text)})
    forms: dict[str, list[str]] = {}
    for word in words:
        stems = analyzer(word)
        if len(stems) == 1:
            forms.setdefault(stems[0], []).append(word)
    return {stem: alike for stem, alike in forms.items() if len(alike) > 1}


def varied(query: str, forms: Forms, analyzer: Analyzer, chance: random.Random) -> str:
    """A query, most of its words in another form where there is one."""

    def other(match: re.Match[str]) -> str:
        word = match.group()
        stems = analyzer(word)
        alike = forms.get(stems[0], ()) if len(stems) == 1 else ()
        if not alike or chance.random() >= VARIED_SHARE:
            return word
        chosen = chance.choice(alike)
        return chosen.capitalize() if word[0].isupper() else chosen

    return WORD.sub(other, query) if forms else query


def _drawn(documents: Sequence[Document], chance: random.Random) -> Iterator[str]:
    """A document's title, and of each sentence a stretch and some of its words."""
    for document in documents:
        pieces = sentences(document.text)
        title = document.title.strip()
        if title and pieces:
            yield title
        for sentence in pieces if title or len(pieces) > 1 else ():
            words = sentence.split()
            if len(sentence) < LEAST_CHARACTERS or len(words) <= SUBSET[0]:
                continue
            count = chance.randint(STRETCH[0], min(STRETCH[1], len(words)))
            start = chance.randint(0, len(words) - count)
            yield " ".join(words[start : start + count])
            count = chance.randint(SUBSET[0], min(SUBSET[1], len(words)))
            yield " ".join(words[place] for place in sorted(chance.sample(range(len(words)), count)))
