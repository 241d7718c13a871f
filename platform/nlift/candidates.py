"""Which translator to take: several on the same data, compared by COMET.

As the paper compares mBART-50 with M2M100 (arXiv 2308.03103, section 3.1).
"""

from dataclasses import dataclass
from typing import Any

from nlift import quality, score, translate
from nlift.config import Experiment
from nlift.errors import DataError
from nlift.tables import Tables


@dataclass(frozen=True)
class Comparison:
    """The position of the best model, and a row per model in the order given."""

    best: int
    table: list[dict[str, Any]]


def compare(experiment: Experiment, database: Tables, models: list[str]) -> Comparison:
    """Mean and median COMET of each model's translations, over the pairs that were translated by all.

    Reads the tables `pairs` and `translate.table_of` each model's position. A model that translated
    nothing has a mean of 0 and is not among those. Raises DataError where no pair is left.
    """
    translated = [database.count(f"FROM pairs WHERE {_by(i)}") for i in range(len(models))]
    by_all = " AND ".join(_by(i) for i, count in enumerate(translated) if count)
    common = f"FROM pairs WHERE {by_all or 'false'}"
    if not database.count(common):
        raise DataError(f"translate.candidates: no pair was translated by all of {', '.join(models)}")
    table = []
    for i, (model, count) in enumerate(zip(models, translated, strict=True)):
        found: dict[str, Any] = {"mean": 0.0, "median": 0.0, "deciles": []}
        if count:
            wanted = f"SELECT premise {common} UNION SELECT hypothesis {common}"
            sentences = f"SELECT source, target FROM {translate.table_of(i)} WHERE source IN ({wanted})"
            score.scored(experiment, database, f"scores_{i}", sentences)
            found = quality.comet(database.column(f"SELECT score FROM scores_{i} ORDER BY score"))
        table.append({"model": model, "translated": count, **found})
    best = max(range(len(table)), key=lambda i: (table[i]["translated"] > 0, table[i]["mean"]))
    return Comparison(best, table)


def _by(model: int) -> str:
    """That both sentences of a pair have a translation by a model."""
    good = f"(SELECT source FROM {translate.table_of(model)} WHERE fault IS NULL)"
    return f"premise IN {good} AND hypothesis IN {good}"
