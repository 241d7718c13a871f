"""Nodes that die or become slow: wall clock, rows lost and rows done twice, beside a run that nothing disturbs.

A head that does no work and three nodes on this machine (Ray's cluster_utils), killed by SIGKILL, slowed by stopping
their workers nine tenths of the time. The embedded models, and a wait after each batch in place of a larger model's
work, so that three nodes fit on two cores: `--pace` seconds for a shard of 16 rows.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "cluster")]

from cluster_of_nodes import Nodes  # noqa: E402
from experiment_on_nodes import SHARD, Reference, Run, from_before, small_experiment  # noqa: E402

from nlift.pipeline.stage import read_manifest  # noqa: E402

NODES, SEED = 3, 1
Disturb = Callable[[Nodes, Run], None]


def killed(back: bool) -> Disturb:
    """A node is killed when a third of the rows are done, and started again, or not."""

    def disturb(nodes: Nodes, run: Run) -> None:
        victim = random.Random(SEED).choice(nodes.workers)
        nodes.kill(victim)
        if back:
            nodes.start_again(victim)

    return disturb


def measured(
    nodes: Nodes, before: Reference, stage: str, pace_s: float, disturb: Disturb | None, slow: bool = False
) -> tuple[float, int, int]:
    """Seconds of a stage, rows that are missing or wrong in its result, and rows that went through the model again."""
    reference = before(stage)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = Run(from_before(reference, stage, folder), folder, stage, pace_s)
        rows = read_manifest(reference.folder / stage)["distinct_sentences"]
        if slow:
            run.wait_for(lambda: any(run.experiment.folder.glob(f"{stage}.tmp-*")))
            with nodes.slowed(nodes.workers[0]):
                run.end()
        else:
            if disturb is not None:
                run.wait_for(lambda: len(run.rows()) >= rows / 3)
                disturb(nodes, run)
            run.end()
        result, expected = (
            pq.read_table(done.folder / stage / "rows.parquet").to_pylist() for done in (run.experiment, reference)
        )
        lost = sum(row not in result for row in expected)
        keys = Counter(key for *_, key in run.rows())
        return read_manifest(run.experiment.folder / stage)["seconds"], lost, keys.total() - len(keys)


def main() -> None:
    """Print a line for each way of disturbing a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pace", type=float, default=2.0)
    parser.add_argument("--stages", nargs="+", default=["translate", "score"])
    given = parser.parse_args()
    print(f"{NODES} nodes, shards of {SHARD} rows, {given.pace:g} s each")
    print(f"{'stage':<10} {'':<38} {'s':>6} {'ratio':>6} {'lost':>5} {'twice':>6}")
    with tempfile.TemporaryDirectory() as name, Nodes() as nodes:
        for _ in range(NODES):
            nodes.add()
        before = Reference(small_experiment(Path(name), nodes.address, "embedded"), Path(name))
        for stage in given.stages:
            _stage(nodes, before, stage, given.pace)


def _stage(nodes: Nodes, before: Reference, stage: str, pace_s: float) -> None:
    def line(what: str, result: tuple[float, int, int], beside_s: float) -> None:
        seconds, lost, twice = result
        print(f"{stage:<10} {what:<38} {seconds:>6.1f} {seconds / beside_s:>6.2f} {lost:>5} {twice:>6}", flush=True)

    undisturbed = measured(nodes, before, stage, pace_s, None)
    line("undisturbed", undisturbed, undisturbed[0])
    line("a node killed, back at once", measured(nodes, before, stage, pace_s, killed(back=True)), undisturbed[0])
    slowed = measured(nodes, before, stage, pace_s, None, slow=True)
    line("a node ten times slower", slowed, undisturbed[0])
    line("a node killed, gone for good", measured(nodes, before, stage, pace_s, killed(back=False)), undisturbed[0])
    without = measured(nodes, before, stage, pace_s, None)
    line("without that node", without, undisturbed[0])
    line("ten times slower, beside without it", slowed, without[0])
    nodes.add()
    time.sleep(1)


if __name__ == "__main__":
    main()
