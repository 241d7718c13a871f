"""Which translator to take: several on the same data, compared by COMET.

As the paper compares mBART-50 with M2M100 (arXiv 2308.03103, section 3.1).
"""

from dataclasses import dataclass
from typing import Any

from nlift import quality, score
from nlift.config import Experiment
from nlift.errors import DataError
from nlift.schema import TranslatedPair


@dataclass(frozen=True)
class Comparison:
    """The position of the best model, and a row per model in the order given."""

    best: int
    table: list[dict[str, Any]]


def compare(experiment: Experiment, models: list[str], translated: list[list[TranslatedPair]]) -> Comparison:
    """Mean and median COMET of each model's translations, over the pairs that were translated by all.

    A model that translated nothing has a mean of 0 and is not among those. Raises DataError where
    no pair is left.
    """
    ids = [{pair.pair_id for pair in pairs} for pairs in translated]
    common = set.intersection(*(one for one in ids if one)) if any(ids) else set()
    if not common:
        raise DataError(f"translate.candidates: no pair was translated by all of {', '.join(models)}")
    table = []
    for model, pairs in zip(models, translated, strict=True):
        scored, _ = score.score_pairs(experiment, [pair for pair in pairs if pair.pair_id in common])
        found = quality.comet(quality.sentence_scores(scored)) if scored else {"mean": 0.0, "median": 0.0, "deciles": []}
        table.append({"model": model, "translated": len(pairs), **found})
    best = max(range(len(table)), key=lambda i: (table[i]["translated"] > 0, table[i]["mean"]))
    return Comparison(best, table)
