"""Encoding sentences: nlift's Encoder in float32 and int8 beside sentence-transformers' SentenceTransformer.encode.

Same weights, same distinct sentences, same threads; rounds alternate and medians are compared. Then what int8 costs
in quality: documents and queries in int8, or documents alone. On a GPU float16 takes int8's place, and the peer's too.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peers
import torch
from sentence_transformers import SentenceTransformer

from nlift.evaluation import evaluator
from nlift.evaluation.datasets import RetrievalSet, StsSet, load_set
from nlift.models.encoder import Encoder
from nlift.search.document_vectors import DocumentVectors
from nlift.settings import EvaluationSet

SENTENCES, ROUNDS, MAX_LENGTH = 4000, 7, 256


def compare(texts: list[str], exact: Encoder, quick: Encoder, peers_encoders: dict[str, SentenceTransformer]) -> None:
    """Sentences per second of all, their ratios, and how far vectors are from the peer's."""
    vectors: dict[str, np.ndarray] = {}

    def timed(name: str, encode: Callable[[list[str]], np.ndarray]) -> Callable[[], float]:
        return lambda: peers.timed(lambda: vectors.update({name: encode(texts)}))

    ours = {f"nlift {encoder.compute_type}": encoder.encode for encoder in (exact, quick)}
    contenders = {**ours, **{name: peer.encode for name, peer in peers_encoders.items()}}
    seconds = peers.alternate({name: timed(name, encode) for name, encode in contenders.items()}, ROUNDS)
    peers.table("encode, SNLI", seconds, len(texts), "sentences", "nlift", list(peers_encoders))
    for name in ours:
        difference = np.abs(vectors[name] - vectors["sentence-transformers"]).max()
        cosines = (vectors[name] * vectors["sentence-transformers"]).sum(1)
        closeness = f"cosine mean {cosines.mean():.5f}, least {cosines.min():.5f}"
        print(f"  {name}: largest difference {difference:.1e}, {closeness}")


def share_of_peak(texts: list[str], encoder: Encoder) -> None:
    """How much of the device's matrix product float32 reaches, tokenisation included."""

    def forward() -> None:
        for _, inputs in encoder.batches(texts):
            encoder(inputs)

    seconds, peak = peers.timed(lambda: encoder.encode(texts)), peers.peak_gflops(encoder.device.type)
    with torch.inference_mode():
        work = peers.gflop(forward)  # counts in its own thread alone
    print(f"  nlift float32: {work / seconds:.0f} GFLOP/s, {work / seconds / peak:.0%} of {peak:.0f} GFLOP/s")


def quality(exact: Encoder, quick: Encoder) -> None:
    """Similarity and retrieval with both, and with documents in the quick one and queries in float32."""
    sts = load_set(EvaluationSet(name="stsb_pl", kind="sts", path="embedded:stsb_pl"))
    poquad = load_set(EvaluationSet(name="poquad_pl", kind="retrieval", path="embedded:poquad_pl"))
    assert isinstance(sts, StsSet)
    assert isinstance(poquad, RetrievalSet)
    vectors = {}
    for encoder in (exact, quick):
        name = encoder.compute_type
        vectors[name] = evaluator.encode_set(encoder, poquad, MAX_LENGTH)
        spearman = evaluator.measure_sts(name, encoder, sts).groups["sts"]["spearman"]
        print(f"{retrieval_line(name, poquad, *vectors[name])}; stsb_pl Spearman {spearman:.4f}")
    (queries, _), (_, documents) = vectors["float32"], vectors[quick.compute_type]
    print(retrieval_line(f"{quick.compute_type}, queries float32", poquad, queries, documents))


def retrieval_line(name: str, dataset: RetrievalSet, queries: np.ndarray, documents: DocumentVectors) -> str:
    """What retrieval with these vectors reaches, as a line to print."""
    metrics = evaluator.measure_vectors(name, dataset, queries, documents).groups["retrieval"]
    return f"  {name:<22} {dataset.name} NDCG@10 {metrics['ndcg@10']:.4f}, Recall@100 {metrics['recall@100']:.4f}"


def main() -> None:
    """Print speed, distance of vectors, and quality."""
    device = peers.options(argparse.ArgumentParser(description=__doc__)).device
    torch.set_num_threads(peers.THREADS)
    texts = list(dict.fromkeys(peers.sentences(2 * SENTENCES)))[:SENTENCES]
    with tempfile.TemporaryDirectory() as folder:
        Encoder.load("embedded").save(Path(folder))
        exact = Encoder.load(folder).to(device)
        quick = Encoder.load(folder, compute_type="int8" if device == "cpu" else "float16").to(device)
        theirs = {"sentence-transformers": SentenceTransformer(folder, device=device)}
        if device == "cuda":
            theirs["sentence-transformers float16"] = SentenceTransformer(folder, device=device).half()
        compare(texts, exact, quick, theirs)
    share_of_peak(texts, exact)
    quality(exact, quick)


if __name__ == "__main__":
    main()
