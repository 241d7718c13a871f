"""A bundle that is shared out: each shard is a deployment of its own, and all are asked at once.

A shard has the vectors and words of a part of the documents; encoder, documents and fields stay with the replica that
answers people. Each leg's answers meet there before they are fused: the answer is that of one process.
"""

import asyncio
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from nlift.data.stored_folder import local_copy, place
from nlift.errors import ArtifactError
from nlift.search.bundle_part import BundlePart
from nlift.search.faiss_gpu import import_faiss
from nlift.search.ranking import Ranking
from nlift.search.searchers import Searcher
from nlift.search.shards import ShardedIndex, ShardedSearcher, bounds_of
from nlift.search.vector_index import Allowed, VectorIndex
from nlift_serve.batching import DeadlineError

VERSIONS = 2  # that a shard holds: the one that is served, and the next
OPEN_TIMEOUT_S = 600.0


@serve.deployment
class Shard:
    """Has one part of a bundle, of the version that a replica answers from and of the one that takes over."""

    def __init__(self, part: int, parts: int, threads: int | None) -> None:
        logging.getLogger("nlift").setLevel(logging.INFO)
        if threads is not None:
            torch.set_num_threads(threads)
            import_faiss().omp_set_num_threads(threads)
        self.part, self.parts = part, parts
        self._open: OrderedDict[str, BundlePart] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, folder: str, leg: str, method: str, *arguments: Any, **named: Any) -> Any:
        """What a method of a leg, `dense` or `lexical`, of a bundle answers; a bundle it has not is opened."""
        return getattr(getattr(self._of(folder), leg), method)(*arguments, **named)

    def open(self, folder: str) -> str:
        """Open a bundle; why it cannot be opened, empty where it can."""
        try:
            self._of(folder)
        except Exception as error:
            return str(error) if isinstance(error, ArtifactError) else f"{type(error).__name__}: {error}"
        return ""

    def _of(self, folder: str) -> BundlePart:
        with self._lock:
            if folder not in self._open:
                self._open[folder] = BundlePart.load(local_copy(folder), self.part, self.parts)
            self._open.move_to_end(folder)
            while len(self._open) > VERSIONS:
                self._open.popitem(last=False)
            return self._open[folder]


class Shards:
    """All shards as a replica asks them, from its threads, by its event loop."""

    def __init__(self, handles: Sequence[Any], loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._handles, self._loop, self._timeout_s = handles, loop, timeout_s
        self._threads = ThreadPoolExecutor(max_workers=len(handles), thread_name_prefix="shards")

    def __call__(self, folder: Path, count: int) -> tuple[VectorIndex, Searcher]:
        """The vectors and words of a bundle of so many documents. Raises ArtifactError where a shard cannot open it."""
        name, bounds = place(folder), bounds_of(count, len(self._handles))

        def opened(shard: int) -> str:
            return str(self.call(shard, "open", OPEN_TIMEOUT_S, name))

        why = next((why for why in self._map(opened, range(len(self._handles))) if why), None)
        if why is not None:
            raise ArtifactError(why)
        dense = [_RemoteIndex(self, shard, name, bounds[shard + 1] - bounds[shard]) for shard in range(len(bounds) - 1)]
        words = [_RemoteWords(self, shard, name) for shard in range(len(bounds) - 1)]
        return ShardedIndex(dense, bounds, self._map), ShardedSearcher(words, bounds, self._map)

    def call(self, shard: int, method: str, timeout_s: float, *arguments: Any, **named: Any) -> Any:
        """What a shard's method returns. Raises DeadlineError where it does not answer, or was lost on the way."""

        async def asked() -> Any:
            return await getattr(self._handles[shard], method).remote(*arguments, **named)

        future = asyncio.run_coroutine_threadsafe(asked(), self._loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise DeadlineError(f"shard {shard} did not answer within {timeout_s:g} s") from None
        except RayTaskError:  # what the shard itself raised
            raise
        except (RayError, RayServeException):
            raise DeadlineError(f"shard {shard} was lost; ask again") from None

    def ask(self, shard: int, *arguments: Any, **named: Any) -> Any:
        """What a leg of a shard answers."""
        return self.call(shard, "ask", self._timeout_s, *arguments, **named)

    def _map(self, ask: Callable[[int], Any], shards: Iterable[int]) -> Iterable[Any]:
        return self._threads.map(ask, shards)


@dataclass(frozen=True)
class _RemoteIndex:
    """A shard's vectors."""

    shards: Shards
    shard: int
    folder: str
    size: int

    def search(self, queries_QD: np.ndarray, top_k: int, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query."""
        ranking: Ranking = self.shards.ask(self.shard, self.folder, "dense", "search", queries_QD, top_k, allowed)
        return ranking

    def scores(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The exact scores of given rows."""
        scores_QK: np.ndarray = self.shards.ask(self.shard, self.folder, "dense", "scores", queries_QD, rows_QK)
        return scores_QK

    def nearest(self, queries_QD: np.ndarray, rows_QK: np.ndarray) -> np.ndarray:
        """The nearest passage of given rows."""
        nearest_QK: np.ndarray = self.shards.ask(self.shard, self.folder, "dense", "nearest", queries_QD, rows_QK)
        return nearest_QK


@dataclass(frozen=True)
class _RemoteWords:
    """A shard's words."""

    shards: Shards
    shard: int
    folder: str

    def search(self, queries: Sequence[str], top_k: int, *, allowed: Allowed | None = None) -> Ranking:
        """The best rows of each query."""
        ranking: Ranking = self.shards.ask(
            self.shard, self.folder, "lexical", "search", list(queries), top_k, allowed=allowed
        )
        return ranking

    def scores(self, queries: Sequence[str], rows_QK: np.ndarray) -> np.ndarray:
        """The exact scores of given rows."""
        scores_QK: np.ndarray = self.shards.ask(self.shard, self.folder, "lexical", "scores", list(queries), rows_QK)
        return scores_QK
