"""Stage `evaluate`: encoders, BM25 and both together on the same sets: similarity, retrieval, geometry.

Of the set that training looks at (`train.dev`) only the test part is measured here.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlift import cluster, progress
from nlift.config import Experiment
from nlift.data import sources
from nlift.data.files import write_json
from nlift.errors import ArtifactError
from nlift.evaluation import evaluator, translation
from nlift.evaluation.datasets import RetrievalSet, StsSet, load_set
from nlift.evaluation.evaluator import Measured
from nlift.models import translator
from nlift.models.encoder import Encoder
from nlift.pipeline import triplets
from nlift.pipeline.stage import DataSize, Output, Stage
from nlift.pipeline.train import inference_length
from nlift.pipeline.tuned_encoder import tuned_encoder, tuned_stage
from nlift.settings import EvaluationSet

METRICS_FILE = "metrics.json"
BM25 = "bm25"


@dataclass(frozen=True)
class Contender:
    """What is measured: an encoder, and where `hybrid` names it the encoder together with BM25."""

    name: str
    source: str
    """A folder, a hub name or `embedded`."""
    hybrid: str | None = None
    pooling: str | None = None
    """As saved, where that is None."""


class Evaluate(Stage):
    """Metrics and TREC runs."""

    name = "evaluate"
    reads = Encoder
    needs_ray = True
    start_s = 20.0

    def enabled(self, experiment: Experiment) -> bool:
        """Whether there are sets."""
        return bool(experiment.evaluate.sets)

    def upstream(self, experiment: Experiment) -> Stage:
        """The stage whose encoder counts as tuned."""
        return tuned_stage(experiment)

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """The sets and their content, the base model, the tuned encoder."""
        sets = experiment.evaluate.sets
        identity = {
            "config": experiment.evaluate.model_dump(mode="json"),
            "dev": experiment.train.dev,
            "max_length": inference_length(experiment),
            "base": sources.model_fingerprint(experiment.train.base_model, "encoder", experiment.train.revision),
            "sets": [sources.fingerprint(sources.data_path(dataset.path)) for dataset in sets],
            "rows": ["base", "tuned", BM25, "hybrid"],
            "inputs": [self.upstream(experiment).folder(experiment).fingerprint],
        }
        if any(dataset.kind in translation.KINDS for dataset in sets):
            pairs = triplets.STAGE.upstream(experiment)
            identity["models"] = pairs.identity(experiment)  # the translator's and COMET's settings
        return identity

    def check(self, experiment: Experiment) -> None:
        """The sets can be read."""
        for dataset in experiment.evaluate.sets:
            load_set(dataset)

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """What is measured on what."""
        return f"base, tuned, bm25, hybrid on {', '.join(dataset.name for dataset in experiment.evaluate.sets)}"

    def run(self, experiment: Experiment, output: Output) -> None:
        """Measure base, tuned, bm25 and hybrid on every set; write metrics.json and TREC runs."""
        base = Contender("base", experiment.train.base_model, pooling=experiment.train.pooling)
        tuned = Contender("tuned", str(tuned_encoder(experiment)), hybrid="hybrid")
        results = measure_all(experiment, [base, tuned])
        write_results(results, output.path, measure_models(experiment))
        output.rows_out = sum(len(result.run) for result in results)


STAGE = Evaluate()


def contenders(encoders: list[str]) -> list[Contender]:
    """The encoders that a person names, each also together with BM25.

    A name is the last part of a path or hub name, all of it where two are alike. Raises ModelError
    where a path leads to no encoder.
    """
    for source in encoders:
        sources.check_model(source, "encoder")
    names = [Path(source).name if encoders.count(source) == 1 else source for source in encoders]
    if len(set(names)) < len(encoders):
        names = encoders
    alone = len(encoders) == 1
    return [
        Contender(name, source, hybrid="hybrid" if alone else f"{name}+{BM25}")
        for name, source in zip(names, encoders, strict=True)
    ]


def measure_all(experiment: Experiment, wanted: list[Contender]) -> list[Measured]:
    """Every contender on every set, then BM25, then the hybrids; within each in the order of sets. As Ray tasks."""
    import ray

    sets = [dataset for dataset in experiment.evaluate.sets if dataset.kind not in translation.KINDS]
    task, max_length = _task(measure), inference_length(experiment)
    jobs = [
        task.remote(contender, dataset, dataset.name == experiment.train.dev, max_length)
        for contender in [*wanted, None]
        for dataset in sets
        if contender is not None or dataset.kind == "retrieval"
    ]
    waiting, done = list(jobs), {}
    with progress.bar("evaluate", len(jobs), "sets") as advance:
        while waiting:
            ready, waiting = ray.wait(waiting)
            done[ready[0]] = cluster.get(ready[0])
            advance(1)
    results = [done[job] for job in jobs]
    return [first for first, *_ in results] + [hybrid for _, *hybrids in results for hybrid in hybrids]


def measure_models(experiment: Experiment) -> dict[str, Any]:
    """The experiment's translator and COMET on sets with references or human scores: by kind, set and model."""
    task = _task(translation.measure)
    config = experiment.translate
    translators = translator.candidates(config) if config is not None else []
    jobs = {
        (dataset.kind, dataset.name): task.remote(dataset, translators, experiment.score)
        for dataset in experiment.evaluate.sets
        if dataset.kind in translation.KINDS
    }
    results: dict[str, Any] = {}
    for (kind, name), job in jobs.items():
        results.setdefault(kind, {})[name] = cluster.get(job)
    return results


