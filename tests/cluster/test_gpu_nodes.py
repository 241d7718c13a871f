"""Nodes that say they have a GPU: models run there and nowhere else, on their CPUs where torch sees no GPU."""

import pytest
from cluster_of_nodes import Nodes
from experiment_on_nodes import Reference, Run, from_before, small_experiment

from nlift.data.files import read_json
from nlift.pipeline.stage_folder import read_manifest


@pytest.mark.slow
def test_models_run_on_the_nodes_with_a_gpu(bert, tmp_path):
    with Nodes(dashboard=True) as nodes:
        nodes.add(cpus=2)  # alone it has most CPUs, and no GPU
        with_gpu = [nodes.add(gpus=1), nodes.add(gpus=1)]
        (tmp_path / "before").mkdir()
        before = Reference(small_experiment(tmp_path, nodes.address, bert), tmp_path / "before")("index")
        manifest = read_manifest(before.folder / "train")
        assert manifest["steps"] == manifest["planned_steps"]
        assert "tuned" in read_json(before.folder / "evaluate" / "metrics.json")["encoders"]
        run = Run(from_before(before, "translate", tmp_path / "run"), tmp_path, "translate,score", 0.2)
        run.wait_for(lambda: len(run.rows()) > 32)
        nodes.kill(with_gpu[0])
        with_gpu.append(nodes.start_again(with_gpu[0]))
        run.end()
        assert {row[0] for row in run.rows()} <= {node.node_id for node in with_gpu}


@pytest.mark.slow
def test_two_trials_of_a_sweep_share_a_gpu(bert, tmp_path):
    with Nodes(dashboard=True) as nodes:
        nodes.add(cpus=2, gpus=1)
        made = small_experiment(tmp_path, nodes.address, bert)
        shared = made.override({"train.num_workers": 1, "train.use_gpu": True, "train.gpus_per_worker": 0.5})
        run = Run(shared, tmp_path, "tune")
        run.wait_for(lambda: len(list(shared.folder.glob("tune.tmp-*/trials/*/history.jsonl"))) == 2)
        assert not list(shared.folder.glob("tune.tmp-*/trials/*/result.json")), "one trial waited for the other"
        run.end()
        trials = read_json(shared.folder / "tune" / "trials.json")["trials"]
        assert [trial["status"] for trial in trials] == ["finished", "finished"]
