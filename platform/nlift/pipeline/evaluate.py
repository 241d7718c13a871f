"""Stage `evaluate`: encoders, BM25 and both together on the same sets: similarity, retrieval, geometry.

Of the set that training looks at (`train.dev`) only the test part is measured here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nlift import cluster
from nlift.config import Experiment
from nlift.data import sources
from nlift.data.files import link_or_copy, read_json, write_json
from nlift.data.stored_folder import place
from nlift.errors import ArtifactError, ConfigError
from nlift.evaluation import sts_figures, translation, trec
from nlift.evaluation.comparisons import BASE_HYBRID, BM25, BM25_PLAIN, HYBRID, compare_all
from nlift.evaluation.datasets import RetrievalSet
from nlift.evaluation.set_rows import content_of
from nlift.models import translator
from nlift.models.encoder import Encoder
from nlift.pipeline import evaluation_files, evaluation_work, index, measurement_job, measurements, per_query, triplets
from nlift.pipeline.evaluation_files import OnSet
from nlift.pipeline.measurement_job import Contender, Job
from nlift.pipeline.measurements import Measurement
from nlift.pipeline.output_lock import in_use
from nlift.pipeline.stage import DataSize, Stage
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.tuned_encoder import tuned_encoder, tuned_stage
from nlift.pipeline.workload import Workload
from nlift.search.analyzers import Analyzer
from nlift.settings import EvaluationSet

METRICS_FILE, COMPARISONS_FILE, PER_QUERY_FILE = "metrics.json", "comparisons.json", "per_query.parquet"
INTERVALS_FILE, GROUPS_FILE, PICTURES_FILE = "intervals.json", "groups.json", "pictures.json"
FOLDER = "measurements"  # under output_dir, shared by experiments
MEASUREMENTS = "measurements"  # of a manifest: the names of those that a run's figures are from


class Evaluate(Stage):
    """Metrics and TREC runs."""

    name = "evaluate"
    reads = Encoder
    needs_ray = True
    to_spare_memory = "lower cluster.num_cpus, so that fewer encoders are measured at a time"

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
            "dev": [dataset.name for dataset in sets if experiment.is_watched(dataset.name)],
            "max_length": experiment.inference_length,
            "base": sources.model_fingerprint(experiment.train.base_model, "encoder", experiment.train.revision),
            "sets": [content_of(dataset) for dataset in sets],
            "search": experiment.search.model_dump(mode="json"),
            "language": index.expected_language(experiment),
            "compute_type": index.compute_type(experiment),
            "overlap": index.overlap(experiment),
            "rows": [
                "base",
                BASE_HYBRID,
                "tuned",
                BM25,
                BM25_PLAIN,
                HYBRID,
                "per query",
                "intervals",
                "groups",
                "pictures",
            ],
            "inputs": [self.upstream(experiment).folder(experiment).fingerprint],
        }
        if any(dataset.kind in translation.KINDS for dataset in sets):
            pairs = triplets.STAGE.upstream(experiment)
            identity["models"] = pairs.identity(experiment)  # the translator's and COMET's settings
        return identity

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """The sets can be read, of the one that training looks at both parts, and their languages have analyzers."""
        for config in experiment.evaluate.sets:
            measurement_job.set_size(config, experiment.is_watched(config.name))
            if config.kind == "retrieval":
                measurement_job.check_search(config, experiment.search, index.expected_language(experiment))

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """What is measured on what."""
        return f"base, tuned, bm25, hybrid on {', '.join(dataset.name for dataset in experiment.evaluate.sets)}"

    def workload(self, experiment: Experiment, size: DataSize) -> Workload:
        """Tokens of every set, by the base model and by the tuned one; queries to search for, and to compare."""
        return evaluation_work.workload(experiment, _measured_sets(experiment))

    def run(self, experiment: Experiment, output: Output) -> None:
        """Measure base and tuned, each also with BM25, and BM25 on every set; write metrics.json and TREC runs."""
        base = base_contender(experiment)
        tuned = Contender("tuned", place(tuned_encoder(experiment)), hybrid=HYBRID)
        results = measure_all(experiment, [replace(base, hybrid=BASE_HYBRID), tuned])
        # tuned is served, and base with BM25 beside it
        results = [replace(own, deployed=None) if own.name == BASE_HYBRID else own for own in results]
        write_results(experiment, results, output.path, measure_models(experiment))
        output.rows_out = sum(result.queries for result in results)
        output.notes = {MEASUREMENTS: measurements.folders(results)}


STAGE = Evaluate()


def base_contender(experiment: Experiment) -> Contender:
    """The experiment's model before training."""
    config = experiment.train
    return Contender(
        "base",
        config.base_model,
        pooling=config.pooling,
        revision=config.revision,
        prefixes=(config.query_prefix, config.passage_prefix),
    )


