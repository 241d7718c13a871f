"""Training: nlift's step beside sentence-transformers' losses, its memory, and Ray Train beside plain torch.

Memory is that of a step under GradCache. Same weights, batches, order, optimizer and threads, no dropout, float32;
contenders alternate, medians are compared. On a GPU the steps alone are compared.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import count
from pathlib import Path

import peers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.losses import CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss

from nlift import progress
from nlift.config import Experiment
from nlift.data.pairing import build
from nlift.data.schema import NLIPair, Triplet
from nlift.data.sources import EMBEDDED
from nlift.data.table import read_table
from nlift.models.encoder import Encoder
from nlift.settings import TrainConfig
from nlift.training.gradcache import Embedder, add_gradients
from nlift.training.optimizer import optimizer_of
from nlift.training.simcse import simcse_term

BATCH, STEPS, ROUNDS, LEARNING_RATE, MINI = 256, 4, 5, 5e-5, 32


def triplets(wanted: int) -> list[Triplet]:
    """English triplets of the embedded SNLI pairs, repeated with a number where there are too few."""
    rows = enumerate(row.values for row in read_table(EMBEDDED / "data" / "snli.tsv"))
    pairs = [NLIPair(f"{i:06d}", row["premise"], row["hypothesis"], row["label"]) for i, row in rows]
    distinct = [
        Triplet(row.pair_id, row.anchor.text, row.positive.text, row.negative.text)
        for row in build(pairs, True)
        if row.negative
    ]
    repeated = (
        replace(triplet, anchor=f"{triplet.anchor} {turn}" if turn else triplet.anchor)
        for turn in count()
        for triplet in distinct
    )
    return [next(repeated) for _ in range(wanted)]


class Ours:
    """Steps of nlift."""

    def __init__(self, folder: str, device_batch_size: int | None, device: str = "cpu") -> None:
        self.encoder = Encoder.load(folder).eval().to(device)  # eval: no dropout
        self.embedder = Embedder(self.encoder)
        self.model: torch.nn.Module = self.embedder
        self.config, self.device_rows = TrainConfig(max_length=32, learning_rate=LEARNING_RATE), device_batch_size
        self.optimizer = optimizer_of(self.encoder, self.config)

    def step(self, rows: list[Triplet]) -> float:
        """The loss of one optimizer step; as in the peer, rows of equal text are each other's negatives."""
        groups = list(range(len(rows)))
        term = simcse_term(rows, groups, self.config, self.encoder, hard=True, device_rows=self.device_rows)
        loss = add_gradients(self.model, self.embedder, [term], seed=lambda piece: None)["loss"]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


class Peer:
    """Steps of sentence-transformers: its loss on its features, as its trainer calls them."""

    def __init__(self, folder: str, cached: bool, device: str) -> None:
        self.model = SentenceTransformer(folder, device=device).eval()
        self.model.max_seq_length = 32
        kind = CachedMultipleNegativesRankingLoss if cached else MultipleNegativesRankingLoss
        self.loss = kind(self.model, scale=20.0, **({"mini_batch_size": MINI} if cached else {}))
        decayed, plain = ([p for p in self.model.parameters() if (p.ndim > 1) == wide] for wide in (True, False))
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE)

    def step(self, rows: list[Triplet]) -> float:
        """The loss of one optimizer step."""
        columns = ([getattr(row, side) for row in rows] for side in ("anchor", "positive", "negative"))
        features = ({k: v.to(self.model.device) for k, v in self.model.tokenize(texts).items()} for texts in columns)
        loss = self.loss(list(features), labels=None)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss.item())


def compare(folder: str, title: str, cached: bool, batch: int, device: str) -> None:
    """Triplets per second of both, and how far their losses are apart."""
    wanted = triplets(batch * STEPS)
    batches = [wanted[i * batch : (i + 1) * batch] for i in range(STEPS)]
    ours, theirs = Ours(folder, MINI if cached else None, device), Peer(folder, cached, device)
    contenders = {"nlift": ours, "sentence-transformers": theirs}
    losses: dict[str, list[float]] = {name: [] for name in contenders}

    def run(name: str) -> float:
        return peers.timed(lambda: losses[name].extend(contenders[name].step(rows) for rows in batches))

    seconds = peers.alternate({name: (lambda name=name: run(name)) for name in contenders}, ROUNDS)
    peers.table(title, seconds, batch * STEPS, "triplets", "nlift", ["sentence-transformers"])
    apart = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    print(f"  largest difference of losses over {ROUNDS * STEPS} steps: {apart:.1e}")


