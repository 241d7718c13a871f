"""Ctrl-C, a closed terminal, a kill, memory that does not suffice: one line, an exit code, no process of Ray left."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest
import yaml
from typer.testing import CliRunner

from nlift import cli, cluster
from nlift.data.database import open_database
from nlift.data.result_cache import ResultCache, complete
from nlift.data.schema import Translation
from nlift.errors import DataError, MemoryShortageError, NliftError, ResourceError
from nlift.settings import TranslateConfig

PLATFORM = Path(__file__).parents[1] / "platform"
STOPPED = "stopped: what was finished is kept, the same command goes on from there"


@pytest.fixture
def experiment(tmp_path):
    """The file of an experiment on English pairs alone that would train for minutes."""
    raw = {
        "name": "long",
        "output_dir": str(tmp_path / "runs"),
        "nli": {"path": "embedded", "limit": 600},
        "translate": None,
        "score": None,
        "train": {"global_batch_size": 16, "epochs": 500, "num_workers": 1, "checkpoint_every_steps": 5},
    }
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(raw))
    return tmp_path / "long.yaml"


def processes(mark):
    """Command lines of the processes that were started by one with this mark, itself included."""
    lines = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                lines.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:  # gone meanwhile
            continue
    return [line for line in lines if line]


def until(condition, limit_s=120):
    end_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.2)
    return condition()


def started(command, tmp_path, **environment):
    """A command of nlift in a process of its own, with its own Ray."""
    known = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    known |= {"PYTHONPATH": str(PLATFORM), "NLIFT_TEST": str(tmp_path), **environment}
    line = [sys.executable, "-m", "nlift.cli", *map(str, command)]
    with (tmp_path / "output").open("w") as output:
        return subprocess.Popen(line, env=known, stdout=output, stderr=output, start_new_session=True)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.slow),
    ],
)
def test_training_that_is_stopped_says_so_and_goes_on_later(experiment, tmp_path, number, code):
    process = started(["run", experiment], tmp_path)
    folders = (tmp_path / "runs" / "long").glob
    assert until(lambda: any(len(path.read_text().splitlines()) > 6 for path in folders("train.tmp-*/log.jsonl")))
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    lines = (tmp_path / "output").read_text().splitlines()
    assert lines[-1] == STOPPED and "Traceback" not in "".join(lines)
    mark = f"NLIFT_TEST={tmp_path}".encode()
    assert until(lambda: not processes(mark), 30), processes(mark)
    checkpoints = [*folders("train.tmp-*/ray/**/state.pt")]
    assert checkpoints  # what the next run goes on from


@pytest.mark.slow
def test_a_machine_without_memory_gets_advice(experiment, tmp_path):
    process = started(["run", experiment], tmp_path, RAY_memory_usage_threshold="0.01")
    assert process.wait(timeout=200) == 2
    lines = (tmp_path / "output").read_text().splitlines()
    assert lines[-1].startswith("error: train: ") and "lower train.device_batch_size" in lines[-1]
    assert "Traceback" not in "".join(lines)
    mark = f"NLIFT_TEST={tmp_path}".encode()
    assert until(lambda: not processes(mark), 30), processes(mark)


def test_an_actor_that_is_ended_again_and_again_is_given_up(ray_session, tmp_path):
    class Dying:  # inside, so that workers get it by value
        def __init__(self, config):
            self.notices = []

        def __call__(self, batch):
            os.kill(os.getpid(), signal.SIGKILL)

    cache, config = ResultCache(tmp_path / "memory", {}, Translation), TranslateConfig(num_actors=1)
    with pytest.raises(MemoryShortageError, match="a worker was ended"), open_database(tmp_path) as database:
        database.add("given", pads.dataset(pa.table({"source": ["a"]})))
        complete(database, "done", "FROM given", cache, Dying, config, "translate")


def test_an_error_of_ours_in_an_actor_is_not_dressed_up(ray_session, tmp_path):
    class Broken:
        def __init__(self, config):
            self.notices = [1 / 0]

    cache, config = ResultCache(tmp_path / "memory", {}, Translation), TranslateConfig(num_actors=1)
    with pytest.raises(Exception, match="division by zero") as caught, open_database(tmp_path) as database:
        database.add("given", pads.dataset(pa.table({"source": ["a"]})))
        complete(database, "done", "FROM given", cache, Broken, config, "translate")
    assert not isinstance(caught.value, NliftError)


def full_disk():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x.parquet")


def arrow_on_a_full_disk():
    raise OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device")


def no_memory():
    raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried 99")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def mistaken():
    raise DataError("x.tsv:2: wrong")


def ours():
    return 1 / 0


@pytest.mark.parametrize(
    ("work", "kind", "message"),
    [
        (full_disk, ResourceError, "no space left on the disk; free some and run again"),
        (arrow_on_a_full_disk, ResourceError, "no space left on the disk"),
        (no_memory, MemoryShortageError, "memory did not suffice"),
        (lambda: np.empty(2**62, np.uint8), MemoryShortageError, "memory did not suffice"),
        (killed, MemoryShortageError, "a worker was ended from outside"),
        (mistaken, DataError, r"^x\.tsv:2: wrong$"),
        (ours, ZeroDivisionError, "division by zero"),
    ],
)
def test_what_ended_a_task_is_said_in_one_line(ray_session, work, kind, message):
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not import this file
    task = ray.remote(max_retries=0)(work)
    with pytest.raises(kind, match=message) as caught:
        cluster.get(task.remote())
    assert not isinstance(caught.value, NliftError) or "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("work", "line"),
    [
        (
            full_disk,
            "error: /data/x.parquet: no space left on the disk; free some and run again, what was finished is kept",
        ),
        (lambda: np.empty(2**62, np.uint8), "error: memory did not suffice; what was finished is kept"),
        (lambda: (_ for _ in ()).throw(DataError("a\x1b[31m\ud83d")), "error: a\\x1b[31m\\ud83d"),
    ],
)
def test_what_ends_the_command_is_one_line_and_exit_code_2(monkeypatch, work, line):
    monkeypatch.setattr("nlift.pipeline.promotion.promote", lambda *_, **__: work())
    result = CliRunner().invoke(cli.app, ["promote", "bundles", "version"])
    assert (result.exit_code, result.output.splitlines()) == (2, [line])


def test_work_in_a_thread_gives_what_it_gives_and_raises_what_it_raises():
    assert cluster.in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        cluster.in_thread(ours)
