"""Nothing is lost, doubled or done again after kill -9 of the driver and of a worker at random moments.

The memory is a folder, or in a bucket.
"""

import os
import random
import signal
import time
from collections import Counter

import pytest
from conftest import started
from programs.fill_result_cache import CONFIG

from nlift.data.result_cache import ResultCache
from nlift.data.schema import Translation
from nlift.models.translator import identity

# the session's Ray first: of those that are killed here one would keep its job agent's port for half a minute
pytestmark = pytest.mark.usefixtures("ray_session")
COUNT, SHARD, ACTORS = 320, 16, 2
LIMIT_S = 240
SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed else []) for seed in range(20)]


def start(folder, place):
    return started("fill_result_cache.py", folder, place, folder / "log", COUNT)


def rows_of(place):
    return ResultCache(place, identity(CONFIG), Translation).rows().to_table().to_pylist()


def lines(folder):
    """Process and key of every sentence that went into the model."""
    path = folder / "log"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(folder, count, process):
    """Wait until so many sentences went into the model."""
    end = time.monotonic() + LIMIT_S
    while len(lines(folder)) < count:
        assert process.poll() is None and time.monotonic() < end, (folder / "output").read_text()[-3000:]
        time.sleep(0.01)


def wait_for_a_moment(folder, rng, first, last, process):
    """Wait until some random point of the work."""
    wait_for(folder, rng.randrange(first, last), process)
    time.sleep(rng.random() * 0.1)


def finish(process, folder):
    assert process.wait(LIMIT_S) == 0, (folder / "output").read_text()[-3000:]


def check(folder, place, crashes):
    """Every sentence is in the memory once; only what was in flight went through the model again."""
    rows = rows_of(place)
    assert len(rows) == len({row["key"] for row in rows}) == COUNT
    assert all((row["target"] is None) != (row["fault"] is None) for row in rows)
    through = Counter(key for _, key in lines(folder))
    assert set(through) == {row["key"] for row in rows}
    assert sum(through.values()) <= COUNT + crashes * ACTORS * SHARD


def killed_and_resumed(folder, place, seed):
    """The driver is killed, the run started again, and then one of its workers killed."""
    rng, first = random.Random(seed), start(folder, place)
    wait_for_a_moment(folder, rng, 1, COUNT - 6 * SHARD, first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(1)  # Ray's processes see that their driver is gone
    before = lines(folder)
    assert len(before) < COUNT - ACTORS * SHARD
    second = start(folder, place)
    wait_for_a_moment(folder, rng, len(before) + 1, COUNT - 2 * SHARD, second)
    workers = {worker for worker, _ in lines(folder)} - {worker for worker, _ in before}
    os.kill(int(rng.choice(sorted(workers))), signal.SIGKILL)
    finish(second, folder)
    check(folder, place, crashes=2)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_driver_and_then_a_killed_worker(tmp_path, seed):
    killed_and_resumed(tmp_path, tmp_path / "memory", seed)


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.slow) for seed in range(2)])
def test_the_same_with_the_memory_in_a_bucket(tmp_path, bucket, seed):
    killed_and_resumed(tmp_path, f"{bucket}/memory", seed)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["bucket", "folder"])
def test_two_runs_on_one_memory(tmp_path, bucket, where):
    place = f"{bucket}/memory" if where == "bucket" else tmp_path / "memory"
    processes = [start(tmp_path, place), start(tmp_path, place)]
    for process in processes:
        finish(process, tmp_path)
    keys = [row["key"] for row in rows_of(place)]
    assert len(keys) == len(set(keys)) == COUNT  # shards of the same keys have the same name
