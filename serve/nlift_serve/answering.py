"""What a replica does for requests: searches that wait together are answered together, and so are texts to embed."""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from nlift.models.encoder import Role
from nlift.search.bundle import Bundle
from nlift.search.hits import Hit
from nlift.search.searchers import Mode
from nlift_serve import metrics
from nlift_serve.batching import Batcher, DeadlineError
from nlift_serve.config import Limits
from nlift_serve.schemas import EmbeddingsRequest, SearchRequest
from nlift_serve.served import Served


@dataclass(frozen=True)
class SearchAnswer:
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


EXPLAINED_CHARACTERS = 400  # that explaining a result is about as much work as encoding

Job = SearchRequest | EmbeddingsRequest
Done = SearchAnswer | Embedded


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
        """The answer to a request. Raises OverloadedError and DeadlineError, and NliftError for a mistake in it.

        Many texts to embed are worked on in pieces, so that searches come between them.
        """
        if not isinstance(job, EmbeddingsRequest):
            return await self.queue.submit(job, cost(job))
        try:
            async with asyncio.timeout(self.limits.timeout_s):
                pieces = [await self.queue.submit(piece, cost(piece)) for piece in _pieces(job, self.limits)]
        except TimeoutError:
            raise DeadlineError(f"not answered within {self.limits.timeout_s:g} s") from None
        return _joined([piece for piece in pieces if isinstance(piece, Embedded)])

    async def _work(self, jobs: list[Job]) -> Sequence[Done | Exception]:
        bundle = self.served.current  # the whole batch is of one version, whatever the alias means by its end
        return await asyncio.get_running_loop().run_in_executor(self._executor, answers, bundle, jobs)


def cost(job: Job) -> int:
    """How much work a request is, in characters to encode; a result counts one, one that is explained a text."""
    if isinstance(job, EmbeddingsRequest):
        return sum(map(len, texts_of(job)))
    results = len(texts_of(job)) * job.top_k
    return sum(map(len, texts_of(job))) + results * (EXPLAINED_CHARACTERS if job.explain else 1)


def _pieces(job: EmbeddingsRequest, limits: Limits) -> Iterator[EmbeddingsRequest]:
    """A request for vectors as several, each no more than a batch."""
    texts, characters = list[str](), 0
    for text in texts_of(job):
        if texts and characters + len(text) > limits.batch_characters:
            yield job.model_copy(update={"input": texts})
            texts, characters = [], 0
        texts.append(text)
        characters += len(text)
    yield job.model_copy(update={"input": texts})


def _joined(pieces: list[Embedded]) -> Embedded:
    """The vectors of all pieces. Raises DeadlineError where another version took over between them."""
    if len({piece.version for piece in pieces}) > 1:
        raise DeadlineError("another version took over; ask again")
    vectors_ND = np.concatenate([piece.vectors_ND for piece in pieces])
    return Embedded(pieces[0].version, vectors_ND, sum(piece.tokens for piece in pieces))


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
            key = ("search", job.mode, job.explain, job.top_k, json.dumps(filter_of(job), sort_keys=True))
        groups.setdefault(key, []).append(place)
    with suppress(Exception):  # whose query it is comes out below
        _encode_together(bundle, [job for job in jobs if isinstance(job, SearchRequest)])
    for places in groups.values():
        done |= dict(zip(places, _answers_together(bundle, [jobs[place] for place in places]), strict=True))
    return [done[place] for place in range(len(jobs))]


def _answers_together(bundle: Bundle, jobs: list[Any]) -> Sequence[Done | Exception]:
    """The answers to requests that are one search; what fails together is tried one by one."""
    run: Callable[..., Sequence[Done]] = _embed if isinstance(jobs[0], EmbeddingsRequest) else _search
    try:
        return run(bundle, jobs)
    except Exception as error:
        if len(jobs) == 1:
            return [error]
        return [answer for job in jobs for answer in _answers_together(bundle, [job])]


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


def _search(bundle: Bundle, jobs: list[SearchRequest]) -> list[SearchAnswer]:
    first = jobs[0]
    queries = [query for job in jobs for query in texts_of(job)]
    began = time.perf_counter()
    results = bundle.search(queries, first.top_k, mode=first.mode, filter=filter_of(first), explain=first.explain)
    metrics.PARTS.labels("search").observe(time.perf_counter() - began)
    by_job, start = [], 0
    for job in jobs:
        end = start + len(texts_of(job))
        by_job.append(SearchAnswer(bundle.version, bundle.mode(first.mode), results[start:end]))
        start = end
    return by_job


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
