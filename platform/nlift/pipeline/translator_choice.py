"""Which translator to take: several on the same data, compared by COMET.

As the paper compares mBART-50 with M2M100 (arXiv 2308.03103, section 3.1).
"""

from dataclasses import dataclass
from typing import Any

from nlift.data.database import Database
from nlift.data.result_cache import complete
from nlift.errors import DataError
from nlift.evaluation import comet_summary
from nlift.models import comet
from nlift.models.comet import CometScorer
from nlift.settings import ScoreConfig


@dataclass(frozen=True)
class Comparison:
    """The position of the best model, and a row per model in the order given."""

    best: int
    table: list[dict[str, Any]]


def table_of(candidate: int) -> str:
    """The table of a candidate's translations: source, target, fault."""
    return f"translations_{candidate}"


def compare(database: Database, models: list[str], config: ScoreConfig, memories: str) -> Comparison:
    """Mean and median COMET of each model's translations, over the pairs that were translated by all.

    Reads the tables `pairs` and `table_of` each model's position. A model that translated nothing has a mean of 0 and
    is not among those. Raises DataError where no pair is left.
    """
    counts = [database.count(f"FROM pairs WHERE {_translated_by(i)}") for i in range(len(models))]
    by_all = " AND ".join(_translated_by(i) for i, count in enumerate(counts) if count)
    common = f"FROM pairs WHERE {by_all or 'false'}"
    if not database.count(common):
        raise DataError(f"translate.candidates: no pair was translated by all of {', '.join(models)}")
    table = []
    for i, (model, count) in enumerate(zip(models, counts, strict=True)):
        summary: dict[str, Any] = {"mean": 0.0, "median": 0.0, "deciles": []}
        if count:
            wanted = f"SELECT premise {common} UNION SELECT hypothesis {common}"
            sentences = f"SELECT source, target FROM {table_of(i)} WHERE source IN ({wanted})"
            cache = comet.cache(config, memories)
            complete(database, f"scores_{i}", sentences, cache, CometScorer, config, "score")
            summary = comet_summary.comet(database.column(f"SELECT score FROM scores_{i} ORDER BY score"))
        table.append({"model": model, "translated": count, **summary})
    best = max(range(len(table)), key=lambda i: (table[i]["translated"] > 0, table[i]["mean"]))
    return Comparison(best, table)


def _translated_by(model: int) -> str:
    """That both sentences of a pair have a translation by a model."""
    good = f"(SELECT source FROM {table_of(model)} WHERE fault IS NULL)"
    return f"premise IN {good} AND hypothesis IN {good}"
