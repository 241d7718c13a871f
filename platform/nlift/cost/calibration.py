"""Rates of models, measured on the machines at hand by the product's own models, as Ray runs them in a stage.

A kind of machine is measured on one machine: as many workers as it has places start together, then one works alone and
all work side by side. Training is measured by short runs of Ray Train.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nlift import cluster, progress
from nlift.config import Experiment
from nlift.cost.model_size import size_of
from nlift.cost.rates import Rate, beams_of, content_of, cpu_name
from nlift.data.corpus import usable_corpus
from nlift.data.files import read_jsonl, read_rows
from nlift.data.schema import NLIPair, Triplet
from nlift.errors import NliftError
from nlift.models import translator
from nlift.models.comet import CometScorer
from nlift.models.embed import on_gpu
from nlift.models.encoder import ComputeType, Encoder
from nlift.models.translator import Translator
from nlift.pipeline import index, nli, translate
from nlift.pipeline.stage_folder import Output
from nlift.pipeline.workload import NamedModel, Use, mean_tokens
from nlift.settings import ScoreConfig, TranslateConfig
from nlift.training import trainer
from nlift.training.loop_settings import LoopSettings

WORK_S = 3.0  # that a worker works at least for a measurement
CHUNK_OPERATIONS = {"cpu": 3e11, "gpu": 3e13}  # of the texts that a worker takes at a time
STEP_OPERATIONS = {"cpu": 1e12, "gpu": 1e14}  # of a training step
STEPS = 5  # of a training run; the first is left out
LEAST_TEXTS, MOST_TEXTS, MOST_ROWS = 8, 512, 128
SENTENCES = 2000
Run = Callable[[list[str]], object]


@dataclass(frozen=True)
class Task:
    """A model that is to be measured at something."""

    use: Use
    model: NamedModel
    settings: str
    make: Callable[[], Run]
    """Loads the model; what comes back puts texts through it."""
    texts: Sequence[str]
    max_length: int | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What is measured once."""
        return self.use, self.model, self.settings


@dataclass(frozen=True)
class Calibration:
    """What was measured, and the lines of what could not be."""

    rates: tuple[Rate, ...]
    ray_start_s: float | None
    failures: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """A machine of the cluster, and the workers that it has places for."""

    node_id: str
    device: str
    places: int

    @property
    def options(self) -> dict[str, Any]:
        """What an actor that takes a place asks Ray for."""
        resources = {"num_gpus": 1} if self.device == "gpu" else {"num_cpus": 1}
        return {**resources, "scheduling_strategy": NodeAffinitySchedulingStrategy(self.node_id, soft=False)}


class Worker:
    """A Ray actor: has a model, and says how many texts it puts through it in how many seconds."""

    def __init__(self, make: Callable[[], Run]) -> None:
        self.run = make()

    def hardware(self, device: str) -> str:
        """The name of the CPU or GPU that it runs on."""
        return torch.cuda.get_device_name() if device == "gpu" else cpu_name()

    def work(self, texts: list[str], least_s: float) -> tuple[int, float]:
        """Texts done, again and again, and the seconds that it took."""
        began, done = time.perf_counter(), 0
        while not done or time.perf_counter() - began < least_s:
            self.run(texts)
            done += len(texts)
        return done, time.perf_counter() - began


def default_experiments() -> tuple[Experiment, Experiment]:
    """The embedded models, as the demo runs them, and translating and embedding in the other way."""
    demo = Experiment.model_validate(
        {
            "name": "calibration",
            "nli": {"path": "embedded"},
            "translate": {"model": "embedded", "target_language": "pl", "engine": "ctranslate2", "num_beams": 4},
            "score": {"model": "embedded"},
            "train": {"base_model": "embedded", "max_length": 64},
            "index": {"corpus": "embedded:poquad_pl"},
        }
    )
    return demo, demo.override({"translate.engine": "transformers", "index.compute_type": "int8"})


