"""A run's folder as an experiment tracker takes it: a logged run per stage, a nested one per trial of a sweep.

Everything is read from the files that the stages left, so a run may be logged long after it ended.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from nlift.data.files import read_json, read_jsonl
from nlift.errors import ArtifactError
from nlift.evaluation import comet_summary, translation
from nlift.pipeline import evaluate, guard, score, train, triplets, tune
from nlift.pipeline.stage_folder import MANIFEST, read_manifest
from nlift.report import html, model_card
from nlift.report.run_folder import checked, manifests
from nlift.settings import METRICS
from nlift.training import log
from nlift.tuning.trials import described

CARD = f"encoder/{model_card.FILE}"
FILES = {  # that are kept with a stage, beside its manifest
    score.STAGE.name: (comet_summary.FILE,),
    triplets.STAGE.name: ("thresholds.json",),
    train.STAGE.name: (guard.FILE, CARD, f"../{html.FILE}"),
    tune.STAGE.name: (tune.TRIALS_FILE, "best.yaml", guard.FILE, CARD, f"../{html.FILE}"),
    evaluate.STAGE.name: (evaluate.METRICS_FILE, evaluate.COMPARISONS_FILE, f"../{html.FILE}"),
}
KNOWN = {metric.name for metric in METRICS}
Name = tuple[str, ...]
"""A name in parts, as set, encoder and metric."""


@dataclass(frozen=True)
class Figure:
    """A number at a step of training, 0 where there are no steps, and when it was measured."""

    name: Name
    value: float
    time_ms: int
    step: int = 0


@dataclass(frozen=True)
class LoggedRun:
    """What is to be logged of a stage, or of a trial; `fingerprint` tells it from all others."""

    name: str
    fingerprint: str
    began_ms: int
    ended_ms: int
    params: dict[Name, str]
    figures: list[Figure]
    tags: dict[str, str]
    files: tuple[Path, ...] = ()
    failed: bool = False
    trials: tuple["LoggedRun", ...] = ()


def read(run: Path) -> list[LoggedRun]:
    """The finished stages of a run's folder, in order. Raises ArtifactError where it is no run's, or has none."""
    finished = manifests(checked(run))
    if not finished:
        raise ArtifactError(f"{run}: no finished stage is there; run its experiment first")
    return [_stage(run / name, manifest) for name, manifest in finished.items()]


def _stage(folder: Path, manifest: dict[str, Any]) -> LoggedRun:
    ended_ms = int(datetime.fromisoformat(manifest["finished"]).timestamp() * 1000)
    figures = [Figure(name, value, ended_ms) for name, value in _numbers(manifest)]
    for file, prefix in ((log.FILE, "train"), (log.DEV_FILE, "dev")):
        figures += _curve(read_jsonl(folder / file), prefix)
    if folder.name == evaluate.STAGE.name:
        figures += [Figure(name, value, ended_ms) for name, value in _measured(evaluate.read_metrics(folder))]
    tags = {"nlift.stage": folder.name, "nlift.version": manifest["nlift"]}
    if manifest["git_commit"]:
        tags["nlift.git_commit"] = manifest["git_commit"]
    return LoggedRun(
        name=folder.name,
        fingerprint=manifest["fingerprint"],
        began_ms=ended_ms - int(manifest["seconds"] * 1000),
        ended_ms=ended_ms,
        params=dict(_flat(manifest["identity"])),
        figures=figures,
        tags=tags,
        files=tuple(_files(folder, manifest)),
        trials=tuple(_trials(folder, manifest["fingerprint"], ended_ms, tags)),
    )


def _numbers(manifest: dict[str, Any]) -> Iterator[tuple[Name, float]]:
    """What a manifest counts, and the dev figures of the checkpoint that was kept."""
    for key, value in manifest.items():
        if _is_number(value) and key != "seed":
            yield (key,), value
    for key, value in manifest.get("metrics", {}).items():
        if _is_number(value):
            yield ("best", key), value


def _curve(rows: list[dict[str, Any]], prefix: str) -> Iterator[Figure]:
    for row in rows:
        for key, value in row.items():
            if key not in ("step", "time") and _is_number(value):
                yield Figure((prefix, key), value, int(row["time"] * 1000), row["step"])


def _measured(metrics: dict[str, Any]) -> Iterator[tuple[Name, float]]:
    """The figures of metrics.json, by set, encoder and metric; those of translators and COMET too."""
    for encoder, groups in metrics["encoders"].items():
        for sets in groups.values():
            for set_name, figures in sets.items():
                yield from (((set_name, encoder, key), value) for key, value in figures.items() if key in KNOWN)
    for kind in translation.KINDS:
        for set_name, models in metrics.get(kind, {}).items():
            for model, figures in models.items():
                yield from (((set_name, model, key), value) for key, value in figures.items() if _is_number(value))


def _files(folder: Path, manifest: dict[str, Any]) -> Iterator[Path]:
    """The files of a stage that are there; of `evaluate` the card of the encoder that it measured too."""
    paths = [folder / name for name in (MANIFEST, *FILES.get(folder.name, ()))]
    if folder.name == evaluate.STAGE.name:
        encoders = [folder.parent / stage.name for stage in (train.STAGE, tune.STAGE)]
        there = [encoder for encoder in encoders if (encoder / MANIFEST).is_file()]
        inputs = manifest["identity"].get("inputs", [])
        paths += [encoder / CARD for encoder in there if read_manifest(encoder)["fingerprint"] in inputs]
    yield from (path for path in paths if path.is_file())


def _trials(folder: Path, fingerprint: str, ended_ms: int, tags: dict[str, str]) -> Iterator[LoggedRun]:
    path = folder / tune.TRIALS_FILE
    if not path.is_file():
        return
    content = read_json(path)
    for number, trial in enumerate(content["trials"]):
        curve = [(step, value) for step, value in trial["history"] if value is not None]
        figures = [Figure(("dev", content["metric"]), value, ended_ms, step) for step, value in curve]
        ends = {"value": trial["value"], "steps": trial["steps"], "seconds": trial["seconds"]}
        figures += [Figure((key,), value, ended_ms) for key, value in ends.items() if value is not None]
        yield LoggedRun(
            name=f"{described(trial['config'])}, seed {trial['seed']}",
            fingerprint=f"{fingerprint}-{number}",
            began_ms=ended_ms - int((trial["seconds"] or 0) * 1000),
            ended_ms=ended_ms,
            params={**dict(_flat(trial["config"])), ("seed",): str(trial["seed"])},
            figures=figures,
            tags={**tags, "nlift.status": trial["status"], "nlift.error": trial["error"] or ""},
            failed=trial["status"] == "failed",
        )


def _flat(values: dict[str, Any], above: Name = ()) -> Iterator[tuple[Name, str]]:
    """Settings by their path of keys; a list is one value, as JSON."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, (*above, key))
        else:
            yield (*above, key), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
