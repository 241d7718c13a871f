"""A node that has become ten times slower does not hold the others: it gets no more than it can do."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
from cluster_of_nodes import Nodes
from experiment_on_nodes import SHARD, Reference, Run, from_before, small_experiment

from nlift.pipeline.stage_folder import read_manifest


@pytest.mark.slow
def test_the_others_do_its_work(bert, tmp_path):
    with Nodes() as nodes:
        slow, quick = nodes.add(), nodes.add()
        (tmp_path / "before").mkdir()
        before = Reference(small_experiment(tmp_path, nodes.address, bert), tmp_path / "before")("translate")
        run = Run(from_before(before, "translate", tmp_path / "run"), tmp_path, "translate", 0.4)
        run.wait_for(lambda: len({row[0] for row in run.rows()}) == 2)
        at_start = Counter(node for node, *_ in run.rows())
        with nodes.slowed(slow):
            run.end()
    by_node = Counter(node for node, *_ in run.rows()) - at_start
    assert by_node[quick.node_id] >= 4 * by_node[slow.node_id]
    rows, expected = (pq.read_table(done.folder / "translate" / "rows.parquet") for done in (run.experiment, before))
    assert rows.equals(expected)
    keys = Counter(key for *_, key in run.rows())
    assert len(keys) == keys.total() == read_manifest(before.folder / "translate")["distinct_sentences"]
    assert by_node[slow.node_id] >= SHARD, "it was slow, not idle"
