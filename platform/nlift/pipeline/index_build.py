"""Building a bundle: the corpus is sorted onto the disk, embedded by workers, indexed, and the way to search it chosen.

The process that asks for it holds a piece of the corpus at a time: what needs the whole of it is done by a task.
"""

import fcntl
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlift import __version__, cluster, progress
from nlift.data import sources
from nlift.data.corpus import corpus_files, corpus_fingerprint, nothing_usable, read_corpus
from nlift.data.passages import parts
from nlift.data.schema import Document
from nlift.data.stored_folder import local_copy, place
from nlift.data.table_row import TableRow
from nlift.errors import ArtifactError, DataError
from nlift.evaluation.approximation import approximation
from nlift.evaluation.deployment import Deployment
from nlift.evaluation.search_choice import Choice
from nlift.models.embed import on_gpu
from nlift.models.encoder import Encoder
from nlift.models.passage_splitter import splitter
from nlift.pipeline.corpus_embedding import (
    DIGESTS_FILE,
    Embedding,
    embed_corpus,
    is_joined,
    join_shards,
)
from nlift.search.bm25 import BM25Index
from nlift.search.bundle_format import INFO, faiss_file, finish_bundle, is_whole, make_rooms, read_info
from nlift.search.document_vectors import DocumentVectors
from nlift.search.documents import Contents, Documents, write_documents
from nlift.search.faiss_gpu import import_faiss
from nlift.search.faiss_index import FaissIndex, kind_for
from nlift.search.index_tuning import tune
from nlift.search.row_sort import Placed, in_row_order
from nlift.search.shards import bounds_of
from nlift.settings import IndexConfig

TUNED_ON = 200  # queries that an approximate index is tuned on, at least; where there are fewer, sentences too
ROWS = "by descending id"  # which document is which row; part of a bundle's version
HELD_BELOW = 20_000  # documents: so many the process that asks can hold itself, sooner than a task has started
COUNTED = "counted.json"  # written when the documents of a build are on the disk
Quarantine = Callable[[dict[str, Any], str, str], None]
"""Takes a row that is no document: its values, the reason, the file and line."""


@dataclass(frozen=True)
class Built:
    """A bundle that was built, and what became of the corpus's rows."""

    folder: Path
    rows_in: int
    rows_out: int
    passages: int
    embedded: int
    """Passages that no earlier version had."""


def build(
    config: IndexConfig,
    encoder: Path,
    bundles: Path,
    deployment: Deployment,
    *,
    set_aside: Quarantine,
    must_update: bool = False,
    store: str | None = None,
) -> Built:
    """Add a version to a folder of bundles.

    Args:
        config: The section `index`.
        encoder: Folder of the encoder.
        bundles: Where the version goes; what an earlier one embedded by the same encoder is taken over.
        deployment: How to search is chosen by it.
        set_aside: Takes bad rows.
        must_update: Whether it is a mistake if there is no such earlier version.
        store: A URI by which workers get and leave files, where they do not see `bundles`.

    Raises:
        ArtifactError: There is none, or another process builds the same.
        DataError: The corpus cannot be read, or has no usable row.
    """
    loaded = Encoder.load(encoder, compute_type=config.compute_type)  # what cannot run in it is said before Ray starts
    embedding = embedding_of(config, encoder)
    made_by = {
        "encoder": sources.fingerprint(encoder),
        "max_length": config.max_length,
        "overlap": embedding.overlap,
        "compute_type": config.compute_type,
        "prefixes": loaded.prefixes,
    }
    earlier = _earlier(bundles, made_by)
    if must_update and earlier is None:
        raise ArtifactError(
            f"{bundles}: no version of this encoder, max_length, overlap and compute_type to update; "
            "without --update one is built anew"
        )
    info = {**made_by, "corpus": corpus_fingerprint(config.corpus), "pooling": loaded.pooling, "dim": loaded.dim}
    del loaded
    with _working_folder(bundles, info) as folder:
        counted = _documents(config.corpus, folder, set_aside)
        embedded = embed_corpus(
            embedding,
            folder,
            counted["documents"],
            earlier=earlier,
            num_actors=config.num_actors,
            store=store and f"{store}/{folder.name}",
        )
        arguments = (folder, bundles, config, embedding, deployment, info)
        with progress.waiting("vectors and words are indexed, how to search is chosen"):
            final = with_room(counted["documents"], _finish, *arguments, here=store is not None)
    return Built(final, counted["rows"], counted["documents"], embedded.passages, embedded.embedded)


