"""A measurement: a contender on a set, what it depends on, and how it is made and written.

A measurement's folder is named by a hash of all that it depends on: the encoder's files, the set's files and part, the
settings, the code that measures.
"""

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

import nlift
from nlift import uris
from nlift.data import sources
from nlift.data.files import write_json
from nlift.data.stored_folder import StoredFolder
from nlift.errors import ConfigError
from nlift.evaluation import controls, evaluator, trec
from nlift.evaluation.comparisons import BM25_PLAIN
from nlift.evaluation.controls import Control
from nlift.evaluation.datasets import RetrievalSet, StsSet, check_parts, load_set
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.evaluator import Measured
from nlift.evaluation.labelled_sets import LabelledSet
from nlift.evaluation.set_rows import content_of
from nlift.evaluation.text_encoder import TextEncoder
from nlift.models.embed import on_gpu
from nlift.models.encoder import ComputeType, Encoder
from nlift.models.passage_splitter import splitter
from nlift.pipeline import per_query
from nlift.settings import EvaluationSet, SearchConfig

NUMBERS = "metrics.json"
MEASURING = ("data", "models", "search", "evaluation")  # the rooms whose code a number depends on
PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "bm25s",
    "PyStemmer",
    "py3langid",
    "numpy",
    "scikit-learn",
    "ir-measures",
)


COUNTED_EVERY_S = 0.5


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
    control: Control | None = None
    """What is done to the encoder without training (controls.py)."""


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
    measures: Sequence[str] = ()
    """Further ones, of retrieval."""
    keeps_run: bool = True
    """Whether the TREC run is kept."""
    store: str | None = None
    """URI that measurements are kept under; None where all workers see root."""

    @cached_property
    def folder(self) -> Path:
        """Where the measurement is, or will be; the same for the driver and the task, whatever changes meanwhile."""
        return self.root / hashed(self._identity())

    @property
    def stored(self) -> StoredFolder | None:
        """The folder that it is kept as; None where all workers see root."""
        return None if self.store is None else StoredFolder(f"{self.store}/{self.folder.name}")

    def on_this_machine(self) -> "Job":
        """The job with the folder that this machine has of what is kept under a URI."""
        if self.store is None:
            return self
        job = replace(self, root=uris.mirror(self.store))
        job.__dict__["folder"] = job.root / self.folder.name  # not named anew
        return job

    def is_done(self) -> bool:
        """Whether the folder is there; where it is kept under a URI, it is fetched."""
        if not self.folder.exists() and self.stored is not None and self.stored.about() is not None:
            self.stored.fetch(self.folder)
        return self.folder.exists()

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
        source, own = self.contender.source, self.contender
        return {
            "contender": [own.name, own.hybrid, own.pooling, own.prefixes, own.control],
            "measures": list(self.measures),
            "keeps_run": self.keeps_run,
            "encoder": source and sources.model_fingerprint(source, "encoder", self.contender.revision),
            "max_length": self.max_length,
            "search": [self.search.model_dump(mode="json"), self.expected_language],
            "compute_type": self.compute_type,
            "overlap": self.overlap,
            "set": self.config.model_dump(mode="json", exclude={"path"}),
            "content": content_of(self.config),
            "part": "test" if self.is_dev else "all",
            **measuring_code(),
        }


def hashed(identity: Any) -> str:
    """The name of a measurement's folder."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def measuring_code() -> dict[str, Any]:
    """What computes a figure."""
    return {
        "code": [sources.fingerprint(Path(nlift.__file__).parent / room) for room in MEASURING],
        "packages": [metadata.version(name) for name in PACKAGES],
    }


def measure(job: Job) -> None:
    """Measure and write a job's folder, which is there whole or not at all."""
    job = job.on_this_machine()
    job.root.mkdir(parents=True, exist_ok=True)
    results = _results(job)
    if job.config.kind == "retrieval" and job.measures:
        dataset = test_part(job.config, job.is_dev)
        assert isinstance(dataset, RetrievalSet)
        for result in results:
            evaluator.measure_further(result, dataset, job.measures)
    for result in () if job.keeps_run else results:
        result.run = {}
    write(job.folder, results)
    if job.stored is not None:
        job.stored.publish(job.folder, {})


def write(folder: Path, results: Sequence[Measured]) -> None:
    """Write a measurement's folder, at once, unless it is there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
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
                "picture": result.picture,
            }
            for result in results
        ]
        write_json(temporary / NUMBERS, numbers)
        if not folder.exists():  # else another run was first
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _results(job: Job) -> list[Measured]:
    contender, whole = job.contender, load_set(job.config)
    if isinstance(whole, LabelledSet):
        return [evaluator.measure_labelled(contender.name, _moved(job, whole), whole)]
    assert isinstance(whole, RetrievalSet | StsSet)
    dataset = whole.part(dev=False) if job.is_dev else whole
    if isinstance(dataset, StsSet):
        return [evaluator.measure_sts(contender.name, _moved(job, dataset), dataset)]
    assert isinstance(whole, RetrievalSet)
    dev = whole.part(dev=True) if job.is_dev else None
    deployed = deployment(job.config, job.search, job.expected_language, dev)
    if contender.source is None:
        analyzers = {contender.name: deployed.analyzer(dataset.in_row_order()), BM25_PLAIN: evaluator.PLAIN}
        return [evaluator.measure_bm25(name, dataset, analyzer) for name, analyzer in analyzers.items()]
    encoder = _encoder(job)
    split = splitter(encoder.encoder, job.max_length, job.overlap)
    return evaluator.measure_retrieval(
        contender.name, _moved(job, dataset, encoder), dataset, job.max_length, contender.hybrid, deployed, split
    )


def _moved(
    job: Job, dataset: RetrievalSet | StsSet | LabelledSet, encoder: "CountingEncoder | None" = None
) -> TextEncoder:
    """A job's encoder, whose vectors a control may move."""
    encoder, control = encoder or _encoder(job), job.contender.control
    if control is None or control == "random":
        return encoder
    return controls.moved(control, encoder, dataset, job.max_length)


def deployment(
    config: EvaluationSet, search: SearchConfig, expected_language: str | None, dev: RetrievalSet | None = None
) -> Deployment:
    """How a set's corpus is searched: by the section `search`, with the set's own language if it names one."""
    own = search if config.language is None else search.model_copy(update={"language": config.language})
    return Deployment(own, expected_language, dev)


def check_search(config: EvaluationSet, search: SearchConfig, expected_language: str | None) -> None:
    """Raise ConfigError where a retrieval set's language is none, or has not the analyzer that is wanted."""
    dataset = load_set(config)
    assert isinstance(dataset, RetrievalSet)
    try:
        deployment(config, search, expected_language).check(dataset.documents)
    except ConfigError as error:
        raise ConfigError(f"evaluate.sets {config.name!r}: {error}") from None


def _encoder(job: Job) -> "CountingEncoder":
    contender = job.contender
    assert contender.source is not None
    random = contender.control == "random"
    compute_type: ComputeType = "float32" if random else job.compute_type
    encoder = Encoder.load(
        contender.source, revision=contender.revision, pooling=contender.pooling, compute_type=compute_type
    )
    if random:
        controls.randomise(encoder)
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
        if time.monotonic() - self.written_s > COUNTED_EVERY_S:
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
