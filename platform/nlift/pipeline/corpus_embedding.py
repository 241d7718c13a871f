"""The vectors of a corpus that lies on the disk: Ray Data's workers cut, embed and write a shard of documents each.

A shard that was written is not embedded again: neither after a crash, nor where an earlier version of the bundle has
the same passages.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlift import cluster, progress, uris
from nlift.data import transfer
from nlift.data.schema import Batch
from nlift.data.stored_folder import StoredFolder, local_copy, place
from nlift.models.embed import on_gpu
from nlift.models.encoder import ComputeType, Encoder
from nlift.models.passage_splitter import passages_of, splitter
from nlift.search.document_vectors import VECTORS_FILE
from nlift.search.documents import Documents, write_passages

DIGESTS_FILE = "digests.npy"  # of the passages' texts, uint64 [P, 2]: by which a later version finds their vectors
LARGEST_SHARD, SMALLEST_SHARD, SHARDS = 1024, 64, 16  # documents of a shard, and how many shards a small corpus has


@dataclass(frozen=True)
class Embedding:
    """How a corpus is embedded: all that a vector depends on beside its passage."""

    encoder: str
    """Its folder: a path, or the address of a stored folder."""
    max_length: int
    overlap: int | None
    """Tokens that passages of a document share; None embeds the first part of each document."""
    compute_type: ComputeType


class ShardEmbedder:
    """Runs on Ray Data: embeds the documents from `start` to before `end`, and writes them into a file of their own.

    `documents` and `earlier` are paths, or addresses of stored folders; `shards` is a path, or a URI.
    """

    def __init__(self, embedding: Embedding, documents: str, shards: str, earlier: str | None) -> None:
        cluster.check_restarts()
        self.embedding, self.shards = embedding, shards
        self.encoder = on_gpu(Encoder.load(embedding.encoder, compute_type=embedding.compute_type))
        self.split = splitter(self.encoder, embedding.max_length, embedding.overlap)
        self.documents = Documents.read(local_copy(documents))
        known = None if earlier is None else local_copy(earlier)
        self.known = KnownVectors.read(known) if known is not None else KnownVectors.none(self.encoder.dim)

    def __call__(self, batch: Batch) -> Batch:
        """Of each shard how many documents and passages it has, and how many of these had to be embedded."""
        shards = zip(batch["start"].tolist(), batch["end"].tolist(), strict=True)
        counts = [self._embed(start, end) for start, end in shards]
        names = ("documents", "passages", "embedded")
        return {name: np.array(values) for name, values in zip(names, zip(*counts, strict=True), strict=True)}

    def _embed(self, start: int, end: int) -> tuple[int, int, int]:
        written = self._written(start)
        if written is not None:  # by a run that was cut
            return end - start, written, 0
        documents = self.documents[start:end]
        spans, texts = passages_of(documents, self.split)
        digests = digests_of(texts)
        vectors, known = self.known.of(digests)
        new = {tuple(digest): place for place, digest in enumerate(digests.tolist()) if not known[place]}
        if new:
            wanted = [texts[place] for place in new.values()]
            embedded = self.encoder.encode(wanted, role="passage", max_length=self.embedding.max_length)
            row = {digest: i for i, digest in enumerate(new)}
            places = np.flatnonzero(~known)
            vectors[places] = embedded[[row[tuple(digest)] for digest in digests[places].tolist()]]
        arrays = {
            "vectors": vectors,
            "digests": digests,
            "counts": np.array([len(own) for own in spans], dtype=np.int64),
            "spans": np.array([span for own in spans for span in own], dtype=np.int32).reshape(-1, 2),
        }
        self._write(start, arrays)
        return len(documents), len(texts), len(new)

    def _written(self, start: int) -> int | None:
        """How many passages a shard has that was written already; None where it was not."""
        if not uris.is_remote(self.shards):
            path = Path(self.shards, shard_name(start))
            return len(np.load(path, allow_pickle=False)["spans"]) if path.is_file() else None
        content = transfer.read(transfer.joined(self.shards, shard_name(start)))
        return None if content is None else len(np.load(io.BytesIO(content), allow_pickle=False)["spans"])

    def _write(self, start: int, arrays: dict[str, np.ndarray]) -> None:
        """Write a shard, whole or not at all."""
        if uris.is_remote(self.shards):
            stream = io.BytesIO()
            np.savez(stream, **arrays)
            transfer.write(transfer.joined(self.shards, shard_name(start)), stream.getvalue())
            return
        path = Path(self.shards, shard_name(start))
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
        temporary.replace(path)


class KnownVectors:
    """Vectors of an earlier version's passages, by what stands in them."""

    def __init__(self, digests: np.ndarray, vectors_PD: np.ndarray) -> None:
        order = np.argsort(digests[:, 0], kind="stable")
        self._first, self._second, self._order = digests[order, 0], digests[order, 1], order
        self._vectors_PD = vectors_PD

    @classmethod
    def none(cls, dim: int) -> "KnownVectors":
        """No vectors."""
        return cls(np.zeros((0, 2), dtype=np.uint64), np.zeros((0, dim), dtype=np.float32))

    @classmethod
    def read(cls, bundle: Path) -> "KnownVectors":
        """Those of a bundle."""
        arrays = (np.load(bundle / "index" / name, mmap_mode="r") for name in (DIGESTS_FILE, VECTORS_FILE))
        return cls(*arrays)

    def of(self, digests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of passages, float32 [P, D], and which of them are known, bool [P]; the others' are zeros."""
        vectors_PD = np.zeros((len(digests), self._vectors_PD.shape[1]), dtype=np.float32)
        if not len(self._first):
            return vectors_PD, np.zeros(len(digests), dtype=bool)
        at = np.minimum(np.searchsorted(self._first, digests[:, 0]), len(self._first) - 1)
        known = (self._first[at] == digests[:, 0]) & (self._second[at] == digests[:, 1])
        vectors_PD[known] = self._vectors_PD[self._order[at[known]]]
        return vectors_PD, known


def digests_of(texts: list[str]) -> np.ndarray:
    """What tells passages apart, uint64 [P, 2]."""
    hashed = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.frombuffer(hashed, dtype="<u8").reshape(-1, 2)


def shard_name(start: int) -> str:
    """The file that the vectors of the documents from `start` on are written to."""
    return f"{start:012}.npz"


@dataclass(frozen=True)
class Embedded:
    """How many passages a corpus has, and how many of them were embedded."""

    passages: int
    embedded: int


def embed_corpus(
    embedding: Embedding,
    folder: Path,
    count: int,
    *,
    earlier: Path | None,
    num_actors: int | None,
    store: str | None = None,
) -> Embedded:
    """Embed a folder's `count` documents into files of a shard each, beside them.

    Args:
        embedding: How.
        folder: Has `documents`; gets `shards`.
        count: Of the documents.
        earlier: A bundle with vectors of the same encoder, to be taken over where passages are the same.
        num_actors: Copies of the encoder; one per GPU, or per CPU, when None.
        store: The URI that documents and shards go by, where workers do not see `folder`.
    """
    import ray

    if is_joined(folder):  # by a run that was cut later
        return Embedded(len(np.load(folder / "index" / DIGESTS_FILE, mmap_mode="r")), 0)
    (folder / "shards").mkdir(exist_ok=True)
    size = shard_size(count)
    ranges = [{"start": start, "end": min(start + size, count)} for start in range(0, count, size)]
    documents, written = str(folder.absolute() / "documents"), str(folder.absolute() / "shards")
    if store is not None:
        documents = StoredFolder(f"{store}/documents").publish(folder / "documents", {}, mark=False)
        written = f"{store}/shards"
    shards = ray.data.from_items(ranges, override_num_blocks=len(ranges)).map_batches(
        ShardEmbedder,
        fn_constructor_args=(embedding, documents, written, earlier and place(earlier)),
        batch_size=1,
        **cluster.actor_pool(num_actors, len(ranges)),
    )
    passages = embedded = 0
    with progress.bar("index", count, "documents") as advance, cluster.user_errors():
        for batch in shards.iter_batches(batch_size=None):
            passages += int(batch["passages"].sum())
            embedded += int(batch["embedded"].sum())
            advance(int(batch["documents"].sum()))
    if store is not None:
        transfer.download(written, folder / "shards")
    return Embedded(passages, embedded)


def shard_size(count: int) -> int:
    """Documents of a shard: it follows from the corpus alone, so that a run that was cut goes on."""
    return min(LARGEST_SHARD, max(SMALLEST_SHARD, -(-count // SHARDS)))


def is_joined(folder: Path) -> bool:
    """Whether a folder's shards are its vectors already."""
    return not (folder / "shards").exists() and (folder / "index" / DIGESTS_FILE).is_file()


def join_shards(folder: Path) -> None:
    """Write what the shards have as the bundle's vectors and passages; the vectors of one are in memory at a time."""
    paths = sorted((folder / "shards").glob("*.npz"))
    counts, spans, digests = (np.concatenate(list(_parts(paths, name))) for name in ("counts", "spans", "digests"))
    write_passages(folder / "documents", counts, spans)
    with (folder / "index" / VECTORS_FILE).open("wb") as stream:
        for number, vectors in enumerate(_parts(paths, "vectors")):
            if number == 0:
                shape = (len(spans), vectors.shape[1])
                header: dict[str, Any] = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(stream, header)
            stream.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
    np.save(folder / "index" / DIGESTS_FILE, digests, allow_pickle=False)
    done = folder / ".shards"
    (folder / "shards").rename(done)  # from here on they are not needed
    shutil.rmtree(done)


def _parts(paths: list[Path], name: str) -> Iterator[np.ndarray]:
    for path in paths:
        with np.load(path, allow_pickle=False) as shard:
            yield shard[name]
