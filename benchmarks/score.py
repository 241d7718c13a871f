"""Scoring with COMET: nlift's CometScorer beside unbabel-comet's own `predict`.

The same checkpoint, pairs, threads and float32; rounds alternate and medians are compared.
"""

import argparse
import logging
import warnings

import numpy as np
import peers
import torch

from nlift.models.comet import CometScorer, checkpoint_folder, load_comet
from nlift.models.translator import Translator
from nlift.settings import ScoreConfig, TranslateConfig

PAIRS, ROUNDS = 1000, 5
SHARD = 1024


def compare(title: str, source: list[str], target: list[str], device: str) -> None:
    """Print pairs per second of both, their ratio and the largest difference of scores."""
    ours = CometScorer(ScoreConfig(compute_type="float32"))
    theirs = load_comet(checkpoint_folder(ScoreConfig())).eval()
    results: dict[str, np.ndarray] = {}

    def nlift() -> None:
        distinct = list(dict.fromkeys(zip(source, target, strict=True)))
        scores: dict[tuple[str, str], float] = {}
        for start in range(0, len(distinct), SHARD):
            part = distinct[start : start + SHARD]
            scores |= dict(zip(part, ours.score([s for s, _ in part], [t for _, t in part]), strict=True))
        results["nlift"] = np.array([scores[pair] for pair in zip(source, target, strict=True)])

    def predict(batch_size: int) -> None:
        samples = [{"src": s, "mt": t} for s, t in zip(source, target, strict=True)]
        prediction = theirs.predict(
            samples, batch_size=batch_size, gpus=int(device == "cuda"), progress_bar=False, num_workers=0
        )
        results["comet"] = np.array(prediction.scores)

    contenders = {
        "nlift": lambda: peers.timed(nlift),
        "comet predict, batch 8": lambda: peers.timed(lambda: predict(8)),
        "comet predict, batch 64": lambda: peers.timed(lambda: predict(64)),
    }
    seconds = peers.alternate(contenders, ROUNDS)
    peers.table(title, seconds, len(source), "pairs", "nlift", list(contenders)[1:])
    print(f"  largest difference of scores {np.abs(results['nlift'] - results['comet']).max():.1e}")


def share_of_peak(source: list[str], target: list[str]) -> None:
    """How much of the machine's matrix product the scorer reaches."""
    scorer = CometScorer(ScoreConfig(compute_type="float32"))
    scorer.score(source[:64], target[:64])
    seconds, peak = peers.timed(lambda: scorer.score(source, target)), peers.peak_gflops(scorer.device.type)
    torch.set_num_threads(1)  # work on other threads is not counted
    work = peers.gflop(lambda: scorer.score(source, target))
    torch.set_num_threads(peers.THREADS)
    print(f"forward passes of scoring: {work / seconds:.1f} GFLOP/s, {work / seconds / peak:.0%} of {peak:.0f} GFLOP/s")


def main() -> None:
    """Print the comparison on SNLI as it is and on distinct sentences."""
    device = peers.options(argparse.ArgumentParser(description=__doc__)).device
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.ERROR)
    torch.set_num_threads(peers.THREADS)
    source = peers.sentences(PAIRS)
    distinct = list(dict.fromkeys(source))
    targets = Translator(TranslateConfig(engine="ctranslate2", num_beams=1)).translate(distinct)
    known = dict(zip(distinct, targets, strict=True))
    compare("SNLI as it is", source, [known[text] for text in source], device)
    compare("distinct sentences", distinct, targets, device)
    share_of_peak(distinct, targets)


if __name__ == "__main__":
    main()
