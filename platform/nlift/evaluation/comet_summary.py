"""How good the translations are: COMET over sentences, examples to read, what each threshold would keep."""

from pathlib import Path
from typing import Any

import numpy as np

from nlift.data.database import Database
from nlift.data.files import read_json
from nlift.data.pairing import built
from nlift.data.schema import ScoredPair
from nlift.errors import ArtifactError

FILE = "quality.json"  # in the folder of the stage score
THRESHOLDS_FILE = "thresholds.json"  # in the folder of the stage triplets, whose settings it depends on
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BINS = 40
EXAMPLES = 20
SENTENCES = """
    SELECT premise AS source, premise_mt AS target, premise_comet AS comet FROM scored
    UNION SELECT hypothesis, hypothesis_mt, hypothesis_comet FROM scored"""
RANDOM = f"(FROM sentences ORDER BY sha256(source || target) LIMIT {EXAMPLES})"
CHOSEN = {
    "worst": f"FROM sentences ORDER BY comet, source, target LIMIT {EXAMPLES}",
    "random": f"FROM {RANDOM} ORDER BY comet, source, target",
    "best": f"FROM sentences ORDER BY comet DESC, source, target LIMIT {EXAMPLES}",
}


def comet(scores: np.ndarray) -> dict[str, Any]:
    """Mean, median and the nine deciles of scores, float64 [N]."""
    deciles = np.quantile(scores, np.linspace(0.1, 0.9, 9))
    return {"mean": float(scores.mean()), "median": float(np.median(scores)), "deciles": deciles.tolist()}


def read(folder: Path) -> dict[str, Any]:
    """The quality.json of a score stage's folder. Raises ArtifactError where it is not there."""
    path = folder / FILE
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run the stage score first")
    summary: dict[str, Any] = read_json(path)
    return summary


def read_thresholds(folder: Path) -> list[dict[str, Any]]:
    """The thresholds.json of a triplets stage's folder; [] where it has none, as for pairs without scores."""
    path = folder / THRESHOLDS_FILE
    rows: list[dict[str, Any]] = read_json(path) if path.is_file() else []
    return rows


def summarise(database: Database) -> dict[str, Any]:
    """What quality.json holds, of the table `scored` (ScoredPair).

    `sentences` (distinct), `comet` (mean, median, deciles), `histogram` (counts, edges), and `examples` (worst, random,
    best).
    """
    database.make("sentences", SENTENCES)
    scores = database.column("SELECT comet FROM sentences ORDER BY comet")
    counts, edges = np.histogram(scores, bins=BINS)
    return {
        "sentences": len(scores),
        "comet": comet(scores),
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
        "examples": {kind: list(database.rows(query)) for kind, query in CHOSEN.items()},
    }


def thresholds(database: Database, table: str, require_negative: bool) -> list[dict[str, Any]]:
    """How many pairs of a table (ScoredPair), and triplets made of them, reach each threshold.

    Counts as `triplets.filter.min_score` over the minimum of sentences would leave them; the first row without it.
    """
    pairs = database.column(f"SELECT least(premise_comet, hypothesis_comet) FROM {table}")
    rows = built(database, table, ScoredPair, require_negative)
    triplets = np.fromiter((row.comet("min") or 0.0 for row in rows if row.fault is None), float)
    kept: list[dict[str, Any]] = [{"min_score": None, "pairs": len(pairs), "triplets": len(triplets)}]
    for threshold in THRESHOLDS:
        counts = {"pairs": int((pairs >= threshold).sum()), "triplets": int((triplets >= threshold).sum())}
        kept.append({"min_score": threshold, **counts})
    return kept