def _task(function: Callable[..., Any]) -> Any:
    """A function as a Ray task on a CPU, and a GPU where there are any."""
    import ray

    gpus = ray.cluster_resources().get("GPU", 0)
    return ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=2)(function)


def measure(contender: Contender | None, config: EvaluationSet, is_dev: bool, max_length: int) -> list[Measured]:
    """A contender (None is BM25) on a set, then its hybrid where it has one; on the test part of a dev set."""
    dataset = load_set(config)
    assert isinstance(dataset, RetrievalSet | StsSet)
    dataset = dataset.part(dev=False) if is_dev else dataset
    if contender is None:
        assert isinstance(dataset, RetrievalSet)
        return [evaluator.measure_bm25(BM25, dataset)]
    encoder = Encoder.load(contender.source, pooling=contender.pooling)
    if isinstance(dataset, StsSet):
        return [evaluator.measure_sts(contender.name, encoder, dataset)]
    return evaluator.measure_retrieval(contender.name, encoder, dataset, max_length, hybrid=contender.hybrid)


def write_results(results: list[Measured], folder: Path, models: dict[str, Any]) -> None:
    """metrics.json and one TREC run per name and retrieval set; `models` as of `measure_models`."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    for result in results:
        if result.run:
            lines = (
                f"{query} Q0 {doc_id} {rank} {score:.9g} {result.name}\n"
                for query, hits in result.run.items()
                for rank, (doc_id, score) in enumerate(hits, 1)
            )
            name = f"{result.set_name}.{result.name}.trec".replace("/", "--")  # names may be paths
            (folder / "runs" / name).write_text("".join(lines), encoding="utf-8")
    write_json(folder / METRICS_FILE, {"encoders": collect(results), **models})


def collect(results: list[Measured]) -> dict[str, Any]:
    """Results as metrics.json has them: by encoder, group and set."""
    encoders: dict[str, Any] = {}
    for result in results:
        groups = encoders.setdefault(result.name, {"sts": {}, "retrieval": {}, "geometry": {}, "transfer": {}})
        for group, values in result.groups.items():
            groups[group][result.set_name] = values
    return encoders


def read_metrics(folder: Path) -> dict[str, Any]:
    """What metrics.json says: `encoders`, and `translation` and `quality` where there are such sets.

    Raises ArtifactError where it is not there.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run the stage evaluate first")
    metrics: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return metrics
