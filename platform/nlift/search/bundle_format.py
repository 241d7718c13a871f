"""A bundle's folder: what it holds, how it is written and checked."""

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from nlift import __version__, progress
from nlift.data import sources
from nlift.data.files import replace_folder, write_json, write_jsonl
from nlift.data.schema import Document
from nlift.errors import ArtifactError, ConfigError
from nlift.search.analyzers import Analyzer, analyzer_named
from nlift.search.bm25 import BM25Index
from nlift.search.documents import DOCUMENTS_FILE, Documents, write_documents
from nlift.search.faiss_index import FaissIndex
from nlift.search.fusion import Fusion
from nlift.search.hits import shortened
from nlift.search.searchers import Mode, SearchSettings

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
    """Write a bundle under `bundles` and return its folder; the same content gets the same version.

    `documents`, and with them the vectors of `index` and the texts of `words`, stand in the order of `row_order`.
    `judged` are the queries that its settings were chosen on.
    """
    version = info["version"]
    temporary = bundles / f".{version}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    for part in ("index", "lexical", "documents"):
        (temporary / part).mkdir(parents=True)
    shutil.copytree(encoder, temporary / "encoder")
    index.write(temporary / "index")
    words.write(temporary / "lexical")
    write_jsonl(temporary / JUDGED_FILE, judged)
    write_documents(temporary / "documents", documents)
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    checksums = {str(path.relative_to(temporary)): sources.fingerprint(path) for path in files}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    content = {**info, "documents": len(documents), "created": created, "nlift": __version__, "checksums": checksums}
    write_json(temporary / INFO, content)
    final = bundles / version
    if final.exists() and is_whole(final):
        shutil.rmtree(temporary)
    else:
        replace_folder(temporary, final)
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
        if f"documents/{DOCUMENTS_FILE}" not in info["checksums"] or "search" not in info:
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
    return BM25Index.build([document.content for document in documents], analyzer)


def verify(folder: Path, info: dict[str, Any]) -> None:
    """Raise ArtifactError where a file is missing or is not the one that was written."""
    for name, checksum in info["checksums"].items():
        path = folder / name
        if not path.is_file():
            raise ArtifactError(f"{path}: missing from the bundle; build it again")
        if sources.fingerprint(path) != checksum:
            raise ArtifactError(f"{path}: changed since the bundle was written (checksum differs); build it again")
