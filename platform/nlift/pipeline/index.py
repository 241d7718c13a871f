"""Stage `index`: embed the corpus on Ray Data, index it with FAISS, write a bundle."""

import hashlib
from pathlib import Path
from typing import Any

from nlift.config import Experiment
from nlift.data import sources
from nlift.data.corpus import load_corpus
from nlift.errors import ConfigError, ModelError
from nlift.models import int8
from nlift.models.embed import embed
from nlift.models.encoder import Encoder
from nlift.pipeline.stage import DataSize, Output, Stage
from nlift.pipeline.tuned_encoder import tuned_encoder, tuned_stage
from nlift.search.bundle import promote, read_info, write_bundle
from nlift.search.faiss_index import FaissIndex, measure_recall
from nlift.search.ranking import row_order
from nlift.settings import IndexConfig

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
            "inputs": [self.upstream(experiment).folder(experiment).fingerprint],
        }

    def check(self, experiment: Experiment, size: DataSize) -> None:
        """The corpus can be read, and an encoder of this kind runs in int8 where that is wanted."""
        config, model = config_of(experiment), experiment.train.base_model
        load_corpus(sources.data_path(config.corpus))
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
        """Build the bundle and let `production` mean it."""
        bundle = build(config_of(experiment), tuned_encoder(experiment), output.path)
        promote(output.path, bundle.name)
        output.rows_in = output.rows_out = read_info(bundle)["documents"]
        output.notes = {"version": bundle.name}


STAGE = Index()


def config_of(experiment: Experiment) -> IndexConfig:
    """The experiment's section `index`. Raises ConfigError where there is none."""
    if experiment.index is None:
        raise ConfigError(f"{experiment.name}: no section index; add one with corpus")
    return experiment.index


def check_encoder(folder: Path) -> None:
    """Raise ModelError where the folder that a person names holds no encoder, or a broken one."""
    if not folder.is_dir():
        raise ModelError(f"--encoder {folder}: no such folder; expected an encoder's, as runs/demo/train/encoder")
    sources.check_model(str(folder), "encoder")


def build(config: IndexConfig, encoder: Path, bundles: Path) -> Path:
    """Embed and index a corpus; the new bundle's folder under `bundles`."""
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
    index = FaissIndex.build(vectors, config.kind)
    info = {
        "encoder": sources.fingerprint(encoder),
        "corpus": sources.fingerprint(path),
        "prefixes": loaded.prefixes,
        "pooling": loaded.pooling,
        "max_length": config.max_length,
        "compute_type": config.compute_type,
        "dim": loaded.dim,
        "index": {"kind": config.kind, **index.parameters},
        "recall@10": measure_recall(index, vectors),
    }
    named = f"{info['encoder']}{info['corpus']}{info['index']}{config.max_length}{config.compute_type}{ROWS}"
    info = {"version": hashlib.sha256(named.encode()).hexdigest()[:12], **info}
    return write_bundle(bundles, encoder=encoder, documents=documents, index=index, info=info)
