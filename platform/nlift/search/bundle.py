"""An encoder, its index and its documents as one versioned, checksummed, immutable folder."""

import json
import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq

from nlift import __version__, progress
from nlift.data import sources
from nlift.data.files import read_rows, replace_folder, write_json, write_jsonl
from nlift.data.schema import Document, to_table
from nlift.errors import ArtifactError, ConfigError, NliftError
from nlift.models.encoder import Encoder
from nlift.search.analyzers import Analyzer, analyzer_named
from nlift.search.bm25 import BM25Index
from nlift.search.faiss_index import FaissIndex
from nlift.search.fusion import Fusion
from nlift.search.ranking import NO_ROW, row_order
from nlift.search.searchers import Mode, SearchSettings, WantedMode, searchers
from nlift.visible import SURROGATE

PRODUCTION = "production"
INFO, ALIASES = "bundle.json", "aliases.json"
INDEX_FILE, JUDGED_FILE = "index.faiss", "judged.jsonl"
MAX_DEPTH = 100  # of metadata as JSON; more is null


@dataclass(frozen=True)
class Hit:
    """One result.

    Attributes:
        doc_id: The document's id.
        score: Cosine (dense, -1 to 1), BM25 (lexical, above 0) or both together (hybrid, 0 to 1); higher is better.
        title: The document's title, empty where it has none.
        text: The document's text.
        metadata: The corpus's other columns.
    """

    doc_id: str
    score: float
    title: str
    text: str
    metadata: dict[str, Any]


class Bundle:
    """A loaded bundle; `search` answers queries."""

    def __init__(
        self,
        folder: Path,
        info: dict[str, Any],
        settings: SearchSettings,
        encoder: Encoder,
        index: FaissIndex,
        words: BM25Index,
        documents: list[Document],
    ) -> None:
        self.folder, self.info, self.settings = folder, info, settings
        self.encoder, self.index, self.documents = encoder, index, documents
        encode = partial(encoder.encode, role="query", max_length=info.get("max_length"))  # as measured
        self.searchers = searchers(index, encode, words, self.settings)

    @property
    def version(self) -> str:
        """The bundle's name."""
        return str(self.info["version"])

    @classmethod
    def load(cls, path: str | Path) -> "Bundle":
        """A bundle with every file checked.

        Args:
            path: A bundle's folder, or a folder of bundles, whose production version is taken.

        Returns:
            The bundle, its encoder in the precision that its documents were embedded in.

        Raises:
            ArtifactError: A file is missing or was changed, or parts do not belong together.
        """
        folder = resolve(Path(path))
        info = read_info(folder)
        verify(folder, info)
        settings = read_settings(folder, info)
        encoder = Encoder.load(folder / "encoder", compute_type=info.get("compute_type", "float32"))
        index = FaissIndex.read(folder / "index" / INDEX_FILE)
        documents = read_rows(folder / "documents", Document)
        words = _read_words(folder, info, settings.analyzer, documents)
        if not encoder.dim == index.dim == info["dim"] or not len(documents) == index.size == info["documents"]:
            raise ArtifactError(
                f"{folder}: encoder of {encoder.dim} dimensions, index of {index.dim} x {index.size}, "
                f"{len(documents)} documents do not belong together"
            )
        if not np.array_equal(row_order([document.doc_id for document in documents]), np.arange(len(documents))):
            raise ArtifactError(f"{folder}: its documents are not in order of descending ids; build it again")
        return cls(folder, info, settings, encoder, index, words, documents)

    def mode(self, wanted: WantedMode = "auto") -> Mode:
        """The mode that is meant: `auto` is the one that was best when the bundle was built.

        Raises NliftError for what is no mode.
        """
        mode = self.settings.mode if wanted == "auto" else wanted
        if mode not in self.searchers:
            raise NliftError(f"mode: found {shortened(wanted)}, expected auto, dense, lexical or hybrid")
        return mode

    def search(self, queries: Sequence[str], top_k: int = 10, *, mode: WantedMode = "auto") -> list[list[Hit]]:
        """The best documents of each query, as evaluation ranks them.

        Args:
            queries: Texts; several at once are encoded together.
            top_k: Results of a query at most. A hybrid search has no candidates beyond the first `depth` of each leg.
            mode: `dense` (the encoder), `lexical` (BM25), `hybrid` (both), or `auto`, what was best when the bundle was
                built.

        Returns:
            One list per query, in their order: hits, best first; of equal scores the higher document id first.

        Raises:
            NliftError: `queries` is no list of texts, a query holds half of a surrogate pair, as a half emoji is, or
                `top_k` or `mode` is none.
        """
        texts = _texts(queries)
        if not isinstance(top_k, Integral) or isinstance(top_k, bool) or top_k < 1:
            raise NliftError(f"top_k: found {shortened(top_k)}, expected a whole number above 0")
        ranking = self.searchers[self.mode(mode)].search(texts, int(top_k))
        return [
            [self._hit(int(row), float(score)) for row, score in zip(rows, scores, strict=True) if row != NO_ROW]
            for rows, scores in zip(ranking.rows_QK, ranking.scores_QK, strict=True)
        ]

    def _hit(self, row: int, score: float) -> Hit:
        document = self.documents[row]
        return Hit(document.doc_id, score, document.title, document.text, json.loads(document.metadata or "{}"))


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
    index.write(temporary / "index" / INDEX_FILE)
    words.write(temporary / "lexical")
    write_jsonl(temporary / JUDGED_FILE, judged)
    pq.write_table(to_table(documents, Document), temporary / "documents" / "rows.parquet")
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    checksums = {str(path.relative_to(temporary)): sources.fingerprint(path) for path in files}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    content = {**info, "documents": len(documents), "created": created, "nlift": __version__, "checksums": checksums}
    write_json(temporary / INFO, content)
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
    if version.startswith(".") or not (bundles / version / INFO).is_file():
        known = ", ".join(sorted(path.parent.name for path in bundles.glob(f"*/{INFO}"))) or "none"
        raise ArtifactError(f"{bundles}: no version {version!r}; found {known}")
    write_json(bundles / ALIASES, {**read_aliases(bundles), alias: version})


