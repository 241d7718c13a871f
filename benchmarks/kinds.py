"""Kinds of index beside each other, and each beside raw FAISS: build, recall@10, time per query, memory.

The vectors are a bundle's (`--bundle FOLDER`, flat), or those of the embedded encoder for passages of poquad_pl; the
first N of them, shuffled; queries are another thousand, half of them tune and half are asked. Every kind is built, and
then loaded and asked, by a process of its own: memory is what that process holds after its queries, and of the mapped
file of vectors what it has touched.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import index as indexing
import numpy as np
import peers

from nlift.models.encoder import Encoder
from nlift.search.document_vectors import DocumentVectors
from nlift.search.faiss_gpu import import_faiss
from nlift.search.faiss_index import FaissIndex
from nlift.search.index_tuning import CUT, recall, tune

KINDS = ("flat", "hnsw", "ivf_flat", "ivf_pq")
QUERIES, SHORTEST_S = 1000, 2.0


def resident(name: str) -> float:
    """MiB of this process: RssAnon, RssFile."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def build(folder: Path, kind: str) -> dict[str, float]:
    """Build and tune an index of the folder's vectors, and store it."""
    import_faiss().omp_set_num_threads(peers.THREADS)
    vectors, queries = DocumentVectors.read(folder, None), np.load(folder / "queries.npy")[::2]
    began = time.perf_counter()
    built = FaissIndex.build(vectors, kind)  # type: ignore[arg-type]
    seconds = time.perf_counter() - began
    tune(built, queries)
    built.write(folder / f"{kind}.index")
    return {"build_s": seconds, "peak_mib": resident("VmHWM"), "width": built.search_width if kind != "flat" else 0}


def ask(folder: Path, kind: str) -> dict[str, float]:
    """Load an index and ask it, one query at a time and sixteen at once; and FAISS's own the same."""
    faiss = import_faiss()
    faiss.omp_set_num_threads(peers.THREADS)
    before = resident("RssAnon")
    vectors, queries = DocumentVectors.read(folder, None), np.load(folder / "queries.npy")[1::2]
    loaded = FaissIndex.read(folder / f"{kind}.index", vectors)
    for query in queries:
        loaded.search(query[None], CUT)
    memory = {"anon_mib": resident("RssAnon") - before, "file_mib": resident("RssFile")}
    if kind == "flat":
        raw = faiss.IndexFlatIP(vectors.dim)
        raw.add(np.asarray(vectors.vectors_PD))
    else:
        raw = loaded.index
    times: dict[str, list[float]] = {"one": [], "raw": [], "sixteen": [], "raw16": []}
    until = time.perf_counter() + SHORTEST_S
    place = 0
    while time.perf_counter() < until or len(times["one"]) < 50:
        query, batch = queries[place % len(queries)][None], queries[(place * 16) % (len(queries) - 16) :][:16]
        times["one"].append(peers.timed(lambda query=query: loaded.search(query, CUT)))
        times["raw"].append(peers.timed(lambda query=query: raw.search(query, CUT)))
        times["sixteen"].append(peers.timed(lambda batch=batch: loaded.search(batch, CUT)) / 16)
        times["raw16"].append(peers.timed(lambda batch=batch: raw.search(batch, CUT)) / 16)
        place += 1
    share = recall(loaded, queries, FaissIndex(vectors).search(queries, CUT))
    return {"recall": share, **memory, **{f"{name}_ms": 1000 * float(np.median(t)) for name, t in times.items()}}


def vectors_of(bundle: Path | None, most: int) -> np.ndarray:
    """Unit vectors, shuffled."""
    if bundle is not None:
        vectors = np.load(bundle / "index" / "vectors.npy", mmap_mode="r")
    else:
        vectors = Encoder.load("embedded").encode(indexing.passages(most + QUERIES), max_length=64)
    return np.asarray(vectors[np.random.default_rng(0).permutation(len(vectors))])


def main() -> None:
    """A row per size and kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000])
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args() if "--step" in sys.argv else peers.options(parser)
    if options.step:
        step, folder, kind = options.step
        print(json.dumps((build if step == "build" else ask)(Path(folder), kind)))
        return
    vectors = vectors_of(options.bundle, max(options.sizes))
    print("  vectors kind       build   width recall@10  a query (FAISS)     of 16 (FAISS)      memory  and file")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "vectors.npy", vectors[:size])
            np.save(Path(folder) / "queries.npy", vectors[-QUERIES:])
            for kind in options.kinds:
                row: dict[str, float] = {}
                for step in ("build", "ask"):
                    command = [sys.executable, __file__, "--step", step, folder, kind]
                    row |= json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                print(
                    f"{size:9,} {kind:<9} {row['build_s']:6.1f} s {row['width']:6.0f} {row['recall']:9.4f} "
                    f"{row['one_ms']:7.2f} ms ({row['one_ms'] / row['raw_ms']:.2f}x) {row['sixteen_ms']:7.2f} ms "
                    f"({row['sixteen_ms'] / row['raw16_ms']:.2f}x) {row['anon_mib']:7.0f} MiB "
                    f"{row['file_mib']:6.0f} MiB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
