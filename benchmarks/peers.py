"""What the benchmarks share: alternating rounds, medians, the device and its peak, and the work of a forward pass."""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from nlift.data.sources import EMBEDDED
from nlift.data.table import read_table

THREADS = 2


def options(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of a command line, with `device`: cpu, or cuda where there is a GPU and nobody says otherwise.

    With cpu this process and those that it starts see no GPU, ours and the peers alike.
    """
    parser.add_argument("--device", choices=("cpu", "cuda"), help="the GPU where there is one, when left out")
    given = parser.parse_args()
    if given.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU; `nlift doctor` says why")
    given.device = "cuda" if torch.cuda.is_available() else "cpu"
    name = f", {torch.cuda.get_device_name()}" if given.device == "cuda" else ""
    print(f"device {given.device}{name}")
    return given


def sentences(pairs: int) -> list[str]:
    """Premises and hypotheses of SNLI pairs as they stand, repeats included."""
    rows = [row.values for row in islice(read_table(EMBEDDED / "data" / "snli.tsv"), pairs)]
    return [text for row in rows for text in (row["premise"], row["hypothesis"])]


def alternate(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Median seconds of each contender, which returns its own seconds; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            seconds[name].append(run())
    return {name: statistics.median(times) for name, times in seconds.items()}


def timed(run: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def busy(log: Path) -> float:
    """Seconds from the first model call to the end of the last, of lines `start end`: loading is left out."""
    spans = [tuple(map(float, line.split())) for line in log.read_text().splitlines()]
    return max(end for _, end in spans) - min(start for start, _ in spans)


def peak_gflops(device: str = "cpu") -> float:
    """What a float32 matrix product reaches on a device, the best of ten."""
    size = 2048 if device == "cpu" else 16_384
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)

    def multiply() -> float:
        return (a @ b)[0, 0].item()  # a GPU answers when it is done

    best = min(timed(multiply) for _ in range(10))
    return 2 * size**3 / best / 1e9


def gflop(run: Callable[[], object]) -> float:
    """Billions of floating point operations of a call, as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 1e9


def table(title: str, rows: dict[str, float], count: int, unit: str, ours: str, peers: list[str]) -> None:
    """Rates of all, and our ratio to each peer."""
    print(f"{title}, {count} {unit}")
    for name, seconds in rows.items():
        compared = [peer for peer in peers if name.startswith(ours) and peer != name]
        ratios = ", ".join(f"{rows[peer] / seconds:.2f}x {peer}" for peer in compared)
        print(f"  {name:<34} {count / seconds:8.0f} {unit}/s   {ratios}")
