"""A bundle's folder: what it holds, how it is written and checked."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np

from nlift import __version__, progress
from nlift.data import sources
from nlift.data.files import replace_folder, write_json, write_jsonl
from nlift.data.schema import Document
from nlift.errors import ArtifactError, ConfigError
from nlift.search.analyzers import Analyzer, analyzer_named
from nlift.search.bm25 import BM25Index
from nlift.search.document_vectors import VECTORS_FILE, DocumentVectors
from nlift.search.documents import DOCUMENTS_FILE, Contents, Documents, read_table, write_documents
from nlift.search.faiss_index import FaissIndex
from nlift.search.fusion import Fusion
from nlift.search.hits import shortened
from nlift.search.searchers import Mode, SearchSettings
from nlift.search.shards import Bounds, ShardedIndex, bounds_of
from nlift.search.vector_index import VectorIndex

INFO = "bundle.json"
JUDGED_FILE = "judged.jsonl"


def write_bundle(
    bundles: Path,
    *,
    encoder: Path,
    documents: Sequence[Document],
    index: FaissIndex,
    words: BM25Index,
    judged: Sequence[dict[str, Any]],
    info: dict[str, Any],
) -> Path:
    """Write a bundle of what is in memory under `bundles` and return its folder.

    `documents`, and with them the vectors of `index` and the texts of `words`, stand in the order of `row_order`, each
    document one passage. `judged` are the queries that its settings were chosen on.
    """
    folder = bundles / f".{info['version']}.tmp"
    shutil.rmtree(folder, ignore_errors=True)
    make_rooms(folder)
    np.save(folder / "index" / VECTORS_FILE, index.vectors.vectors_PD, allow_pickle=False)
    index.write(faiss_file(folder, 0))
    write_documents(folder / "documents", documents)
    words.write(folder / "lexical")
    return finish_bundle(folder, bundles, encoder=encoder, judged=judged, info=info)


def make_rooms(folder: Path) -> None:
    """Make the folders of a bundle that is to be written."""
    for room in ("index", "lexical", "documents"):
        (folder / room).mkdir(parents=True, exist_ok=True)


def faiss_file(folder: Path, shard: int) -> Path:
    """Where a bundle has what FAISS built over a shard's passages; nothing is there where the index is flat."""
    return folder / "index" / f"faiss-{shard}.index"


def finish_bundle(
    folder: Path, bundles: Path, *, encoder: Path, judged: Sequence[dict[str, Any]], info: dict[str, Any]
) -> Path:
    """Give a folder that has index, words and documents the rest, and the name of its version; where it is then.

    The same content gets the same version. `info` has `version` and `dim`, how the index is searched, and figures.
    """
    shutil.rmtree(folder / "encoder", ignore_errors=True)
    shutil.copytree(encoder, folder / "encoder")
    write_jsonl(folder / JUDGED_FILE, judged)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != INFO)
    checksums = {str(path.relative_to(folder)): sources.fingerprint(path) for path in files}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    count = read_table(folder / "documents" / DOCUMENTS_FILE).num_rows
    content = {**info, "documents": count, "created": created, "nlift": __version__, "checksums": checksums}
    write_json(folder / INFO, content)
    final = bundles / str(info["version"])
    if final.exists() and is_whole(final):
        shutil.rmtree(folder)
    else:
        replace_folder(folder, final)
    return final


def is_whole(folder: Path) -> bool:
    """Whether a folder is a bundle of this version of nlift with all of its files as they were written."""
    try:
        verify(folder, read_info(folder))
    except ArtifactError:
        return False
    return True


def read_info(folder: Path) -> dict[str, Any]:
    """What bundle.json says. Raises ArtifactError where it is not readable."""
    try:
        info = dict(json.loads((folder / INFO).read_text(encoding="utf-8")))
        info["checksums"], info["dim"], info["documents"], info["version"]
        if f"index/{VECTORS_FILE}" not in info["checksums"] or "search" not in info:
            raise ArtifactError(f"{folder / INFO}: a bundle of an earlier nlift; build it again with `nlift index`")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / INFO}: not readable as a bundle ({error})") from None
    return info


