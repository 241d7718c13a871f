"""From a text to the words that BM25 counts, by language.

Every analyzer begins with the words of words.py; `stem` then reduces each to its stem by Snowball (Porter 2001;
PyStemmer), so that *kotem* and *kota* meet. There is no list of stop words: BM25 gives them little weight, and of five
English sets leaving them out helped one (docs/results.md).
"""

from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Literal, get_args

from nlift.data.languages import NAMES
from nlift.errors import ConfigError
from nlift.search.words import words

AnalyzerName = Literal["stem", "none", "bigrams"]
WORDS_VERSION = 1  # of words.py: to be raised when a text gets other words there
SNOWBALL = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "st": "sesotho",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
UNSPACED = ("ja", "km", "lo", "my", "th", "zh")
DOTLESS = ("az", "tr")  # languages whose ı and i are two letters


@dataclass(frozen=True)
class Analyzer:
    """Turns a text into the words that are counted.

    Attributes:
        name: `stem`; `none`, words as they are; `bigrams`, what scripts without spaces are cut into. Under every
            analyzer a stretch of such a script is its characters and its pairs of neighbours: a corpus may mix scripts.
        language: ISO 639-1; None where nobody knows.
    """

    name: AnalyzerName = "none"
    language: str | None = None

    def __call__(self, text: str) -> list[str]:
        """The words of a text, in its order."""
        result = words(text, dotless=self.language in DOTLESS)
        if self.name != "stem":
            return result
        return [stem for stem in _stemmer(SNOWBALL[self.language or ""]).stemWords(result) if stem]

    @property
    def version(self) -> str:
        """What the words of a text depend on beside name and language."""
        stemmer = f", PyStemmer {metadata.version('PyStemmer')}" if self.name == "stem" else ""
        return f"words {WORDS_VERSION}{stemmer}"

    def __str__(self) -> str:
        return f"{self.name} ({self.language})" if self.language else self.name


def analyzers_of(language: str | None) -> list[Analyzer]:
    """The analyzers that suit a language: the one to take where nothing can be measured, then others to try."""
    if language in UNSPACED:
        return [Analyzer("bigrams", language)]
    stem = [Analyzer("stem", language)] if language in SNOWBALL else []
    return [*stem, Analyzer("none", language)]


def analyzer_named(name: str, language: str | None) -> Analyzer:
    """The analyzer of that name. Raises ConfigError where there is none, or none for the language."""
    check_language(language)
    if name == "none":
        return Analyzer("none", language)
    languages = {"stem": SNOWBALL, "bigrams": UNSPACED}.get(name)
    if languages is None:
        raise ConfigError(f"unknown analyzer {name!r}; expected one of {', '.join(get_args(AnalyzerName))}")
    if language not in languages:
        known = ", ".join(sorted(languages))
        raise ConfigError(f"the analyzer {name} has no {language or 'language'}; it has {known}; none has all")
    return Analyzer(name, language)  # type: ignore[arg-type]


def check_language(language: str | None) -> None:
    """Raise ConfigError for what is no language of ISO 639-1."""
    if language is not None and language not in NAMES:
        raise ConfigError(f"unknown language {language!r}; expected ISO 639-1, one of {', '.join(sorted(NAMES))}")


@cache
def _stemmer(algorithm: str) -> Any:
    import Stemmer

    return Stemmer.Stemmer(algorithm)
