"""A node with a replica is killed while searches are asked: every one is answered, and the node serves again."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from cluster_of_nodes import Nodes, command_of, free_port, worker_pids

from nlift.errors import NliftError
from nlift_serve.client import Client
from nlift_serve.config import DEFAULT

ROOT = Path(__file__).parents[2]
LIMIT_S = 300
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes():
    with Nodes(dashboard=True) as nodes:
        nodes.add()
        nodes.add()
        yield nodes


@pytest.fixture(scope="module")
def port(nodes, bundle, tmp_path_factory):
    """Where a server with two replicas, one on each node, listens."""
    port, folder = free_port(), tmp_path_factory.mktemp("serving")
    output, settings = folder / "output", yaml.safe_load(DEFAULT.read_text())
    # else each node would listen, at one port here: also one that has just started and knows no route yet
    settings["http"]["location"] = "HeadOnly"
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    command = ["serve", str(bundle.folder), "--address", nodes.address, "--port", str(port), "--num-replicas", "2"]
    command += ["--config", str(folder / "config.yaml")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT / 'serve'}"}
    with output.open("w") as stream:
        line = [sys.executable, "-m", "nlift.cli", *command]
        process = subprocess.Popen(line, env=environment, stdout=stream, stderr=stream)
    until(lambda: process.poll() is not None or "ctrl-c" in output.read_text())
    assert process.poll() is None, output.read_text()
    yield port
    process.send_signal(signal.SIGINT)
    process.wait(60)


def until(condition):
    end_s = time.monotonic() + LIMIT_S
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.1)
    assert condition()


def serves(node):
    """Whether a node has a replica."""
    return any("ServeReplica:nlift" in command_of(pid) for pid in worker_pids(node))


@pytest.mark.parametrize("seed", range(3))
def test_every_search_is_answered(nodes, port, seed):
    rng, ended, answers, failures = random.Random(seed), threading.Event(), [], []
    until(lambda: all(serves(node) for node in nodes.workers))

    def ask():
        with Client(f"http://127.0.0.1:{port}", attempts=12) as client:
            while not ended.is_set():
                try:
                    answers.append([hit["doc_id"] for hit in client.search("the old man", top_k=5)[0]])
                except NliftError as error:
                    failures.append(str(error))

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        moment = rng.randrange(20, 100)
        until(lambda: len(answers) > moment)
        victim = rng.choice(nodes.workers)
        nodes.kill(victim)
        back = nodes.start_again(victim)
        until(lambda: serves(back))
        count = len(answers)
        until(lambda: len(answers) > count + 50)
    finally:
        ended.set()
        for thread in asking:
            thread.join()
    assert not failures and all(answer == answers[0] for answer in answers)
