"""The batcher: what waits together is worked on together; nobody is kept waiting, nobody is forgotten."""

import asyncio

import pytest

from nlift_serve.batching import Batcher, DeadlineError, OverloadedError


class Work:
    """Answers with the double, as soon as it may; remembers its batches."""

    def __init__(self):
        self.batches, self.may = [], asyncio.Event()

    async def __call__(self, jobs):
        self.batches.append(list(jobs))
        await self.may.wait()
        return [ValueError(job) if job < 0 else 2 * job for job in jobs]


def run(scenario, **settings):
    async def whole():
        work, waited = Work(), []
        settings_of = {"budget": 3, "most_waiting": 10, "timeout_s": 5.0, "waited": waited.append, **settings}
        return await scenario(Batcher(work, **settings_of), work, waited)

    return asyncio.run(whole())


def test_what_comes_while_others_are_worked_on_is_the_next_batch():
    async def scenario(batcher, work, waited):
        tasks = [asyncio.create_task(batcher.submit(1))]
        await asyncio.sleep(0.01)
        tasks += [asyncio.create_task(batcher.submit(job)) for job in (2, 3, 4, 5)]
        await asyncio.sleep(0.01)
        assert work.batches == [[1]]
        work.may.set()
        assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10]
        assert work.batches == [[1], [2, 3, 4], [5]] and len(waited) == 5
        assert await batcher.submit(6) == 12

    run(scenario)


def test_a_job_beyond_the_budget_is_a_batch_of_its_own():
    async def scenario(batcher, work, _):
        work.may.set()
        tasks = [asyncio.create_task(batcher.submit(job, cost)) for job, cost in ((1, 2), (2, 9), (3, 1), (4, 2))]
        await asyncio.gather(*tasks)
        assert work.batches == [[1], [2], [3, 4]]

    run(scenario)


def test_an_error_is_its_own_job_s():
    async def scenario(batcher, work, _):
        work.may.set()
        done = await asyncio.gather(*map(batcher.submit, (1, -1, 2)), return_exceptions=True)
        assert done[0] == 2 and isinstance(done[1], ValueError) and done[2] == 4

    run(scenario)


def test_work_that_fails_is_said_to_all_and_the_next_goes_on():
    async def scenario(batcher, work, _):
        work.may.set()
        done = await asyncio.gather(*map(batcher.submit, (1, "x")), return_exceptions=True)
        assert all(isinstance(answer, TypeError) for answer in done)
        assert await batcher.submit(2) == 4

    run(scenario)


def test_a_job_that_waits_too_long_is_never_worked_on():
    async def scenario(batcher, work, _):
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.01)
        with pytest.raises(DeadlineError):
            await batcher.submit(2)
        with pytest.raises(DeadlineError):
            await first
        work.may.set()
        assert await batcher.submit(3) == 6 and work.batches == [[1], [3]]

    run(scenario, timeout_s=0.05)


def test_more_than_may_wait_are_refused_at_once():
    async def scenario(batcher, work, _):
        tasks = [asyncio.create_task(batcher.submit(0))]
        await asyncio.sleep(0.01)  # the first batch has begun
        tasks += [asyncio.create_task(batcher.submit(job)) for job in (1, 2)]
        await asyncio.sleep(0.01)
        with pytest.raises(OverloadedError):
            await batcher.submit(5)
        work.may.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4]

    run(scenario, most_waiting=2)


def test_whoever_leaves_is_not_worked_on():
    async def scenario(batcher, work, _):
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.01)
        gone = asyncio.create_task(batcher.submit(2))
        await asyncio.sleep(0)
        gone.cancel()
        work.may.set()
        assert await first == 2
        assert await batcher.submit(3) == 6 and work.batches == [[1], [3]]

    run(scenario)
