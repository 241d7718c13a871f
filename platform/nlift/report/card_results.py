"""What was measured of an encoder, as its model card has it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult

from nlift.config import Experiment
from nlift.pipeline import evaluate
from nlift.pipeline.stage_folder import MANIFEST, read_manifest
from nlift.settings import METRICS

OWN = "tuned"  # what metrics.json calls the encoder
TASKS = {
    "sts": "STS",
    "retrieval": "Retrieval",
    "classification": "Classification",
    "pair_classification": "PairClassification",
}
METRIC_TYPES = {"spearman": "cosine_spearman", "pearson": "cosine_pearson", "macro_f1": "f1"}  # as the hub has them


@dataclass(frozen=True)
class Results:
    """metrics.json and comparisons.json of an encoder, its sets as they were measured, and which of them were watched.

    All is empty where nothing was measured.
    """

    metrics: dict[str, Any]
    comparisons: list[dict[str, Any]]
    sets: dict[str, dict[str, Any]]
    watched: list[str]


def results_of(experiment: Experiment, fingerprint: str) -> Results:
    """What `evaluate` measured of the encoder of a fingerprint; empty where it measured another one, or has not run."""
    folder = evaluate.STAGE.path(experiment)
    manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    identity = manifest.get("identity", {})
    if identity.get("inputs") != [fingerprint]:
        return Results({}, [], {}, [])
    sets = {row["name"]: row for row in identity["config"]["sets"]}
    return Results(evaluate.read_metrics(folder), evaluate.read_comparisons(folder), sets, identity["dev"])


def eval_results(results: Results) -> Iterator[EvalResult]:
    """Each figure of the encoder as the model-index of a card has it; geometry is no task."""
    datasets = [row["dataset"] for row in results.sets.values()]
    for group, sets in results.metrics.get("encoders", {}).get(OWN, {}).items():
        names = [metric.name for metric in METRICS if metric.group == group and group != "geometry"]
        for set_name, figures in sets.items():
            measured = results.sets.get(set_name)
            if measured is None or measured["kind"] not in TASKS:
                continue
            dataset = measured["dataset"]
            for name in names:
                if name in figures and math.isfinite(figures[name]):
                    yield EvalResult(
                        task_type=TASKS[measured["kind"]],
                        # the hub takes sets of one type, subset and split for the same
                        dataset_type=dataset if dataset and datasets.count(dataset) == 1 else set_name,
                        dataset_name=set_name,
                        dataset_config=measured["subset"],
                        dataset_split=measured["split"],
                        metric_type=METRIC_TYPES.get(name, name.replace("@", "_at_")),
                        metric_name=name,
                        metric_value=round(figures[name], 4),
                    )
