"""A run in one sentence."""

from collections.abc import Sequence
from typing import Any

from nlift.config import Experiment
from nlift.evaluation.comparisons import metric_name
from nlift.pipeline import index
from nlift.pipeline.stage_folder import MANIFEST, read_manifest
from nlift.report.tables import is_shown
from nlift.search.aliases import CANDIDATE

GROUPS = {"retrieval": "ndcg@10", "sts": "spearman", "transfer": "accuracy"}
UNITS = {"retrieval": "queries", "sts": "pairs", "transfer": "examples"}


def sentence(experiment: Experiment, metrics: dict[str, Any], comparisons: Sequence[dict[str, Any]]) -> str:
    """What fine-tuning did on the main set, what words and both together have there, what will answer searches.

    The main set is `train.dev`, else the first retrieval set, else the first of all. Empty where tuned or base was not
    measured.
    """
    encoders = metrics.get("encoders", {})
    place = _main(experiment, encoders)
    if place is None:
        return ""
    group, set_name = place
    metric = GROUPS[group]
    figures = {
        name: groups[group][set_name][metric] for name, groups in encoders.items() if set_name in groups.get(group, {})
    }
    row = next(
        (
            row
            for row in comparisons
            if (row["set"], row["metric"], row["name"], row["against"]) == (set_name, metric, "tuned", "base")
        ),
        None,
    )
    parts = [_effect(row, figures, f"{metric_name(metric)} on {set_name}", UNITS[group])]
    beside = [
        f"{what} ({name}) {figures[name]:.3f}"
        for name, what in (("bm25", "words alone"), ("hybrid", "both together"))
        if name in figures
    ]
    parts += [f"beside it {' and '.join(beside)}"] if beside else []
    parts += filter(None, [_answering(experiment, metrics, set_name)])
    return f"{'; '.join(parts)}."


def _main(experiment: Experiment, encoders: dict[str, Any]) -> tuple[str, str] | None:
    """Group and name of the set that the run is about."""
    tuned, base = encoders.get("tuned", {}), encoders.get("base", {})
    there = [(group, name) for group in GROUPS for name in tuned.get(group, {}) if name in base.get(group, {})]
    dev = next((place for place in there if place[1] == experiment.train.dev), None)
    return dev or next(iter(there), None)


def _effect(row: dict[str, Any] | None, figures: dict[str, float], where: str, unit: str) -> str:
    """What fine-tuning did; figures alone where they were not compared."""
    base, tuned = figures["base"], figures["tuned"]
    if row is None:
        return f"{where}: base {base:.3f}, tuned {tuned:.3f}, not compared"
    interval = f"({row['difference']:+.3f}, {row['low']:.3f} to {row['high']:.3f})"
    if is_shown(row):
        way = "lifts" if row["difference"] > 0 else "lowers"
        return f"Fine-tuning {way} {where} from {base:.3f} to {tuned:.3f} {interval}"
    can = "" if row["detectable"] is None else f", where {row['count']:,.0f} {unit} can show {row['detectable']:.3f}"
    return f"Fine-tuning is not shown to change {where}: {base:.3f} and {tuned:.3f} {interval}{can}"


def _answering(experiment: Experiment, metrics: dict[str, Any], set_name: str) -> str:
    """What answers searches: as the index was built, else as the set would be searched."""
    folder = index.STAGE.path(experiment)
    if (folder / MANIFEST).is_file():
        manifest = read_manifest(folder)
        mode = manifest.get("search", {}).get("mode")
        if mode and manifest.get("alias") == CANDIDATE:
            return (
                f"the new index would answer by {mode} search, but stays a candidate: it is worse than the one before"
            )
        return f"the index answers by {mode} search" if mode else ""
    deployed = metrics.get("deployed", {}).get(set_name)
    return f"an index of it would answer by {deployed['mode']} search" if deployed else ""