def read_aliases(bundles: Path) -> dict[str, str]:
    """Versions by alias; {} where there is no aliases.json."""
    path = bundles / ALIASES
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ArtifactError(f"{path}: not a JSON object; restore it with `nlift promote {bundles} VERSION`") from None


def resolve(path: Path, alias: str = PRODUCTION) -> Path:
    """The bundle that a path means: itself, or a bundles folder's version of `alias`."""
    if (path / INFO).is_file():
        return path
    if not path.is_dir():
        raise ArtifactError(f"{path}: no such folder; expected a bundle, or a folder of bundles as runs/demo/index")
    aliases = read_aliases(path)
    if alias not in aliases:
        raise ArtifactError(f"{path}: no {INFO}, no alias {alias!r} in {ALIASES}: neither bundle nor bundles folder")
    folder = path / aliases[alias]
    if not (folder / INFO).is_file():
        raise ArtifactError(f"{path / ALIASES}: {alias} is {aliases[alias]!r}, which is not in {path}")
    return folder


def read_info(folder: Path) -> dict[str, Any]:
    """What bundle.json says. Raises ArtifactError where it is not readable."""
    try:
        info = dict(json.loads((folder / INFO).read_text(encoding="utf-8")))
        info["checksums"], info["dim"], info["documents"], info["version"]
        if "search" not in info:
            raise ArtifactError(f"{folder / INFO}: a bundle of an earlier nlift, without `search`; build it again")
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


def _read_words(folder: Path, info: dict[str, Any], analyzer: Analyzer, documents: Sequence[Document]) -> BM25Index:
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


def hits_to_json(hits: list[Hit]) -> list[dict[str, Any]]:
    """Hits as the HTTP answer has them: JSON, whatever the corpus has; what is no number in JSON is null."""
    return [{name: _as_json(value) for name, value in vars(hit).items()} for hit in hits]


def _as_json(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list) and depth > MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return {escaped(key): _as_json(item, depth + 1) for key, item in value.items()}
    return [_as_json(item, depth + 1) for item in value] if isinstance(value, list) else value


def escaped(text: str) -> str:
    """A text that can be written: half of a surrogate pair, as of an emoji that was cut, becomes its escape."""
    return SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def fault(query: str) -> str | None:
    """Why a query cannot be searched for, in the words of the command line and of HTTP; None where it can."""
    half = SURROGATE.search(query)
    if half is None:
        return None
    return f"found half of a surrogate pair ({escaped(half[0])}, character {half.start() + 1}), expected Unicode text"


def _texts(queries: Iterable[str]) -> list[str]:
    """The queries. Raises NliftError where they are no list of texts."""
    if isinstance(queries, str | bytes) or not isinstance(queries, Iterable):
        raise NliftError(f"queries: found {shortened(queries)}, expected a list of texts")
    texts = list(queries)
    for place, text in enumerate(texts):
        why = fault(text) if isinstance(text, str) else f"found {shortened(text)}, expected a text"
        if why is not None:
            raise NliftError(f"queries[{place}]: {why}")
    return texts


def shortened(value: object) -> str:
    """A value as messages show it."""
    shown = ascii(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