def embedding_of(config: IndexConfig, encoder: Path) -> Embedding:
    """How the settings want a corpus embedded."""
    overlap = config.overlap if config.passages else None
    return Embedding(place(encoder), config.max_length, overlap, config.compute_type)


def _earlier(bundles: Path, made_by: dict[str, Any]) -> Path | None:
    """The newest version whose vectors were made the same way, and are as they were written."""
    versions = []
    for path in bundles.glob(f"*/{INFO}"):
        try:
            info = read_info(path.parent)
        except ArtifactError:
            continue
        if {name: info.get(name) for name in made_by} == made_by and (path.parent / "index" / DIGESTS_FILE).is_file():
            versions.append((str(info["created"]), path.parent))
    return next((folder for _, folder in sorted(versions, reverse=True) if is_whole(folder)), None)


@contextmanager
def _working_folder(bundles: Path, info: dict[str, Any]) -> Iterator[Path]:
    """A folder whose name follows from what is built: a build that was cut goes on there."""
    text = json.dumps([ROWS, __version__, info], sort_keys=True)
    folder = bundles / f".building-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder.with_suffix(".lock")
    with lock.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtifactError(f"{bundles}: another process builds the same version; wait for it") from None
        make_rooms(folder)
        try:
            yield folder
        except DataError:  # of a corpus that is none there is nothing to go on with
            _remove(folder, lock)
            raise
        _remove(folder, lock)