def read_settings(folder: Path, info: dict[str, Any]) -> SearchSettings:
    """How a bundle is searched. Raises ArtifactError where this version cannot."""
    try:
        search = info["search"]
        analyzer = analyzer_named(search["analyzer"], search["language"])
        keys = ("analyzer_version", "fusion", "alpha", "depth", "mode")
        _, fusion, alpha, depth, mode = (search[key] for key in keys)
        numbers = type(alpha) in (int, float) and type(depth) is int and 0 <= alpha <= 1 <= depth
        if fusion not in get_args(Fusion) or mode not in get_args(Mode) or not numbers:
            raise ConfigError(f"search: cannot search by {shortened(search)}")
    except ConfigError as error:
        raise ArtifactError(f"{folder / INFO}: {error}; upgrade nlift {__version__}, or build it again") from None
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / INFO}: not readable as a bundle (search: {error})") from None
    return SearchSettings(analyzer, fusion, alpha, depth, mode)


def read_documents(folder: Path, info: dict[str, Any]) -> Documents:
    """A bundle's documents. Raises ArtifactError where they are not those that bundle.json counts, in their order."""
    documents = Documents.read(folder / "documents")
    if len(documents) != info["documents"]:
        raise ArtifactError(
            f"{folder}: {len(documents)} documents and the {info['documents']} of {INFO} do not belong together"
        )
    if not documents.are_ordered:
        raise ArtifactError(f"{folder}: its documents are not in order of descending ids; build it again")
    return documents


def read_vectors(folder: Path, info: dict[str, Any], documents: Documents) -> DocumentVectors:
    """The vectors of a bundle's documents. Raises ArtifactError where they are not theirs."""
    try:
        vectors = DocumentVectors.read(folder / "index", documents.starts)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{folder / 'index'}: not readable as vectors ({error})") from None
    passages = len(documents) if documents.starts is None else int(documents.starts[-1])
    if vectors.vectors_PD.shape != (passages, info["dim"]):
        shape = " x ".join(map(str, vectors.vectors_PD.shape))
        raise ArtifactError(
            f"{folder}: vectors of {shape} and {passages} passages of {len(documents)} documents do not belong together"
        )
    return vectors


def shards_of(info: dict[str, Any]) -> int:
    """How many indexes of its own FAISS has in a bundle; 1 where it is flat."""
    return int(info["index"].get("shards", 1))


def read_shard(folder: Path, vectors: DocumentVectors, bounds: Bounds, shard: int) -> FaissIndex:
    """The index of a shard's vectors. Raises ArtifactError where it is not theirs."""
    own = vectors.part(bounds[shard], bounds[shard + 1])
    index = FaissIndex.read(faiss_file(folder, shard), own)
    if index.index is not None and (index.index.ntotal, index.index.d) != own.vectors_PD.shape:
        raise ArtifactError(
            f"{faiss_file(folder, shard)}: {index.index.ntotal} vectors, expected {len(own.vectors_PD)}"
        )
    return index


def read_index(folder: Path, info: dict[str, Any], vectors: DocumentVectors) -> VectorIndex:
    """A bundle's index, of all shards."""
    bounds = bounds_of(len(vectors), shards_of(info))
    shards = [read_shard(folder, vectors, bounds, shard) for shard in range(shards_of(info))]
    return shards[0] if len(shards) == 1 else ShardedIndex(shards, bounds)


def read_words(folder: Path, info: dict[str, Any], analyzer: Analyzer, documents: Documents) -> BM25Index:
    """The bundle's index of words; built again where another version of the analyzer made it: its words may differ."""
    if info["search"]["analyzer_version"] == analyzer.version:
        try:
            return BM25Index.read(folder / "lexical", analyzer, len(documents))
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{folder / 'lexical'}: not readable as an index of words ({error})") from None
    progress.notice(
        f"{folder}: its words are of {info['search']['analyzer_version']}, this is {analyzer.version}; they are "
        "indexed again in memory, `nlift index` does so for good"
    )
    return BM25Index.build(Contents(documents), analyzer)


def verify(folder: Path, info: dict[str, Any]) -> None:
    """Raise ArtifactError where a file is missing or is not the one that was written."""
    for name, checksum in info["checksums"].items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path}: missing from the bundle; build it again")
        if sources.fingerprint(path) != checksum:
            raise ArtifactError(f"{path}: changed since the bundle was written (checksum differs); build it again")
