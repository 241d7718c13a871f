"""From labelled pairs to (anchor, positive, hard negative), so that other stages can count with it."""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from nlift.data.database import Database
from nlift.data.schema import NLIPair, ScoredPair, TranslatedPair

Side = Literal["target", "source", "both"]
NO_NEGATIVE = "every contradiction is also entailed"


@dataclass(frozen=True)
class Sentence:
    """A sentence of a triplet; where it is a translation, of what, and its COMET score if it has one."""

    text: str
    source: str | None = None
    comet: float | None = None


@dataclass(frozen=True)
class Row:
    """A triplet with all that filters look at."""

    pair_id: str
    anchor: Sentence
    positive: Sentence
    negative: Sentence | None
    fault: str | None = None
    """Why it is no triplet to learn from, whatever the filter says."""

    @property
    def sentences(self) -> dict[str, Sentence]:
        """The sentences by their part."""
        parts = {"anchor": self.anchor, "positive": self.positive}
        return parts if self.negative is None else {**parts, "negative": self.negative}

    def comet(self, over: str) -> float | None:
        """The minimum or the mean of the sentences' scores; None where they have none."""
        scores = [sentence.comet for sentence in self.sentences.values() if sentence.comet is not None]
        if not scores:
            return None
        return min(scores) if over == "min" else sum(scores) / len(scores)


def build(pairs: list[NLIPair], require_negative: bool, side: Side = "target") -> list[Row]:
    """Triplets in the order of their pairs; the n-th entailed hypothesis meets the n-th contradicted.

    Where a premise has fewer contradicted hypotheses than entailed ones they are used again; where
    it has none, the negative is null (or the row is left out). A sentence that is entailed as well, or is the premise
    itself, is no negative, whoever labelled it so. `side` says which sentences are taken of translated pairs; rows of
    the originals are named `<pair_id>-source`.
    """
    groups: dict[str, tuple[list[NLIPair], list[NLIPair]]] = {}
    for pair in pairs:
        if pair.label != "neutral":
            entailed, contradicted = groups.setdefault(pair.premise, ([], []))
            (entailed if pair.label == "entailment" else contradicted).append(pair)
    rows: list[Row] = []
    for entailed, contradicted in groups.values():
        if require_negative and not contradicted:
            continue
        for sentence, ending in _sides(pairs[0], side):
            rows += _rows(entailed, contradicted, sentence, ending, require_negative)
    return sorted(rows, key=lambda row: row.pair_id)


def built(
    database: Database, table: str, row_type: type, require_negative: bool, side: Side = "target"
) -> Iterator[Row]:
    """As `build` does of a table of pairs, but a premise at a time, and in the order of premises."""
    rows = database.rows(f"FROM {table} WHERE label <> 'neutral' ORDER BY premise, pair_id")
    pairs = (row_type(**row) for row in rows)
    for _, of_premise in groupby(pairs, key=lambda pair: pair.premise):
        yield from build(list(of_premise), require_negative, side)


def _sides(pair: NLIPair, side: Side) -> list[tuple[Callable[[NLIPair, str], Sentence], str]]:
    """How a side's sentences are taken of a pair, and the ending of its rows' names."""
    if not isinstance(pair, TranslatedPair):
        return [(_original, "")]
    sides = {"target": (_translation, ""), "source": (_original, "-source")}
    return list(sides.values()) if side == "both" else [sides[side]]


def _rows(
    entailed: list[NLIPair],
    contradicted: list[NLIPair],
    sentence: Callable[[NLIPair, str], Sentence],
    ending: str,
    require_negative: bool,
) -> Iterator[Row]:
    """The triplets of a premise's pairs, of one side."""
    texts = {normalised(sentence(pair, part).text) for pair in entailed for part in ("premise", "hypothesis")}
    hypotheses = [sentence(pair, "hypothesis") for pair in contradicted]
    negatives = [negative for negative in hypotheses if normalised(negative.text) not in texts]
    for n, pair in enumerate(entailed):
        yield Row(
            f"{pair.pair_id}{ending}",
            sentence(pair, "premise"),
            sentence(pair, "hypothesis"),
            negatives[n % len(negatives)] if negatives else None,
            NO_NEGATIVE if require_negative and not negatives else None,
        )


def normalised(text: str) -> str:
    """A text without differences of case, spacing and how its characters are composed."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(character for character in text if unicodedata.category(character) != "Cf").split())


def _original(pair: NLIPair, part: str) -> Sentence:
    return Sentence(getattr(pair, part))


def _translation(pair: NLIPair, part: str) -> Sentence:
    comet = getattr(pair, f"{part}_comet") if isinstance(pair, ScoredPair) else None
    return Sentence(getattr(pair, f"{part}_mt"), getattr(pair, part), comet)
