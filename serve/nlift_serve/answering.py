"""What a replica does for requests: searches that wait together are answered together, and so are texts to embed."""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlift.errors import NliftError
from nlift.models.encoder import Role
from nlift.search.bundle import Bundle
from nlift.search.hits import Hit
from nlift.search.searchers import Mode
from nlift_serve import metrics
from nlift_serve.batching import Batcher
from nlift_serve.config import Limits
from nlift_serve.schemas import EmbeddingsRequest, SearchRequest
from nlift_serve.served import Served


@dataclass(frozen=True)
class Found:
    """The answer to a search: of one version, the hits of each query."""

    version: str
    mode: Mode
    results: list[list[Hit]]


@dataclass(frozen=True)
class Embedded:
    """Vectors of texts, float32 [N, D], by the encoder of one version, and how many tokens were read."""

    version: str
    vectors_ND: np.ndarray
    tokens: int


Job = SearchRequest | EmbeddingsRequest
Done = Found | Embedded


class Answering:
    """Answers jobs in batches, on a thread: on the replica's event loop they would starve its health checks."""

    def __init__(self, served: Served, limits: Limits, executor: Executor) -> None:
        self.served, self.limits, self._executor = served, limits, executor
        self.queue: Batcher[Job, Done] = Batcher(
            self._work,
            budget=limits.batch_characters,
            most_waiting=limits.max_waiting,
            timeout_s=limits.timeout_s,
            waited=metrics.PARTS.labels("queue").observe,
        )

    async def answer(self, job: Job) -> Done:
        """The answer to a request. Raises OverloadedError and DeadlineError, and NliftError for a mistake in it."""
        return await self.queue.submit(job, sum(map(len, texts_of(job))))

    async def _work(self, jobs: list[Job]) -> Sequence[Done | Exception]:
        bundle = self.served.current  # the whole batch is of one version, whatever the alias means by its end
        return await asyncio.get_running_loop().run_in_executor(self._executor, answers, bundle, jobs)


def texts_of(job: Job) -> list[str]:
    """The texts of a request."""
    if isinstance(job, EmbeddingsRequest):
        return [job.input] if isinstance(job.input, str) else job.input
    return job.queries or [job.query or ""]


def answers(bundle: Bundle, jobs: list[Job]) -> list[Done | Exception]:
    """The answer to each request; searches of one kind are one search."""
    done: dict[int, Done | Exception] = {}
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, job in enumerate(jobs):
        if isinstance(job, EmbeddingsRequest):
            key: tuple[Any, ...] = ("embed", job.input_type, job.truncate_prompt_tokens)
        else:
            key = ("search", job.mode, job.explain, json.dumps(filter_of(job), sort_keys=True))
        groups.setdefault(key, []).append(place)
    _encode_together(bundle, [job for job in jobs if isinstance(job, SearchRequest)])
    for places in groups.values():
        group: list[Any] = [jobs[place] for place in places]
        run: Callable[..., Sequence[Done]] = _embed if isinstance(group[0], EmbeddingsRequest) else _search
        try:
            done |= dict(zip(places, run(bundle, group), strict=True))
        except NliftError as error:  # one kind of request: the mistake is everyone's
            done |= dict.fromkeys(places, error)
    return [done[place] for place in range(len(jobs))]


def _encode_together(bundle: Bundle, jobs: list[SearchRequest]) -> None:
    """Let the queries of all searches that need vectors be encoded at once."""
    queries = [query for job in jobs if job.explain or bundle.mode(job.mode) != "lexical" for query in texts_of(job)]
    metrics.BATCH.observe(sum(len(texts_of(job)) for job in jobs))
    if queries:
        known = bundle.query_vectors
        hits, misses, began = known.hits, known.misses, time.perf_counter()
        known(queries)
        metrics.PARTS.labels("encode").observe(time.perf_counter() - began)
        metrics.CACHED.labels("hit").inc(known.hits - hits)
        metrics.CACHED.labels("miss").inc(known.misses - misses)


def _search(bundle: Bundle, jobs: list[SearchRequest]) -> list[Found]:
    first, top_k = jobs[0], max(job.top_k for job in jobs)
    queries = [query for job in jobs for query in texts_of(job)]
    began = time.perf_counter()
    results = bundle.search(queries, top_k, mode=first.mode, filter=filter_of(first), explain=first.explain)
    metrics.PARTS.labels("search").observe(time.perf_counter() - began)
    found, start = [], 0
    for job in jobs:
        end = start + len(texts_of(job))
        own = [hits[: job.top_k] for hits in results[start:end]]
        found.append(Found(bundle.version, bundle.mode(first.mode), own))
        start = end
    return found


def _embed(bundle: Bundle, jobs: list[EmbeddingsRequest]) -> list[Embedded]:
    first, encoder = jobs[0], bundle.encoder
    texts = [text for job in jobs for text in texts_of(job)]
    role: Role = first.input_type
    length = first.truncate_prompt_tokens
    length = length if length and length > 0 else bundle.info.get("max_length")
    vectors_ND = encoder.encode(texts, role=role, max_length=length)
    counts = [len(ids) for ids in encoder.tokens(encoder.prefixed(texts, role), length)]
    embedded, start = [], 0
    for job in jobs:
        end = start + len(texts_of(job))
        own = vectors_ND[start:end]
        if job.dimensions is not None:
            own = own[:, : job.dimensions]
            own = own / np.linalg.norm(own, axis=1, keepdims=True).clip(1e-12)
        embedded.append(Embedded(bundle.version, own, sum(counts[start:end])))
        start = end
    return embedded


def filter_of(job: SearchRequest) -> dict[str, Any]:
    """The filter as `Bundle.search` takes it."""
    return {
        name: wanted.model_dump(exclude_none=True) if hasattr(wanted, "model_dump") else wanted
        for name, wanted in job.filter.items()
    }


def in_base64(vector_D: np.ndarray) -> str:
    """A vector as the openai client asks for it."""
    return base64.b64encode(vector_D.astype("<f4").tobytes()).decode()