def calibrate(experiments: Sequence[Experiment]) -> Calibration:
    """Measure the models of experiments on the machines at hand, which are the first one's; takes minutes.

    Raises ResourceError where no cluster answers.
    """
    first, started_s = experiments[0], None
    if not ray.is_initialized():
        began = time.perf_counter()
        cluster.connect(first.cluster)
        started_s = time.perf_counter() - began if first.cluster.address == "local" else None
    node, sentences = _node(), _sentences(first)
    tasks = {task.key: task for experiment in experiments for task in _tasks(experiment, sentences)}
    trained = {experiment.train.base_model: experiment for experiment in experiments}
    measurements = [partial(_measured, task, node) for task in tasks.values()]
    measurements += [partial(_training, experiment, node, sentences) for experiment in trained.values()]
    rates: list[Rate] = []
    failures: list[str] = []
    with progress.bar("calibrate", len(measurements), "models") as advance:
        for measure in measurements:
            try:
                rates += measure()
            except NliftError as error:  # a model of the hub that cannot be fetched, or one that does not fit
                failures.append(str(error))
            advance(1)
    return Calibration(tuple(rates), started_s, tuple(failures))


def _node() -> Node:
    """The machine to measure on: the one with the most GPUs, else with the most CPUs."""
    device = "gpu" if ray.cluster_resources().get("GPU", 0) else "cpu"
    places = {node["NodeID"]: int(node["Resources"].get(device.upper(), 0)) for node in ray.nodes() if node["Alive"]}
    node_id = max(places, key=lambda name: places[name])
    return Node(node_id, device, places[node_id])


def _sentences(experiment: Experiment) -> list[str]:
    """Sentences of the experiment's pairs, those of the embedded data for a data set of the hub."""
    config = experiment.nli
    if config.dataset is not None:
        config = default_experiments()[0].nli
    with tempfile.TemporaryDirectory() as folder:
        nli.read(config.model_copy(update={"limit": SENTENCES}), Output(Path(folder)))
        pairs = read_rows(Path(folder), NLIPair)
    return list(dict.fromkeys(text for pair in pairs for text in (pair.premise, pair.hypothesis)))


def _tasks(experiment: Experiment, sentences: list[str]) -> Iterator[Task]:
    """What an experiment has models do, training left out."""
    for config in translator.candidates(experiment.translate) if experiment.translate else []:
        model = NamedModel(config.model, "translator")
        yield Task("translate", model, translate.settings_of(config), partial(_translator, config), sentences)
    if experiment.score is not None:
        model = NamedModel(experiment.score.model, "comet")
        make = partial(_scorer, experiment.score)
        yield Task("score", model, experiment.score.compute_type, make, sentences)
    section = experiment.index or experiment.cloze
    documents = [document.content for document in usable_corpus(section.corpus)] if section else sentences
    length, train, mine = experiment.inference_length, experiment.train, experiment.mine
    encoders = [(train.base_model, train.revision, kind) for kind in ("float32", index.compute_type(experiment))]
    encoders += [(mine.encoder, mine.revision, "float32")] if mine is not None else []
    encoders += [(train.teacher, train.teacher_revision, "float32")] if train.teacher is not None else []
    for name, revision, compute_type in dict.fromkeys(encoders):
        make = partial(_embedder, name, revision, compute_type, length)
        yield Task("embed", NamedModel(name, "encoder"), compute_type, make, documents, length)


def _translator(config: TranslateConfig) -> Run:
    model = Translator(config)
    return lambda texts: model({"source": np.array(texts, dtype=object)})


