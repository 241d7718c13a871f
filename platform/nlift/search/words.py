"""A text's words, as BM25 counts them, in any script.

- Composed and decomposed letters, full-width and other forms of a letter, upper and lower case are the same (NFKC and
  casefold). Superscripts and fractions stay as they are: 10² is not 102, 1½ not 11/2.
- What is not seen parts no word and is no part of one: soft hyphens, joiners, byte order marks, variation selectors. A
  zero-width space does part words.
- Vowel signs belong to the letter before them (Devanagari, Thai and others). Marks that readers of a language leave out
  are left out: the points of Hebrew and Arabic, stress marks, the dot that a Turkish İ would keep. ı counts as i, as
  without the language nobody knows which of both a capital I is.
- Scripts that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) have no words to be seen: a
  stretch of them is cut into its characters and its pairs of neighbours. 北京 finds 我在北京, and above what has both
  characters apart. Digits, Latin and Hangul within such a stretch are words of their own.

A text that has none of this, as Polish and English mostly, is its lower-cased runs of letters and digits.
"""

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

_PLAIN_WORD = re.compile(r"\w+")
_UNSPACED = (  # their digits, marks and punctuation among them
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x312F),  # Japanese, the zero of Chinese, Bopomofo
    (0x31A0, 0x31BF),  # Bopomofo
    (0x31F0, 0x31FF),  # Katakana
    (0x3400, 0x4DBF),  # Chinese
    (0x4E00, 0x9FFF),  # Chinese
    (0xA9E0, 0xA9FF),  # Burmese
    (0xAA60, 0xAA7F),  # Burmese
    (0x1AFF0, 0x1B16F),  # Japanese
    (0x20000, 0x3347F),  # Chinese
)
_OMITTED_MARKS = ((0x0300, 0x036F), (0x0590, 0x07FF), (0x08D3, 0x08FF), (0x20D0, 0x20FF))  # Latin, Hebrew, Arabic
_UNSEEN = "\u0640\u115f\u1160\u3164"  # a stretch of an Arabic word, empty parts of Korean syllables
_SELECTORS = ((0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))
_SCRIPTS = ("<super>", "<sub>", "<fraction>")
_KEPT = re.compile(
    "(["
    + "".join(each for each in map(chr, range(0x3200)) if unicodedata.decomposition(each).startswith(_SCRIPTS))
    + "]+)"
)
_WORD = re.compile("u[um]*|w[wm]*")
_CHARACTER = re.compile("um*")


def words(text: str, *, dotless: bool = False) -> list[str]:
    """The words of a text, in its order; see the module. `dotless` is for Turkish: ı is the small I, i that of İ."""
    seen = _SEEN
    if dotless:
        text, seen = _composed(text).translate(_DOTLESS), _SEEN_DOTLESS
    if text.isascii() or _PLAIN.fullmatch(text):
        return _PLAIN_WORD.findall(text.casefold())
    return list(_words(_folded(text, seen)))


def _words(text: str) -> Iterator[str]:
    kinds = text.translate(_KINDS)
    for match in _WORD.finditer(kinds):
        word = text[slice(*match.span())]
        if match[0][0] == "w":
            yield word
            continue
        characters = [word[slice(*each.span())] for each in _CHARACTER.finditer(match[0])]
        yield from characters
        yield from map("".join, pairwise(characters))


def _folded(text: str, seen: "_Seen") -> str:
    """A text in the form that is compared."""
    return _composed(_composed(text).casefold()).translate(seen)


def _composed(text: str) -> str:
    parts = _KEPT.split(text)
    return "".join(part if i % 2 else unicodedata.normalize("NFKC", part) for i, part in enumerate(parts))


def _within(code: int, ranges: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= code <= last for first, last in ranges)


class _Kinds(dict[int, str]):
    """By code point: u a character of a script without spaces, w another one of a word, m a mark, a space the rest."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if unicodedata.category(character).startswith("M"):
            kind = "m"
        elif character.isalnum() or character == "_":
            kind = "u" if _within(code, _UNSPACED) and not character.isdecimal() else "w"
        else:
            kind = " "
        return self.setdefault(code, kind)


class _Seen(dict[int, str | None]):
    """By code point: what stands for a character of a folded text; None where nothing does."""

    def __missing__(self, code: int) -> str | None:
        character, kept = chr(code), chr(code)
        category = unicodedata.category(character)
        mark = category == "Mn" and _within(code, _OMITTED_MARKS)
        unseen = category == "Cf" and character != "\u200b"
        gone = mark or unseen or character in _UNSEEN or _within(code, _SELECTORS)
        return self.setdefault(code, None if gone else kept)


_KINDS, _SEEN, _SEEN_DOTLESS = _Kinds(), _Seen({ord("ı"): "i"}), _Seen()
_DOTLESS = {ord("I"): "ı", ord("İ"): "i"}


def _is_plain(character: str) -> bool:
    """Whether folding does no more than to lower a character's case, or it only parts words."""
    if _SEEN[ord(character)] is None or _KINDS[ord(character)] == "m":
        return False
    folded = _folded(character, _SEEN)
    return folded == character.casefold() or not _PLAIN_WORD.search(character + folded)


_PLAIN = re.compile(  # Latin, Greek and Cyrillic letters, punctuation, signs
    "["
    + "".join(re.escape(each) for each in map(chr, (*range(0x530), *range(0x2000, 0x2C00))) if _is_plain(each))
    + "]*"
)
