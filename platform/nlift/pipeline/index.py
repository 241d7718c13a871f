"""Stage `index`: embed the corpus on Ray Data, index vectors and words, choose how to search, write a bundle."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nlift.config import Experiment, overridden
from nlift.data import sources
from nlift.data.corpus import load_corpus
from nlift.data.languages import iso_639_1
from nlift.data.passages import parts
from nlift.data.schema import Document
from nlift.errors import ConfigError, ModelError
from nlift.evaluation.datasets import RetrievalSet, load_set
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.search_choice import Choice
from nlift.models import int8
from nlift.models.embed import embed
from nlift.models.encoder import ComputeType, Encoder
from nlift.pipeline.promotion import promote_or_keep
from nlift.pipeline.stage import DataSize, Output, Stage, read_manifest
from nlift.pipeline.tuned_encoder import tuned_encoder, tuned_stage
from nlift.search import aliases
from nlift.search.bm25 import BM25Index
from nlift.search.bundle_format import read_info, write_bundle
from nlift.search.faiss_index import FaissIndex, kind_for
from nlift.search.index_tuning import tune
from nlift.search.ranking import row_order
from nlift.settings import EvaluationSet, IndexConfig, SearchConfig

TUNED_ON = 200  # documents
ROWS = "by descending id"  # which document is which row; part of a bundle's version


class Index(Stage):
    """A folder of bundles."""

    name = "index"
    reads = Encoder
    needs_ray = True
    to_spare_memory = "lower index.num_actors or index.max_length"
    start_s = 12.0

    def enabled(self, experiment: Experiment) -> bool:
        """Whether there is a section index."""
        return experiment.index is not None

    def upstream(self, experiment: Experiment) -> Stage:
        """The stage whose encoder counts as tuned."""
        return tuned_stage(experiment)

    def identity(self, experiment: Experiment) -> dict[str, Any]:
        """The section, the corpus and the encoder."""
        config = config_of(experiment)
        return {
            "config": config.model_dump(mode="json", exclude={"num_actors"}),
            "corpus": sources.fingerprint(sources.data_path(config.corpus)),
            "rows": ROWS,
            "search": experiment.search.model_dump(mode="json"),
            "language": expected_language(experiment),
            "dev": [
                [config.model_dump(mode="json", exclude={"path"}), sources.fingerprint(sources.data_path(config.path))]
                for config in _watched(experiment)
            ],
            "inputs": [self.upstream(experiment).folder(experiment).fingerprint],
        }

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """The corpus can be read, and an encoder of this kind runs in int8 where that is wanted."""
        config, model = config_of(experiment), experiment.train.base_model
        check_corpus(config, experiment.search, expected_language(experiment))
        if config.compute_type == "int8" and sources.is_local(model, "encoder"):
            kind = Encoder.load(model).backbone.config.model_type
            if kind not in int8.KINDS:
                known = ", ".join(int8.KINDS)
                raise ModelError(f"index.compute_type: a {kind} cannot run in int8, {known} can; expected float32")

    def work(self, experiment: Experiment, size: DataSize) -> str:
        """What is indexed, and how."""
        config = config_of(experiment)
        return f"{config.corpus}, {config.kind}"

    def run(self, experiment: Experiment, output: Output) -> None:
        """Build a bundle beside those before, and let `production` mean it unless it is worse than the current one."""
        dev = next((load_set(config) for config in _watched(experiment)), None)
        dev = dev.part(dev=True) if isinstance(dev, RetrievalSet) else None
        deployment = Deployment(experiment.search, expected_language(experiment), dev)
        aliases.carry_over(self.path(experiment), output.path)
        bundle = _build(config_of(experiment), tuned_encoder(experiment), output.path, deployment)
        before = aliases.read_aliases(output.path).get(aliases.PRODUCTION)
        promoted = promote_or_keep(output.path, bundle.name)
        info = read_info(bundle)
        output.rows_in = output.rows_out = info["documents"]
        output.notes = {
            "version": bundle.name,
            "alias": promoted.alias,
            "gate": str(promoted),
            "before": before,
            "search": info["search"],
        }


STAGE = Index()


def newest(experiment: Experiment) -> tuple[Path, dict[str, Any]]:
    """The bundle that an experiment's index built last, and what the manifest says of it."""
    manifest = read_manifest(STAGE.path(experiment))
    return STAGE.path(experiment) / manifest["version"], manifest


def config_of(experiment: Experiment) -> IndexConfig:
    """The experiment's section `index`. Raises ConfigError where there is none."""
    if experiment.index is None:
        raise ConfigError(f"{experiment.name}: no section index; add one with corpus")
    return experiment.index


