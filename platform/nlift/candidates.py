"""Which translator to take: several on the same data, compared by COMET.

As the paper compares mBART-50 with M2M100 (arXiv 2308.03103, section 3.1).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """Mean and median COMET of each model's translations, over the pairs that all models translated.

    Raises DataError where there is no such pair.
    """
    common = set.intersection(*({pair.pair_id for pair in pairs} for pairs in translated))
    if not common:
        raise DataError(f"translate.candidates: no pair was translated by all of {', '.join(models)}")
    table = []
    for model, pairs in zip(models, translated, strict=True):
        scored, _ = score.score_pairs(experiment, [pair for pair in pairs if pair.pair_id in common])
        table.append({"model": model, "translated": len(pairs), **quality.comet(quality.sentence_scores(scored))})
    return Comparison(int(np.argmax([row["mean"] for row in table])), table)