def _scorer(config: ScoreConfig) -> Run:
    model = CometScorer(config)
    return lambda texts: model.score(texts[::2][: len(texts) // 2], texts[1::2])


def _embedder(name: str, revision: str | None, compute_type: ComputeType, max_length: int) -> Run:
    encoder = on_gpu(Encoder.load(name, revision=revision, compute_type=compute_type))
    return lambda texts: encoder.encode(texts, role="passage", max_length=max_length)


def _measured(task: Task, node: Node) -> list[Rate]:
    """The rates of a model: of a worker alone, and of one of as many as the machine has places for."""
    tokens = mean_tokens(task.model, task.texts, task.max_length)
    size = size_of(task.model)
    operations = tokens * (size.operations(beams_of(task.settings)) if size else 0.0)
    fitting = CHUNK_OPERATIONS[node.device] / operations if operations else LEAST_TEXTS
    drawn = task.texts[:: max(1, len(task.texts) // MOST_TEXTS)]
    texts = list(drawn)[: int(min(MOST_TEXTS, max(LEAST_TEXTS, fitting)))]
    tokens = mean_tokens(task.model, texts, task.max_length)
    began = time.perf_counter()
    actor = ray.remote(**node.options)(Worker)
    workers = [actor.remote(task.make) for _ in range(node.places)]
    try:
        hardware = cluster.get([worker.hardware.remote(node.device) for worker in workers])[0]
        start_s = time.perf_counter() - began
        cluster.get([worker.work.remote(texts[:LEAST_TEXTS], 0.0) for worker in workers])  # warms up
        rates = []
        for count in sorted({1, node.places}):
            done = cluster.get([worker.work.remote(texts, WORK_S) for worker in workers[:count]])
            per_s = tokens * sum(texts / seconds for texts, seconds in done) / count
            rates.append(_rate(task.use, task.model, task.settings, node, hardware, 1, count, per_s, start_s))
    finally:
        for worker in workers:
            ray.kill(worker)
    return rates


def _training(experiment: Experiment, node: Node, sentences: list[str]) -> list[Rate]:
    """The rates of training: by one worker with all CPUs of the machine, one with one, and as many as fit."""
    shapes = [(1, node.places), (1, 1), (node.places, 1)] if node.device == "cpu" else [(1, 1), (node.places, 1)]
    return [_trained(experiment, node, sentences, *shape) for shape in dict.fromkeys(shapes)]


def _trained(experiment: Experiment, node: Node, sentences: list[str], workers: int, threads: int) -> Rate:
    """The rate of a worker in a training run of a few steps."""
    model = NamedModel(experiment.train.base_model, "encoder")
    size, length = size_of(model), experiment.train.max_length
    tokens = 3 * mean_tokens(model, sentences, length)  # of a row
    fitting = STEP_OPERATIONS[node.device] / (3 * tokens * size.operations()) if size else 1
    rows = workers * max(2, int(min(MOST_ROWS, fitting)) // workers)
    config = experiment.train.model_copy(update=_short(rows, workers, threads, node))
    with tempfile.TemporaryDirectory(dir=_shared_folder(experiment)) as name:
        folder = Path(name)
        texts = sentences * (1 + 3 * rows // len(sentences))
        triplets = [Triplet(f"{i:06}", *texts[3 * i : 3 * i + 3]) for i in range(rows)]
        Output(folder).write_rows(triplets, Triplet)
        settings = LoopSettings(config, 1, str(folder), None, None, length, folder, in_sweep=False)
        began = time.perf_counter()
        trainer.fit(settings, storage=folder / "ray", cluster_config=experiment.cluster)
        whole_s = time.perf_counter() - began
        times = [row["time"] for row in read_jsonl(settings.log)]
    step_s = (times[-1] - times[0]) / (len(times) - 1)
    per_s = rows * tokens / step_s / workers
    hardware = cpu_name() if node.device == "cpu" else torch.cuda.get_device_name()
    start_s = max(0.0, whole_s - step_s * STEPS)
    return _rate("train", model, experiment.train.compute_type, node, hardware, threads, workers, per_s, start_s)


def _short(rows: int, workers: int, threads: int, node: Node) -> dict[str, Any]:
    """What a short run changes of the settings of training."""
    return {
        "global_batch_size": rows,
        "epochs": STEPS,
        "num_workers": workers,
        "cpus_per_worker": threads if node.device == "cpu" else None,
        "checkpoint_every_steps": 10 * STEPS,
        "mode": "triplets",
        "loss": "simcse",
        "dev": None,
        "metric": None,
        "patience": None,
        "storage": None,
    }


def _shared_folder(experiment: Experiment) -> Path | None:
    """Where a run's files go: on a cluster where all machines see them, else where the system has its own."""
    if experiment.cluster.address == "local" and not cluster.in_job():
        return None
    experiment.root.mkdir(parents=True, exist_ok=True)
    return experiment.root


def _rate(
    use: Use,
    model: NamedModel,
    settings: str,
    node: Node,
    hardware: str,
    threads: int,
    beside: int,
    tokens_per_s: float,
    start_s: float,
) -> Rate:
    size = size_of(model)
    return Rate(
        use,
        model.name,
        content_of(model),
        settings,
        node.device,
        hardware,
        threads,
        beside,
        round(tokens_per_s, 1),
        round(start_s, 2),
        size.operations(beams_of(settings)) if size else 0.0,
        size.parameters if size else 0.0,
    )