def expected_language(experiment: Experiment) -> str | None:
    """The language that texts are probably in: the one translated into, ISO 639-1."""
    config = experiment.translate
    return iso_639_1(config.target_language) if config is not None else None


def compute_type(experiment: Experiment) -> ComputeType:
    """What an index is embedded in, and so what encoders are measured in; float32 where there is no index."""
    return experiment.index.compute_type if experiment.index is not None else "float32"


def _watched(experiment: Experiment) -> list[EvaluationSet]:
    """The retrieval set that training looks at; none where it looks at another kind, or at nothing."""
    dev = experiment.dev_set
    return [dev] if dev is not None and dev.kind == "retrieval" else []


def sections(config: IndexConfig, overrides: list[str]) -> tuple[IndexConfig, SearchConfig]:
    """The sections `index` and `search` of an index without an experiment, overridden as by `--set`.

    Raises ConfigError for a key of another section, or a value that is not allowed.
    """
    for text in overrides:
        if not text.startswith(("index.", "search.")):
            raise ConfigError(f"--set {text}: without an experiment only keys of index and search can be set")
    whole = Experiment.model_validate({"name": "index", "nli": {"path": "embedded"}, "index": config.model_dump()})
    experiment = overridden(whole, overrides)
    return config_of(experiment), experiment.search


def check_corpus(config: IndexConfig, search: SearchConfig, expected_language: str | None = None) -> None:
    """Raise NliftError where the corpus cannot be read, or its language has no such analyzer."""
    try:
        Deployment(search, expected_language).check(load_corpus(sources.data_path(config.corpus)))
    except ConfigError as error:
        raise ConfigError(f"{config.corpus}: {error}") from None


def check_encoder(folder: Path) -> None:
    """Raise ModelError where the folder that a person names holds no encoder, or a broken one."""
    if not folder.is_dir():
        raise ModelError(f"--encoder {folder}: no such folder; expected an encoder's, as runs/demo/train/encoder")
    sources.check_model(str(folder), "encoder")


def build(config: IndexConfig, search: SearchConfig, encoder: Path, bundles: Path) -> Path:
    """Embed and index a corpus that there are no queries of, choose how to search it; the new bundle's folder."""
    return _build(config, encoder, bundles, Deployment(search))


def _build(config: IndexConfig, encoder: Path, bundles: Path, deployment: Deployment) -> Path:
    path = sources.data_path(config.corpus)
    documents = load_corpus(path)
    loaded = Encoder.load(encoder, compute_type=config.compute_type)  # what cannot run in it is said before Ray starts
    vectors = embed(
        [document.content for document in documents],
        str(encoder),
        role="passage",
        max_length=config.max_length,
        compute_type=config.compute_type,
        num_actors=config.num_actors,
        title="index",
        unit="documents",
    )
    rows = row_order([document.doc_id for document in documents])
    documents, vectors = tuple(documents[row] for row in rows), vectors[rows]
    index = FaissIndex.build(vectors, kind_for(len(vectors), config.kind))
    sentences = [] if index.kind == "flat" else _sentences(documents)  # an exact index has nothing to tune
    measured = tune(index, vectors, loaded.encode(sentences, role="query", max_length=config.max_length))
    choice = deployment.choice(documents, index, loaded, config.max_length)
    words = BM25Index.build([document.content for document in documents], choice.settings.analyzer)
    info = {
        "encoder": sources.fingerprint(encoder),
        "corpus": sources.fingerprint(path),
        "prefixes": loaded.prefixes,
        "pooling": loaded.pooling,
        "max_length": config.max_length,
        "compute_type": config.compute_type,
        "dim": loaded.dim,
        "index": {"kind": index.kind, **index.parameters},
        **measured.as_json(),
        "search": choice.as_json(),
    }
    info = {"version": _version(info, choice), **info}
    return write_bundle(
        bundles,
        encoder=encoder,
        documents=documents,
        index=index,
        words=words,
        judged=choice.evidence.records(),
        info=info,
    )


def _sentences(documents: Sequence[Document]) -> list[str]:
    """A sentence each of some documents, in place of queries: what an approximate index is tuned on."""
    places = np.linspace(0, len(documents) - 1, min(TUNED_ON, len(documents))).astype(int)
    parts_of = (parts(documents[place]) for place in places)
    return [max(of_document, key=len) for of_document in parts_of if of_document]


def _version(info: dict[str, Any], choice: Choice) -> str:
    """A bundle's name: a hash of what its answers depend on, and of the queries that its settings were chosen on."""
    keys = ("encoder", "corpus", "index", "max_length", "compute_type", "search")
    named = json.dumps([ROWS, *(info[key] for key in keys), choice.evidence.records()], sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()[:12]
