"""Encoding sentences: nlift's Encoder beside sentence-transformers' SentenceTransformer.encode.

Same weights, same sentences, same threads, float32; rounds alternate and medians are compared.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

from nlift.encoder import Encoder
from nlift.nli import read_table
from nlift.sources import EMBEDDED

SENTENCES, ROUNDS = 4000, 5


def main() -> None:
    """Print sentences per second of both and their ratio."""
    rows = read_table(EMBEDDED / "data" / "snli.tsv")
    texts = list(dict.fromkeys(text for row in rows for text in (row["premise"], row["hypothesis"])))[:SENTENCES]
    with tempfile.TemporaryDirectory() as folder:
        Encoder.load("embedded").save(Path(folder))
        ours, peer = Encoder.load(folder), SentenceTransformer(folder, device="cpu")
        seconds: dict[str, list[float]] = {"nlift": [], "sentence-transformers": []}
        vectors = {}
        for _ in range(ROUNDS):
            for name, encode in (("nlift", ours.encode), ("sentence-transformers", peer.encode)):
                began = time.perf_counter()
                vectors[name] = encode(texts)
                seconds[name].append(time.perf_counter() - began)
    difference = np.abs(vectors["nlift"] - vectors["sentence-transformers"]).max()
    rates = {name: len(texts) / statistics.median(one) for name, one in seconds.items()}
    print(f"encode, {len(texts)} SNLI sentences, {ROUNDS} rounds, largest difference of vectors {difference:.1e}")
    for name, rate in rates.items():
        print(f"  {name:<22} {rate:8.0f} sentences/s")
    print(f"  ratio {rates['nlift'] / rates['sentence-transformers']:.2f}")


if __name__ == "__main__":
    main()
