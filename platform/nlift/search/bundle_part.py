"""A part of a bundle, for a server that shares a large one out: the vectors and words of neighbouring rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nlift.errors import ArtifactError
from nlift.search.bundle_format import (
    INFO,
    read_documents,
    read_info,
    read_settings,
    read_shard,
    read_vectors,
    read_words,
    shards_of,
)
from nlift.search.searchers import BM25Searcher, Searcher
from nlift.search.shards import bounds_of
from nlift.search.vector_index import VectorIndex


@dataclass(frozen=True)
class BundlePart:
    """What answers for the rows of a part, which it numbers from 0."""

    dense: VectorIndex
    lexical: Searcher

    @classmethod
    def load(cls, folder: Path, part: int, parts: int) -> "BundlePart":
        """One of so many parts of a bundle; its files are not checked again.

        Raises ArtifactError as `check_parts`.
        """
        info = read_info(folder)
        check_parts(folder, info, parts)
        documents = read_documents(folder, info)
        bounds = bounds_of(len(documents), parts)
        vectors = read_vectors(folder, info, documents)
        words = read_words(folder, info, read_settings(folder, info).analyzer, documents)
        own = words.part(bounds[part], bounds[part + 1])
        return cls(read_shard(folder, vectors, bounds, part), BM25Searcher(own))


def check_parts(folder: Path, info: dict[str, Any], parts: int) -> None:
    """Raise ArtifactError where a bundle cannot be shared out so: FAISS's indexes are of parts of their own."""
    if parts > info["documents"]:
        raise ArtifactError(f"{folder}: {info['documents']} documents cannot be in {parts} shards")
    if info["index"]["kind"] != "flat" and shards_of(info) != parts:
        raise ArtifactError(
            f"{folder / INFO}: its {info['index']['kind']} index is in {shards_of(info)} shards, the server's "
            f"service.shards is {parts}; build it with index.shards {parts}, or serve it so"
        )
