"""Stage `triplets`: pairs to (anchor, positive, hard negative), filtered by COMET.

As in supervised SimCSE (arXiv 2104.08821, section 4): the premise is the anchor, an entailed
hypothesis its positive, a contradicted hypothesis of the same premise its hard negative.
"""

from dataclasses import dataclass
from itertools import zip_longest
from types import ModuleType

from nlift import nli, score, translate
from nlift.artifacts import Output, Stage, read_rows
from nlift.config import Experiment, FilterConfig
from nlift.errors import DataError
from nlift.schema import NLIPair, ScoredPair, TranslatedPair, Triplet


@dataclass(frozen=True)
class Sentence:
    """A sentence of a triplet and its COMET score, where it has one."""

    text: str
    comet: float | None = None


Row = tuple[str, Sentence, Sentence, Sentence | None]  # pair_id, anchor, positive, negative


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    upstream = source(experiment)[0].stage(experiment)
    identity = {"config": experiment.triplets.model_dump(mode="json"), "inputs": [upstream.fingerprint]}
    return Stage("triplets", experiment.folder / "triplets", identity)


def source(experiment: Experiment) -> tuple[ModuleType, type]:
    """The stage that triplets are made from, and its rows' type."""
    if experiment.score is not None:
        return score, ScoredPair
    return (translate, TranslatedPair) if experiment.translate is not None else (nli, NLIPair)


def write(experiment: Experiment, output: Output) -> None:
    """Group pairs by premise, build triplets, filter. Raises DataError where none is left."""
    module, row_type = source(experiment)
    pairs = read_rows(experiment.folder / module.__name__.rpartition(".")[2], row_type)
    output.rows_in = len(pairs)
    rows = build(pairs, experiment.triplets.require_negative)
    kept = keep(rows, experiment.triplets.filter)
    if not kept:
        raise DataError(f"triplets: none of {len(rows)} left of {len(pairs)} pairs; loosen triplets.filter or read more")
    output.notes = {"built": len(rows), "filtered": len(rows) - len(kept)}
    output.write_rows(
        [Triplet(name, a.text, p.text, n.text if n else None) for name, a, p, n in kept],
        Triplet,
    )


def build(pairs: list[NLIPair], require_negative: bool) -> list[Row]:
    """Triplets in the order of their pairs; the n-th entailed hypothesis meets the n-th contradicted.

    Where a premise has fewer contradicted hypotheses than entailed ones they are used again; where
    it has none, the negative is null (or the row is left out).
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
            rows.append((pair.pair_id, _premise(pair), _hypothesis(pair), _hypothesis(negative) if negative else None))
    return sorted(rows, key=lambda row: row[0])


def keep(rows: list[Row], config: FilterConfig) -> list[Row]:
    """The rows that the filter lets through, in their order."""
    if config.min_score is not None:
        rows = [row for row in rows if _comet(row, config.over) >= config.min_score]
    if config.keep_share is not None:
        best = sorted(range(len(rows)), key=lambda i: (-_comet(rows[i], config.over), i))
        rows = [rows[i] for i in sorted(best[: round(config.keep_share * len(rows))])]
    return rows


def _premise(pair: NLIPair) -> Sentence:
    if isinstance(pair, TranslatedPair):
        return Sentence(pair.premise_mt, getattr(pair, "premise_comet", None))
    return Sentence(pair.premise)


def _hypothesis(pair: NLIPair) -> Sentence:
    if isinstance(pair, TranslatedPair):
        return Sentence(pair.hypothesis_mt, getattr(pair, "hypothesis_comet", None))
    return Sentence(pair.hypothesis)


def _comet(row: Row, over: str) -> float:
    scores = [sentence.comet for sentence in row[1:] if sentence is not None and sentence.comet is not None]
    return min(scores) if over == "min" else sum(scores) / len(scores)
