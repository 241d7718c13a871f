"""Serving: `nlift serve` beside a plain server of FastAPI, sentence-transformers and FAISS in one process.

Same encoder, corpus, cores and queries; a closed loop of 1, 16 and 64 connections, dense search, ten results. With
`--encoder FOLDER` another encoder than the embedded one, with `--documents N` so many documents (poquad_pl's many times
over), with `--production` HAProxy.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import load
import peers

from nlift.data import sources
from nlift.data.files import write_jsonl
from nlift.evaluation.datasets import RetrievalSet, load_set
from nlift.settings import EvaluationSet

CONNECTIONS, SECONDS, WARM_UP_S, START_S = (1, 16, 64), 10.0, 3.0, 300
PEER = Path(__file__).parent / "plain_server.py"


def prepare(folder: Path, count: int) -> list[str]:
    """Write a corpus of so many documents; the queries."""
    dataset = load_set(EvaluationSet(name="poquad_pl", kind="retrieval", path="embedded:poquad_pl"))
    assert isinstance(dataset, RetrievalSet)
    texts = [document.content for document in dataset.documents]
    rows = ({"_id": f"d{i}", "text": f"{i}. {texts[i % len(texts)]}"[:600]} for i in range(count))
    write_jsonl(folder / "corpus.jsonl", rows)
    return list(dataset.queries.values())


@contextlib.contextmanager
def running(command: list[str], port: int, path: str) -> Iterator[None]:
    """A server until the block ends; begins when it answers."""
    process = subprocess.Popen([sys.executable, *command], start_new_session=True)
    try:
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                if answer.status == 200:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{' '.join(command)} does not answer")
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(title: str, port: int, queries: list[str]) -> dict[int, load.Load]:
    """Print and return what came of each number of connections."""
    # a number makes each query one that nobody asked before: no cache helps
    asked = (f"{queries[number % len(queries)]} {number}" for number in itertools.count())
    bodies = ({"query": query, "top_k": 10, "mode": "dense"} for query in asked)
    asyncio.run(load.closed_loop(port, bodies, 4, WARM_UP_S))
    results = {}
    for connections in CONNECTIONS:
        results[connections] = asyncio.run(load.closed_loop(port, bodies, connections, SECONDS))
        print(f"  {title:6} {connections:3} connections: {results[connections]}", flush=True)
    return results


def main() -> None:
    """Print requests per second, latencies and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="embedded")
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--production", action="store_true")
    given = peers.options(parser)
    encoder = sources.model_source(given.encoder, "encoder")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        queries = prepare(folder, given.documents)
        corpus, bundles = folder / "corpus.jsonl", folder / "bundles"
        index = ["-m", "nlift.cli", "index", "--corpus", str(corpus), "--encoder", encoder, "--output", str(bundles)]
        index += ["--set", "search.mode=dense", "--set", "index.passages=false", "--language", "pl"]
        subprocess.run([sys.executable, *index], check=True)
        print(f"{given.documents} documents, {given.encoder}{', HAProxy' if given.production else ''}")
        port = free_port()
        vectors = next(bundles.glob("*/index/vectors.npy"))
        with running([str(PEER), encoder, str(corpus), str(vectors), str(port), given.device], port, "/healthz"):
            plain = measure("plain", port, queries)
        port = free_port()
        more = ["--production"] if given.production else []
        with running(["-m", "nlift.cli", "serve", str(bundles), "--port", str(port), *more], port, "/healthz"):
            ours = measure("nlift", port, queries)
    for connections in CONNECTIONS:
        ratio = ours[connections].per_second / plain[connections].per_second
        print(f"  {connections:3} connections: {ratio:.2f} times the plain server's requests/s")


if __name__ == "__main__":
    main()
