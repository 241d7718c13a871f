"""An encoder, its index and its documents as one versioned, checksummed, immutable folder."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from nlift import __version__, sources
from nlift.artifacts import read_rows, replace_folder, write_json
from nlift.encoder import Encoder
from nlift.errors import ArtifactError, NliftError
from nlift.lexical import LexicalIndex
from nlift.schema import Document, to_table

Mode = Literal["dense", "lexical", "hybrid"]
PRODUCTION = "production"
FUSION_CONSTANT = 60  # reciprocal rank fusion, as published (Cormack et al., SIGIR 2009)
FUSION_DEPTH = 100


@dataclass(frozen=True)
class Hit:
    """One result; `score` is cosine (dense), BM25 (lexical) or fused ranks (hybrid): higher is better."""

    doc_id: str
    score: float
    title: str
    text: str
    metadata: dict[str, Any]


class Bundle:
    """A loaded bundle; `search` answers queries."""

    def __init__(self, folder: Path, info: dict[str, Any], encoder: Encoder, index: Any, documents: list[Document]) -> None:
        self.folder, self.info = folder, info
        self.encoder, self.index, self.documents = encoder, index, documents

    @property
    def version(self) -> str:
        """The bundle's name."""
        return str(self.info["version"])

    @classmethod
    def load(cls, path: str | Path) -> "Bundle":
        """A bundle's folder, or the production version of a bundles folder, with every file checked.

        Raises ArtifactError where a file is missing or changed, or parts do not belong together.
        """
        folder = resolve(Path(path))
        info = read_info(folder)
        verify(folder, info)
        faiss = import_faiss()
        encoder = Encoder.load(folder / "encoder", compute_type=info.get("compute_type", "float32"))
        index = faiss.read_index(str(folder / "index" / "index.faiss"))
        documents = read_rows(folder / "documents", Document)
        if not encoder.dim == index.d == info["dim"] or not len(documents) == index.ntotal == info["documents"]:
            raise ArtifactError(
                f"{folder}: encoder of {encoder.dim} dimensions, index of {index.d} x {index.ntotal}, "
                f"{len(documents)} documents do not belong together"
            )
        return cls(folder, info, encoder, index, documents)

    @cached_property
    def lexical(self) -> LexicalIndex:
        """BM25 over the documents, built at first use."""
        return LexicalIndex([document.content for document in self.documents])

    def search(self, queries: Sequence[str], top_k: int = 10, mode: Mode = "dense") -> list[list[Hit]]:
        """The best documents of each query, best first; at most `top_k`."""
        if mode == "lexical":
            found = [self._lexical(query, top_k) for query in queries]
        elif mode == "dense":
            found = self._dense(queries, top_k)
        else:
            depth = max(FUSION_DEPTH, top_k)
            dense = self._dense(queries, depth)
            found = [fuse([one, self._lexical(query, depth)])[:top_k] for query, one in zip(queries, dense, strict=True)]
        return [[self._hit(row, score) for row, score in hits] for hits in found]

    def _dense(self, queries: Sequence[str], top_k: int) -> list[list[tuple[int, float]]]:
        if not queries:
            return []
        vectors = self.encoder.encode(queries, role="query")
        scores, rows = self.index.search(vectors, min(top_k, len(self.documents)))
        return [[(int(r), float(s)) for r, s in zip(*one, strict=True) if r >= 0] for one in zip(rows, scores, strict=True)]

    def _lexical(self, query: str, top_k: int) -> list[tuple[int, float]]:
        scores = self.lexical.scores(query)
        best = np.argsort(-scores, kind="stable")[:top_k]
        return [(int(row), float(scores[row])) for row in best if scores[row] > 0]

    def _hit(self, row: int, score: float) -> Hit:
        document = self.documents[row]
        return Hit(document.doc_id, score, document.title, document.text, json.loads(document.metadata or "{}"))


def fuse(rankings: list[list[tuple[int, float]]]) -> list[tuple[int, float]]:
    """Reciprocal rank fusion of rankings, best first."""
    fused: dict[int, float] = {}
    for ranking in rankings:
        for position, (row, _) in enumerate(ranking, 1):
            fused[row] = fused.get(row, 0.0) + 1 / (FUSION_CONSTANT + position)
    return sorted(fused.items(), key=lambda item: (-item[1], item[0]))


