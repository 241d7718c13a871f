"""From labelled pairs to (anchor, positive, hard negative), so that other stages can count with it."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, zip_longest
from typing import Literal

from nlift.data.database import Database
from nlift.data.schema import NLIPair, ScoredPair, TranslatedPair

Side = Literal["target", "source", "both"]


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
    it has none, the negative is null (or the row is left out). `side` says which sentences are
    taken of translated pairs; rows of the originals are named `<pair_id>-source`.
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
        repeated = [contradicted[i % len(contradicted)] for i in range(len(entailed))] if contradicted else []
        for pair, negative in zip_longest(entailed, repeated):
            rows += _rows(pair, negative, side)
    return sorted(rows, key=lambda row: row.pair_id)


def built(
    database: Database, table: str, row_type: type, require_negative: bool, side: Side = "target"
) -> Iterator[Row]:
    """As `build` does of a table of pairs, but a premise at a time, and in the order of premises."""
    rows = database.rows(f"FROM {table} WHERE label <> 'neutral' ORDER BY premise, pair_id")
    pairs = (row_type(**row) for row in rows)
    for _, of_premise in groupby(pairs, key=lambda pair: pair.premise):
        yield from build(list(of_premise), require_negative, side)


def _rows(pair: NLIPair, negative: NLIPair | None, side: Side) -> list[Row]:
    translated = isinstance(pair, TranslatedPair)
    rows = []
    if translated and side in ("target", "both"):
        hard = _translation(negative, "hypothesis") if negative else None
        rows.append(Row(pair.pair_id, _translation(pair, "premise"), _translation(pair, "hypothesis"), hard))
    if not translated or side in ("source", "both"):
        name = f"{pair.pair_id}-source" if translated else pair.pair_id
        hard = Sentence(negative.hypothesis) if negative else None
        rows.append(Row(name, Sentence(pair.premise), Sentence(pair.hypothesis), hard))
    return rows


def _translation(pair: NLIPair, part: str) -> Sentence:
    comet = getattr(pair, f"{part}_comet") if isinstance(pair, ScoredPair) else None
    return Sentence(getattr(pair, f"{part}_mt"), getattr(pair, part), comet)
