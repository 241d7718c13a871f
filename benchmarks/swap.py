"""Changes under load: what fails while 64 connections ask, and what memory is left.

Two versions with the same encoder and other documents take turns in production; every answer must be of one version
wholly. Then the deployment is changed, and all its replicas are replaced; then a replica is killed (SIGKILL), while
they ask, and again while our own client asks, which tries again. `--production` with HAProxy, `--replicas N`.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import load
import serve as serving

from nlift.data import sources
from nlift.data.files import write_jsonl
from nlift.errors import NliftError
from nlift.search.aliases import promote, versions
from nlift.settings import ClusterConfig
from nlift_serve import replica
from nlift_serve.client import Client
from nlift_serve.config import ServiceConfig, read_config

CONNECTIONS, LEAST, SWAPS, SWAP_EVERY_S = 64, 5000, 6, 4.0


def built(folder: Path) -> Path:
    """A folder of bundles with two versions, the documents of each named after it."""
    queries = serving.prepare(folder, 1000)
    write_jsonl(folder / "queries.jsonl", [{"query": query} for query in queries])
    encoder = sources.model_source("embedded", "encoder")
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    for name in ("a", "b"):
        corpus = folder / f"{name}.jsonl"
        write_jsonl(corpus, [{"_id": f"{name}{row['_id']}", "text": row["text"]} for row in rows])
        command = ["-m", "nlift.cli", "index", "--corpus", str(corpus), "--encoder", encoder]
        command += ["--output", str(folder / "bundles"), "--language", "pl", "--set", "search.mode=hybrid"]
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return folder / "bundles"


def replicas() -> list[int]:
    """The processes that answer."""
    listing = subprocess.run(["pgrep", "-f", "ServeReplica:nlift"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listing.stdout.split()]


def memory() -> str:
    """What the replicas hold."""
    pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in replicas()]
    return ", ".join(f"{count * os.sysconf('SC_PAGE_SIZE') / 2**20:.0f} MiB" for count in pages)


def main() -> None:
    """Print what failed, and what memory is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--production", action="store_true")
    parser.add_argument("--replicas", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        bundles = built(Path(name))
        first, second = versions(bundles)
        prefixes = dict(zip((first, second), "ab", strict=True))
        port = serving.free_port()
        config = read_config().overridden(port=port, num_replicas=given.replicas)
        config.deployment["ray_actor_options"] = {"num_cpus": 0.5}  # else new ones had no room beside the old ones
        replica.start(bundles, "production", config, ClusterConfig(), production=given.production)
        print(f"{given.replicas} replicas{', HAProxy' if given.production else ''}")
        asyncio.run(_measure(bundles, prefixes, config))


async def _measure(bundles: Path, prefixes: dict[str, str], config: ServiceConfig) -> None:
    port = config.http["port"]
    seen: dict[str, int] = dict.fromkeys(prefixes, 0)

    def check(content: bytes) -> str | None:
        answer = json.loads(content)
        seen[answer["version"]] += 1
        wrong = [hit["doc_id"] for hit in answer["results"][0] if hit["doc_id"][0] != prefixes[answer["version"]]]
        return f"{answer['version']} has {wrong}" if wrong else None

    lines = (bundles.parent / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = [json.loads(line)["query"] for line in lines]
    bodies = ({"query": f"{queries[i % len(queries)]} {i}", "top_k": 5} for i in itertools.count())
    await load.closed_loop(port, bodies, 4, 3.0)
    print(f"  memory before: {memory()}", flush=True)

    async def swap() -> None:
        for version in itertools.islice(itertools.cycle(reversed(list(prefixes))), SWAPS):
            promote(bundles, version)
            await asyncio.sleep(SWAP_EVERY_S)

    asked = load.closed_loop(port, bodies, CONNECTIONS, SWAPS * SWAP_EVERY_S, least=LEAST, check=check)
    result, _ = await asyncio.gather(asked, swap())
    print(f"  {SWAPS} swaps: {result}; answers by version {list(seen.values())}", flush=True)
    print(*(f"    {why}" for why in result.failures[:5]), sep="\n")
    print(f"  memory after: {memory()}", flush=True)

    changed = config.model_copy(update={"service": config.service.model_copy(update={"timeout_s": 9.0})})
    begin = asyncio.to_thread(replica.start, bundles, "production", changed, ClusterConfig())
    asked = load.closed_loop(port, bodies, CONNECTIONS, 30.0, check=check)
    result, _ = await asyncio.gather(asked, begin)
    print(f"  all replicas replaced: {result}", flush=True)
    print(*(f"    {why}" for why in result.failures[:5]), sep="\n")

    async def kill() -> None:
        await asyncio.sleep(3)
        os.kill(replicas()[0], signal.SIGKILL)

    began = time.perf_counter()
    result, _ = await asyncio.gather(load.closed_loop(port, bodies, CONNECTIONS, 25.0, check=check), kill())
    print(f"  a replica killed: {result} in {time.perf_counter() - began:.0f} s", flush=True)
    kinds = {why.split(":")[0] for why in result.failures}
    print(f"    {', '.join(sorted(kinds)) or 'no failure'}")
    results = await asyncio.gather(kill(), *(asyncio.to_thread(_by_client, port, queries, i) for i in range(16)))
    asked_again, failed = (sum(values) for values in zip(*results[1:], strict=True))
    print(f"  a replica killed, 16 clients that ask again: {failed} failed of {asked_again}", flush=True)


def _by_client(port: int, queries: list[str], number: int) -> tuple[int, int]:
    """How many searches a client did, and how many of them failed."""
    done = failed = 0
    until = time.perf_counter() + 25.0
    with Client(f"http://127.0.0.1:{port}", attempts=8) as client:
        while time.perf_counter() < until:
            try:
                client.search(f"{queries[done % len(queries)]} {number}", top_k=5)
            except NliftError as error:
                failed += 1
                print(f"    {error}")
            done += 1
    return done, failed


if __name__ == "__main__":
    main()
