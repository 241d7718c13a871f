"""Which triplets are good enough to learn from: COMET, and cheap signs of a failed translation."""

from collections.abc import Callable, Iterable, Iterator

from nlift.data.languages import recognised
from nlift.data.pairing import Row, Sentence
from nlift.settings import FilterConfig

COPIED_SHARE = 0.7  # of a source's words found again in its translation, from this many words on
COPIED_WORDS = 4
LONGEST_PHRASE = 4  # words of a phrase that is looked for again right behind itself

Judged = tuple[Row, str | None]


def judged(rows: Iterable[Row], config: FilterConfig, languages: tuple[str, str] | None = None) -> Iterator[Judged]:
    """Rows in their order, each with the reason to drop it, null where it passes.

    `languages` are those of source and target, as ISO 639-1. Signs are looked at first, then
    `min_score`, which rows without scores pass. What `keep_share` drops is known at the end alone.
    """
    checks = _checks(config, languages)
    for row in rows:
        yield row, row.fault or _fault(row, checks) or _below(row, config)


def is_copy(sentence: Sentence) -> bool:
    """Whether a translation is, mostly, its source."""
    source, target = (sentence.source or "").lower().split(), sentence.text.lower().split()
    if source == target:
        return True
    translated = set(target)
    copied = sum(word in translated for word in source)
    return len(source) >= COPIED_WORDS and copied / len(source) >= COPIED_SHARE


def repeats(text: str) -> int:
    """How often a phrase of up to four words stands right behind itself, at most; 1 where none does."""
    words = text.lower().split()
    most = 1
    for size in range(1, LONGEST_PHRASE + 1):
        for start in range(len(words) - size):
            phrase = words[start : start + size]
            count = 1
            while words[start + count * size : start + (count + 1) * size] == phrase:
                count += 1
            most = max(most, count)
    return most


def _checks(config: FilterConfig, languages: tuple[str, str] | None) -> dict[str, Callable[[Sentence], bool]]:
    """What makes a translated sentence bad, by the reason."""
    checks: dict[str, Callable[[Sentence], bool]] = {}
    if config.untranslated:
        checks["untranslated"] = is_copy
    if config.length_ratio is not None:
        low, high = config.length_ratio
        checks["length ratio"] = lambda sentence: not low <= _length_ratio(sentence) <= high
    if config.max_repeats is not None:
        most = config.max_repeats
        checks["repeated phrase"] = lambda sentence: repeats(sentence.text) > most
    if config.language and languages is not None:
        source, target = languages
        checks["wrong language"] = lambda sentence: recognised(sentence.text, (source, target)) == source
    return checks


def _length_ratio(sentence: Sentence) -> float:
    """Characters of a translation over its source's."""
    return len(sentence.text) / max(len(sentence.source or ""), 1)


def _fault(row: Row, checks: dict[str, Callable[[Sentence], bool]]) -> str | None:
    for part, sentence in row.sentences.items():
        if sentence.source is not None:
            for reason, is_bad in checks.items():
                if is_bad(sentence):
                    return f"{part}: {reason}"
    return None


def _below(row: Row, config: FilterConfig) -> str | None:
    score = row.comet(config.over)
    if config.min_score is None or score is None or score >= config.min_score:
        return None
    return f"COMET below {config.min_score:g}"
