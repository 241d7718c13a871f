"""What a replica answers from: the version that an alias means, followed when the alias moves.

A new version is loaded beside the old one, answers its smoke queries, and takes its place by one assignment: whoever
has begun with the old one ends with it.
"""

import ctypes
import gc
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nlift.data.files import read_jsonl
from nlift.errors import ArtifactError, NliftError
from nlift.search.bundle import Bundle, Shards
from nlift.search.bundle_format import INFO, JUDGED_FILE
from nlift.search.bundle_store import resolve
from nlift.search.searchers import Mode

logger = logging.getLogger("nlift")
SMOKE_QUERIES = 5
RETRY_S = 30.0  # after which a version that was refused is tried again: it may have been the disk


@dataclass(frozen=True)
class Refused:
    """A version that did not take over, and why."""

    version: str
    why: str


def load_version(folder: Path, cached_queries: int = 0, shards: Shards | None = None) -> Bundle:
    """A bundle that has answered its smoke queries. Raises NliftError where it cannot be loaded, or answers none."""
    bundle = Bundle.load(folder, cached_queries=cached_queries, shards=shards)
    smoke(bundle)
    return bundle


def smoke(bundle: Bundle) -> None:
    """Raise ArtifactError where a bundle does not answer the first of the queries that it keeps, in every mode."""
    kept = [row["query"] for row in read_jsonl(bundle.folder / JUDGED_FILE)[:SMOKE_QUERIES]] or ["warm up"]
    modes: tuple[Mode, ...] = ("lexical", "dense", "hybrid")
    for mode in modes:
        answers = bundle.search(kept, 10, mode=mode)
        if mode != "lexical" and not all(answers):
            raise ArtifactError(f"{bundle.folder}: answers {kept[0]!r} with nothing by {mode} search")


class Served:
    """The version that is answered from, kept up to date by a thread."""

    def __init__(self, path: Path | str, alias: str, load: Callable[[Path], Bundle], poll_s: float) -> None:
        self._path, self._alias, self._load, self._poll_s = path, alias, load, poll_s
        self.current = load(resolve(path, alias))
        self.refused: Refused | None = None
        self.swapped: Callable[[str, str], object] = lambda outcome, before: None
        self._tried: tuple[tuple[str, int, int], float] = (("", 0, 0), 0.0)
        self._stop = threading.Event()
        if not Path(path, INFO).is_file():  # a bundle itself is what it is
            threading.Thread(target=self._watch, name="alias", daemon=True).start()

    def close(self) -> None:
        """Stop following the alias."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self._poll_s):
            try:
                self._look()
            except Exception as error:  # this thread must not end: nothing would be followed any more
                self._refuse("", _why(error))

    def _look(self) -> None:
        folder = resolve(self._path, self._alias)
        if folder.name == self.current.folder.name:
            self.refused = None
            return
        status = (folder / INFO).stat()
        written = (folder.name, status.st_ino, status.st_mtime_ns)
        if self._tried[0] != written or time.monotonic() > self._tried[1] + RETRY_S:
            self._tried = written, time.monotonic()
            self.follow(folder)

    def follow(self, folder: Path) -> None:
        """Let a bundle take over, or say why it does not."""
        began, before = time.perf_counter(), self.current.version
        try:
            version = self._load(folder)
        except Exception as error:  # whatever is wrong with it, the old one goes on
            self._refuse(folder.name, _why(error))
            return
        self.current, self.refused = version, None
        del version
        _free()
        self.swapped("done", before)
        seconds = time.perf_counter() - began
        logger.info("%s is now %s, before %s (%.1f s)", self._alias, folder.name, before, seconds)

    def _refuse(self, version: str, why: str) -> None:
        refused = Refused(version, why)
        if refused != self.refused:
            self.refused = refused
            self.swapped("refused", self.current.version)
            logger.error("%s stays %s; refused: %s", self._alias, self.current.version, why)


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, NliftError) else f"{type(error).__name__}: {error}"


def _free() -> None:
    """Give back what a version that nobody uses any more had."""
    gc.collect()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
