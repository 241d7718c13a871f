"""How good the translations are: COMET over sentences, what each threshold keeps, examples to read."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from nlift.errors import ArtifactError
from nlift.pairing import built
from nlift.schema import ScoredPair
from nlift.sections import TripletsConfig
from nlift.tables import Tables

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BINS = 40
EXAMPLES = 20
SENTENCES = """
    SELECT premise AS source, premise_mt AS target, premise_comet AS comet FROM scored
    UNION SELECT hypothesis, hypothesis_mt, hypothesis_comet FROM scored"""
CHOSEN = {
    "worst": f"FROM sentences ORDER BY comet, source, target LIMIT {EXAMPLES}",
    "random": f"FROM (FROM sentences ORDER BY sha256(source || target) LIMIT {EXAMPLES}) ORDER BY comet, source, target",
    "best": f"FROM sentences ORDER BY comet DESC, source, target LIMIT {EXAMPLES}",
}


def comet(values: np.ndarray) -> dict[str, Any]:
    """Mean, median and the nine deciles of scores, float64 [N]."""
    deciles = np.quantile(values, np.linspace(0.1, 0.9, 9))
    return {"mean": float(values.mean()), "median": float(np.median(values)), "deciles": deciles.tolist()}


def read(folder: Path) -> dict[str, Any]:
    """The quality.json of a score stage's folder. Raises ArtifactError where it is not there."""
    path = folder / "quality.json"
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run the stage score first")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def summarise(database: Tables, config: TripletsConfig) -> dict[str, Any]:
    """What quality.json holds, of the table `scored` (ScoredPair).

    `sentences` (distinct), `comet` (mean, median, deciles), `histogram` (counts, edges),
    `thresholds` (pairs whose two sides reach each, and the triplets they yield), and `examples`
    (worst, random, best).
    """
    database.make("sentences", SENTENCES)
    values = database.column("SELECT comet FROM sentences ORDER BY comet")
    counts, edges = np.histogram(values, bins=BINS)
    return {
        "sentences": len(values),
        "comet": comet(values),
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
        "thresholds": _kept(database, config),
        "examples": {kind: list(database.rows(chosen)) for kind, chosen in CHOSEN.items()},
    }


def _kept(database: Tables, config: TripletsConfig) -> list[dict[str, Any]]:
    """Counts as `triplets.filter.min_score` over the minimum of sentences would leave them; first without a filter."""
    pairs = database.column("SELECT least(premise_comet, hypothesis_comet) FROM scored")
    rows = built(database, "scored", ScoredPair, config.require_negative)
    triplets = np.fromiter((row.comet("min") or 0.0 for row in rows), float)
    found: list[dict[str, Any]] = [{"min_score": None, "pairs": len(pairs), "triplets": len(triplets)}]
    for threshold in THRESHOLDS:
        counts = {"pairs": int((pairs >= threshold).sum()), "triplets": int((triplets >= threshold).sum())}
        found.append({"min_score": threshold, **counts})
    return found
