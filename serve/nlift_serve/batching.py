"""Jobs that arrive while others are worked on are worked on together."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class OverloadedError(Exception):
    """More jobs wait than may."""


class DeadlineError(Exception):
    """A job was not answered in time."""


@dataclass
class _Waiting(Generic[Job, Answer]):
    job: Job
    cost: int
    answer: "asyncio.Future[Answer]"
    since: float = field(default_factory=time.perf_counter)


class Batcher(Generic[Job, Answer]):
    """Works on jobs in the order they came, as many at once as their costs allow.

    No job waits for company: whoever finds the worker idle is worked on at once, and what came meanwhile is the next
    batch. So one connection has the least latency, and many have the throughput of large batches.
    """

    def __init__(
        self,
        work: Callable[[list[Job]], Awaitable[Sequence[Answer | Exception]]],
        *,
        budget: int,
        most_waiting: int,
        timeout_s: float,
        waited: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        """Set up an idle batcher.

        Args:
            work: Answers jobs, in their order; an exception in place of an answer is raised to whoever asked for it.
            budget: Cost of a batch at most; a job that costs more is a batch of its own.
            most_waiting: Jobs that may wait; beyond, `submit` raises OverloadedError.
            timeout_s: After so long `submit` raises DeadlineError; a job that has not begun by then is never worked on.
            waited: Called with how long each job waited, in seconds, when its batch begins.
        """
        self._work, self._budget, self._most_waiting = work, budget, most_waiting
        self._timeout_s, self._waited = timeout_s, waited
        self._waiting: deque[_Waiting[Job, Answer]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, job: Job, cost: int = 1) -> Answer:
        """The answer to a job."""
        if len(self._waiting) >= self._most_waiting:
            raise OverloadedError(f"{len(self._waiting)} requests are waiting")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(job, cost, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._run())
        try:
            return await asyncio.wait_for(answer, self._timeout_s)
        except TimeoutError:
            raise DeadlineError(f"not answered within {self._timeout_s:g} s") from None

    async def _run(self) -> None:
        try:
            while batch := self._take():
                for each in batch:
                    self._waited(time.perf_counter() - each.since)
                try:
                    answers = await self._work([each.job for each in batch])
                except Exception as error:  # whatever it is, those who wait must hear of it
                    answers = [error] * len(batch)
                for each, answer in zip(batch, answers, strict=True):
                    if each.answer.done():
                        continue
                    if isinstance(answer, Exception):
                        each.answer.set_exception(answer)
                    else:
                        each.answer.set_result(answer)
        finally:
            self._worker = None

    def _take(self) -> list[_Waiting[Job, Answer]]:
        """The next batch; jobs that nobody waits for any more are dropped."""
        batch: list[_Waiting[Job, Answer]] = []
        cost = 0
        while self._waiting:
            each = self._waiting[0]
            if not each.answer.done():
                if batch and cost + each.cost > self._budget:
                    break
                batch.append(each)
                cost += each.cost
            self._waiting.popleft()
        return batch
