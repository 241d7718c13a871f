"""How good the translations are: COMET over sentences, what each threshold keeps, examples to read."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from nlift.errors import ArtifactError
from nlift.pairing import build
from nlift.schema import NLIPair, ScoredPair
from nlift.sections import TripletsConfig

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BINS = 40
EXAMPLES = 20
Sentences = dict[tuple[str, str], float]  # COMET by source and target


def sentence_scores(rows: list[ScoredPair]) -> Sentences:
    """COMET of every distinct sentence and translation."""
    scores = {(row.premise, row.premise_mt): row.premise_comet for row in rows}
    return scores | {(row.hypothesis, row.hypothesis_mt): row.hypothesis_comet for row in rows}


def comet(scores: Sentences) -> dict[str, Any]:
    """Mean, median and the nine deciles."""
    values = np.array(list(scores.values()))
    deciles = np.quantile(values, np.linspace(0.1, 0.9, 9))
    return {"mean": float(values.mean()), "median": float(np.median(values)), "deciles": deciles.tolist()}


def read(folder: Path) -> dict[str, Any]:
    """The quality.json of a score stage's folder. Raises ArtifactError where it is not there."""
    path = folder / "quality.json"
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run the stage score first")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def summarise(rows: list[ScoredPair], config: TripletsConfig, seed: int = 0) -> dict[str, Any]:
    """What quality.json holds.

    `sentences` (distinct), `comet` (mean, median, deciles), `histogram` (counts, edges),
    `thresholds` (pairs whose two sides reach each, and the triplets they yield), and `examples`
    (worst, random, best).
    """
    scores = sentence_scores(rows)
    counts, edges = np.histogram(list(scores.values()), bins=BINS)
    ranked = sorted(scores.items(), key=lambda item: (item[1], item[0]))
    drawn = np.random.default_rng(seed).permutation(len(ranked))[:EXAMPLES]
    chosen = {"worst": ranked[:EXAMPLES], "random": [ranked[i] for i in sorted(drawn)], "best": ranked[::-1][:EXAMPLES]}
    return {
        "sentences": len(scores),
        "comet": comet(scores),
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
        "thresholds": _kept(rows, config),
        "examples": {
            kind: [{"source": source, "target": target, "comet": value} for (source, target), value in items]
            for kind, items in chosen.items()
        },
    }


def _kept(rows: list[ScoredPair], config: TripletsConfig) -> list[dict[str, Any]]:
    """Counts as `triplets.filter.min_score` over the minimum of sentences would leave them; first without a filter."""
    pairs: list[NLIPair] = list(rows)
    triplets = [row.comet("min") or 0.0 for row in build(pairs, config.require_negative)]
    both = [min(row.premise_comet, row.hypothesis_comet) for row in rows]
    found: list[dict[str, Any]] = [{"min_score": None, "pairs": len(both), "triplets": len(triplets)}]
    for threshold in THRESHOLDS:
        counts = {"pairs": sum(one >= threshold for one in both), "triplets": sum(one >= threshold for one in triplets)}
        found.append({"min_score": threshold, **counts})
    return found