def contenders(encoders: list[str]) -> list[Contender]:
    """The encoders that a person names, each also together with BM25.

    A name is the last part of a path or hub name, all of it where two are alike. Raises ModelError
    where a path leads to no encoder, or to one that does not load.
    """
    for source in encoders:
        sources.check_model(source, "encoder")
        if sources.is_local(source, "encoder"):
            Encoder.load(source)
    names = [Path(source).name if encoders.count(source) == 1 else source for source in encoders]
    if len(set(names)) < len(encoders):
        names = encoders
    alone = len(encoders) == 1
    return [
        Contender(name, source, hybrid=HYBRID if alone else f"{name}+{BM25}")
        for name, source in zip(names, encoders, strict=True)
    ]


def measure_all(experiment: Experiment, wanted: list[Contender]) -> list[Measurement]:
    """Every contender on every set, then BM25, then hybrids and plain BM25; within each in the order of sets."""
    max_length, root = experiment.inference_length, experiment.root / FOLDER
    store = experiment.store and f"{experiment.store}/{FOLDER}"
    jobs = [
        Job(
            contender,
            config,
            experiment.is_watched(config.name),
            max_length,
            root,
            experiment.search,
            index.expected_language(experiment),
            index.compute_type(experiment),
            index.overlap(experiment),
            tuple(experiment.evaluate.measures),
            experiment.evaluate.keep_runs,
            store,
        )
        for contender in [*wanted, Contender(BM25, None)]
        for config in _measured_sets(experiment)
        if contender.source is not None or config.kind == "retrieval"
    ]
    with in_use(experiment):
        results = measurements.measured(jobs)
    return [first for first, *_ in results] + [second for _, *others in results for second in others]


def judge_runs(experiment: Experiment, runs: Sequence[str]) -> list[Measurement]:
    """TREC runs of other tools, each given as SET=FILE, on the experiment's retrieval sets.

    Raises ConfigError for a set that is none of them, DataError for a file that is no run of it.
    """
    sets = {config.name: config for config in experiment.evaluate.sets if config.kind == "retrieval"}
    results = []
    for given in runs:
        name, equals, file = given.partition("=")
        if not equals or name not in sets:
            known = ", ".join(sets) or "none"
            raise ConfigError(f"--run {given}: expected SET=FILE with one of the retrieval sets: {known}")
        watched, measures = experiment.is_watched(name), experiment.evaluate.measures
        root = experiment.root / FOLDER
        results.append(measurements.judged_run(sets[name], watched, Path(file), measures, root))
    names = [(result.set_name, result.name) for result in results]
    twice = next((f"{set_name}: {name}" for set_name, name in names if names.count((set_name, name)) > 1), None)
    if twice is not None:
        raise ConfigError(f"--run: {twice} stands twice; expected a tag of its own for each run of a set")
    return results


def _measured_sets(experiment: Experiment) -> list[EvaluationSet]:
    """The sets that encoders are measured on."""
    return [config for config in experiment.evaluate.sets if config.kind not in translation.KINDS]


def measure_models(experiment: Experiment) -> dict[str, Any]:
    """The experiment's translator and COMET on sets with references or human scores: by kind, set and model."""
    task = measurements.ray_task(translation.measure)
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


