"""The head is killed, and with it the cluster: the same run on a new cluster goes on from what was finished."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
from cluster_of_nodes import Nodes
from experiment_on_nodes import SHARD, Reference, Run, from_before, small_experiment

from nlift.pipeline.stage_folder import read_manifest

NODES = 2


@pytest.mark.slow
def test_the_run_goes_on_on_a_new_cluster(bert, tmp_path):
    (tmp_path / "before").mkdir()
    with Nodes() as nodes:
        for _ in range(NODES):
            nodes.add()
        before = Reference(small_experiment(tmp_path, nodes.address, bert), tmp_path / "before")("translate")
        run = Run(from_before(before, "translate", tmp_path / "run"), tmp_path, "translate", 0.4)
        run.wait_for(lambda: len(run.rows()) > 6 * SHARD)
        nodes.kill_head()
        run.process.wait(300)  # Ray looks for its head for a minute
        assert run.process.returncode != 0
    done = len(run.rows())
    with Nodes() as nodes:
        for _ in range(NODES):
            nodes.add()
        again = Run(run.experiment.override({"cluster.address": nodes.address}), tmp_path, "translate")
        again.end()
    rows, expected = (pq.read_table(run.folder / "translate" / "rows.parquet") for run in (again.experiment, before))
    assert rows.equals(expected)
    keys = Counter(key for *_, key in again.rows())
    total = read_manifest(before.folder / "translate")["distinct_sentences"]
    assert len(keys) == total and keys.total() - total <= NODES * SHARD and done < total
