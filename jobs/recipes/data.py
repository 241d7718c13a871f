"""The open text that the embedded models learn from, read and cleaned.

`data` is a folder laid out as docs/results.md describes: `parallel/*.tsv` (en, pl), `nli/*.tsv`
(premise, hypothesis, label), `text/*` (plain Polish), `qe/*.tsv` and `retrieval/*` in BEIR form.
"""

import gzip
import re
from collections.abc import Iterable
from pathlib import Path

Pair = tuple[str, str]

_URL = re.compile(r"https?://|www\.|@|[<>{}|\\]")
_POLISH = re.compile(r"[ąćęłńóśźż]|\b(?:i|w|z|na|do|nie|się|to|jest|że|o|dla|od|po|za)\b", re.I)
_NUMBER = re.compile(r"\d+")


def lines(path: Path) -> Iterable[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            yield line.rstrip("\n")


def table(path: Path) -> list[list[str]]:
    """The rows of a TSV below its header."""
    return [line.split("\t") for line in lines(path)][1:]


def tatoeba(data: Path) -> list[Pair]:
    return [(en, pl) for en, pl in table(data / "parallel/tatoeba_en_pl.tsv")]


def tatoeba_test(data: Path) -> list[Pair]:
    return [(en, pl) for en, pl in table(data / "parallel/tatoeba_laser1000_en_pl.tsv")]


def paracrawl(data: Path, max_words: int = 40) -> list[Pair]:
    """The part of ParaCrawl that looks like sentences and their translations."""
    kept = []
    for en, pl in table(data / "parallel/paracrawl_noisy_en_pl.tsv.gz"):
        words_en, words_pl = len(en.split()), len(pl.split())
        letters = sum(c.isalpha() or c.isspace() for c in en + pl) / (len(en) + len(pl) + 1)
        if (
            3 <= words_en <= max_words
            and 2 <= words_pl <= max_words
            and 0.5 <= words_pl / words_en <= 1.7
            and letters > 0.85
            and en[0].isupper() == pl[0].isupper()
            and en.lower() != pl.lower()
            and not _URL.search(en + pl)
            and _POLISH.search(pl)
            and _NUMBER.findall(en) == _NUMBER.findall(pl)
        ):
            kept.append((en, pl))
    return list(dict.fromkeys(kept))


def snli_sentences(data: Path) -> list[str]:
    """Distinct premises and hypotheses of the SNLI train sample."""
    rows = table(data / "nli/snli_train_sample20k.tsv") + table(data / "nli/snli_cad_train.tsv")
    return list(dict.fromkeys(text for row in rows for text in row[:2]))


def novels(data: Path) -> list[str]:
    return [line for line in lines(data / "text/eltec_pol_novels.txt.gz") if len(line) > 20]
