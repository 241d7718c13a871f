"""A node of which it is announced that it goes, ten seconds before, as of a spot machine: nothing in flight is lost."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
from cluster_of_nodes import Nodes
from experiment_on_nodes import SHARD, Reference, Run, from_before, small_experiment
from safetensors.torch import load_file

from nlift.data.files import read_jsonl
from nlift.pipeline.stage_folder import read_manifest

NOTICE_S = 10
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nodes():
    with Nodes() as nodes:
        nodes.add()
        nodes.add()
        yield nodes


@pytest.fixture(scope="module")
def undisturbed(nodes, tmp_path_factory):
    """Training by the embedded base model, whose steps take long enough, without a checkpoint before the end."""
    folder = tmp_path_factory.mktemp("undisturbed")
    experiment = small_experiment(folder, nodes.address, "embedded")
    return Reference(experiment.override({"train.checkpoint_every_steps": 1000, "train.epochs": 30}), folder)


def drained_and_replaced(nodes):
    """Announce that a node goes, and add another one, as who runs a cluster would."""
    going = nodes.workers[0]
    nodes.drain(going, NOTICE_S)
    return going, nodes.add()


def test_rows_in_flight_are_finished(nodes, undisturbed, tmp_path):
    before = undisturbed("translate")
    run = Run(from_before(before, "translate", tmp_path), tmp_path, "translate", 0.4)
    run.wait_for(lambda: len(run.rows()) > 4 * SHARD)
    going, _ = drained_and_replaced(nodes)
    run.end()
    nodes.kill(going)
    rows, expected = (pq.read_table(done.folder / "translate" / "rows.parquet") for done in (run.experiment, before))
    assert rows.equals(expected)
    keys = Counter(key for *_, key in run.rows())
    assert len(keys) == read_manifest(before.folder / "translate")["distinct_sentences"]
    assert keys.total() - len(keys) <= SHARD


def test_training_saves_a_checkpoint_and_goes_on_from_it(nodes, undisturbed, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.5")
    before = undisturbed("train")
    run = Run(from_before(before, "train", tmp_path), tmp_path, "train")
    run.wait_for(lambda: run.steps() >= 5)
    going, _ = drained_and_replaced(nodes)
    run.wait_for(lambda: list(run.experiment.folder.glob("train.tmp-*/ray/simcse/checkpoint_*/state.pt")))
    (state,) = run.experiment.folder.glob("train.tmp-*/ray/simcse/checkpoint_*/state.pt")
    saved_s = state.stat().st_mtime
    run.end()
    nodes.kill(going)
    folders = [done.folder / "train" for done in (run.experiment, before)]
    weights, expected = (load_file(folder / "encoder" / "model.safetensors") for folder in folders)
    assert all((weights[name] == expected[name]).all() for name in expected)
    log = read_jsonl(folders[0] / "log.jsonl")
    assert [row["step"] for row in log] == list(range(1, len(log) + 1))
    assert sum(row["time"] < saved_s for row in log) >= 5, "steps before the checkpoint were done again"
