"""Measurements: a contender on a set, computed once for all experiments under an output_dir.

A measurement's folder is named by a hash of all that it depends on: the encoder's files, the set's files and part, the
settings, the code that measures. A Ray task writes its numbers and TREC runs there; numbers alone come back.
"""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

import nlift
from nlift import cluster, progress
from nlift.data import sources
from nlift.data.files import write_json
from nlift.errors import ConfigError
from nlift.evaluation import evaluator, trec
from nlift.evaluation.datasets import RetrievalSet, StsSet, check_parts, load_set
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.evaluator import Measured
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.evaluation.set_rows import content_of
from nlift.models.embed import on_gpu
from nlift.models.encoder import ComputeType, Encoder
from nlift.models.passage_splitter import splitter
from nlift.pipeline import per_query
from nlift.settings import EvaluationSet, SearchConfig

BM25, BM25_PLAIN = "bm25", "bm25_plain"
NUMBERS = "metrics.json"
MEASURING = ("data", "models", "search", "evaluation")  # the rooms whose code a number depends on
PACKAGES = ("torch", "transformers", "tokenizers", "bm25s", "PyStemmer", "py3langid", "numpy")
POLL_S = 0.5


@dataclass(frozen=True)
class Contender:
    """What is measured: an encoder, and where `hybrid` names it the encoder together with BM25; or BM25 alone."""

    name: str
    source: str | None
    """A folder, a hub name or `embedded`; None is BM25."""
    hybrid: str | None = None
    pooling: str | None = None
    """As saved, where that is None."""
    revision: str | None = None
    """Of a hub model; its main branch where that is None."""
    prefixes: tuple[str | None, str | None] = (None, None)
    """What stands before queries and passages; as saved, where that is None."""


@dataclass(frozen=True)
class Job:
    """A contender on a set: what is to be measured, and where it is kept."""

    contender: Contender
    config: EvaluationSet
    is_dev: bool
    """Whether anything is chosen on the set's dev part: then its test part alone is measured."""
    max_length: int
    root: Path
    search: SearchConfig
    expected_language: str | None
    """Of a set's documents, where they do not say it clearly."""
    compute_type: ComputeType
    overlap: int | None
    """Tokens that passages of a document share; None embeds the first part of each."""

    @cached_property
    def folder(self) -> Path:
        """Where the measurement is, or will be; the same for the driver and the task, whatever changes meanwhile."""
        text = json.dumps(self._identity(), sort_keys=True)
        return self.root / hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def counted(self) -> Path:
        """Where the task says how many texts it has done."""
        return self.folder.with_name(f".{self.folder.name}.texts")

    @cached_property
    def texts(self) -> int:
        """Texts and queries to go through."""
        documents, queries = set_size(self.config, self.is_dev)
        return queries if self.contender.source is None else documents + queries

    def _identity(self) -> dict[str, Any]:
        source = self.contender.source
        return {
            "contender": [self.contender.name, self.contender.hybrid, self.contender.pooling, self.contender.prefixes],
            "encoder": source and sources.model_fingerprint(source, "encoder", self.contender.revision),
            "max_length": self.max_length,
            "search": [self.search.model_dump(mode="json"), self.expected_language],
            "compute_type": self.compute_type,
            "overlap": self.overlap,
            "set": self.config.model_dump(mode="json", exclude={"path"}),
            "content": content_of(self.config),
            "part": "test" if self.is_dev else "all",
            "code": [sources.fingerprint(Path(nlift.__file__).parent / room) for room in MEASURING],
            "packages": [metadata.version(name) for name in PACKAGES],
        }


@dataclass(frozen=True)
class Measurement:
    """What a name has on a set: metrics by group, and the file of its run where there is one."""

    name: str
    set_name: str
    groups: dict[str, dict[str, float]]
    queries: int = 0
    per_query: Path | None = None
    """What it has on every query, pair or example (per_query.py)."""
    run: Path | None = None
    deployed: dict[str, Any] | None = None
    """Of a hybrid: how the set's corpus would be searched, and what that gives."""


def measured(jobs: Sequence[Job]) -> list[list[Measurement]]:
    """Of each job the measurements, in order: the contender's own, then its hybrid's. What is not there is computed.

    Raises NliftError for the user's mistakes.
    """
    todo = list({job.folder: job for job in jobs if not job.folder.exists()}.values())
    if todo:
        with progress.bar("evaluate", sum(job.texts for job in todo), "texts") as advance:
            for done in _run(todo):
                advance(done)
    return [_read(job) for job in jobs]


def _run(jobs: Sequence[Job]) -> Iterator[int]:
    """Run jobs as Ray tasks; yields how many texts were done since the last time."""
    import ray

    task = ray_task(measure)
    waiting, before = [task.remote(job) for job in jobs], 0
    try:
        while waiting:
            ready, waiting = ray.wait(waiting, timeout=POLL_S)
            for reference in ready:
                cluster.get(reference)
            done = sum(job.texts if job.folder.exists() else min(_count(job.counted), job.texts) for job in jobs)
            yield max(done - before, 0)
            before = max(done, before)
    finally:
        for reference in waiting:
            ray.cancel(reference)
        for job in jobs:
            job.counted.unlink(missing_ok=True)


def ray_task(function: Callable[..., Any]) -> Any:
    """A function as a Ray task on a CPU, and a GPU where there are any."""
    import ray

    gpus = ray.cluster_resources().get("GPU", 0)
    return ray.remote(num_cpus=1, num_gpus=1 if gpus else 0, max_retries=2)(function)


