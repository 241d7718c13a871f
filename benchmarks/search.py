"""Searching by words, and hybrid: nlift's BM25Index beside bm25s, which weighs its words and is searched its own way.

Same texts, words and weights; the ten best of each query. The corpus is poquad_pl's paragraphs, many times over with
other words put between, so that it is as large as wanted. Then what starting costs with a stored index and with one
that is built, and what a hybrid search costs beside its legs.
"""

import random
import tempfile
from pathlib import Path

import bm25s
import numpy as np
import peers

from nlift.evaluation.datasets import RetrievalSet, load_set
from nlift.search.analyzers import Analyzer
from nlift.search.bm25 import K1, B, BM25Index
from nlift.search.searchers import BM25Searcher, DenseSearcher, SearchSettings, known_vectors, searchers
from nlift.search.vector_index import ExactIndex
from nlift.settings import EvaluationSet

DOCUMENTS, QUERIES, ROUNDS, TOP_K, DIM = 50_000, 500, 5, 10, 192


def corpus() -> tuple[list[str], list[str]]:
    """Texts and queries."""
    dataset = load_set(EvaluationSet(name="poquad_pl", kind="retrieval", path="embedded:poquad_pl"))
    assert isinstance(dataset, RetrievalSet)
    words = [document.content.split() for document in dataset.documents]
    chance = random.Random(1)
    texts = []
    for i in range(DOCUMENTS):
        own, other = words[i % len(words)], chance.choice(words)
        texts.append(" ".join(chance.sample(own, len(own) // 2) + chance.sample(other, len(other) // 4)))
    return texts, list(dataset.queries.values())[:QUERIES]


def main() -> None:
    """Print seconds and ratios."""
    texts, queries = corpus()
    analyzer = Analyzer("stem", "pl")
    built_s = peers.timed(lambda: BM25Index.build(texts, analyzer))
    index = BM25Index.build(texts, analyzer)
    peer = bm25s.BM25(k1=K1, b=B)
    peer.index([analyzer(text) for text in texts], show_progress=False)

    def by_peer() -> None:
        for query in queries:
            known = [[word for word in analyzer(query) if word in peer.vocab_dict]]
            peer.retrieve(known, k=TOP_K, show_progress=False, n_threads=0)

    ours = BM25Searcher(index)
    contenders = {
        "nlift": lambda: peers.timed(lambda: ours.search(queries, TOP_K)),
        "bm25s": lambda: peers.timed(by_peer),
    }
    seconds = peers.alternate(contenders, ROUNDS)
    peers.table(f"words, {DOCUMENTS} documents", seconds, len(queries), "queries", "nlift", ["bm25s"])
    with tempfile.TemporaryDirectory() as folder:
        index.write(Path(folder))
        read_s = peers.timed(lambda: BM25Index.read(Path(folder), analyzer, len(texts)))
    print(f"  start: built {built_s:.1f} s, stored {read_s:.2f} s, ratio {built_s / read_s:.0f}")

    random_vectors = np.random.default_rng(1).normal(size=(DOCUMENTS + QUERIES, DIM)).astype(np.float32)
    vectors = random_vectors / np.linalg.norm(random_vectors, axis=1, keepdims=True)
    encode = known_vectors(queries, vectors[DOCUMENTS:])
    by_mode = searchers(
        DenseSearcher(ExactIndex(vectors[:DOCUMENTS]), encode), BM25Searcher(index), SearchSettings(analyzer)
    )
    modes = {
        mode: (lambda searcher=searcher: peers.timed(lambda: searcher.search(queries, TOP_K)))
        for mode, searcher in by_mode.items()
    }
    seconds = peers.alternate(modes, ROUNDS)
    for mode, value in seconds.items():
        print(f"  {mode}: {1000 * value / len(queries):.2f} ms a query, encoding left out")


if __name__ == "__main__":
    main()
