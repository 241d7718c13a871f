"""Languages and scripts that texts are in."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from nlift.errors import ConfigError

SURE = 0.9  # probability from which a language counts as recognised
SAMPLE = 200  # texts that are looked at
LEAST_SHARE = 0.01  # of the letters, for a script to be named
SCRIPTS = {"CJK": "Han"}  # by the first word of a letter's name, where that is not its script's


def recognised(text: str, languages: tuple[str, ...]) -> str | None:
    """Which of some languages (ISO 639-1) a text is in; None where that is not clear.

    Raises ConfigError for a language that cannot be recognised.
    """
    language, probability = _identifier(languages).classify(text)
    return language if probability >= SURE else None


def described(texts: Sequence[str]) -> str:
    """The language and the scripts of texts in a few words, as `pl 97 %, Latin`; of a sample where there are many."""
    sample = [text for text in texts[:: max(1, len(texts) // SAMPLE)][:SAMPLE] if text.strip()]
    if not sample:
        return "no text"
    languages = Counter(_identifier(()).classify(text)[0] for text in sample)
    language, count = languages.most_common(1)[0]
    return f"{language} {100 * count / len(sample):.0f} %, {' and '.join(scripts(sample)) or 'no letters'}"


def scripts(texts: Sequence[str]) -> list[str]:
    """The scripts of the texts' letters, the most frequent first."""
    letters = Counter(character for text in texts for character in text if character.isalpha())
    counts: Counter[str] = Counter()
    for letter, count in letters.items():
        word = unicodedata.name(letter, "unknown").split()[0]
        counts[SCRIPTS.get(word, word.capitalize())] += count
    return [name for name, count in counts.most_common() if count >= LEAST_SHARE * counts.total()]


@lru_cache(maxsize=8)
def _identifier(languages: tuple[str, ...]) -> Any:
    """What tells these languages apart, or all that it knows."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_pickled_model(MODEL_FILE, norm_probs=True)  # the package's own file
    unknown = set(languages) - set(identifier.nb_classes)
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ConfigError(f"triplets.filter.language: cannot recognise {names}; expected ISO 639-1 as pl")
    if languages:
        identifier.set_languages(list(languages))
    return identifier
