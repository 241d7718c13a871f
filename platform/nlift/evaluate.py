"""Stage `evaluate`: encoders and BM25 on the same sets: similarity, retrieval, geometry.

Of the set that training looks at (`train.dev`) only the test part is measured here.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlift import cluster, progress, references, report, sources, train, triplets, tune
from nlift.artifacts import Output, Stage, write_json
from nlift.config import Experiment
from nlift.encoder import Encoder
from nlift.errors import ArtifactError
from nlift.judging import Measured, judge, judge_bm25
from nlift.sections import EvaluationSet
from nlift.sets import RetrievalSet, StsSet, load_set


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    identity = {
        "config": experiment.evaluate.model_dump(mode="json"),
        "dev": experiment.train.dev,
        "max_length": train.inference_length(experiment),
        "base": sources.model_fingerprint(experiment.train.base_model, "encoder", experiment.train.revision),
        "sets": [sources.fingerprint(sources.data_path(one.path)) for one in experiment.evaluate.sets],
        "inputs": [tuned_stage(experiment).fingerprint],
    }
    if any(one.kind in references.KINDS for one in experiment.evaluate.sets):
        upstream = triplets.source(experiment)[0].stage(experiment)
        identity["models"] = upstream.identity  # the translator's and COMET's settings
    return Stage("evaluate", experiment.folder / "evaluate", identity)


def tuned_stage(experiment: Experiment) -> Stage:
    """The stage whose encoder counts as tuned: the sweep's where it is there and promoted, else train's."""
    sweep = finished_sweep(experiment)
    promoted = experiment.tune is not None and experiment.tune.promote
    return sweep if sweep is not None and promoted else train.stage(experiment)


def finished_sweep(experiment: Experiment) -> Stage | None:
    """The sweep's stage where it is done."""
    sweep = tune.stage(experiment) if experiment.tune is not None else None
    return sweep if sweep is not None and sweep.done() else None


def write(experiment: Experiment, output: Output) -> None:
    """Measure base, tuned and bm25 on every set; write metrics.json, TREC runs and the report."""
    tuned = tuned_stage(experiment).folder / "encoder"
    encoders = {"base": experiment.train.base_model, "tuned": str(tuned)}
    results = measure_all(experiment, {**encoders, "bm25": None})
    write_results(results, output.path, measure_models(experiment))
    output.rows_out = sum(len(one.run) for one in results)
    sweep = finished_sweep(experiment)
    report.write(experiment, output.path, sweep.folder if sweep else None)


def measure_all(experiment: Experiment, encoders: dict[str, str | None]) -> list[Measured]:
    """Every encoder (None is BM25) on every set, as Ray tasks; in the order of `encoders`, then sets."""
    import ray

    task = _task(measure)
    jobs = []
    for name, source in encoders.items():
        for one in experiment.evaluate.sets:
            if one.kind in references.KINDS or (source is None and one.kind != "retrieval"):
                continue
            dev = experiment.train.dev == one.name
            settings = {"pooling": experiment.train.pooling} if name == "base" else {}
            jobs.append(task.remote(name, source, one, dev, train.inference_length(experiment), settings))
    waiting, done = list(jobs), {}
    with progress.bar("evaluate", len(jobs), "sets") as advance:
        while waiting:
            ready, waiting = ray.wait(waiting)
            done[ready[0]] = cluster.get(ready[0])
            advance(1)
    return [done[job] for job in jobs]


def measure_models(experiment: Experiment) -> dict[str, Any]:
    """The experiment's translator and COMET on sets with references or human scores: by kind, set and model."""
    task = _task(references.measure)
    jobs = {
        (one.kind, one.name): task.remote(experiment, one) for one in experiment.evaluate.sets if one.kind in references.KINDS
    }
    found: dict[str, Any] = {}
    for (kind, name), job in jobs.items():
        found.setdefault(kind, {})[name] = cluster.get(job)
    return found


def _task(function: Callable[..., Any]) -> Any:
    """A function as a Ray task on a CPU, and a GPU where there are any."""
    import ray

    gpus = ray.cluster_resources().get("GPU", 0)
    return ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=2)(function)


def measure(
    name: str, source: str | None, config: EvaluationSet, watched: bool, max_length: int, settings: dict[str, Any]
) -> Measured:
    """One encoder on one set; on its test part where the set is the one that training watches."""
    loaded = load_set(config)
    assert isinstance(loaded, RetrievalSet | StsSet)
    loaded = loaded.part(dev=False) if watched else loaded
    if source is None:
        assert isinstance(loaded, RetrievalSet)
        return judge_bm25(name, loaded)
    encoder = Encoder.load(source, **settings)
    return judge(name, encoder, loaded, max_length)


def write_results(results: list[Measured], folder: Path, models: dict[str, Any]) -> None:
    """metrics.json and one TREC run per encoder and retrieval set; `models` as of `measure_models`."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    for one in results:
        if one.run:
            lines = (
                f"{query} Q0 {doc_id} {position} {score:.9g} {one.name}\n"
                for query, hits in one.run.items()
                for position, (doc_id, score) in enumerate(hits, 1)
            )
            (folder / "runs" / f"{one.set_name}.{one.name}.trec").write_text("".join(lines), encoding="utf-8")
    write_json(folder / "metrics.json", {"encoders": collect(results), **models})


def collect(results: list[Measured]) -> dict[str, Any]:
    """Results as metrics.json has them: by encoder, group and set."""
    encoders: dict[str, Any] = {}
    for one in results:
        groups = encoders.setdefault(one.name, {"sts": {}, "retrieval": {}, "geometry": {}, "transfer": {}})
        for group, values in one.groups.items():
            groups[group][one.set_name] = values
    return encoders


def read_metrics(folder: Path) -> dict[str, Any]:
    """What metrics.json says: `encoders`, and `translation` and `quality` where there are such sets.

    Raises ArtifactError where it is not there.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run the stage evaluate first")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