def _remove(folder: Path, lock: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.unlink(missing_ok=True)


def _documents(corpus: str, folder: Path, set_aside: Quarantine) -> dict[str, int]:
    """Sort the usable documents of a corpus onto the disk; how many rows there were, and how many documents."""
    written = folder / COUNTED
    if written.is_file():  # by a run that was cut
        counted = json.loads(written.read_text())
        for row in counted["set_aside"]:
            set_aside(*row)
        return {name: counted[name] for name in ("rows", "documents")}
    bad: list[tuple[dict[str, Any], str, str]] = []
    rows, reasons = 0, Counter[str]()

    def keep_aside(values: dict[str, Any], reason: str, where: str) -> None:
        bad.append((values, reason, where))
        reasons[reason.partition(" (")[0]] += 1
        set_aside(values, reason, where)

    def no_document(row: TableRow, reason: str) -> None:
        nonlocal rows
        rows += 1
        keep_aside(dict(row.values), reason, row.where)

    def read() -> Iterator[Placed]:
        nonlocal rows
        for row, document in read_corpus(corpus_files(corpus), no_document):
            rows += 1
            yield document, row.where

    def once() -> Iterator[Document]:
        before: Placed | None = None
        for document, where in in_row_order(read(), folder):
            if before is not None and document.doc_id == before[0].doc_id:
                keep_aside(asdict(document), f"id {document.doc_id!r} stands twice (first in {before[1]})", where)
                continue
            before = document, where
            yield document

    with progress.waiting(f"{corpus} is read and sorted"):
        count = write_documents(folder / "documents", once())
    if not count:
        raise nothing_usable(corpus, reasons)
    counted = {"rows": rows, "documents": count, "set_aside": bad}
    written.write_text(json.dumps(counted, default=str))
    return {name: counted[name] for name in ("rows", "documents")}


def _task(here: bool) -> Any:
    """A task that has a machine's CPUs to itself, and a GPU where there are any: it calls what it is given."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    own = ray.get_runtime_context().get_node_id()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and (not here or node["NodeID"] == own)]
    gpus = any(node.get("GPU", 0) for node in nodes)  # and then it runs on one of those machines
    cpus = max(int(node.get("CPU", 0)) for node in nodes if node.get("GPU", 0) or not gpus)
    options = {"scheduling_strategy": NodeAffinitySchedulingStrategy(own, soft=False)} if here else {}
    return ray.remote(num_cpus=cpus, num_gpus=1 if gpus else 0, max_retries=2, **options)(_called)


def _called(work: Callable[..., Any], *arguments: Any) -> Any:
    import ray
    import torch

    cpus = max(int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)), 1)
    torch.set_num_threads(cpus)
    import_faiss().omp_set_num_threads(cpus)
    return work(*arguments)


def with_room(documents: int, work: Callable[..., Any], *arguments: Any, here: bool = False) -> Any:
    """What a function returns that needs the whole of a corpus: of a large one it is called by a task.

    `here` lets that run on this machine alone: no other sees its folders.
    """
    if documents < HELD_BELOW:
        return work(*arguments)
    return cluster.get(_task(here).remote(work, *arguments))


def _finish(
    folder: Path,
    bundles: Path,
    config: IndexConfig,
    embedding: Embedding,
    deployment: Deployment,
    info: dict[str, Any],
) -> Path:
    """Index vectors and words, choose how to search, and give the folder its name."""
    if not is_joined(folder):
        join_shards(folder)
    shutil.rmtree(folder / ".shards", ignore_errors=True)
    documents = Documents.read(folder / "documents")
    vectors = DocumentVectors.read(folder / "index", documents.starts)
    encoder = on_gpu(Encoder.load(embedding.encoder, compute_type=embedding.compute_type))
    exact = FaissIndex(vectors)
    split = splitter(encoder, embedding.max_length, embedding.overlap)
    choice = deployment.choice(documents, exact, encoder, embedding.max_length, split)
    info |= _indexed(folder, config, vectors, choice, documents, encoder)
    _words(documents, choice).write(folder / "lexical")
    info |= {"passages": len(vectors.vectors_PD), "search": choice.as_json()}
    info = {"version": _version(info, choice), **info}
    (folder / COUNTED).unlink(missing_ok=True)
    encoder_folder = local_copy(embedding.encoder)
    return finish_bundle(folder, bundles, encoder=encoder_folder, judged=choice.evidence.records(), info=info)


def _indexed(
    folder: Path,
    config: IndexConfig,
    vectors: DocumentVectors,
    choice: Choice,
    documents: Documents,
    encoder: Encoder,
) -> dict[str, Any]:
    """Build what FAISS has of each shard, let it search as widely as needed, and say how close it comes to exact."""
    kind = kind_for(len(vectors.vectors_PD), config.kind)
    if kind == "flat":  # any part of it is an index
        return {"index": {"kind": kind, "shards": 1}, "recall@10": 1.0, "queries": 0}
    bounds = bounds_of(len(vectors), config.shards)
    queries = [record["query"] for record in choice.evidence.records()]
    sentences = _sentences(documents, max(TUNED_ON - len(queries), 0))
    queries_QD = encoder.encode([*queries, *sentences], role="query", max_length=config.max_length)
    shards, recalls = [], []
    for shard in range(config.shards):
        shards.append(FaissIndex.build(vectors.part(bounds[shard], bounds[shard + 1]), kind))
        recalls.append(tune(shards[-1], queries_QD))
        shards[-1].write(faiss_file(folder, shard))
    measured = approximation(shards, bounds, vectors, documents, choice.evidence, queries_QD)
    return {
        "index": {"kind": shards[0].kind, "shards": config.shards, **shards[0].parameters},
        **measured,
    }


def _words(documents: Documents, choice: Choice) -> BM25Index:
    """The words of all documents; they are counted already where dev queries were searched among them."""
    analyzer = choice.settings.analyzer
    if choice.evidence.source == "dev":
        return choice.evidence.parts[0].words(analyzer)
    return BM25Index.build(Contents(documents), analyzer)


def _sentences(documents: Sequence[Document], wanted: int) -> list[str]:
    """A sentence each of some documents, in place of queries."""
    places = np.linspace(0, len(documents) - 1, min(wanted, len(documents))).astype(int)
    parts_of = (parts(documents[int(place)]) for place in places)
    return [max(of_document, key=len) for of_document in parts_of if of_document]


def _version(info: dict[str, Any], choice: Choice) -> str:
    """A bundle's name: a hash of what its answers depend on, and of the queries that its settings were chosen on."""
    keys = ("encoder", "corpus", "index", "max_length", "overlap", "compute_type", "search")
    named = json.dumps([ROWS, *(info[key] for key in keys), choice.evidence.records()], sort_keys=True)
    return hashlib.sha256(named.encode()).hexdigest()[:12]