def memory(folder: str, batch: int) -> None:
    """Print the peak memory of a step under GradCache, in MiB: run in a process of its own."""
    ours, rows = Ours(folder, MINI), triplets(batch)
    ours.step(rows[:MINI])
    before = peak_mib()
    ours.step(rows)
    print(peak_mib() - before)


def peak_mib() -> float:
    """The most memory that this process had; getrusage would count its parent's too."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def memories(folder: str) -> None:
    """What a batch of 4,096 takes more than one of 256, beside the similarity matrices."""
    grown = {}
    for batch in (256, 4096):
        command = [sys.executable, __file__, "--device", "cpu", "--memory", str(batch), "--folder", folder]
        grown[batch] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
        print(f"GradCache, pieces of {MINI} triplets: a batch of {batch} adds {grown[batch]:.0f} MiB")
    matrix = 4096 * 8192 * 4 / 2**20
    growth = grown[4096] - grown[256]
    print(f"  growth {growth:.0f} MiB; one float32 similarity matrix [4096, 8192] is {matrix:.0f} MiB")


def plain(rank: int, ranks: int, folder: str, steps: int, batch: int) -> None:
    """An epoch of one rank without Ray; rank 0 writes the seconds from its first step's end to its last's."""
    torch.set_num_threads(peers.THREADS // ranks)
    ours, rows = Ours(folder, None), triplets(batch * steps)
    ours.encoder.train()
    if ranks > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=ranks)
        ours.model = torch.nn.parallel.DistributedDataParallel(ours.embedder, broadcast_buffers=False)
    ours.step(rows[:batch][rank::ranks])
    shares = [rows[i * batch : (i + 1) * batch][rank::ranks] for i in range(1, steps)]
    seconds = peers.timed(lambda: [ours.step(share) for share in shares])
    if rank == 0:
        Path(folder, "seconds").write_text(str(seconds))


def overhead(folder: str) -> None:
    """An epoch by Ray Train, from the first logged step to the last, beside the same steps in plain torch."""
    from nlift import pipeline  # here, as the process that measures memory does without

    steps, batch = 40, 128
    for workers in (1, 2):
        torch.multiprocessing.spawn(plain, (workers, folder, steps, batch), nprocs=workers)
        name = f"plain torch, {workers} process(es)"
        seconds = {name: float(Path(folder, "seconds").read_text())}
        with tempfile.TemporaryDirectory() as runs:
            settings = {
                "name": "overhead",
                "output_dir": runs,
                "nli": {"path": "embedded"},
                "translate": None,
                "score": None,
                "train": {"base_model": folder, "global_batch_size": batch, "num_workers": workers, "epochs": 100},
            }
            experiment = Experiment.model_validate(settings)
            pipeline.run(experiment, ["nli", "triplets"])
            available = json.loads((experiment.folder / "triplets" / "manifest.json").read_text())["rows_out"]
            experiment = experiment.override({"train.epochs": (steps + 0.1) / (available // batch)})
            pipeline.run(experiment, ["train"])
            log = (experiment.folder / "train" / "log.jsonl").read_text().splitlines()
            times = [json.loads(line)["time"] for line in log]
            seconds[f"Ray Train, {workers} worker(s)"] = times[-1] - times[0]
        peers.table("an epoch after start-up", seconds, batch * (steps - 1), "triplets", "Ray", [name])


def main() -> None:
    """All comparisons, or the memory of one batch where `--memory` is given."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int)
    parser.add_argument("--folder")
    given = peers.options(parser)
    torch.set_num_threads(peers.THREADS)
    if given.memory:
        memory(given.folder, given.memory)
        return
    progress.show()
    with tempfile.TemporaryDirectory() as folder:
        Encoder.load("embedded").save(Path(folder))
        compare(folder, f"batch {BATCH}, MultipleNegativesRankingLoss", cached=False, batch=BATCH, device=given.device)
        compare(
            folder,
            "batch 512 in pieces, CachedMultipleNegativesRankingLoss",
            cached=True,
            batch=512,
            device=given.device,
        )
        if given.device == "cpu":
            memories(folder)
            overhead(folder)


if __name__ == "__main__":
    main()