def measure(job: Job) -> None:
    """Measure and write a job's folder, which is there whole or not at all."""
    job.root.mkdir(parents=True, exist_ok=True)
    temporary = job.folder.with_name(f".{job.folder.name}-{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        results = _results(job)
        for i, result in enumerate(results):
            if result.run:
                trec.write_run(temporary / f"{i}.trec", result.run, result.name)
            per_query.write(temporary / f"{i}.parquet", result.per_query)
        numbers = [
            {
                "name": result.name,
                "groups": result.groups,
                "queries": len(result.per_query),
                "deployed": result.deployed,
            }
            for result in results
        ]
        write_json(temporary / NUMBERS, numbers)
        if not job.folder.exists():  # else another run was first
            temporary.rename(job.folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _results(job: Job) -> list[Measured]:
    contender, whole = job.contender, load_set(job.config)
    if isinstance(whole, LabelledSet):
        return [evaluator.measure_labelled(contender.name, _encoder(job), whole)]
    assert isinstance(whole, RetrievalSet | StsSet)
    dataset = whole.part(dev=False) if job.is_dev else whole
    if isinstance(dataset, StsSet):
        return [evaluator.measure_sts(contender.name, _encoder(job), dataset)]
    assert isinstance(whole, RetrievalSet)
    dev = whole.part(dev=True) if job.is_dev else None
    deployment = Deployment(_search_of(job.config, job.search), job.expected_language, dev)
    if contender.source is None:
        analyzers = {contender.name: deployment.analyzer(dataset.in_row_order()), BM25_PLAIN: evaluator.PLAIN}
        return [evaluator.measure_bm25(name, dataset, analyzer) for name, analyzer in analyzers.items()]
    encoder = _encoder(job)
    split = splitter(encoder.encoder, job.max_length, job.overlap)
    return evaluator.measure_retrieval(
        contender.name, encoder, dataset, job.max_length, contender.hybrid, deployment, split
    )


def _search_of(config: EvaluationSet, search: SearchConfig) -> SearchConfig:
    """The section `search` with a set's own language, if it names one."""
    return search if config.language is None else search.model_copy(update={"language": config.language})


def check_search(config: EvaluationSet, search: SearchConfig, expected_language: str | None) -> None:
    """Raise ConfigError where a retrieval set's language is none, or has not the analyzer that is wanted."""
    dataset = load_set(config)
    assert isinstance(dataset, RetrievalSet)
    try:
        Deployment(_search_of(config, search), expected_language).check(dataset.documents)
    except ConfigError as error:
        raise ConfigError(f"evaluate.sets {config.name!r}: {error}") from None


def _encoder(job: Job) -> "CountingEncoder":
    contender = job.contender
    assert contender.source is not None
    encoder = Encoder.load(
        contender.source, revision=contender.revision, pooling=contender.pooling, compute_type=job.compute_type
    )
    encoder.set_prefixes(dict(zip(("query", "passage"), contender.prefixes, strict=True)))
    return CountingEncoder(on_gpu(encoder), job.counted)


class CountingEncoder:
    """An encoder that writes to a file how many texts it has encoded."""

    def __init__(self, encoder: Encoder, counted: Path) -> None:
        self.encoder, self.counted = encoder, counted
        self.texts, self.written_s = 0, 0.0

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: Literal["query", "passage"] | None = None,
        max_length: int | None = None,
    ) -> np.ndarray:
        """Unit vectors, float32 [N, D]."""
        return self.encoder.encode(texts, role=role, max_length=max_length, advance=self._advance)

    def _advance(self, texts: int) -> None:
        self.texts += texts
        if time.monotonic() - self.written_s > POLL_S:
            self.counted.write_text(str(self.texts))
            self.written_s = time.monotonic()


def test_part(config: EvaluationSet, is_dev: bool) -> RetrievalSet | StsSet:
    """A set as it is reported: of the one that training looks at the test part."""
    dataset = load_set(config)
    assert isinstance(dataset, RetrievalSet | StsSet)
    return dataset.part(dev=False) if is_dev else dataset


def set_size(config: EvaluationSet, is_dev: bool) -> tuple[int, int]:
    """Documents and queries of a set as it is reported; sentences and 0 of pairs. Raises DataError as `load_set`."""
    content = content_of(config)
    return _size(config.model_dump_json(), is_dev, content)


@lru_cache(maxsize=256)
def _size(config: str, is_dev: bool, content: str) -> tuple[int, int]:
    dataset = load_set(EvaluationSet.model_validate_json(config))
    if isinstance(dataset, LabelledSet):
        train = dataset.train.texts if dataset.train else []
        return sum(2 if isinstance(text, tuple) else 1 for text in [*dataset.texts, *train]), 0
    if not isinstance(dataset, RetrievalSet | StsSet):
        return 2 * len(dataset.pairs), 0
    if is_dev:
        check_parts(dataset)
        dataset = dataset.part(dev=False)
    if isinstance(dataset, StsSet):
        return 2 * len(dataset.pairs), 0
    return len(dataset.documents), len(dataset.queries)


def _count(path: Path) -> int:
    text = path.read_text() if path.exists() else ""
    return int(text) if text.isdigit() else 0


def _read(job: Job) -> list[Measurement]:
    numbers = json.loads((job.folder / NUMBERS).read_text(encoding="utf-8"))
    measured = []
    for i, row in enumerate(numbers):
        run, queries = job.folder / f"{i}.trec", job.folder / f"{i}.parquet"
        measured.append(
            Measurement(
                row["name"],
                job.config.name,
                row["groups"],
                row["queries"],
                queries,
                run if run.exists() else None,
                row["deployed"],
            )
        )
    return measured
