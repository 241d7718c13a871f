"""Stage `index`: embed the corpus on Ray Data, index it with FAISS, write a bundle."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from nlift import evaluate, sources
from nlift.artifacts import Output, Stage
from nlift.bundle import import_faiss, promote, write_bundle
from nlift.config import Experiment
from nlift.embedding import embed
from nlift.encoder import Encoder
from nlift.errors import ConfigError
from nlift.sections import IndexConfig
from nlift.sets import load_corpus

PROBES = 200  # documents searched to measure an approximate index
HNSW = {"links": 32, "ef_construction": 200, "ef_search": 128}


def stage(experiment: Experiment) -> Stage:
    """The stage's folder and what its content depends on."""
    config = config_of(experiment)
    identity = {
        "config": config.model_dump(mode="json", exclude={"num_actors"}),
        "corpus": sources.fingerprint(sources.data_path(config.corpus)),
        "inputs": [evaluate.tuned_stage(experiment).fingerprint],
    }
    return Stage("index", experiment.folder / "index", identity)


def config_of(experiment: Experiment) -> IndexConfig:
    """The experiment's section `index`. Raises ConfigError where there is none."""
    if experiment.index is None:
        raise ConfigError(f"{experiment.name}: no section index; add one with corpus")
    return experiment.index


def write(experiment: Experiment, output: Output) -> None:
    """Build the bundle and let `production` mean it."""
    bundle = build(config_of(experiment), evaluate.tuned_stage(experiment).folder / "encoder", output.path)
    promote(output.path, bundle.name)
    output.rows_in = output.rows_out = len(load_corpus(sources.data_path(config_of(experiment).corpus)))
    output.notes = {"version": bundle.name}


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
    index, parameters = build_index(vectors, config.kind)
    info = {
        "encoder": sources.fingerprint(encoder),
        "corpus": sources.fingerprint(path),
        "prefixes": loaded.prefixes,
        "pooling": loaded.pooling,
        "max_length": config.max_length,
        "compute_type": config.compute_type,
        "dim": loaded.dim,
        "index": {"kind": config.kind, **parameters},
        "recall@10": measure_recall(index, vectors),
    }
    named = f"{info['encoder']}{info['corpus']}{info['index']}{config.max_length}{config.compute_type}"
    version = hashlib.sha256(named.encode()).hexdigest()[:12]
    return write_bundle(bundles, encoder=encoder, documents=documents, index=index, info={"version": version, **info})


def build_index(vectors_ND: np.ndarray, kind: str) -> tuple[Any, dict[str, int]]:
    """A FAISS index by inner product over unit vectors, and its parameters."""
    faiss = import_faiss()
    count, dim = vectors_ND.shape
    parameters: dict[str, int] = {}
    if kind == "hnsw":
        parameters = HNSW
        index = faiss.IndexHNSWFlat(dim, HNSW["links"], faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = HNSW["ef_construction"], HNSW["ef_search"]
    elif kind == "ivf":
        cells = max(1, min(int(4 * count**0.5), count // 39))  # FAISS wants 39 vectors a cell to train
        parameters = {"cells": cells, "probes": max(1, cells // 8)}
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, cells, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors_ND)
        index.nprobe = parameters["probes"]
    else:
        index = faiss.IndexFlatIP(dim)
    index.add(vectors_ND)
    return index, parameters


def measure_recall(index: Any, vectors_ND: np.ndarray) -> float:
    """Share of the exact ten nearest documents that the index finds, over a sample of documents."""
    sample = vectors_ND[np.linspace(0, len(vectors_ND) - 1, min(PROBES, len(vectors_ND))).astype(int)]
    depth = min(10, len(vectors_ND))
    exact = import_faiss().IndexFlatIP(vectors_ND.shape[1])
    exact.add(vectors_ND)
    wanted, found = exact.search(sample, depth)[1], index.search(sample, depth)[1]
    return float(np.mean([len(set(a) & set(b)) / depth for a, b in zip(wanted, found, strict=True)]))
