"""Indexing: `nlift index` beside a plain loop of SentenceTransformer.encode into FAISS, from file to files.

Same encoder, same passages, same cores, each in a process of its own; they take turns. Ours also sorts and checks the
corpus, indexes its words, and chooses how to search; `--update` then embeds a tenth that is new.
`--encoder FOLDER` takes another encoder than the embedded one.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import peers

from nlift.data import sources
from nlift.data.corpus import load_corpus
from nlift.data.files import write_jsonl
from nlift.data.passages import sentences

LENGTHS = (3, 2, 4, 5, 1, 6, 7, 8, 9, 10)  # of a passage in sentences
PLAIN = """
import json, sys
import faiss
import torch
from sentence_transformers import SentenceTransformer

encoder, corpus, output, threads, device = sys.argv[1:]
torch.set_num_threads(int(threads))
texts = [json.loads(line)["text"] for line in open(corpus, encoding="utf-8")]
model = SentenceTransformer(encoder, device=device)
vectors = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
index = faiss.IndexFlatIP(vectors.shape[1])
index.add(vectors)
faiss.write_index(index, output)
"""


def passages(count: int) -> list[str]:
    """Stretches of three sentences of Polish paragraphs, from every sentence on: all different."""
    texts = []
    for document in load_corpus(sources.data_path("embedded:poquad_pl")):
        parts = sentences(document.text)
        texts += [" ".join(parts[start : start + length]) for length in LENGTHS for start in range(len(parts))]
    return list(dict.fromkeys(texts))[:count]


def main() -> None:
    """Print passages per second of both, and what an update takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default=sources.model_source("embedded", "encoder"))
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = peers.options(parser)
    with tempfile.TemporaryDirectory() as name:
        folder, texts = Path(name), passages(options.documents)
        rows = [{"_id": f"d{i:06}", "text": text} for i, text in enumerate(texts)]
        write_jsonl(folder / "corpus.jsonl", rows)
        changed = [{**row, "text": f"{row['text']} (nowe)"} if i % 10 == 0 else row for i, row in enumerate(rows)]
        write_jsonl(folder / "changed.jsonl", changed)

        def ours(corpus: str = "corpus.jsonl", *more: str, bundles: str | None = None) -> float:
            output = bundles or tempfile.mkdtemp(dir=folder)
            command = [sys.executable, "-m", "nlift.cli", "index", "--corpus", str(folder / corpus), "--output", output]
            command += ["--encoder", options.encoder, "--language", "pl", "--kind", "flat", *more]
            return peers.timed(lambda: subprocess.run(command, check=True, capture_output=True))

        def plain() -> float:
            output = str(folder / "plain.faiss")
            command = [sys.executable, "-c", PLAIN, options.encoder, str(folder / "corpus.jsonl"), output]
            command += [str(peers.THREADS), options.device]
            return peers.timed(lambda: subprocess.run(command, check=True, capture_output=True))

        seconds = peers.alternate({"nlift index": ours, "SentenceTransformer.encode": plain}, options.rounds)
        peers.table("index", seconds, len(texts), "passages", "nlift", ["SentenceTransformer.encode"])
        bundles = str(folder / "bundles")
        ours(bundles=bundles)
        update_s = ours("changed.jsonl", "--update", bundles=bundles)
        print(f"  a tenth of it changed, --update      {update_s:.0f} s, anew {seconds['nlift index']:.0f} s")
        newest = max(Path(bundles).glob("*/bundle.json"), key=lambda path: path.stat().st_mtime)
        print(f"  {json.loads(newest.read_text())['passages']} passages in {newest.parent.name}")


if __name__ == "__main__":
    main()
