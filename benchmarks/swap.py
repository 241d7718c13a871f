"""A version that takes over, and a replica that is killed, while 64 connections ask: what fails, what memory is left.

Two versions with the same encoder and other documents take turns in production; every answer must be of one version
wholly. Then a replica is killed (SIGKILL) while they ask. `--production` with HAProxy, `--replicas N`.
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
from nlift.search.aliases import promote, versions

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
    found = subprocess.run(["pgrep", "-f", "ServeReplica:nlift"], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


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
        command = ["-m", "nlift.cli", "serve", str(bundles), "--port", str(port), "--num-replicas", str(given.replicas)]
        with serving.running([*command, *(["--production"] if given.production else [])], port, "/healthz"):
            asyncio.run(_measure(bundles, prefixes, port))


async def _measure(bundles: Path, prefixes: dict[str, str], port: int) -> None:
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

    async def kill() -> None:
        await asyncio.sleep(3)
        os.kill(replicas()[0], signal.SIGKILL)

    began = time.perf_counter()
    result, _ = await asyncio.gather(load.closed_loop(port, bodies, CONNECTIONS, 25.0, check=check), kill())
    print(f"  a replica killed: {result} in {time.perf_counter() - began:.0f} s", flush=True)
    kinds = {why.split(":")[0] for why in result.failures}
    print(f"    {', '.join(sorted(kinds)) or 'no failure'}")


if __name__ == "__main__":
    main()