def write_bundle(
    bundles: Path,
    *,
    encoder: Path,
    documents: list[Document],
    index: Any,
    info: dict[str, Any],
) -> Path:
    """Write a bundle under `bundles` and return its folder; the same content gets the same version."""
    version = info["version"]
    temporary = bundles / f".{version}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    for part in ("index", "documents"):
        (temporary / part).mkdir(parents=True)
    shutil.copytree(encoder, temporary / "encoder")
    import_faiss().write_index(index, str(temporary / "index" / "index.faiss"))
    pq.write_table(to_table(documents, Document), temporary / "documents" / "rows.parquet")
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    checksums = {str(path.relative_to(temporary)): sources.fingerprint(path) for path in files}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    content = {**info, "documents": len(documents), "created": created, "nlift": __version__, "checksums": checksums}
    write_json(temporary / "bundle.json", content)
    final = bundles / version
    if final.exists() and _whole(final):
        shutil.rmtree(temporary)
    else:
        replace_folder(temporary, final)
    return final


def _whole(folder: Path) -> bool:
    try:
        verify(folder, read_info(folder))
    except ArtifactError:
        return False
    return True


def promote(bundles: Path, version: str, alias: str = PRODUCTION) -> None:
    """Let `alias` mean `version`. Raises ArtifactError where there is no such version."""
    if version.startswith(".") or not (bundles / version / "bundle.json").is_file():
        known = ", ".join(sorted(path.parent.name for path in bundles.glob("*/bundle.json"))) or "none"
        raise ArtifactError(f"{bundles}: no version {version!r}; found {known}")
    write_json(bundles / "aliases.json", {**read_aliases(bundles), alias: version})


def read_aliases(bundles: Path) -> dict[str, str]:
    """Versions by alias; {} where there is no aliases.json."""
    path = bundles / "aliases.json"
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ArtifactError(f"{path}: not a JSON object; restore it with `nlift promote {bundles} VERSION`") from None


def resolve(path: Path, alias: str = PRODUCTION) -> Path:
    """The bundle that a path means: itself, or a bundles folder's version of `alias`."""
    if (path / "bundle.json").is_file():
        return path
    if not path.is_dir():
        raise ArtifactError(f"{path}: no such folder; expected a bundle, or a folder of bundles as runs/demo/index")
    aliases = read_aliases(path)
    if alias not in aliases:
        raise ArtifactError(f"{path}: no bundle.json, no alias {alias!r} in aliases.json: neither bundle nor bundles folder")
    found = path / aliases[alias]
    if not (found / "bundle.json").is_file():
        raise ArtifactError(f"{path / 'aliases.json'}: {alias} is {aliases[alias]!r}, which is not in {path}")
    return found


def read_info(folder: Path) -> dict[str, Any]:
    """What bundle.json says. Raises ArtifactError where it is not readable."""
    try:
        info = dict(json.loads((folder / "bundle.json").read_text(encoding="utf-8")))
        info["checksums"], info["dim"], info["documents"], info["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / 'bundle.json'}: not readable as a bundle ({error})") from None
    return info


def verify(folder: Path, info: dict[str, Any]) -> None:
    """Raise ArtifactError where a file is missing or is not the one that was written."""
    for name, checksum in info["checksums"].items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path}: missing from the bundle; build it again")
        if sources.fingerprint(path) != checksum:
            raise ArtifactError(f"{path}: changed since the bundle was written (checksum differs); build it again")


def hits_to_json(hits: list[Hit]) -> list[dict[str, Any]]:
    """Hits as the HTTP answer has them."""
    return [asdict(hit) for hit in hits]


def import_faiss() -> Any:
    """The faiss module. Raises NliftError with the fix where it is not installed."""
    import logging

    logging.getLogger("faiss.loader").setLevel(logging.ERROR)  # it reports the instruction sets it tried
    try:
        import faiss
    except ImportError:
        raise NliftError("faiss is not installed; run `pip install nlift[cpu]`, or nlift[gpu], exactly one of them") from None
    return faiss