def write_results(experiment: Experiment, results: Sequence[Measurement], folder: Path, models: dict[str, Any]) -> None:
    """metrics.json, a TREC run per name and retrieval set, and what the runs are judged by; `models` as measured."""
    runs = folder / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    for result in results:
        if result.run is not None:
            link_or_copy(result.run, run_file(folder, result.set_name, result.name))
    datasets: dict[str, RetrievalSet] = {}
    analyzers = {
        result.set_name: Analyzer(result.deployed["analyzer"], result.deployed["language"])
        for result in results
        if result.deployed is not None
    }
    for config in _measured_sets(experiment):
        if config.kind == "retrieval":
            dataset = measurement_job.test_part(config, experiment.is_watched(config.name))
            assert isinstance(dataset, RetrievalSet)
            datasets[config.name] = dataset
            if config.name not in analyzers:  # no encoder was measured, with which words would have been chosen
                deployed = measurement_job.deployment(config, experiment.search, index.expected_language(experiment))
                analyzers[config.name] = deployed.analyzer(dataset.in_row_order())
            trec.write_qrels(runs / _file_name(f"{config.name}.qrels"), dataset.qrels)
    on_sets = evaluation_files.on_sets(results)
    write_json(folder / INTERVALS_FILE, evaluation_files.intervals_of(on_sets))
    write_json(folder / PICTURES_FILE, evaluation_files.pictures_of(results))
    write_json(folder / GROUPS_FILE, evaluation_files.groups_of(on_sets, datasets, analyzers))
    tables = [(result.set_name, result.name, result.per_query) for result in results if result.per_query is not None]
    per_query.write_all(folder / PER_QUERY_FILE, tables)
    write_json(folder / COMPARISONS_FILE, _compared(on_sets))
    write_json(folder / METRICS_FILE, {**collect(results), **models})


def compared(results: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Every encoder with the first one, and with BM25, as comparisons.json has it."""
    return _compared(evaluation_files.on_sets(results))


def _compared(on_sets: Mapping[str, OnSet]) -> list[dict[str, Any]]:
    by_set = {name: of_set.by_name for name, of_set in on_sets.items()}
    first = next((name for by_name in by_set.values() for name in by_name), BM25)
    return [row.as_json() for row in compare_all(by_set, list(dict.fromkeys([first, BM25, BASE_HYBRID])))]


def run_file(folder: Path, set_name: str, name: str) -> Path:
    """Where the TREC run of a name on a set stands in an evaluation's folder."""
    return folder / "runs" / _file_name(f"{set_name}.{name}.trec")


def _file_name(name: str) -> str:
    """A name as that of a file; it may be a path."""
    return name.replace("/", "--")


def collect(results: Sequence[Measurement]) -> dict[str, Any]:
    """Results as metrics.json has them: `encoders` by name, group and set, and `deployed` by set.

    Where there are two sts sets or more, `averages` has their mean by name.
    Where several encoders are measured the one is deployed that is best on the queries that the search is chosen on.
    """
    encoders: dict[str, Any] = {}
    deployed: dict[str, Any] = {}
    for result in results:
        groups = encoders.setdefault(result.name, {"sts": {}, "retrieval": {}, "geometry": {}, "transfer": {}})
        for group, values in result.groups.items():
            groups[group][result.set_name] = values
        if result.deployed is not None:
            row = {"name": result.name, **result.deployed}
            deployed[result.set_name] = max(deployed.get(result.set_name, row), row, key=_figure)
    averages = sts_figures.averages(encoders)
    return {"encoders": encoders, "deployed": deployed, **({"averages": averages} if averages else {})}


def _figure(deployed: dict[str, Any]) -> float:
    """What a search had on the queries that it was chosen on; 0 where there were none."""
    return deployed["ndcg@10"].get(deployed["mode"]) or 0.0


def read_metrics(folder: Path) -> dict[str, Any]:
    """What metrics.json says: `encoders`, `deployed`; `averages`, `translation`, `quality` where there are such sets.

    Raises ArtifactError where it is not there.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        raise ArtifactError(f"{path}: missing; run the stage evaluate first")
    metrics: dict[str, Any] = read_json(path)
    return metrics


def read_comparisons(folder: Path) -> list[dict[str, Any]]:
    """What comparisons.json says; [] where there is none."""
    path = folder / COMPARISONS_FILE
    return list(read_json(path)) if path.is_file() else []


def read_groups(folder: Path) -> dict[str, Any]:
    """What groups.json says; {} where there is none."""
    path = folder / GROUPS_FILE
    return dict(read_json(path)) if path.is_file() else {}
