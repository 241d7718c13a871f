"""Nothing is lost, doubled or done again after kill -9 of the driver and of a worker at random moments."""

import os
import random
import signal
import time
from collections import Counter

import pyarrow.parquet as pq
import pytest
from conftest import started

COUNT, SHARD, ACTORS = 320, 16, 2
LIMIT_S = 240
SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed else []) for seed in range(10)]


def start(folder):
    return started("fill_memory.py", folder, folder / "memory", folder / "log", COUNT)


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


def check(folder, crashes):
    """Every sentence is in the memory once; only what was in flight went through the model again."""
    rows = [row for path in folder.glob("memory/*/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert len(rows) == len({row["key"] for row in rows}) == COUNT
    assert all((row["target"] is None) != (row["fault"] is None) for row in rows)
    through = Counter(key for _, key in lines(folder))
    assert set(through) == {row["key"] for row in rows}
    assert sum(through.values()) <= COUNT + crashes * ACTORS * SHARD


@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_driver_and_then_a_killed_worker(tmp_path, seed):
    rng, first = random.Random(seed), start(tmp_path)
    wait_for_a_moment(tmp_path, rng, 1, COUNT - 6 * SHARD, first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    time.sleep(1)  # Ray's processes see that their driver is gone
    before = lines(tmp_path)
    assert len(before) < COUNT - ACTORS * SHARD
    second = start(tmp_path)
    wait_for_a_moment(tmp_path, rng, len(before) + 1, COUNT - 2 * SHARD, second)
    workers = {worker for worker, _ in lines(tmp_path)} - {worker for worker, _ in before}
    os.kill(int(rng.choice(sorted(workers))), signal.SIGKILL)
    finish(second, tmp_path)
    check(tmp_path, crashes=2)


def test_two_runs_on_one_memory(tmp_path):
    processes = [start(tmp_path), start(tmp_path)]
    for process in processes:
        finish(process, tmp_path)
    rows = [row for path in tmp_path.glob("memory/*/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert len(rows) == len({row["key"] for row in rows}) == COUNT  # shards of the same keys have the same name
